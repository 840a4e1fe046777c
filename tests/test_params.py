import copy
import functools
import hashlib
import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sentiment import InputError
from sentiment.kinds import cnn_lstm
from sentiment.schema import Pad
from stages.common.reader import load
from stages.params import parse, read_corpus, read_model, write_parts
from tests.conftest import ROOT, examples
from tests.test_reader import BOMB

FILMS = """corpora:
  films:
    reviews: films.csv
    text: review
    label: sentiment
    labels: [bad, good]
    test_fraction: 0.2
    seed: 1
    bad_rows: 0
"""
TEXT = re.sub("^corpora:.*\n([ #].*\n|\n)*", f"{FILMS}\n", (ROOT / "params.yaml").read_text(), flags=re.MULTILINE)
TEXT = re.sub("(?<=    corpus: )[a-z0-9_-]+", "imdb", TEXT)


def changed(old, new):
    """The project's params.yaml with the first `old` replaced by `new`."""
    assert old in TEXT
    return TEXT.replace(old, new, 1)


def test_the_project_file_is_valid_and_gives_the_published_run():
    small = parse(TEXT).models["small"]
    assert (small.pad.max_length, small.pad.vocabulary, small.architecture.units, small.train.epochs) == (
        100,
        500,
        50,
        5,
    )


@pytest.mark.parametrize("spelling", ["0.001", "1e-3", "1E-3", ".001"])
def test_a_number_may_be_written_in_any_usual_way(spelling):
    assert (
        parse(changed("learning_rate: 0.001", f"learning_rate: {spelling}")).models["small"].train.learning_rate == 1e-3
    )


def test_a_whole_number_serves_as_a_fraction():
    assert parse(changed("dropout: 0.2", "dropout: 0")).models["small"].architecture.dropout == 0


FAULTS = {
    "unknown key": ("epochs: 5", "epochs: 5\n      epoch: 5", "models.small.train.epoch = 5 is not a known key"),
    "key of two lines": (
        "epochs: 5",
        'epochs: 5\n      "a\\nerror: \\e[31m": 5',
        r"train.a\nerror: \x1b[31m = 5 is not a known",
    ),
    "missing key": ("      epochs: 5", "      # epochs: 5", "models.small.train.epochs is missing"),
    "missing section": ("    evaluate:", "    measure:", "models.small.evaluate is missing"),
    "word for a number": ("epochs: 5", "epochs: banana", "models.small.train.epochs = 'banana'"),
    "text for a number": ("0.001", '"0.001"', "models.small.train.learning_rate = '0.001'"),
    "fraction for a count": ("epochs: 5", "epochs: 2.5", "models.small.train.epochs = 2.5"),
    "boolean for a count": ("epochs: 5", "epochs: true", "models.small.train.epochs = True"),
    "nothing": ("epochs: 5", "epochs:", "models.small.train.epochs = None"),
    "no epochs": ("epochs: 5", "epochs: 0", "greater than or equal to 1"),
    "negative rate": ("0.001", "-0.001", "greater than or equal to 0.0"),
    "not a number": ("0.001", ".nan", "finite"),
    "infinite": ("0.001", ".inf", "finite"),
    "dropout of 1": ("dropout: 0.2", "dropout: 1.0", "less than 1"),
    "validation fraction of 1": ("validation_fraction: 0.0", "validation_fraction: 1.0", "less than 1"),
    "no room for special ids": ("vocabulary: 500", "vocabulary: 3", "greater than or equal to 4"),
    "kernel wider than the review": (
        "kernel: 5",
        "kernel: 101",
        "architecture.kernel = 101 must not exceed pad.max_length = 100",
    ),
    "even kernel": ("kernel: 5", "kernel: 4", "kernel = 4 must be odd"),
    "pooling that leaves nothing": (
        "pool: 2",
        "pool: 101",
        "architecture.pool = 101 must not exceed pad.max_length = 100",
    ),
    "more shards than reviews": ("batch: 64", "batch: 1", "shards = 4 must not exceed batch = 1"),
    "seed out of range": ("seed: 1 #", "seed: -1 #", "models.small.train.seed"),
    "hash of another length": ("sha256: 6", "sha256: ", "download.reviews.sha256"),
    "address that is none": ("- https://storage", "- ftp://storage", "download.reviews.urls.0"),
    "texts above the repository": ("reviews: films.csv", "reviews: sub/../../films.csv", "is outside the repository"),
    "texts elsewhere": ("reviews: films.csv", "reviews: /films.csv", "is outside the repository"),
    "key twice": ("epochs: 5", "epochs: 5\n      epochs: 6", "column 7: found duplicate key 'epochs'"),
    "model name": ("  small:", "  Small Model:", "models.Small Model"),
    "model name too long": ("  small:", f"  {'a' * 65}:", "at most 64 characters"),
    "unknown engine": ("engine: compiled", "engine: jax", "'compiled' or 'keras'"),
    "unknown optimizer": ("optimizer: adam", "optimizer: adamw", "'adam' or 'sgd'"),
    "yes for a boolean": ("bidirectional: false", "bidirectional: yes", "= 'yes': Input should be a valid boolean"),
    "number for a boolean": ("bidirectional: false", "bidirectional: 1", "= 1: Input should be a valid boolean"),
    "unknown way over time": ("over_time: last", "over_time: first", "'last', 'average' or 'maximum'"),
    "unknown schedule": ("schedule: constant", "schedule: cosine", "'constant' or 'linear'"),
    "beta_2 of 1": (
        "beta_2: 0.999",
        "beta_2: 1.0",
        "beta_2 = 1.0: Input should be less than or equal to 0.9999",
    ),
    "no word left": (
        "word_dropout: 0.0",
        "word_dropout: 1.0",
        "word_dropout = 1.0: Input should be less than or equal to 0.99",
    ),
    "too many epochs": ("epochs: 5", f"epochs: {10**20}", "less than or equal to 100000"),
    "reviews that are too long": ("max_length: 100", "max_length: 400000000", "less than or equal to 10000"),
    "too many LSTM units": ("units: 50", "units: 10000000", "less than or equal to 4096"),
    "a batch that is too large": ("batch: 64", "batch: 1000000000", "less than or equal to 100000"),
    "a timeout that is too long": ("timeout: 30", "timeout: 1e300", "less than or equal to 86400"),
    "a long text": ("epochs: 5", f"epochs: {'a' * 10_000}", f"epochs = '{'a' * 96}...: Input should be"),
    "one name for two models": ("  nbsvm-2:", "  small:", "found duplicate key 'small'"),
    "unknown kind": ("kind: cnn_lstm", "kind: transformer", "'cnn_lstm', 'gru', 'ngrams' or 'wide_deep'"),
    "no kind": ("      kind: cnn_lstm", "      # kind", "models.small.architecture.kind is missing; add it"),
    "whole reviews in a network": ("max_length: 100", "max_length:", "models.small.pad.max_length = None"),
    "all words in a network": ("vocabulary: 500", "vocabulary:", "models.small.pad.vocabulary = None"),
    "a key of another kind": (
        "      longest: 1",
        "      units: 50\n      longest: 1",
        "architecture.units is a key of the kinds cnn_lstm, gru and wide_deep, and this is kind ngrams; remove it",
    ),
    "a key of n-grams": (
        "      filters: 32",
        "      min_df: 2\n      filters: 32",
        "models.small.architecture.min_df is a key of the kinds ngrams and wide_deep, and this is kind cnn_lstm;"
        " remove it",
    ),
    "longer n-grams than there are": ("longest: 3", "longest: 6", "models.tfidf-3.architecture.longest = 6"),
    "unknown loss": ("loss: squared_hinge", "loss: tree", "models.nbsvm-1.train"),
    "a key of another engine": (
        "loss: squared_hinge",
        "loss: squared_hinge\n      epochs: 3",
        "models.nbsvm-1.train.epochs = 3 is not a known key",
    ),
    "interpolation above 1": ("interpolation: 0", "interpolation: 1", "interpolation = 1"),
    "unknown corpus": ("corpus: imdb", "corpus: mine", "models.small.corpus = 'mine': expected one of imdb, films"),
    "name of the downloaded corpus": ("  films:", "  imdb:", "corpora.imdb: a corpus cannot be called 'imdb'"),
    "corpus name": ("  films:", "  my.films:", "corpora.my.films"),
    "one label": ("[bad, good]", "[bad]", "corpora.films.labels = ['bad']"),
    "one label twice": ("[bad, good]", "[bad, bad]", "labels: expected different names and values, got 'bad' twice"),
    "a label left out": (
        "[bad, good]",
        "[bad, good]\n    leave_out: [bad]",
        "different names and values, got 'bad' twice",
    ),
    "numbers for names": ("[bad, good]", "[0, 1]", "corpora.films.labels.0 = 0: Input should be a valid string"),
    "column twice": ("label: sentiment", "label: review", "text and label: expected two different columns"),
    "all tests": ("test_fraction: 0.2", "test_fraction: 1.0", "corpora.films.test_fraction = 1.0"),
    "encoding of bytes": ("bad_rows: 0", "bad_rows: 0\n    encoding: hex", "'hex' is none by which Python reads texts"),
    "encoding of host names": ("bad_rows: 0", "bad_rows: 0\n    encoding: idna", "'idna' is none by which Python"),
    "no YAML": ("download:", "download: {", "not readable as YAML"),
}


@pytest.mark.parametrize(("old", "new", "expected"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_one_line_that_names_the_key_and_what_is_allowed(old, new, expected):
    with pytest.raises(InputError) as caught:
        parse(changed(old, new))
    lines = [line for line in str(caught.value).splitlines() if expected in line]
    assert len(lines) == 1
    assert lines[0].startswith("params.yaml: ")


SMALL, ADAM, SVM = "models.small", "models.nb-adam.train", "models.nbsvm-2.train"
LEAST, MOST = 5e-324, 1.7e308
RANGES = {  # key: the least and the greatest legal value, a value below and a value above
    "download.timeout": (LEAST, 86_400.0, 0.0, 86_400.1),
    "download.deadline": (LEAST, 86_400.0, 0.0, 86_401.0),
    "download.reviews.size": (1, 2**31, 0, 2**31 + 1),
    "download.retries": (0, 100, -1, 101),
    "corpora.films.bad_rows": (0, 10**12, -1, None),
    "corpora.films.test_fraction": (LEAST, 0.999, 0.0, 1.0),
    "corpora.films.seed": (0, 2**31 - 1, -1, 2**31),
    f"{SMALL}.pad.max_length": (5, 10_000, 4, 10_001),  # a kernel's length
    f"{SMALL}.pad.vocabulary": (4, 10**6, 3, 10**6 + 1),
    f"{SMALL}.architecture.embedding": (1, 4096, 0, 4097),
    f"{SMALL}.architecture.filters": (1, 4096, 0, 4097),
    f"{SMALL}.architecture.kernel": (1, 99, 0, 101),  # odd, and at most max_length
    f"{SMALL}.architecture.pool": (1, 100, 0, 101),
    f"{SMALL}.architecture.units": (1, 4096, 0, 4097),
    f"{SMALL}.architecture.dropout": (0.0, 0.999, -0.001, 1.0),
    f"{SMALL}.architecture.dense": (0, 4096, -1, 4097),
    f"{SMALL}.train.epochs": (1, 100_000, 0, 100_001),
    f"{SMALL}.train.batch": (4, 100_000, 3, 100_001),  # the number of shards
    f"{SMALL}.train.shards": (1, 64, 0, 65),  # the batch
    f"{SMALL}.train.learning_rate": (1e-30, 1e38, 5e-324, 1e39),  # in float32, the last are 0 and infinite
    f"{SMALL}.train.beta_2": (LEAST, 0.9999, 0.0, 0.99991),
    f"{SMALL}.train.word_dropout": (0.0, 0.99, -0.001, 0.991),
    f"{SMALL}.train.validation_fraction": (0.0, 0.999, -0.001, 1.0),
    f"{SMALL}.train.seed": (0, 2**31 - 1, -1, 2**31),
    f"{SMALL}.evaluate.batch": (1, 10**6, 0, 10**6 + 1),
    f"{SMALL}.evaluate.calibration_bins": (2, 1000, 1, 1001),
    "models.words.architecture.longest": (1, 5, 0, 6),
    "models.words.architecture.min_df": (1, 10**6, 0, 10**6 + 1),
    "models.words.architecture.max_features": (1, 10**8, 0, 10**8 + 1),
    "models.words.evaluate.calibration_bins": (2, 1000, 1, 1001),
    f"{ADAM}.epochs": (1, 100_000, 0, 100_001),
    f"{ADAM}.batch": (1, 100_000, 0, 100_001),
    f"{ADAM}.learning_rate": (1e-30, 1e38, 5e-324, 1e39),  # in float32, the last are 0 and infinite
    f"{ADAM}.seed": (0, 2**31 - 1, -1, 2**31),
    f"{SVM}.c": (LEAST, 1e6, 0.0, 1_000_001.0),
    f"{SVM}.interpolation": (0.0, 1.0, -0.001, 1.001),
    f"{SVM}.seed": (0, 2**31 - 1, -1, 2**31),
}


@pytest.fixture(scope="module")
def values():
    return load(TEXT)


@pytest.mark.parametrize("path", RANGES)
def test_the_ends_of_each_range_are_legal_and_values_beyond_them_are_not(values, path):
    *above, key = path.split(".")

    def with_value(value):
        changed = copy.deepcopy(values)
        section = functools.reduce(dict.__getitem__, above, changed)
        assert key in section
        section[key] = value
        return parse(json.dumps(changed))

    least, most, *beyond = RANGES[path]
    for value in (least, most):
        with_value(value)
    for value in beyond:
        if value is not None:
            with pytest.raises(InputError, match=rf"^params\.yaml: .*\b{key}\b.*$"):
                with_value(value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("epochs: 5", "epochs: 1e999", "params.yaml: models.small.train.epochs = inf: Input should be a valid integer"),
        ("epochs: 5", f"epochs: {10**400}", "params.yaml: not readable as YAML: a number of 401 characters"),
        ("0.001", "1e999", "params.yaml: models.small.train.learning_rate = inf: Input should be a finite number"),
        ("models:", f"{BOMB}\nmodels:", "params.yaml: not readable as YAML: line "),
        ("models:", "more: " + "[" * 10**5 + "\nmodels:", "params.yaml: not readable as YAML: maximum recursion"),
        ("models:", "more: &a [*a]\nmodels:", "params.yaml: more = [[[[...]]]] is not a known key"),
    ],
    ids=["infinite", "huge", "infinite rate", "aliases of aliases", "deep", "in itself"],
)
def test_a_value_beyond_all_bounds_is_a_short_line(old, new, expected):
    with pytest.raises(InputError) as caught:
        parse(changed(old, new))
    (line,) = [line for line in str(caught.value).splitlines() if line.startswith(expected)]
    assert len(line) < 300


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda path: None, "No such file or directory; run from the project's root"),
        (lambda path: path.mkdir(), "expected a file that can be read, got: Is a directory; `git restore params.yaml`"),
        (lambda path: path.symlink_to(path), "expected a file that can be read, got: Too many levels of symbolic"),
        (lambda path: path.write_bytes(b"\xff\xfea"), "expected text in UTF-8, got other bytes: "),
        (lambda path: path.write_bytes(b"a: \0"), "not readable as YAML: unacceptable character #x0000"),
    ],
    ids=["missing", "folder", "link to itself", "binary", "null byte"],
)
def test_a_file_that_can_not_be_read_is_one_line(tmp_path, monkeypatch, damage, expected):
    monkeypatch.chdir(tmp_path)
    damage(tmp_path / "params.yaml")
    with pytest.raises(InputError) as caught:
        read_model("small")
    assert str(caught.value).startswith(f"params.yaml: {expected}")
    assert len(str(caught.value).splitlines()) == 1


def test_every_fault_is_reported_at_once():
    text = changed("epochs: 5", "epochs: 0").replace("dropout: 0.2", "dropout: 2", 1)
    with pytest.raises(InputError) as caught:
        parse(text)
    assert len(str(caught.value).splitlines()) == 2


LEAVES = [
    "", "~", "true", "-1", "1e999", ".nan", "0x", "[]", "{}", "[[1]]", "{a: 1}", "2001-01-01", "2001-99-99", "*none",
    '"\\0"', '"\\ud800"', '"\\UFFFFFFFF"', '"\\e[31m"', "!!binary x", "!!set {a}", "!!omap [a: 1]", "!!timestamp 1",
    "!!python/name:os.system", "!!python/object/apply:os.system [exit 1]", "!x y", "&a [*a]", "{<<: *bomb}",
    "{? *bomb : 1}", "{? {a: 1} : 1}", "*bomb", "9" * 200, "a" * 200, "[" * 2000, "\t", "\ufeff", "'", "|9", "%",
]  # fmt: skip
LINES = TEXT.splitlines(keepends=True)
DOUBLED = ", ".join(f"k{n}: &k{n} {{a: *k{n - 1}, b: *k{n - 1}}}" for n in range(1, 40))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(SCALARS, inner, max_size=2))
READ = yaml.safe_load(TEXT)


@st.composite
def hostile_params(draw) -> str:
    """The project's params.yaml with a few lines damaged, or with another value of any kind in place of one."""
    if draw(st.booleans()):
        values = copy.deepcopy(READ)
        section, key = values, draw(st.sampled_from([*values]))
        while isinstance(section[key], dict) and section[key] and draw(st.integers(0, 5)):
            section = section[key]
            key = draw(st.sampled_from([*section]))
        section[key] = draw(VALUES)
        return yaml.safe_dump(values, allow_unicode=draw(st.booleans()))
    lines = [draw(st.sampled_from([f"bomb: &bomb {{k0: &k0 {{a: 1}}, {DOUBLED}}}\n", "bomb: &bomb 1\n"])), *LINES]
    for at in draw(st.lists(st.integers(0, len(LINES)), min_size=1, max_size=3)):
        key, colon, _ = lines[at].partition(":")
        leaf, other = draw(st.sampled_from(LEAVES)), draw(st.sampled_from(LINES))
        changed = [f"{key}: {leaf}\n", f"{key}:\t{leaf}\n", f"\ufeff{key}{colon} {leaf}\n", lines[at] * 2, other, ""]
        lines[at] = draw(st.sampled_from(changed))
    return "".join(lines)


@examples(10)
@given(hostile_params())
def test_hostile_params_are_read_or_refused_in_short_lines(written):
    lines = []
    try:
        parse(written)
    except InputError as error:
        lines = str(error).splitlines()
    assert all(line.startswith("params.yaml: ") and len(line) < 400 for line in lines)


@pytest.mark.parametrize("text", ["", "[]", "download", "models: {}"])
def test_a_file_of_another_shape_is_refused(text):
    with pytest.raises(InputError, match=r"params\.yaml: "):
        parse(text)


def test_an_unknown_model_lists_those_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=r"model: expected one of small, small-keras, full, .*got 'tiny'"):
        read_model("tiny")


@pytest.mark.parametrize("name", ["a", "small-2", "no_mask", "x" * 64])
def test_a_model_may_have_any_plain_name(name):
    assert name in parse(changed("  small:", f"  {name}:")).models


def test_a_corpus_is_read_by_its_name_and_an_unknown_one_lists_those_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(TEXT)
    assert read_corpus("films") == parse(TEXT).corpora["films"]
    with pytest.raises(InputError, match=r"corpus: expected one of films, got 'small'"):
        read_corpus("small")


@pytest.mark.parametrize("name", ["raw", "noise"])  # data/raw, and metrics/noise of `make noise`
@pytest.mark.parametrize("renamed", ["small", "words"])
def test_a_model_may_not_have_the_name_of_a_folder_beside_those_of_models(name, renamed):
    with pytest.raises(InputError, match=f"no model can be called '{name}'.*rename it"):
        parse(changed(f"  {renamed}:", f"  {name}:"))


def test_a_stage_checks_only_the_section_of_its_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(changed("epochs: 3", "epochs: banana").replace("corpora:", "strange:"))
    assert read_model("small").pad.max_length == 100
    with pytest.raises(InputError, match=r"params\.yaml: models\.full\.train\.epochs = 'banana'"):
        read_model("full")


OLD = """
models:
  m: {corpus: imdb, pad: {max_length: 7, vocabulary: 9}, network: {embedding: 2}, train: {}, evaluate: {}}
baselines:
  network:
    corpus: imdb
    grams: {longest: 1, minimum: 1, most: 10, values: counts}
    fit: {solver: svm, c: 1}
    score: {calibration_bins: 10}
"""


def test_each_key_of_an_earlier_version_is_a_line_that_has_its_new_name():
    with pytest.raises(InputError) as caught:
        parse(OLD)
    assert [line.partition("params.yaml: ")[2].partition(";")[0] for line in str(caught.value).splitlines()] == [
        "models.m.network is now called architecture",
        "baselines is now called models",
        "baselines.network.grams is now called architecture",
        "baselines.network.grams.minimum is now called min_df",
        "baselines.network.grams.most is now called max_features",
        "baselines.network.grams.values is now called weighting",
        "baselines.network.fit is now called train",
        "baselines.network.fit.solver is now called engine: compiled for adam",
        "baselines.network.score is now called evaluate",
    ]
    assert "network" in parse(changed("  small:", "  network:")).models  # a name is no key


@pytest.mark.parametrize(
    "text", ["", "[]", "models:", "models: []", "models: {m: 3}", "models: {m: {corpus: imdb, pad: 3}}"]
)
def test_a_stage_refuses_a_file_of_another_shape_in_one_line(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        read_model("m")
    assert len(str(caught.value).splitlines()) == 1


def test_sizes_that_together_need_more_memory_than_machines_have_are_refused_in_one_line():
    with pytest.raises(InputError) as caught:
        parse(changed("batch: 64", "batch: 100000").replace("units: 50", "units: 400"))
    assert "training would need about 62 GiB of memory, expected at most 16; lower train.batch" in str(caught.value)
    assert str(caught.value).startswith("params.yaml: models.small: ")
    assert len(str(caught.value).splitlines()) == 1


def test_the_memory_of_training_grows_with_each_size():
    small = parse(TEXT).models["small"]

    def needed(batch=64, **changes):
        pads, layers = small.pad.model_dump(), small.architecture.model_dump()
        pads |= {key: value for key, value in changes.items() if key in pads}
        layers |= {key: value for key, value in changes.items() if key in layers}
        return cnn_lstm.memory(Pad(**pads), cnn_lstm.Architecture(**layers), batch)

    assert 2**22 < needed() < 2**27
    larger = [{"batch": 128}, {"units": 100}, {"bidirectional": True}, {"max_length": 200}, {"vocabulary": 10**6}]
    assert all(needed(**change) > 1.2 * needed() for change in larger)


def test_a_compiled_network_trains_on_three_labels():
    two = re.sub("(  small:(.|\n)*?corpus: )imdb", r"\1films", TEXT, count=1)
    parsed = parse(two.replace("[bad, good]", "[bad, good, dull]"))
    assert len(parsed.corpora[parsed.model("small").corpus].labels) == 3


def test_the_sum_of_two_models_on_three_labels_is_refused_and_on_two_is_not():
    section = "  wide-deep:(.|\n)*?corpus: "
    two = re.sub(f"({section})imdb", r"\1films", TEXT, count=1)
    assert parse(two).model("wide-deep").corpus == "films"
    with pytest.raises(
        InputError, match=r"models\.wide-deep\.architecture\.kind = 'wide_deep' .* corpora\.films has 3"
    ):
        parse(two.replace("[bad, good]", "[bad, good, dull]"))


IMPORTS = {
    "from_package": "from sentiment.kinds import gru as other\n",
    "from_kind": "from sentiment.kinds.gru import build\n",
    "whole": "import sentiment.kinds.gru\n",
    "relative": "from . import gru\n",
    "relative_from_kind": "from .gru import build\n",
    "in_a_function": "def make():\n    from sentiment.kinds import gru\n",
    "through_another": "from sentiment.kinds import whole\n",
    "in_a_circle": "from sentiment.kinds import gru, in_a_circle\n",
    "none": "from sentiment.data import ngrams\nimport gru\n",
}


def test_a_kind_is_made_of_the_kinds_that_it_imports_in_whatever_form(tmp_path):
    shutil.copytree(ROOT / "sentiment", tmp_path / "sentiment", ignore=shutil.ignore_patterns("__pycache__"))
    for kind, text in IMPORTS.items():
        (tmp_path / f"sentiment/kinds/{kind}.py").write_text(text)
    code = "import json; from sentiment.kinds import NAMES, parts; print(json.dumps({k: [*parts(k)] for k in NAMES}))"
    parts = json.loads(subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path, text=True))
    expected = {kind: ["gru"] for kind in IMPORTS} | {"through_another": ["gru", "whole"], "none": []}
    alone = {"cnn_lstm": [], "gru": [], "ngrams": [], "wide_deep": ["cnn_lstm", "ngrams"]}
    assert parts == expected | alone


def test_the_digests_of_the_parts_of_a_kind_are_written_for_the_kinds_in_use_and_no_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_parts({"gru", "wide_deep"})
    files = [f"sentiment/kinds/{part}.py" for part in ("cnn_lstm", "ngrams")]
    lines = [f"{hashlib.sha256((ROOT / file).read_bytes()).hexdigest()}  {file}" for file in files]
    assert {path.name: path.read_text().splitlines() for path in (tmp_path / "data/parts").iterdir()} == {
        "gru.txt": ["made of no other kind"], "wide_deep.txt": lines
    }  # fmt: skip
    (tmp_path / "data/parts/.old.txt.partial").touch()  # of a process that was killed
    write_parts({"gru"})
    assert [path.name for path in (tmp_path / "data/parts").iterdir()] == ["gru.txt"]
