"""Compare solvers of linear models on the n-grams of `nb-adam`: `python -m benchmarks.solvers`.

Contenders train on 20,000 of the 25,000 training reviews of IMDB, and the other 5,000 are predicted; the test split
is not read. All get the same features: presence of each n-gram times its naive-Bayes weight. Each run is a process of
its own, and the contenders take turns. After each round the table with the medians so far is printed.

Settings are the fastest of those tried with an accuracy of at least 0.917 on the 5,000 reviews; fastText reached
0.89. Seconds of `fit` are from features in memory to a model, with kernels that are loaded; Vowpal Wabbit and
fastText read them from a file in their own format. Seconds of `predict` are for the 5,000 reviews at once; ours
weights the counts first. Peak memory is that of the process, with the features. Needs the arrays of `dvc repro
pad@nb-adam`, and `.venv-bench` for Vowpal Wabbit and fastText.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv-bench/bin/python"
MODEL, HELD_OUT = "nb-adam", 5000
BY_PEERS = ("vowpal wabbit", "fasttext")


def prepare(folder: Path) -> str:
    """Write the features for all contenders to ``folder``, and return their sizes in words."""
    from sentiment import kinds
    from sentiment.data import ngrams
    from sentiment.data.padding import Ragged
    from stages.params import read

    settings, arrays = read().model(MODEL), ROOT / "data" / MODEL
    ids, lengths, labels = (np.load(arrays / f"{kind}_train.npy") for kind in ("x", "lengths", "y"))
    reviews, kept = Ragged(ids, lengths), len(labels) - HELD_OUT
    trainer = kinds.find(settings.architecture.kind).make_trainer(settings, reviews[:kept], labels[:kept], None)
    held_out = ngrams.count(reviews[kept:], trainer.grams, trainer.bits)
    for name, counts, answers in (("train", trainer.counts, trainer.labels), ("test", held_out, labels[kept:])):
        features = trainer.weightings[0].features(counts)
        for part in ("indptr", "indices"):
            np.save(folder / f"{part}_{name}.npy", getattr(counts, part))
        np.save(folder / f"counts_{name}.npy", counts.data)
        np.save(folder / f"features_{name}.npy", features.data)
        np.save(folder / f"y_{name}.npy", answers)
        write_text_formats(folder, name, features, answers)
    np.save(folder / "grams.npy", trainer.grams)
    np.save(folder / "y_pad.npy", labels[:kept])  # in the order of `pad`, as trainers expect them
    size = sum(array.nbytes for array in (features.data, features.indices)) * trainer.counts.nnz / features.nnz / 2**20
    return f"{kept:,} reviews, {len(trainer.grams):,} n-grams, {trainer.counts.nnz:,} features of {size:,.0f} MiB"


def write_text_formats(folder: Path, name: str, features, labels: np.ndarray) -> None:
    """Write features as Vowpal Wabbit and fastText read them: fastText gets an n-gram as a word, without a value."""
    with (folder / f"{name}.vw").open("w") as vowpal, (folder / f"{name}.ft").open("w") as fast:
        for row, label in enumerate(labels.tolist()):
            cells = slice(features.indptr[row], features.indptr[row + 1])
            columns, values = features.indices[cells].tolist(), features.data[cells].tolist()
            pairs = " ".join(f"{column}:{value:.6g}" for column, value in zip(columns, values, strict=True))
            vowpal.write(f"{2 * label - 1} | {pairs}\n")
            fast.write(f"__label__{label} {' '.join(map(str, columns))}\n")


def read_matrix(folder: Path, name: str, values: str = "features"):
    """The features, or the counts, of a split."""
    from scipy.sparse import csr_matrix

    arrays = (np.load(folder / f"{part}_{name}.npy") for part in (values, "indices", "indptr"))
    rows = np.load(folder / f"indptr_{name}.npy", mmap_mode="r").shape[0] - 1
    return csr_matrix(tuple(arrays), (rows, len(np.load(folder / "grams.npy", mmap_mode="r"))))


def ours(folder: Path, **train):
    """The trainer and the model of `nb-adam`, with other settings in ``train``."""
    from sentiment import kinds, training
    from sentiment.data import ngrams
    from sentiment.data.padding import Ragged
    from stages.params import read

    settings, labels = read().model(MODEL), np.load(folder / "y_pad.npy")
    settings = settings.model_copy(update={"train": settings.train.model_copy(update=train)})
    grams, counts, held_out = np.load(folder / "grams.npy"), *(read_matrix(folder, s, "counts") for s in SPLITS)
    seed, epochs = settings.train.seed, range(settings.train.epochs)

    def prepared(reviews: int):
        part = counts if reviews == len(labels) else counts[:reviews]  # not a copy
        ngrams.learn = lambda *reviews_, **sizes: (grams, part)  # counted by `prepare`
        nothing = Ragged(np.zeros(0, np.uint32), np.zeros(reviews, np.int64))
        trainer = kinds.find(settings.architecture.kind).make_trainer(settings, nothing, labels[:reviews], None)
        trainer.features(0)
        given = {"epochs": epochs, "validation_fraction": 0.0, "seed": seed}
        return trainer, lambda: [*training.fit(trainer, nothing, labels[:reviews], **given)]

    warm, fit = prepared(64)
    fit()
    warm.model.score(held_out[:64])
    trainer, fit = prepared(len(labels))
    return fit, lambda: trainer.model.score(held_out) > 0.5


def scikit_learn(folder: Path, estimator):
    """An estimator of scikit-learn."""
    x, held_out, y = read_matrix(folder, "train"), read_matrix(folder, "test"), np.load(folder / "y_train.npy")
    return lambda: estimator.fit(x, y), lambda: estimator.predict(held_out) > 0


def logistic(folder: Path, **settings):
    """`LogisticRegression`."""
    from sklearn.linear_model import LogisticRegression

    return scikit_learn(folder, LogisticRegression(C=0.1, max_iter=1000, random_state=1, **settings))


def sgd(folder: Path):
    """`SGDClassifier`."""
    from sklearn.linear_model import SGDClassifier

    return scikit_learn(folder, SGDClassifier(loss="log_loss", alpha=1e-3, max_iter=3, tol=None, random_state=1))


def svm(folder: Path):
    """`LinearSVC`."""
    from sklearn.svm import LinearSVC

    return scikit_learn(folder, LinearSVC(C=0.003, random_state=1))


def vowpal_wabbit(folder: Path):
    """Vowpal Wabbit, by gradient descent at a constant rate."""
    from vowpalwabbit import Workspace

    model, common = folder / "vowpal.model", "--quiet --bit_precision 20"

    def fit():
        settings = "--loss_function logistic --sgd --learning_rate 0.03 --power_t 0"
        Workspace(f"{common} -d {folder}/train.vw {settings} -f {model}").finish()

    def predict():
        Workspace(f"{common} -t -i {model} -d {folder}/test.vw -p {model}.txt").finish()
        return np.loadtxt(f"{model}.txt") > 0

    return fit, predict


def fasttext(folder: Path):
    """fastText, which reads each n-gram as a word."""
    import fasttext

    models = []

    def fit():
        settings = {
            "lr": 0.5,
            "epoch": 3,
            "dim": 2,
            "bucket": 1,
            "minCount": 1,
            "wordNgrams": 1,
            "thread": os.cpu_count(),
        }
        models.append(fasttext.train_supervised(str(folder / "train.ft"), verbose=0, **settings))

    def predict():
        lines = [line.partition(" ")[2] for line in (folder / "test.ft").read_text().splitlines()]
        return np.array([labels[0] == "__label__1" for labels in models[0].predict(lines)[0]])

    return fit, predict


SPLITS = ("train", "test")
CONTENDERS = {
    "ours": ("this project: Adam, 1 epoch", partial(ours, epochs=1, batch=64, learning_rate=0.003)),
    "nb-adam": ("this project: `nb-adam`, 3 epochs", ours),
    "liblinear": ("LIBLINEAR: `LogisticRegression`, dual", partial(logistic, solver="liblinear", dual=True)),
    "svm": ("LIBLINEAR: `LinearSVC`", svm),
    "lbfgs": ("scikit-learn: `LogisticRegression`, L-BFGS", logistic),
    "sgd": ("scikit-learn: `SGDClassifier`, 3 epochs", sgd),
    "vowpal wabbit": ("Vowpal Wabbit, 1 pass", vowpal_wabbit),
    "fasttext": ("fastText, 3 epochs", fasttext),
}


def work(name: str, folder: Path) -> None:
    """Fit and predict once, and print the figures."""
    fit, predict = CONTENDERS[name][1](folder)
    begin, processor = time.perf_counter(), time.process_time()
    fit()
    middle, processor = time.perf_counter(), time.process_time() - processor
    positive = predict()
    end = time.perf_counter()
    status = Path("/proc/self/status").read_text()
    figures = {
        "fit": middle - begin, "cpu": processor, "predict": end - middle,
        "peak": int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024,
        "accuracy": float((positive == np.load(folder / "y_test.npy").astype(bool)).mean()),
    }  # fmt: skip
    print(json.dumps(figures))


def run(name: str, folder: Path) -> str:
    """The last line of a worker in a process of its own."""
    python = PEERS if name in BY_PEERS else sys.executable
    command = [python, "-m", "benchmarks.solvers", name, f"--worker={folder}"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {name} failed; its own error is above")
    return done.stdout.splitlines()[-1]


def show(runs: dict[str, list[dict]]) -> None:
    """Print the table: medians, and in brackets the ratio to the first contender."""
    medians = {
        name: {key: statistics.median(run[key] for run in each) for key in each[0]} for name, each in runs.items()
    }
    first = next(iter(medians.values()))
    print(f"\nround {len(next(iter(runs.values())))}\n")
    print("| solver | fit | CPU time of fit | predict | peak memory | accuracy |\n|---|---|---|---|---|---|")
    for name, row in medians.items():
        times = (f"{row[key]:.2f} s ({row[key] / first[key]:.2f})" for key in ("fit", "cpu", "predict"))
        cells = [CONTENDERS[name][0], *times, f"{row['peak']:,.0f} MiB", f"{row['accuracy']:.4f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure, and print the table after each round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(CONTENDERS)}; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(prepare(options.worker)) if options.names == ["prepare"] else work(options.names[0], options.worker)
        return
    if unknown := {*options.names} - {*CONTENDERS}:
        parser.error(f"expected some of {', '.join(CONTENDERS)}, got {', '.join(sorted(unknown))}")
    names = [name for name in options.names or CONTENDERS if name not in BY_PEERS or PEERS.exists()]
    with tempfile.TemporaryDirectory() as scratch:
        print(run("prepare", Path(scratch)), flush=True)
        runs = {name: [] for name in names}
        for number in range(options.rounds):
            try:
                for name in names:
                    print(f"\rround {number + 1} of {options.rounds}: {name:20}", end="", file=sys.stderr, flush=True)
                    runs[name].append(json.loads(run(name, Path(scratch))))
            finally:  # also when it is interrupted
                print(file=sys.stderr)
                show({name: each for name, each in runs.items() if each})


if __name__ == "__main__":
    main()
