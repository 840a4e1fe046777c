"""A model leaves the project: exported by a real run, opened by plain TensorFlow, made again by its recipe."""

import hashlib
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cases import cnn_lstm_of
from checks.settings import Settings
from checks.values import DIFFERENT, IDENTICAL, WITHIN
from export.__main__ import main as export
from export.card import card
from export.graph import differences, save, served
from export.verify import compare_answers, compare_files, tree_hash
from export.verify import main as verify
from sentiment import __main__ as sentiment
from sentiment import load
from sentiment.data import ngrams, text
from sentiment.data.padding import words_of
from sentiment.keras import archive, backend
from sentiment.keras.backend import keras, tf
from sentiment.kinds import ngrams as kind
from sentiment.model import TextModel, describe
from sentiment.network import CompiledModel
from sentiment.schema import Pad
from tests.conftest import MODELS, SHOWN
from tests.projects import Project
from tests.repositories import call, commit, inside

NAME = MODELS[0]
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
PAD = Pad(max_length=LENGTH, vocabulary=VOCABULARY)


def about_of(
    pad: Pad = PAD, labels=("negative", "positive"), index: dict = INDEX, kind: str = "cnn_lstm", weights=0
) -> dict:
    weights = np.float32([weights]) if np.isscalar(weights) else weights
    return describe(kind=kind, corpus="imdb", labels=labels, pad=pad, index=json.dumps(index).encode(), weights=weights)


def text_model(model: keras.Model, about: dict, index: dict = INDEX) -> TextModel:
    """What reads text by our own code."""
    return TextModel(CompiledModel(backend.to_layers(model), backend.get_weights(model)), index, about)


@pytest.fixture(scope="module")
def network():
    """A small network of random weights."""
    keras.utils.set_random_seed(1)
    return cnn_lstm_of(
        max_length=LENGTH,
        vocabulary=VOCABULARY,
        embedding=3,
        filters=4,
        kernel=3,
        units=5,
        over_time="average",
        dense=2,
    )


@pytest.fixture(scope="module")
def graph(network):
    """The network in a graph, and what reads text with the same network by our own code."""
    ours = text_model(network, about_of())
    return served(ours, archive.pack(network)), ours


def ours(written: str, index: dict[str, int], vocabulary: int, length: int) -> list[int]:
    ids = text.encode(text.clean(written, index, vocabulary), index, vocabulary)
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


@settings(max_examples=50)
@given(st.lists(st.lists(PIECES).map("".join), min_size=1, max_size=20))
def test_the_graph_makes_our_ids_of_any_mixture(graph, texts):
    ids = graph[0].tokens(tf.constant(texts))["ids"].numpy()
    assert ids.tolist() == [ours(written, INDEX, VOCABULARY, LENGTH) for written in texts]


def test_the_graph_answers_as_we_do(graph):
    answer = graph[0].serve(tf.constant(HARD))
    expected = graph[1].predict(HARD)
    assert 0 < sum(bool(one.label) for one in expected) < len(HARD)
    assert [label.decode() for label in answer["label"].numpy()] == [one.label for one in expected]
    np.testing.assert_allclose(answer["probability"].numpy(), [one.probability for one in expected], atol=1e-5)


@pytest.mark.parametrize("pad", [Pad(max_length=None, vocabulary=None), PAD], ids=["whole", "padded"])
@pytest.mark.parametrize("weighting", ["counts", "presence", "tfidf", "naive-bayes"])
def test_the_graph_of_n_grams_answers_as_we_do(weighting, pad, tmp_path):
    """Texts of hard characters; a model of all n-grams of the words of these texts, of random weights."""
    index, random = {word: rank for word, rank in INDEX.items() if rank < 14}, np.random.default_rng(3)
    reviews = TextModel(None, index, about_of(pad, index=index)).encode(
        [*HARD, "good bad good film a", "a film a film"]
    )
    grams, counts = ngrams.learn(words_of(reviews), longest=3, min_df=1, max_features=99)
    scales = kind.Weighting.learn(weighting, counts, random.integers(0, 2, counts.shape[0]))
    linear = kind.Linear(scales, grams, random.normal(0, 1, len(grams) + 1).astype("f4"))
    ours = TextModel(linear, index, about_of(pad, index=index, kind="ngrams"))
    save(served(ours, linear.save()), tmp_path / "saved_model")
    assert differences(tmp_path / "saved_model", ours) == []
    linear.weights[np.flatnonzero(counts.getnnz(axis=0) > 1)[0]] += 0.1
    assert differences(tmp_path / "saved_model", ours) != []


def test_the_graph_splits_words_by_the_rules_that_the_model_records(network):
    """A model whose words keep their capitals, and that only a question mark separates."""
    index = {"Good": 1, "good": 2, "film.": 3}
    about = about_of(index=index) | {"tokens": {"lowercase": False, "separators": "?"}}
    ours = text_model(network, about, index)
    ids = served(ours, archive.pack(network)).tokens(tf.constant(["Good?good film. GOOD"]))["ids"].numpy()
    assert ids.tolist() == [[0, 0, 0, 0, 1, 4, 5, 6]] == ours.encode(["Good?good film. GOOD"]).tolist()


def test_the_graph_makes_our_ids_of_real_reviews(imdb):
    index = json.loads((imdb / "imdb_word_index.json").read_text())
    with np.load(imdb / "imdb.npz", allow_pickle=True) as raw:
        lists = raw["x_test"][::500]
    words = {rank: word for word, rank in index.items()}
    texts = [" ".join(words[rank] for rank in ranks) for ranks in lists] + HARD
    model = cnn_lstm_of(max_length=100, vocabulary=500, embedding=2, filters=2, kernel=1, units=2, dense=2)
    about = about_of(Pad(max_length=100, vocabulary=500), index=index)
    graph = served(text_model(model, about, index), archive.pack(model))
    ids = graph.tokens(tf.constant(texts))["ids"].numpy()
    assert ids.tolist() == [ours(written, index, 500, 100) for written in texts]


def test_a_saved_model_is_compared_with_the_model_beside_it(graph, network, tmp_path):
    """With it, with one of other weights and of other labels, and where there is none."""
    foreign = keras.models.clone_model(network)
    foreign.set_weights([weights + 0.01 for weights in network.get_weights()])
    save(graph[0], tmp_path / "saved_model")

    def found(model: keras.Model, labels=("negative", "positive"), saved: bool = True) -> tuple[str, list[str]]:
        folder = tmp_path if saved else tmp_path / "none"
        folder.mkdir(exist_ok=True)
        about = about_of(labels=labels, weights=backend.get_weights(model))
        (folder / "model.json").write_text(json.dumps(about))
        (folder / "word_index.json").write_text(json.dumps(INDEX))
        (folder / "model.keras").write_bytes(archive.pack(model))
        return compare_answers(folder)

    assert found(network) == (IDENTICAL, [])
    for beside, expected in (
        ((foreign,), r"'GREAT!!! isn't it\?|'.*': it answers '(negative|positive)' 0\.\d+, the model '"),
        ((network, ("positive", "negative")), r"'.*': it answers '(positive)' 0\.\d+, the model 'negative'"),
        ((network, ("negative", "positive"), False), "it does not answer: "),
    ):
        verdict, differing = found(*beside)
        assert verdict == DIFFERENT
        assert 1 <= len(differing) <= 5
        assert any(re.match(expected, difference, re.DOTALL) for difference in differing), differing


def test_a_file_is_the_reruns_or_what_the_commit_recorded_of_the_model_or_different():
    recorded = {"model.json": b"1", "model.keras": b"other"}
    here = recorded | {"a.json": b"1", "more": b"", "y.bin": b"other"}
    again = {"a.json": b"1.005", "less": b"", "model.json": b"1", "model.keras": b"made", "y.bin": b"made"}
    rows = compare_files(here, again, Settings({"*": 0.01}), {tree_hash(recorded)})
    assert [(name, verdict) for name, verdict, _ in rows] == [
        ("a.json", WITHIN), ("less", DIFFERENT), ("model.json", IDENTICAL), ("model.keras", WITHIN),
        ("more", DIFFERENT), ("y.bin", DIFFERENT),
    ]  # fmt: skip
    differences = {name: found[-1] for name, _, found in rows if found}
    assert (differences["less"], differences["more"]) == ("only the rerun has it", "only the folder has it")
    assert differences["model.keras"] == "it is what the commit recorded, whose bytes are free"
    tampered = compare_files(here | {"model.keras": b"tampered"}, again, Settings(), {tree_hash(recorded)})
    assert {name: verdict for name, verdict, _ in tampered}["model.keras"] == DIFFERENT
    assert compare_files(here, here, Settings(), set()) == [(name, IDENTICAL, []) for name in sorted(here)]


def test_the_card_says_what_the_model_is_and_does():
    about = {"corpus": "films", "kind": "gru", "labels": ["bad", "good"], "pad": {"max_length": 70, "vocabulary": 503}}
    metrics = {"accuracy": 0.75, "loss": 0.5, "parameters": 12345, "weights": "ab"}
    recipe = {"command": "make tea", "files": {"model.keras": ""}}
    said = card("tiny", about, recipe, metrics, {"loss": {"std": 0.01239}}, layers="gru  GRU\n")
    assert "`probability` is that of `good`; a text without" in said
    assert (
        "kind `gru` with 12,345 parameters that says whether a review is bad or good. It reads the last 70 words"
        in said
    )
    assert "knows 500 words by name" in said
    assert "```\ngru  GRU\n```" in said
    assert "| accuracy | 0.7500 |  |\n| loss | 0.5000 | 0.0124 |\n\n" in said
    front = yaml.safe_load(said.split("---")[1])
    assert (front["library_name"], front["tags"]) == ("keras", ["sentiment-analysis", "gru"])
    front = front["model-index"][0]
    assert front["name"] == "tiny"
    assert front["results"][0]["dataset"] == {"name": "films", "type": "films", "split": "test"}
    assert front["results"][0]["metrics"] == [{"type": "accuracy", "value": 0.75}, {"type": "loss", "value": 0.5}]
    assert "```sh\nmake tea\n```" in said
    assert "plain Keras" in said
    about |= {"corpus": "imdb", "pad": {"max_length": None, "vocabulary": None}, "words": 88584}
    said = card("tiny", about, recipe | {"files": {"model.npz": ""}}, metrics, {}, layers="")
    assert (
        "says whether an English film review is bad or good. It reads all words of a\nreview and knows 88,584 words."
        in said
    )
    assert "plain Keras" not in said


class Exporting(Project):
    """A project whose first model is exported."""

    def call(self, main, name: str = NAME) -> tuple[int, str, str]:
        """The exit code of a command line in this process, and what it prints."""
        return call(main, self.folder, name, IMDB_SOURCE=self.environment["IMDB_SOURCE"])

    @property
    def exported(self) -> dict[str, bytes]:
        """The files of the exported folder by name."""
        return {path.name: path.read_bytes() for path in (self.folder / "exported" / NAME).iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory) -> Exporting:
    project = Exporting(finished.copy(tmp_path_factory.mktemp("exporting") / "project").folder)
    code, printed, errors = project.call(export)
    assert (code, errors) == (0, "")
    assert printed == f"exported/{NAME}: {', '.join(sorted([*project.exported, 'saved_model']))}\n"
    return project


def test_an_export_has_the_model_its_settings_results_card_and_recipe(project):
    files = project.exported
    recipe = json.loads(files["reproduce.json"])
    assert set(files) - {"noise.json"} == {
        "LICENSE", "README.md", "layers.txt", "metrics.json", "model.json", "model.keras", "reproduce.json",
        "word_index.json",
    }  # fmt: skip
    assert recipe["files"] == {
        name: hashlib.sha256(content).hexdigest()
        for name, content in files.items()
        if name not in ("README.md", "reproduce.json")
    }
    assert files["metrics.json"] == (project.folder / f"metrics/{NAME}.json").read_bytes()
    for path in (project.folder / "models" / NAME).iterdir():
        assert files[path.name] == path.read_bytes()
    assert recipe["weights"] == json.loads(files["metrics.json"])["weights"]
    assert recipe["params"][f"models.{NAME}.train"]["epochs"] == 4
    md5 = hashlib.md5((project.folder / "data/raw/imdb.npz").read_bytes()).hexdigest()
    assert recipe["data"]["data/raw/imdb.npz"] == md5
    assert [path.name for path in (project.folder / "exported").iterdir()] == [NAME]


def test_the_code_in_the_card_answers_with_tensorflow_alone(project, tmp_path):
    """In a process that finds nothing of this project, in a folder outside."""
    folder = shutil.copytree(project.folder / "exported" / NAME, tmp_path / "downloaded")
    codes = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    codes = [code for code in codes if "import sentiment" not in code]
    assert len(codes) == 2
    check = "import sys; assert not {name.split('.')[0] for name in sys.modules} & {'sentiment', 'export', 'checks'}"
    run = subprocess.run(
        [sys.executable, "-I", "-c", "".join(codes) + check], cwd=folder, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    texts = ["A wonderful film.", "The worst acting I have seen."]
    with inside(project.folder):
        expected = load(sentiment.find(NAME)).predict([*texts, texts[0]])
    for line, answer in zip(run.stdout.splitlines(), expected, strict=True):
        label, probability = line.split()
        assert label == answer.label
        assert float(probability) == pytest.approx(answer.probability, abs=1e-5)


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


def test_an_export_replaces_the_one_before_as_a_whole(project, tmp_path):
    project = project.copy(tmp_path / "again")
    before = project.exported
    (project.folder / "exported" / NAME / "left-over").write_text("of another version")
    (project.folder / "exported" / NAME / "LICENSE").unlink()
    assert project.call(export)[0] == 0
    assert project.exported == before


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
        lambda project: shutil.rmtree(project.folder / f"models/{NAME}"),
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


def test_the_recipe_makes_the_same_files_and_shows_what_was_changed(project, tmp_path):
    folder = shutil.copytree(project.folder / "exported" / NAME, tmp_path / "downloaded")
    keras_file = folder / "model.keras"
    keras_file.write_bytes(keras_file.read_bytes() + b"\0")
    metrics = folder / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"accuracy": 0.', '"accuracy": 1.'))
    (folder / "more").write_text("")
    code, output, errors = project.call(verify, str(folder))
    assert code == 2, errors
    verdicts = dict(re.findall(r"^(\S+) +(identical|within tolerance|different)$", output, re.MULTILINE))
    # The card and the recipe speak of the model and metrics that were.
    different = {f"{folder}:", "README.md", "metrics.json", "more", "reproduce.json", "model.keras"}
    assert verdicts == dict.fromkeys(different, DIFFERENT) | dict.fromkeys(
        {"word_index.json", "model.json", "layers.txt", "saved_model", "LICENSE", "noise.json"} & verdicts.keys(),
        IDENTICAL,
    )
    assert {"word_index.json", "model.json", "layers.txt", "saved_model", "LICENSE"} <= verdicts.keys()


def test_an_n_gram_model_is_exported_loaded_from_anywhere_and_verified_as_a_network_is(project, tmp_path):
    name = SHOWN[-1]
    project = Exporting(project.copy(tmp_path / "n-grams").folder)
    assert project.call(export, name)[0] == 0
    folder = shutil.copytree(project.folder / "exported" / name, tmp_path / "downloaded")
    with inside(tmp_path):
        model = load("downloaded")
        assert model.about["kind"] == "ngrams"
        expected = load(project.folder / "models" / name).predict(["a wonderful film", "awful"])
        assert model.predict(["a wonderful film", "awful"]) == expected
    code, output, errors = project.call(verify, str(folder))
    assert code == 0, output + errors


def test_a_folder_without_a_recipe_has_no_verdict(project, tmp_path):
    for content in (None, "", "{}", "[]"):
        if content is not None:
            (tmp_path / "reproduce.json").write_text(content)
        code, _, errors = project.call(verify, str(tmp_path))
        assert code == 3
        assert re.fullmatch(r"error: .*: expected a folder of `make export`, got no reproduce.json in it .*\n", errors)
    (tmp_path / "reproduce.json").write_text('{"commit": "c0", "model": "m"}')
    _, _, errors = project.call(verify, str(tmp_path))
    assert errors == f"error: {tmp_path}: expected model.json, which reproduce.json names, got none; export it again\n"
