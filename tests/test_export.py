"""A model is exported by a real run, opened by plain TensorFlow, and made again by its recipe."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from checks.settings import CheckSettings
from checks.shell import InputError, printable
from checks.values import DIFFERENT, IDENTICAL, SAME, WITHIN
from export.__main__ import main as export
from export.card import card
from export.contents import GRAPH, graph_files
from export.graph import Served, differences, save, served
from export.graph import main as make_graph
from export.verify import compare_files, expected_files, files_of, read_bounded, tree_hash
from export.verify import main as verify
from sentiment import InputError as SentimentError
from sentiment import load
from sentiment.data import ngrams, text
from sentiment.data.padding import words_of
from sentiment.data.text import IMDB, Normal, Tokens, clean, words
from sentiment.keras import archive, backend
from sentiment.keras.backend import keras, tf
from sentiment.kinds import cnn_lstm
from sentiment.kinds.ngrams import Linear, OneVersusRest, Weighting
from sentiment.model import TextModel, describe
from sentiment.network import NetworkPad, output
from sentiment.schema import Pad
from sentiment.training import digest
from tests.conftest import ROOT, SHOWN, VALUES, damaged, examples, shown_of
from tests.projects import Project
from tests.repositories import call, commit, inside

NAME, GRAMS = SHOWN[0], shown_of("ngrams", "compiled")
FILES = {NAME: "model.keras", GRAMS: "model.npz"}
SAVED = {GRAPH, *(f"saved_model/variables/variables.{end}" for end in ("data-00000-of-00001", "index"))}
INDEX = (
    "it",
    "wasn't",
    "good",
    "bad",
    "film",
    "cliché",
    "boring",
    "fi",
    "well\x85",
    "\x96",
    "it\u2019s",
    "é",
    "a",
    "'",
    "ế",
)
VOCABULARY, LENGTH = 14, 8
INDEX = {word: rank for rank, word in enumerate(INDEX, 1)}
LABELS = ["negative", "positive"]
SIZES = {"embedding": 3, "filters": 4, "kernel": 3, "pool": 2, "units": 5, "dropout": 0.2, "dense": 2}


def network_of(pad: Pad, **changes: object) -> keras.Model:
    """A small network of random weights."""
    keras.utils.set_random_seed(1)
    sizes = {"kind": "cnn_lstm", "bidirectional": False, "over_time": "average"} | SIZES | changes
    return cnn_lstm.build(pad, cnn_lstm.Architecture(**sizes), keras)


def text_model(
    content: bytes, index: dict[str, int], pad: Pad, labels: list[str] = LABELS, tokens: Tokens = IMDB
) -> TextModel:
    """A network that reads text."""
    _, weights = archive.read(content)
    about = {"labels": labels, "pad": pad.model_dump(), "tokens": tokens._asdict()}
    return TextModel(cnn_lstm.open_model(content, digest(weights)), index, about)


PAD = Pad(max_length=LENGTH, vocabulary=VOCABULARY)


@pytest.fixture(scope="module")
def graph() -> tuple[Served, TextModel]:
    """A small network as a graph, and the same network as a ``TextModel``."""
    content = archive.pack(network_of(PAD))
    model = text_model(content, INDEX, PAD)
    return served(model, content), model


def ours(written: str, index: dict[str, int], vocabulary: int, length: int, tokens: Tokens = IMDB) -> list[int]:
    ids = text.encode(text.clean(written, index, vocabulary, tokens), index, vocabulary, tokens)
    return ([0] * length + ids)[-length:]


HARD = [
    "",
    " ",
    "zxcvb",
    "good",
    "GOOD film",
    "good " * 6,
    "good " * 7,
    "good " * 8,
    "good " * 60,
    "it\u2019s good",
    "It wasn\u2019t good.",
    "it wasn\xb4t, it wasn&rsquo;t it wasn&amp;#8217;t",
    "good\r\nfilm\x0bbad\x1cit",
    "good\xa0film\u2028bad",
    "film\u2026boring\u2014good \u201cbad\u201d",
    "good<br /><BR clear='x'>film&lt;br&amp;gt;bad<br&nbsp;/>it",
    "cliche\u0301 CLICHÉ CLICHE\u0301",
    "\uff26\uff49\uff4c\uff4d \ufb01",
    "\ufeffgood\u200bfilm ba\u00add",
    "film\x96bad well\x85 \x93good\x94 \x96",
    "good\U0001f600film \u2764\ufe0fbad",
    "naïve 8½ alien³",
    "x'É e\u0302\u0301",
    "a\0b good",
]


@pytest.mark.parametrize("written", HARD, ids=ascii)
def test_the_graph_makes_our_ids_of_hard_text(graph, written):
    ids = graph[0].tokens(tf.constant([written, "it"]))["ids"].numpy()
    assert ids[0].tolist() == ours(written, INDEX, VOCABULARY, LENGTH)


PIECES = st.sampled_from([*INDEX, *" .-'\n\r\x85\xa0\u2019\u2026\u200bÉ\u0301", "<br>", "&amp;", "&#39;"])


@examples(50)
@given(st.lists(st.lists(PIECES).map("".join), min_size=1, max_size=20))
def test_the_graph_makes_our_ids_of_any_mixture(graph, texts):
    ids = graph[0].tokens(tf.constant(texts))["ids"].numpy()
    assert ids.tolist() == [ours(written, INDEX, VOCABULARY, LENGTH) for written in texts]


def test_the_graph_reads_text_by_the_rules_that_the_model_records():
    """The model's words keep capitals, and it has other separators."""
    tokens, content = Tokens(lowercase=False, separators="?!\n-"), archive.pack(network_of(PAD))
    index = INDEX | {"Good": 16, "film.": 2}
    graph = served(text_model(content, index, PAD, tokens=tokens), content)
    texts = [*HARD, "Good film. good-film! GOOD\nbad"]
    ids = graph.tokens(tf.constant(texts))["ids"].numpy().tolist()
    assert ids == [ours(written, index, VOCABULARY, LENGTH, tokens) for written in texts]
    assert ids != [ours(written, index, VOCABULARY, LENGTH) for written in texts]


def assert_same_answers(graph: Served, model: TextModel, texts: list[str]) -> int:
    """Compare the answers of a graph and of a model; return the number of texts with a label."""
    answer, expected = graph.serve(tf.constant(texts)), model.predict(texts)
    assert [label.decode() for label in answer["label"].numpy()] == [one.label for one in expected]
    probabilities = [one.probability for one in expected]
    np.testing.assert_allclose(answer["probability"].numpy(), probabilities, atol=1e-5)
    return sum(not one.error for one in expected)


def test_the_graph_answers_as_we_do(graph):
    assert 0 < assert_same_answers(*graph, HARD) < len(HARD)


def linear_of(
    weighting: str, pad: Pad, longest: int = 3, tokens: Any = IMDB, index=INDEX, ending: int = 0
) -> TextModel:
    """An n-gram model of random weights."""
    about, random = {"labels": LABELS, "pad": pad.model_dump(), "tokens": tokens._asdict()}, np.random.default_rng(5)
    nothing = Linear(Weighting("counts", np.ones(1, "f4")), np.zeros(1, np.int64), np.zeros(2, "f4"))
    reviews = words_of(TextModel(nothing, index, about).encode([*HARD, "it wasn't good", "a good bad film is good"]))
    grams, counts = ngrams.learn(reviews, longest=longest, min_df=1, max_features=1000, ending=ending)
    scales = Weighting.learn(weighting, counts, (np.arange(len(reviews)) % 2).astype("u1"))
    weights = random.standard_normal(len(grams) + 1).astype("f4")
    kept = np.sort(random.permutation(len(grams))[: len(grams) * 2 // 3])  # the others are not in the model
    scales = scales._replace(scale=scales.scale[kept])
    bits = ngrams.bits_for(longest, ending)
    return TextModel(Linear(scales, grams[kept], weights[[*kept, -1]], bits, ending), index, about)


PADS = {"whole": Pad(max_length=None, vocabulary=None), "cut": PAD}


@pytest.mark.parametrize(
    ("weighting", "pad", "ending"),
    [("counts", "whole", 0), ("presence", "cut", 2), ("tfidf", "cut", 0), ("naive-bayes", "whole", 4)],
)
def test_the_graph_of_an_n_gram_model_answers_as_the_model(weighting, pad, ending):
    model = linear_of(weighting, PADS[pad], ending=ending)
    linear: Any = model.model
    assert ngrams.words_in(linear.grams, linear.bits) == 3
    graph = served(model, linear.save())
    assert assert_same_answers(graph, model, [*HARD, "bad " * 9 + "good film " * 3 + "it wasn't a good film"]) > 0
    graph.serve(tf.constant([], tf.string))


def test_the_graph_of_n_grams_of_three_labels_answers_as_the_model():
    one = linear_of("tfidf", PADS["whole"])
    linear: Any = one.model
    models = [Linear(linear.weighting, linear.grams, sign * linear.weights) for sign in np.float32([1, -1, 0.5])]
    model = TextModel(OneVersusRest(models), INDEX, dict(one.about) | {"labels": ["bad", "good", "mixed"]})
    graph = served(model, OneVersusRest(models).save())
    answer = graph.serve(tf.constant(HARD))
    expected = [each for each in model.predict(HARD) if not each.error]
    labels = [label.decode() for label in answer["label"].numpy()]
    assert [label for label in labels if label] == [each.label for each in expected]
    assert len({*labels}) > 2
    known = answer["probability"].numpy()[np.array(labels) != ""]
    np.testing.assert_allclose(known, [[*each.probabilities.values()] for each in expected], atol=1e-5)


def test_a_probability_of_one_half_is_the_first_label_in_the_graph_too():
    model = linear_of("counts", PADS["whole"])
    linear: Any = model.model
    linear.weights[:] = 0
    graph = served(model, linear.save())
    assert graph.serve(tf.constant(["good"]))["label"].numpy().tolist() == [b"negative"]
    assert assert_same_answers(graph, model, ["good", "bad film"]) == 2


def test_the_graph_of_a_model_of_characters_gives_no_label_to_a_text_without_a_known_one():
    tokens = Normal("characters", lowercase=True, symbols=False)
    index = {letter: rank for rank, letter in enumerate(dict.fromkeys(words("a good bad film", tokens)), 1)}
    model = linear_of("tfidf", PADS["whole"], tokens=tokens, index=index)
    linear: Any = model.model
    texts = ["a dog", "\ud55c \uad6d", "x", "!"]
    assert assert_same_answers(served(model, linear.save()), model, texts) == 1


def test_the_saved_model_of_an_n_gram_model_answers_as_the_model(tmp_path):
    model = linear_of("tfidf", PADS["whole"])
    linear: Any = model.model
    save(served(model, linear.save()), tmp_path / "saved_model")
    assert differences(tmp_path / "saved_model", model) == []
    linear.weights[:-1] += 0.01
    assert differences(tmp_path / "saved_model", model) != []


def test_the_graph_makes_our_ids_of_real_reviews(imdb):
    index = json.loads((imdb / "imdb_word_index.json").read_text())
    with np.load(imdb / "imdb.npz", allow_pickle=True) as raw:
        lists = raw["x_test"][::500]
    words = {rank: word for word, rank in index.items()}
    texts = [" ".join(words[rank] for rank in ranks) for ranks in lists] + HARD
    pad = Pad(max_length=100, vocabulary=500)
    content = archive.pack(network_of(pad, embedding=2, filters=2, kernel=1, units=2))
    graph = served(text_model(content, index, pad), content)
    ids = graph.tokens(tf.constant(texts))["ids"].numpy()
    assert ids.tolist() == [ours(written, index, 500, 100) for written in texts]


def write_model(folder: Path, content: bytes, pad: Pad = PAD, labels: list[str] = LABELS) -> None:
    """Write a network's folder, as the stage `train` does."""
    index, (_, weights) = json.dumps(INDEX).encode(), archive.read(content)
    about = describe(
        kind="cnn_lstm", corpus="films", labels=labels, tokens=IMDB._asdict(), pad=pad, index=index, weights=weights
    )
    folder.mkdir(exist_ok=True)
    for name, written in {
        "model.keras": content, "model.json": json.dumps(about).encode(), "word_index.json": index
    }.items():  # fmt: skip
        (folder / name).write_bytes(written)


def test_a_graph_with_other_answers_than_the_model_is_not_exported(tmp_path, monkeypatch):
    write_model(tmp_path / "model", archive.pack(network_of(PAD)))
    monkeypatch.setattr(Served, "_fold", lambda self, words: words)
    with pytest.raises(SentimentError, match=r"expected the answers of the model, got others of \d+ texts: '"):
        make_graph(tmp_path / "model", tmp_path / "other")


def test_a_graph_has_the_same_bytes_in_any_process_and_the_weights_are_in_other_files(tmp_path, monkeypatch):
    """A separate process makes the graph, so settings of TensorFlow in the shell have no effect."""

    def made(network: keras.Model) -> dict[str, bytes]:
        write_model(tmp_path, archive.pack(network))
        return graph_files({path.name: path.read_bytes() for path in tmp_path.iterdir()})

    first = made(network_of(PAD))
    assert {*first} == SAVED
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_auto_jit=2")
    foreign = network_of(PAD)
    foreign.set_weights([weights + 0.01 for weights in foreign.get_weights()])
    other = made(foreign)
    assert {name for name in first if first[name] != other[name]} == SAVED - {GRAPH}


def test_a_file_must_equal_the_reruns_and_a_file_of_the_model_may_be_the_recorded_one():
    here = {"a.json": b"1", "keras/__init__.py": b"", "model.json": b"{}", "model.keras": b"other", "y.bin": b"other"}
    again = {"a.json": b"1.005", "less": b"", "model.json": b"{}", "model.keras": b"made", "y.bin": b"made"}
    rows = compare_files(here, again, CheckSettings({"*": 0.01}), is_recorded=True)
    assert [(name, verdict) for name, verdict, _ in rows] == [
        ("a.json", WITHIN), ("keras/__init__.py", DIFFERENT), ("less", DIFFERENT), ("model.json", IDENTICAL),
        ("model.keras", WITHIN), ("y.bin", DIFFERENT),
    ]  # fmt: skip
    remarks = {name: lines[-1] for name, _, lines in rows if lines}
    assert (remarks["less"], remarks["keras/__init__.py"]) == ("only the rerun has it", "only the folder has it")
    assert remarks["model.keras"] == "it is the file that the commit recorded; the bytes of a rerun may differ"
    rows = compare_files(here, again, CheckSettings({"*": 0.01}), is_recorded=False)
    assert dict((name, verdict) for name, verdict, _ in rows)["model.keras"] == DIFFERENT
    assert compare_files(here, here, CheckSettings(), is_recorded=False) == [
        (name, IDENTICAL, []) for name in sorted(here)
    ]


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """The root of a project, and the files that an export of a model of n-grams has beside the card and the recipe."""
    root, model = tmp_path_factory.mktemp("root"), linear_of("tfidf", PADS["whole"])
    linear: Any = model.model
    save(served(model, linear.save()), root / "model/saved_model")
    index = json.dumps(INDEX).encode()
    about = describe(
        kind="ngrams", corpus="films", labels=LABELS, tokens=IMDB._asdict(), pad=PADS["whole"], index=index,
        weights=linear.weights,
    )  # fmt: skip
    metrics = {"accuracy": 0.75, "loss": 0.5, "parameters": 12, "weights": about["weights"]}
    for name, content in {
        "model/model.npz": linear.save(), "model/model.json": json.dumps(about).encode(), "model/layers.txt": b"one\n",
        "model/word_index.json": index, "model/metrics.json": json.dumps(metrics).encode(), "model/LICENSE": b"free\n",
        "model/noise.json": b'{"loss": {"std": 0.1}}', "data/raw/films_about.json": b"{}",
        "data/environment.json": b'{"packages": {}}',
    }.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    paths = [path for path in (root / "model").rglob("*") if path.is_file()]
    return root, {path.relative_to(root / "model").as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("name", ["metrics.json", "model.json", "noise.json", "word_index.json", "layers.txt"])
def test_a_folder_that_cannot_be_described_is_compared_with_the_card_of_the_rerun(exported, monkeypatch, name):
    monkeypatch.setattr("export.contents._recorded", lambda root, name, corpus: {"data": {}, "params": {}})
    root, made = exported
    good = expected_files(made, made, root, "m", "c0c0")
    assert expected_files(made | {name: b"\xff"}, made, root, "m", "c0c0") == good


@examples(50)
@given(st.data())
def test_any_damage_to_a_strangers_folder_is_a_difference(exported, data):
    root, made = exported
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("export.contents._recorded", lambda root, name, corpus: {"data": {}, "params": {}})
        good = expected_files(made, made, root, "m", "c0c0")
        assert {"README.md", "reproduce.json"} <= good.keys()
        name = data.draw(st.sampled_from([*good, GRAPH]))
        content = data.draw(damaged(good[name]) | VALUES.map(lambda value: json.dumps(value).encode()))
        rows = compare_files(
            good | {name: content}, expected_files(good | {name: content}, made, root, "m", "c0c0"),
            CheckSettings({"*": 0.01}), is_recorded=data.draw(st.booleans()),
        )  # fmt: skip
    verdicts = {file: verdict for file, verdict, _ in rows}
    assert (verdicts[name] == IDENTICAL) == (content == good[name])
    if name in SAVED and content != good[name]:
        assert verdicts[name] in (DIFFERENT, SAME)
    assert all(each.isprintable() for _, _, lines in rows for line in lines for each in printable(line).splitlines())


def test_the_card_says_what_the_model_is_and_does():
    pad = {"max_length": 70, "vocabulary": 503}
    about = {"corpus": "films", "kind": "cnn_lstm", "labels": ["bad", "good"], "pad": pad, "words": 9000}
    about["tokens"] = IMDB._asdict()
    more = {"corpus": {"language": "de", "license": "cc0-1.0"}, "index": {"gut": 1, "nie": 2}}
    metrics = {"accuracy": 0.75, "loss": 0.5, "parameters": 12345, "weights": "ab"}
    recipe = {"command": "make tea", "files": {"model.keras": ""}}
    page = card("tiny", about, recipe, metrics, {"loss": {"std": 0.01239}}, layers="one layer\n", **more)
    plain = " ".join(page.split())
    assert "`probability` is that of `good`. For a text without any word" in plain
    assert "`cnn_lstm` with 12,345 parameters that says whether a text is bad or good. It reads the last 70" in plain
    assert "knows 500 words; all rarer ones count as one unknown word." in plain
    assert "mislead it, and it reads the end of a long text alone." in plain
    for number, known in ((400, "400 words."), (500, "500 words."), (501, "500 words; all rarer")):
        other = card("tiny", about | {"words": number}, recipe, metrics, {}, layers="", **more)
        assert f"and knows {known}" in " ".join(other.split())
    assert "| accuracy | 0.7500 |  |\n| loss | 0.5000 | 0.0124 |\n\n" in page
    assert "\none layer\n" in page
    front = yaml.safe_load(page.split("---")[1])
    assert (front["library_name"], front["language"], front["license"]) == ("keras", "de", "cc0-1.0")
    assert 'tf.constant(["gut", "nie"])' in page
    index = front["model-index"][0]
    assert index["name"] == "tiny"
    assert index["results"][0]["dataset"] == {"name": "films", "type": "films", "split": "test"}
    assert index["results"][0]["metrics"] == [{"type": "accuracy", "value": 0.75}, {"type": "loss", "value": 0.5}]
    assert "```sh\nmake tea\n```" in page
    assert "an English film review" in card("tiny", about | {"corpus": "imdb"}, recipe, metrics, {}, layers="", **more)
    about |= {"kind": "ngrams", "pad": dict.fromkeys(pad)}
    page = card("tiny", about, recipe | {"files": {"model.npz": ""}}, metrics, {}, layers="", **more)
    assert "It reads all words of a text and knows 9000 words" in " ".join(page.split()).replace(",", "")
    assert "the end of a long text" not in page
    assert yaml.safe_load(page.split("---")[1])["library_name"] == "numpy"
    assert "keras" not in page.lower()


@pytest.mark.parametrize("unit", ["words", "characters"])
@pytest.mark.parametrize("symbols", [False, True])
def test_the_cards_keras_code_answers_as_a_network_of_three_labels_on_an_own_corpus(
    tmp_path, monkeypatch, capsys, unit, symbols
):
    monkeypatch.chdir(tmp_path)
    tokens = Normal(unit, lowercase=True, symbols=symbols)
    spelt = "The caf\u00e9, it isn't GOOD! \u0e01\u0e35"  # a mark that Python counts as no letter
    index = {word: rank for rank, word in enumerate(dict.fromkeys(words(clean(spelt, tokens=tokens), tokens)), 1)}
    pad, labels = NetworkPad(max_length=12, vocabulary=20), ["bad", "good", "mixed"]
    keras.utils.set_random_seed(3)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((12,), dtype="int32"),
            layers.Embedding(20, 5, embeddings_initializer=keras.initializers.RandomNormal(stddev=2.0)),
            layers.GRU(4),
            output(keras, 3),
        ]
    )
    content, weights = json.dumps(index).encode(), backend.get_weights(network)
    about = describe(
        kind="gru", corpus="mine", labels=labels, tokens=tokens._asdict(), pad=pad, index=content, weights=weights
    )
    recipe = {"command": "make tea", "files": {"model.keras": ""}}
    page = card("tiny", about, recipe, {"parameters": 1}, {}, layers="", corpus={}, index=index)
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "import keras" in code)
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, written in {"model.keras": archive.pack(network), "word_index.json": content}.items():
        (folder / name).write_bytes(written)
    (folder / "model.json").write_text(json.dumps(about))
    code, count = re.subn("^text = .*$", lambda _: f"text = {spelt!r}", code, count=1, flags=re.MULTILINE)
    assert count == 1
    exec(code, {})
    (answer,) = load(folder).predict(spelt)
    label, *printed = capsys.readouterr().out.replace("[", " ").replace("]", " ").split()
    assert label == answer.label
    np.testing.assert_allclose([*map(float, printed)], [*answer.probabilities.values()], atol=1e-5)


class Exporting(Project):
    """A project whose models can be exported."""

    def call(self, main, name: str = NAME) -> tuple[int, str, str]:
        """Exit code, output and error lines of a command line that runs in this process."""
        return call(main, self.folder, name, IMDB_SOURCE=self.environment["IMDB_SOURCE"])

    @property
    def exported(self) -> dict[str, bytes]:
        """The files of the exported folder of the first model by name."""
        return self.files_of(NAME)

    def files_of(self, name: str) -> dict[str, bytes]:
        """The files of an exported folder by name."""
        folder = self.folder / "exported" / name
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory) -> Exporting:
    """A project whose models are exported and replace exported folders of an earlier version."""
    project = Exporting(finished.copy(tmp_path_factory.mktemp("exporting") / "project").folder)
    for name in FILES:
        (project.folder / "exported" / name / "saved_model").mkdir(parents=True)
        (project.folder / "exported" / name / "saved_model/left-over").touch()
        code, printed, errors = project.call(export, name)
        assert (code, errors) == (0, "")
        names = sorted({file.partition("/")[0] for file in project.files_of(name)})
        assert printed == f"exported/{name}: {', '.join(names)}\n"
    return project


@pytest.mark.parametrize("name", FILES)
def test_an_export_has_the_model_its_settings_results_card_and_recipe_and_no_more(project, name):
    files = project.files_of(name)
    recipe = json.loads(files["reproduce.json"])
    made = {FILES[name], "model.json", "word_index.json", "layers.txt"}
    top = {file for file in files if "/" not in file} - {"noise.json"}
    assert top == {"LICENSE", "README.md", "metrics.json", "reproduce.json", *made}
    assert {file for file in files if file.startswith("saved_model/")} == SAVED
    assert recipe["files"] == {
        file: hashlib.sha256(content).hexdigest()
        for file, content in files.items()
        if file not in ("README.md", "reproduce.json")
    }
    assert files["metrics.json"] == (project.folder / f"metrics/{name}.json").read_bytes()
    for file in made:
        assert files[file] == (project.folder / "models" / name / file).read_bytes()
    assert recipe["weights"] == json.loads(files["metrics.json"])["weights"]
    assert recipe["params"][f"models.{name}.train"]["epochs"] == 4
    assert all(key.startswith(f"models.{name}.") for key in recipe["params"])
    raw = [f"data/raw/imdb{end}" for end in (".npz", "_about.json", "_word_index.json")]
    assert recipe["data"] == {path: hashlib.md5((project.folder / path).read_bytes()).hexdigest() for path in raw}
    assert files["word_index.json"] == (project.folder / "data/raw/imdb_word_index.json").read_bytes()
    assert sorted(path.name for path in (project.folder / "exported").iterdir()) == sorted(FILES)


def test_the_hash_that_identifies_a_model_is_that_of_dvc(project):
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]
    for name in FILES:
        folder = project.folder / "models" / name
        recorded = {out["path"]: out["md5"] for out in lock[f"train@{name}"]["outs"]}
        assert tree_hash({path.name: path.read_bytes() for path in folder.iterdir()}) == recorded[f"models/{name}"]


@pytest.mark.parametrize("name", FILES)
def test_the_code_in_the_card_answers_as_the_model(project, tmp_path, name):
    """The code for TensorFlow and Keras runs in a folder outside, in a process that cannot import this project."""
    folder = shutil.copytree(project.folder / "exported" / name, tmp_path / name)
    codes = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    (package_code,) = (code for code in codes if "import sentiment" in code)
    alone = "".join(code for code in codes if code != package_code)
    check = "import sys; assert not {name.split('.')[0] for name in sys.modules} & {'sentiment', 'export', 'checks'}"
    run = subprocess.run(
        [sys.executable, "-I", "-c", alone + check], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    texts = ["A wonderful film.", "The worst acting I have seen."]
    model = load(project.folder / "models" / name)
    expected = model.predict([*texts, texts[0]] if name == NAME else texts)  # by Keras, too
    for line, answer in zip(run.stdout.splitlines(), expected, strict=True):
        label, probability = line.split()
        assert label == answer.label
        assert float(probability) == pytest.approx(answer.probability, abs=1e-5)
    check = "import sys; assert 'tensorflow' not in sys.modules"
    run = subprocess.run(
        [sys.executable, "-c", package_code + check],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [repr(model.predict([texts[0]])), str(model.explain(texts[0]))]


@pytest.mark.parametrize("name", FILES)
def test_a_model_of_any_kind_is_asked_by_its_name_and_by_its_exported_folder(project, name):
    with inside(project.folder):
        printed = [
            project.run(sys.executable, "-m", "sentiment", "--model", model, "--", "A wonderful film $100").stdout
            for model in (name, f"exported/{name}")
        ]
    label, probability, *words = printed[0].split()
    assert printed[1] == printed[0]
    assert label in ("positive", "negative")
    assert 0 < float(probability.removeprefix("P(positive)=")) < 1
    assert any(word.startswith("wonderful") for word in words)


def test_the_signature_is_called_by_name_as_a_server_does(project):
    loaded = tf.saved_model.load(str(project.folder / "exported" / NAME / "saved_model"))
    signature = loaded.signatures["serving_default"]
    ((name, spec),) = signature.structured_input_signature[1].items()
    assert (name, spec.dtype, spec.shape.as_list()) == ("text", tf.string, [None])
    outputs = signature.structured_outputs
    assert {key: (spec.dtype, spec.shape.rank) for key, spec in outputs.items()} == {
        "label": (tf.string, 1), "probability": (tf.float32, 1)
    }  # fmt: skip
    assert signature(text=tf.constant([], tf.string))["probability"].shape == (0,)


def edit(project: Project, name: str, old: str, new: str) -> None:
    path = project.folder / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


REFUSED = {
    "a dirty tree": (lambda project: edit(project, "params.yaml", "seed: 1", "seed: 2"), "tree: params.yaml is not as"),
    "a stale lock": (
        lambda project: (edit(project, "params.yaml", "seed: 1", "seed: 2"), commit(project.folder)),
        "stale: params: params.yaml: models.",
    ),
    "an edited result": (
        lambda project: (
            edit(project, f"metrics/{NAME}.json", '"accuracy": 0.', '"accuracy": 1.'),
            commit(project.folder),
        ),
        f"inconsistent: evaluate@{NAME}: metrics/{NAME}.json",
    ),
    "no model": (
        lambda project: shutil.rmtree(project.folder / "models" / NAME),
        f"models/{NAME} is missing; `make repro MODEL={NAME}` makes it",
    ),
    "another model": (
        lambda project: (
            (project.folder / f"models/{NAME}/model.keras").unlink(),
            (project.folder / f"models/{NAME}/model.keras").write_bytes(b"PK"),
        ),
        f"models/{NAME} is not what dvc.lock records",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_the_commit_does_not_record_is_not_exported(project, tmp_path, fault):
    project = project.copy(tmp_path / "changed")
    change, message = REFUSED[fault]
    change(project)
    before = project.exported
    code, output, errors = project.call(export)
    assert (code, output) == (3, "")
    assert re.match(f"error: {message}", errors), errors
    assert errors.count("\n") == 1
    assert project.exported == before


def test_no_such_model_is_one_line(project):
    assert project.call(export, "nobody") == (
        3, "", f"error: model: expected one of {', '.join(SHOWN)}, got 'nobody'\n",
    )  # fmt: skip


def put_writer(folder: Path, target: Path) -> None:
    """Add an operation that writes a file to a SavedModel's graph, as it runs when it is loaded or called."""
    path = folder / "saved_model.pb"
    saved = SavedModel.FromString(path.read_bytes())
    function = saved.meta_graphs[0].graph_def.library.function[0]
    function.node_def.add(name="written", op="WriteFile", input=[str(target), "x"])
    path.write_bytes(saved.SerializeToString())


@pytest.mark.parametrize("name", FILES)
def test_the_recipe_makes_the_same_files_and_shows_what_was_changed(project, tmp_path, name):
    folder = shutil.copytree(project.folder / "exported" / name, tmp_path / "downloaded")
    model = folder / FILES[name]
    model.write_bytes(model.read_bytes() + b"\0")
    metrics = folder / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"accuracy": 0.', '"accuracy": 1.'))
    (folder / "more").write_text("")
    (folder / "keras").mkdir()
    (folder / "keras/__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    put_writer(folder / "saved_model", tmp_path / "ran")
    code, output, errors = project.call(verify, str(folder))
    assert code == 2, errors
    assert not (tmp_path / "ran").exists()
    assert "it has operations that the rerun's lacks: WriteFile\n" in output
    verdicts = dict(re.findall(r"^(\S+) +(identical|within tolerance|different)$", output, re.MULTILINE))
    # The card and the recipe describe the model and the metrics before the change.
    different = {f"{folder}:", "README.md", "metrics.json", "more", "reproduce.json", FILES[name], GRAPH}
    different |= {"keras/__init__.py"}
    same = {"word_index.json", "model.json", "layers.txt", "LICENSE"}
    same |= SAVED - {GRAPH}
    noise = {"noise.json"} & verdicts.keys()
    assert verdicts == dict.fromkeys(different, DIFFERENT) | dict.fromkeys(same | noise, IDENTICAL)


def test_a_folder_without_a_recipe_has_no_verdict(project, tmp_path):
    for content in (None, "", "{}", "[]"):
        if content is not None:
            (tmp_path / "reproduce.json").write_text(content)
        code, _, errors = project.call(verify, str(tmp_path))
        assert code == 3
        assert re.fullmatch(r"error: .*: expected a folder of `make export`, got no reproduce.json in it .*\n", errors)
    for content in ("[" * 100_000, '{"commit": "a\\u0000", "model": "m"}', '{"commit": "c0c0", "model": "../m\\n"}'):
        (tmp_path / "reproduce.json").write_text(content)
        code, _, errors = project.call(verify, str(tmp_path))
        assert (code, errors.count("\n"), errors[:7]) == (3, 1, "error: ")
    (tmp_path / "reproduce.json").write_text('{"commit": "c0c0", "model": "m"}')
    _, _, errors = project.call(verify, str(tmp_path))
    assert errors == f"error: {tmp_path}: expected model.json, which reproduce.json names, got none; export it again\n"


@pytest.mark.skipif(sys.platform == "win32", reason="has no pipes among files")
def test_no_link_is_followed_and_no_device_opened(tmp_path):
    assert sys.platform != "win32"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/link").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "folder/pipe")
    (tmp_path / "outside").write_text("x")
    (tmp_path / "folder/file").symlink_to(tmp_path / "outside")
    files = files_of(tmp_path)
    assert set(files) == {"folder/file", "folder/link", "folder/pipe", "outside"}
    assert {name: read_bounded(path) for name, path in files.items()} == {
        "folder/file": b"", "folder/link": b"", "folder/pipe": b"", "outside": b"x"
    }  # fmt: skip


def test_a_folder_of_more_files_than_an_export_has_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("export.verify.MOST_FILES", 2)
    for name in "ab":
        (tmp_path / name).touch()
    assert set(files_of(tmp_path)) == {"a", "b"}
    (tmp_path / "c").touch()
    with pytest.raises(InputError, match="expected a folder of `make export`, got one of more than 2 files"):
        files_of(tmp_path)
