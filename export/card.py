"""The model card of an exported folder, in the form that Hugging Face reads."""

import json

CARD = """---
language: en
license: apache-2.0
library_name: keras
pipeline_tag: text-classification
tags: [sentiment-analysis, cnn, lstm]
model-index:
- name: {name}
  results:
  - task: {{type: text-classification}}
    dataset: {{name: {corpus}, type: {corpus}, split: test}}
    metrics:
{index}
---

# {name}

A CNN-LSTM of {parameters:,} parameters that says whether {subject} is {labels}. It reads the last
{max_length} words of a review and knows {known:,} words by name; rarer ones are all one to it.

## Use it

With TensorFlow alone, from text, cleaned and cut into words inside the graph; also what TensorFlow Serving takes:

```python
import tensorflow as tf

model = tf.saved_model.load("saved_model").signatures["serving_default"]
answer = model(text=tf.constant(["A wonderful film.", "The worst acting I have seen."]))
for label, probability in zip(answer["label"].numpy(), answer["probability"].numpy()):
    print(label.decode(), probability)
```

`probability` is that of `{positive}`; a text without any word that the model knows has none (NaN), and the label "".
With plain Keras, for text in ASCII (a word that the corpus lacks is unknown here, and left out above):

```python
import json, re
import keras, numpy as np

about, index = (json.load(open(name, encoding="utf-8")) for name in ("{name}.json", "word_index.json"))
words = re.sub(r"[^a-z0-9' ]", " ", "A wonderful film.".lower()).split()
ids = [1, *(index.get(word, 2) for word in words)][-about["max_length"] :]
ids = np.array([[0] * (about["max_length"] - len(ids)) + ids])
probability = keras.models.load_model("{name}.keras").predict(ids, verbose=0)[0, 0]
print(about["labels"][int(probability > 0.5)], probability)
```

## Data and protocol

Corpus `{corpus}`, the files whose hashes `reproduce.json` has. Trained on the training split, with the parameters that
`reproduce.json` has and without looking at the test split, which was read once, to score.

## Results

On the test split. The deviation is the standard deviation over random seeds, all else equal, where it was measured.

| metric | value | deviation |
|---|---|---|
{table}

## Limits

It has seen the reviews of its corpus and nothing else: of other texts it will be as sure, and less often right.
Irony, a plot told at length and rare words escape it, and of a long text it reads the end alone. It has whatever
prejudice those reviews have; decide nothing about people by it.

## Make it again

`reproduce.json` names the commit, parameters, data, weights and versions. In a clone of the project that made it,

```sh
{command}
```

makes these files again, and `make verify-export FOLDER=<this folder>` does so in a scratch folder and says whether they
are identical.
"""


def card(name: str, about: dict, recipe: dict, metrics: dict, noise: dict) -> str:
    """The card, Markdown.

    Args:
        name: The model's.
        about: What ``train`` wrote beside it.
        recipe: What goes to ``reproduce.json``.
        metrics: By name.
        noise: Their spread over seeds by name, each with ``std``; what was not measured is missing.
    """
    scores = {key: value for key, value in metrics.items() if key not in ("parameters", "weights")}
    deviations = {key: f"{noise[key]['std']:.4f}" if key in noise else "" for key in scores}
    return CARD.format(
        name=name,
        corpus=about["corpus"],
        command=recipe["command"],
        index="\n".join(f"    - {json.dumps({'type': key, 'value': value})}" for key, value in scores.items()),
        known=about["vocabulary"] - 3,
        labels=" or ".join(about["labels"]),
        max_length=about["max_length"],
        parameters=metrics["parameters"],
        subject="an English film review" if about["corpus"] == "imdb" else "a review",
        positive=about["labels"][1],
        table="\n".join(f"| {key} | {value:.4f} | {deviations[key]} |" for key, value in scores.items()),
    )
