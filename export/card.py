"""The model card of an exported folder, in the form that Hugging Face reads."""

import json

from sentiment.data.text import SPACE, AnyTokens, Normal, Tokens, from_dict, join

CARD = """---
{language}license: {license}
library_name: {library}
pipeline_tag: text-classification
tags: [sentiment-analysis, {kind}]
model-index:
- name: {name}
  results:
  - task: {{type: text-classification}}
    dataset: {{name: {corpus}, type: {corpus}, split: test}}
    metrics:
{index}
---

# {name}

A model of kind `{kind}` with {parameters:,} parameters that says whether {subject} is {labels}. It reads {length} of a
{text} and knows {known:,} {unit}s{rare}.

```
{layers}
```

## Use it

A SavedModel is a program: TensorFlow runs its graph, which may read and write files, with your rights. Load it only
from someone you trust, or after `make verify-export` (below), which compares every file without running any. Start
Python beside the folder `{name}` and not in it, because Python imports files from the folder where it starts.

With TensorFlow alone. The graph cleans the text and splits it into words; TensorFlow Serving accepts it too:

```python
import tensorflow as tf

model = tf.saved_model.load("{name}/saved_model").signatures["serving_default"]
answer = model(text=tf.constant([{examples}]))
for label, probability in zip(answer["label"].numpy(), answer["probability"].numpy()):
    print(label.decode(), probability)
```

`probability` is {probability}. For a text without any {unit} that the model knows it is NaN, and the label is "".

With the package of the project that made the model, without TensorFlow, and with the words that decide an answer:

```python
import sentiment

model = sentiment.load("{name}")
print(model.predict([{example}]))
print(model.explain({example}))
```
{keras}
## Data and protocol

Corpus `{corpus}`; `reproduce.json` has the hashes of its files and all parameters. The model was trained on the
training split. The test split was read once, to compute the results.

## Results

On the test split. The deviation is the standard deviation over random seeds; it is empty if it was not measured.

| metric | value | deviation |
|---|---|---|
{table}

## Limits

The model was trained on the reviews of its corpus alone. Of other texts it is as sure, and less often right. Irony, a
plot told at length and rare words mislead it{end}. It has the prejudices of those reviews: do not use it for decisions
about people.

## Reproduce it

`reproduce.json` names the commit, parameters, data, weights and versions. In a clone of the project that made it,

```sh
{command}
```

makes these files again. `make verify-export FOLDER=<this folder>` makes them in a scratch folder and compares them.
"""

KERAS = """
With plain Keras, for text in ASCII without markup:

```python
import json
from pathlib import Path
import keras, numpy as np

files = (Path("NAME", file) for file in ("model.json", "word_index.json"))
about, ranks = (json.loads(file.read_text(encoding="utf-8")) for file in files)
tokens, pad = about["tokens"], about["pad"]
text = TEXT
text = text.lower() if tokens["lowercase"] else text
WORDS
ids = [1, *(ranks[word] + 3 if ranks[word] + 3 < pad["vocabulary"] else 2 for word in words if word in ranks)]
ids = np.array([([0] * pad["max_length"] + ids)[-pad["max_length"] :]])
probability = keras.models.load_model("NAME/model.keras").predict(ids, verbose=0)[0]
ANSWER
```
"""

SPLIT = """words = text.translate({ord(separator): " " for separator in tokens["separators"]}).split(" ")"""
NORMAL_SPLIT = """kept = {True: " {} ", False: " "}[tokens["symbols"]]
text = unicodedata.normalize("NFC", text)
parts = (x if unicodedata.category(x)[0] in "LMN" or x == "'" else kept.format(x) for x in text)
words = "".join(parts).split()
if tokens["unit"] == "characters":
    words = [*f" {' '.join(words)} ".replace(" ", "SPACE")]""".replace("SPACE", SPACE)
ONE = """print(about["labels"][int(probability[0] > 0.5)], probability[0])"""
EACH = """print(about["labels"][probability.argmax()], probability)"""


def card(
    name: str,
    about: dict,
    recipe: dict,
    metrics: dict,
    noise: dict,
    *,
    layers: str,
    corpus: dict,
    index: dict[str, int],
) -> str:
    """Return the model card in Markdown.

    Args:
        name: Name of the model.
        about: Values of ``model.json``.
        recipe: Values of ``reproduce.json``.
        metrics: Metrics by name.
        noise: For each metric an object with ``std``, the standard deviation over seeds; empty if not measured.
        layers: The table of layers.
        corpus: Values of ``data/raw/<corpus>_about.json``.
        index: The rank of each token.
    """
    scores = {key: value for key, value in metrics.items() if key not in ("parameters", "weights")}
    deviations = {key: f"{noise[key]['std']:.4f}" if key in noise else "" for key in scores}
    length, vocabulary = about["pad"]["max_length"], about["pad"]["vocabulary"]
    is_keras = "model.keras" in recipe["files"]
    is_imdb, several = about["corpus"] == "imdb", len(about["labels"]) > 2
    tokens = from_dict(about["tokens"])
    texts = ["A wonderful film.", "The worst acting I have seen."] if is_imdb else _examples(index, tokens)
    unit = "character" if isinstance(tokens, Normal) and tokens.unit == "characters" else "word"
    return CARD.format(
        examples=", ".join(json.dumps(text, ensure_ascii=False) for text in texts),
        example=json.dumps(texts[0], ensure_ascii=False),
        language=f"language: {corpus['language']}\n" if "language" in corpus else "",
        license="apache-2.0" if is_imdb else corpus.get("license", "unknown"),
        probability="that of each label, in the order of `labels` in `model.json`"
        if several
        else f"that of `{about['labels'][1]}`",
        text="review" if is_imdb else "text",
        unit=unit,
        name=name,
        kind=about["kind"],
        library="keras" if is_keras else "numpy",
        corpus=about["corpus"],
        command=recipe["command"],
        end=", and it reads the end of a long text alone" if length else "",
        index="\n".join(f"    - {json.dumps({'type': key, 'value': value})}" for key, value in scores.items()),
        keras=_keras(name, texts[0], tokens, several) if is_keras else "",
        known=min(vocabulary - 3, about["words"]) if vocabulary else about["words"],
        labels=" or ".join(about["labels"]),
        layers=layers.rstrip(),
        length=f"the last {length} words" if length else "all words",
        parameters=metrics["parameters"],
        rare=f"; all rarer ones count as one unknown {unit}" if vocabulary and about["words"] > vocabulary - 3 else "",
        subject="an English film review" if is_imdb else "a text",
        table="\n".join(f"| {key} | {value:.4f} | {deviations[key]} |" for key, value in scores.items()),
    )


def _keras(name: str, text: str, tokens: AnyTokens, several: bool) -> str:
    """Return the code that uses a network with plain Keras, for text that needs no cleaning."""
    code = KERAS.replace("ANSWER", EACH if several else ONE)
    if isinstance(tokens, Tokens):
        code = code.replace("WORDS", SPLIT)
    else:
        code = code.replace("WORDS", NORMAL_SPLIT).replace("import json\n", "import json, unicodedata\n", 1)
        code = code.replace("in ASCII without markup", "without markup, web addresses and typographic variants")
    return code.replace("TEXT", json.dumps(text, ensure_ascii=False)).replace("NAME", name)


def _examples(index: dict[str, int], tokens: AnyTokens) -> list[str]:
    """Return two example texts of common tokens of the corpus."""
    common = sorted(index, key=index.__getitem__)
    return [join(some, tokens).replace(SPACE, " ").strip() for some in (common[:12:2], common[1:12:2])]
