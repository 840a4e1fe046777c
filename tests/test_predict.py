"""Output of `python -m sentiment` by a model that a real `dvc repro` trained on a made-up corpus."""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from threading import Timer

import numpy as np
import pytest

from benchmarks.cases import CASES, Sizes, build, to_layers
from sentiment import InputError, load
from sentiment import __main__ as command
from sentiment.data.padding import FIRST_WORD, UNKNOWN
from sentiment.keras import archive, backend
from sentiment.keras.backend import keras
from sentiment.model import read
from sentiment.training import digest
from tests.conftest import MODELS, ROOT, SHOWN
from tests.repositories import ENVIRONMENT, inside

NAME = MODELS[0]


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory) -> Path:
    """A project of which one model is trained."""
    folder = finished.copy(tmp_path_factory.mktemp("predict") / "project").folder
    for path in (folder / "models").iterdir():
        if path.is_dir() and path.name != NAME:
            shutil.rmtree(path)
    return folder


def start(project: Path, *arguments: str) -> subprocess.Popen:
    """Start the command in a separate process."""
    return subprocess.Popen(
        [sys.executable, "-m", "sentiment", *arguments], cwd=project, env=ENVIRONMENT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ask(project: Path, monkeypatch, *arguments: str) -> tuple[int, list[str]]:
    """Exit code and printed lines of the command, which runs in this process."""
    monkeypatch.setattr(sys, "argv", ["", *arguments])
    output = io.StringIO()
    with inside(project), redirect_stdout(output):
        return command.main(), output.getvalue().splitlines()


def answers_of(project: Path, texts: list[str], words: int) -> list:
    with inside(project):
        return load(command.model_folder(None)).predict(texts, words=words)


def read_index(project: Path) -> dict[str, int]:
    return json.loads((project / "data/raw/imdb_word_index.json").read_text())


def reviews(project: Path) -> tuple[list[str], np.ndarray]:
    """Reviews of the test split as text, and their padded ids."""
    words = {rank: word for word, rank in read_index(project).items()}
    with np.load(project / "corpus/imdb.npz", allow_pickle=True) as raw:
        order = np.random.RandomState(113)
        order.permutation(len(raw["x_train"]))
        lists = raw["x_test"][order.permutation(len(raw["x_test"]))]
    return [" ".join(words[rank] for rank in ranks) for ranks in lists], np.load(project / f"data/{NAME}/x_test.npy")


def test_a_text_has_exactly_the_probability_that_evaluate_gives_its_ids(project):
    texts, ids = reviews(project)
    process = start(project, "--json")
    output, errors = process.communicate("\n".join(texts).encode())
    assert (process.returncode, errors) == (0, b"")
    answers = [json.loads(line) for line in output.splitlines()]
    model, _, _ = read(project / "models" / NAME)
    expected = model.predict(ids, batch=7)
    np.testing.assert_array_equal(np.array([answer["probability"] for answer in answers], "f4"), expected)
    assert [answer["label"] for answer in answers] == [["negative", "positive"][int(p > 0.5)] for p in expected]
    assert [answer["truncated"] for answer in answers] == [len(text.split()) >= ids.shape[1] for text in texts]


def test_the_effect_of_a_word_is_the_change_of_the_probability_when_it_is_unknown(project):
    """Each word is made unknown by hand wherever it occurs, and the review is predicted again."""
    review = "the film was awful and the actor was wonderful but zxcvb the plot was awful"
    text = review.split()
    index = read_index(project)
    model, settings, _ = read(project / "models" / NAME)

    def probability(occluded: str | None) -> np.float32:
        ids = [1, *(UNKNOWN if word == occluded else index[word] + FIRST_WORD for word in text if word in index)]
        return model.predict(np.array([[0] * (settings["pad"]["max_length"] - len(ids)) + ids]), batch=1)[0]

    effects = {word: float(probability(None) - probability(word)) for word in set(text) & set(index)}
    effects = dict(sorted(effects.items(), key=lambda pair: -abs(pair[1])))
    (answer,) = answers_of(project, [review], 100)
    assert answer.words == [*effects.items()]
    assert answer.unknown == 1
    (answer,) = answers_of(project, [review], 1)
    signs = {word: effect > 0 for word, effect in effects.items()}
    largest = {next(word for word in signs if signs[word] == sign) for sign in (True, False)}
    assert answer.words == [(word, effect) for word, effect in effects.items() if word in largest]


def test_many_texts_are_explained_as_each_alone(project, monkeypatch):
    texts, _ = reviews(project)
    alone = [answers_of(project, [text], 3)[0] for text in texts[:5]]
    monkeypatch.setattr("sentiment.network.TOGETHER", 7)
    assert answers_of(project, texts[:5], 3) == alone


def test_a_line_that_is_no_review_gets_an_error_and_the_others_an_answer(project, tmp_path, monkeypatch, capsys):
    file = tmp_path / "reviews.txt"
    long = b"film " * (command.MAX_TEXT_BYTES // 5) + b"films"[: command.MAX_TEXT_BYTES % 5 + 1]
    lines = [b"film", b"", b"zxcvb", b"fil\0m", b"film\xe9", long, b"film\r", b"\xef\xbb\xbffilm", long[:-1], b" \t"]
    file.write_bytes(b"\n".join(lines))
    code, printed = ask(project, monkeypatch, "--json", "--file", str(file), "--file", str(file))
    assert code == 1
    assert capsys.readouterr().err == "error: 12 of 20 texts got no answer; their output lines give the reasons\n"
    answers = [json.loads(line) for line in printed]
    assert answers[:10] == answers[10:]
    reasons = [answer.get("error", "").partition("line ")[2] for answer in answers[:10]]
    assert reasons == [
        "",
        "2: the text is empty; expected words",
        "3: no word of it that the model reads is in its vocabulary; expected text with words as in its corpus",
        "4: byte 4 is NUL; expected text",
        "5: byte 5 is 0xe9; expected UTF-8",
        "6: longer than 1,048,576 bytes; expected one review, as a line of its own",
        "",
        "",
        "",
        "10: the text is empty; expected words",
    ]
    assert answers[0] == answers[6] == answers[7]


def test_without_json_each_text_has_one_readable_line(project, monkeypatch, capsys):
    code, (first, second) = ask(project, monkeypatch, "awful film", "")
    assert re.fullmatch(
        r"(negative|positive)  P\(positive\)=0\.\d{4}  (awful|film)[+-]0\.\d{3}( \w+[+-]0\.\d{3})?", first
    )
    assert second == "no answer: text 2: the text is empty; expected words"
    assert code == 1
    assert capsys.readouterr().err == "error: 1 of 2 texts got no answer; their output lines give the reasons\n"


@pytest.mark.parametrize("size", [1, 5, 7, 1 << 16])
def test_lines_are_complete_however_they_arrive_and_memory_has_one_batch(size, monkeypatch):
    monkeypatch.setattr(command, "BATCH", 3)
    monkeypatch.setattr(command, "MAX_TEXT_BYTES", 9)
    monkeypatch.setattr(command.select, "select", lambda *files: files)
    written = [b"", b"one", b"123456789", b"1234567890", b"0" * 40, b"two", b"", b"last"]

    class Slow(io.BytesIO):
        def read(self, most):
            return super().read(min(most, size))

    for last, end in ((b"last", b""), (b"last", b"\n"), (b"0" * 40, b"")):
        written[-1] = last
        batches = [*command.lines(Slow(b"\n".join(written) + end), "line")]
        assert max(map(len, batches)) <= 3
        texts = [text for batch in batches for text in batch]
        assert [text.content for text in texts] == [line if len(line) <= 9 else None for line in written]
        assert [text.origin for text in texts] == [f"line {number}" for number in range(1, 9)]


def test_a_batch_does_not_wait_for_the_next_line():
    read, write = os.pipe()
    with open(read, "rb", buffering=0) as file:
        os.write(write, b"one\ntwo\nthr")
        batches = command.lines(file, "line")
        assert [text.content for text in next(batches)] == [b"one", b"two"]
        os.close(write)
        assert [text.content for text in next(batches)] == [b"thr"]


def test_it_needs_no_tensorflow_if_there_are_blocks_for_all_layers(project):
    code = (
        "import runpy, sys; sys.argv[1:] = ['a film']\n"
        "try: runpy.run_module('sentiment', run_name='__main__')\n"
        "finally: assert not {'tensorflow', 'keras', 'sklearn'} & set(sys.modules)"
    )
    environment = ENVIRONMENT | {"PYTHONPATH": str(project)}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("case", CASES)
def test_a_file_read_without_keras_is_the_one_that_keras_reads(case):
    keras.utils.set_random_seed(1)
    model = build(case, Sizes())
    layers, weights = archive.read(archive.pack(model))
    assert layers == to_layers(model)
    np.testing.assert_array_equal(weights, backend.get_weights(model))


def change(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def copy(project, tmp_path) -> Path:
    """A copy of the files that a prediction needs."""
    for folder in ("models", "data/raw", "sentiment"):
        shutil.copytree(project / folder, tmp_path / folder)
    return tmp_path


def test_keras_predicts_for_a_network_without_blocks(copy):
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((9,), dtype="int32"),
            layers.Embedding(30, 3),
            layers.GRU(4),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    folder = copy / "models/other"
    shutil.copytree(copy / "models" / NAME, folder)
    (folder / "model.keras").write_bytes(archive.pack(model))
    weights = digest(backend.get_weights(model))
    change(folder / "model.json", pad={"max_length": 9, "vocabulary": 30}, weights=weights)
    (answer,) = load(folder).predict("awful film the")
    index = read_index(copy)
    ids = [0] * 5 + [1] + [min(index[word] + FIRST_WORD, 30) for word in ("awful", "film", "the")]
    ids = [[UNKNOWN if id == 30 else id for id in ids]]
    np.testing.assert_allclose(answer.probability, model.predict(np.array(ids), verbose=0)[0, 0], rtol=1e-5)


ZERO, EMPTY = "0" * 16, hashlib.sha256(b"{}").hexdigest()
FAULTS = {
    "no model": (
        lambda models: shutil.rmtree(models / NAME),
        r"--model: expected a folder that `make export` wrote, there is none; `make repro MODEL=small` trains",
    ),
    "several models": (
        lambda models: shutil.copytree(models / NAME, models / "zoo"),
        rf"--model: expected one of {NAME}, zoo, got none",
    ),
    "no settings": (lambda models: (models / NAME / "model.json").unlink(), "there is none"),
    "settings of another form": (
        lambda models: (models / NAME / "model.json").write_text("[]"),
        "model.json: expected an object, got list",
    ),
    "settings of no form": (lambda models: (models / NAME / "model.json").write_text("{"), "not what `train` writes"),
    "settings that lack a key": (lambda models: (models / NAME / "model.json").write_text("{}"), "'kind' is missing"),
    "another kind": (
        lambda models: change(models / NAME / "model.json", kind="cnn"),
        r"model\.json: kind: expected one of cnn_lstm, gru, ngrams, wide_deep, got 'cnn'",
    ),
    "the kind of another file": (
        lambda models: change(models / NAME / "model.json", kind="ngrams"),
        r"model\.npz is missing",
    ),
    "other weights": (
        lambda models: change(models / NAME / "model.json", weights=ZERO),
        rf"model\.keras: expected the weights {ZERO} that model\.json names, found [0-9a-f]{{16}}",
    ),
    "another word index": (
        lambda models: (models / NAME / "word_index.json").write_text("{}"),
        rf"expected the word index .{{64}} that model\.json names, found {EMPTY}",
    ),
    "no word index": (lambda models: (models / NAME / "word_index.json").unlink(), r"word_index\.json is missing"),
    "no model file": (
        lambda models: (models / NAME / "model.keras").write_bytes(b"PK"),
        r"model\.keras: not a readable \.keras file",
    ),
    "labels of another form": (
        lambda models: change(models / NAME / "model.json", labels=3),
        "not what `train` writes",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_files_that_do_not_belong_together_are_refused_in_one_line_with_the_remedy(copy, fault):
    damage, message = FAULTS[fault]
    damage(copy / "models")
    with inside(copy), pytest.raises(InputError, match=message) as caught:
        load(command.model_folder(None))
    assert "\n" not in str(caught.value)
    assert "make repro MODEL=" in str(caught.value) or "got none" in str(caught.value)


@pytest.mark.parametrize("name", SHOWN)
def test_every_model_predicts_by_its_name_and_is_loaded_from_anywhere(finished, tmp_path, monkeypatch, capsys, name):
    """The probability is that of `evaluate`, and the words or n-grams with the largest effects are named."""
    texts, _ = reviews(finished.folder)
    expected = np.load(finished.folder / f"data/{name}/predicted.npy")
    code, lines = ask(finished.folder, monkeypatch, "--json", "--model", name, "--words", "1", "--", *texts[:20])
    answers = [json.loads(line) for line in lines]
    assert code == 0
    np.testing.assert_array_equal(np.float32([answer["probability"] for answer in answers]), expected[:20])
    assert all(1 <= len(answer["words"]) <= 2 for answer in answers)
    with inside(tmp_path):
        model = load(finished.folder / "models" / name)
        assert [answer.label for answer in model.predict(texts[:20])] == [answer["label"] for answer in answers]
    if model.about["kind"] == "ngrams":  # the effects and the bias are the logit
        logit = sum(effect for _, effect in model.explain(texts[0]).answer.words) + model.model.weights[-1]
        assert 1 / (1 + np.exp(-logit)) == pytest.approx(answers[0]["probability"], abs=1e-6)


def test_importing_the_package_has_no_side_effects():
    code = (
        "import os, sys, threading; before = dict(os.environ), os.listdir('/proc/self/fd')\n"
        "import sentiment, sentiment.model, sentiment.scoring, sentiment.training, sentiment.network\n"
        "from sentiment import kinds; [kinds.find(name) for name in kinds.NAMES]\n"
        "assert before == (dict(os.environ), os.listdir('/proc/self/fd'))\n"
        "assert threading.active_count() == 1\n"
        "assert not {'tensorflow', 'keras', 'numba', 'mpi4py', 'h5py'} & set(sys.modules), set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_bad_options_are_one_line(project, monkeypatch):
    for options in (["--words", "-1"], ["--words", "1000001"], ["--model", "nobody"]):
        with pytest.raises(InputError, match=rf"^{options[0]}: expected .*$"):
            ask(project, monkeypatch, *options)
    process = start(project, "--file", "nowhere")
    _, errors = process.communicate()
    assert process.returncode == 1
    assert errors == b"error: --file: nowhere: expected a file of reviews, one a line\n"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_too_little_address_space_is_one_line_though_libraries_would_hang():
    command = f"ulimit -v 400000; exec '{sys.executable}' -m sentiment x"
    run = subprocess.run(["sh", "-c", command], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    line = "error: address space: expected 512 MiB at least, got 390; `ulimit -v unlimited` lifts it\n"
    assert (run.returncode, run.stdout, run.stderr) == (1, "", line)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGPIPE")
def test_it_answers_while_the_input_is_open_and_a_closed_pipe_or_an_interrupt_ends_it_without_output(
    project,
):
    assert sys.platform != "win32"
    ignored = signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell ignores it for background jobs
    processes = [start(project, "--json") for _ in range(2)]
    signal.signal(signal.SIGINT, ignored)
    for process, end in zip(processes, (signal.SIGPIPE, signal.SIGINT), strict=True):
        too_late = Timer(60, process.kill)
        too_late.start()
        for text in (b"wonderful film\n", b"awful film\n"):
            process.stdin.write(text)
            process.stdin.flush()
            assert "label" in json.loads(process.stdout.readline() or '"no answer in a minute"')
        too_late.cancel()
        if end == signal.SIGPIPE:
            process.stdout.close()
            process.stdin.write(b"a film\n")
            process.stdin.flush()
        else:
            process.send_signal(end)
        assert process.wait() == -end
        assert process.stderr.read() == b""
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()
