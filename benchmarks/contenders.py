"""One contender in a process of its own: trains and predicts when told to, and says how long it took.

`PYTHON benchmarks/contenders.py NAME TASK`, where TASK is a `Task` as JSON, reads "train" and "predict" from standard
input, a line each, and answers with seconds per training step of one batch, or per review predicted.
The data are those of `dvc repro`; the frameworks are imported only by their own contender.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]


class Task(NamedTuple):
    """A model's name, and the numbers that `params.yaml` has of it."""

    model: str
    max_length: int
    vocabulary: int
    embedding: int
    filters: int
    kernel: int
    pool: int
    units: int
    dropout: float
    dense: int
    batch: int

    @property
    def steps(self) -> int:
        """Updates in a block of training, about a second of it."""
        return max(10, 500_000 // (self.max_length * self.units))

    @property
    def reviews(self) -> int:
        """Reviews in a block of prediction."""
        return min(500 * self.steps, 25_000)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """The first reviews of the training split, and their labels."""
        rows, folder = max(self.steps * self.batch, self.reviews), ROOT / "data" / self.model
        x, y = (np.load(folder / f"{kind}_train.npy", mmap_mode="r")[:rows] for kind in "xy")
        return np.ascontiguousarray(x), np.ascontiguousarray(y)


def ours(task: Task):
    """This project: epochs of `training.fit`, and `network.predict`."""
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    from sentiment.network import Sizes, first_weights, predict
    from sentiment.training import fit
    from stages.params import read

    settings = read().model(task.model)
    layers = settings.network.model_dump(exclude={"units", "bidirectional", "average"})
    sizes = Sizes(**settings.pad.model_dump(), **layers, lstm=settings.network.units)
    x, y = task.data()
    rows, weights = task.steps * task.batch, first_weights(sizes, 1)
    numbers = settings.train.model_dump(exclude={"engine", "optimizer"}) | {"epochs": 10**6}
    epochs = fit(sizes, x[:rows], y[:rows], **numbers)
    score = settings.evaluate.model_dump(include={"batch"})
    predict(sizes, weights, x[:256], **score)
    return lambda: next(epochs), lambda: predict(sizes, weights, x[: task.reviews], **score)


def keras(task: Task, **compiled):
    """The published script's model and `fit`, stock layers."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from tensorflow import keras

    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((task.max_length,)),
            layers.Embedding(task.vocabulary, task.embedding),
            layers.Conv1D(task.filters, task.kernel, padding="same", activation="relu"),
            layers.MaxPooling1D(task.pool),
            layers.LSTM(task.units),
            layers.Dropout(task.dropout),
            layers.Dense(task.dense, activation="sigmoid"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    network.compile("adam", "binary_crossentropy", metrics=["accuracy"], **compiled)
    x, y = task.data()
    x, rows = x.astype("int32"), task.steps * task.batch
    return (
        lambda: network.fit(x[:rows], y[:rows], batch_size=task.batch, verbose=0),
        lambda: network.predict(x[: task.reviews], batch_size=256, verbose=0),
    )


def keras_jit(task: Task):
    """The same, compiled by XLA."""
    return keras(task, jit_compile=True)


def pytorch(task: Task):
    """The same network in PyTorch, its fused LSTM, and its usual loop."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(task.vocabulary, task.embedding)
            self.convolution = nn.Conv1d(task.embedding, task.filters, task.kernel, padding=task.kernel // 2)
            self.pooling = nn.MaxPool1d(task.pool)
            self.lstm = nn.LSTM(task.filters, task.units, batch_first=True)
            dense = nn.Linear(task.units, task.dense), nn.Sigmoid(), nn.Linear(task.dense, 1)
            self.head = nn.Sequential(nn.Dropout(task.dropout), *dense)

        def forward(self, ids):
            pooled = self.pooling(torch.relu(self.convolution(self.embedding(ids).transpose(1, 2))))
            return self.head(self.lstm(pooled.transpose(1, 2))[0][:, -1])[:, 0]

    network, loss = Network(), nn.BCEWithLogitsLoss()
    adam = torch.optim.Adam(network.parameters())
    x, y = task.data()
    x, y = torch.tensor(x.astype("int64")), torch.tensor(y.astype("float32"))

    def train():
        network.train()
        for rows in torch.randperm(task.steps * task.batch).split(task.batch):
            adam.zero_grad(set_to_none=True)
            loss(network(x[rows]), y[rows]).backward()
            adam.step()

    def predict():
        network.eval()
        with torch.inference_mode():
            return [network(rows).sigmoid() for rows in x[: task.reviews].split(256)]

    return train, predict


def peak(task: Task):
    """The floor: a training step's FLOPs at the pace of the machine's best matrix product."""
    convolution = task.max_length * task.kernel * task.embedding * task.filters
    lstm = task.max_length // task.pool * (task.filters + task.units) * 4 * task.units
    flops = 2 * (
        convolution + lstm + task.units * task.dense + task.dense
    )  # per review, forward; training also takes two gradients
    a = np.ones((2048, 2048), "float32")

    def at_peak(work: float) -> float:
        start = time.perf_counter()
        a @ a
        return (time.perf_counter() - start) * work / (2 * 2048**3)

    return lambda: at_peak(3 * flops * task.batch), lambda: at_peak(flops)


CONTENDERS = {"ours": ours, "keras fit": keras, "keras jit_compile": keras_jit, "pytorch": pytorch, "floor": peak}


def main(name: str, task: Task) -> None:
    """Warm up, say "ready", and answer."""
    train, predict = CONTENDERS[name](task)
    per = {"train": (train, task.steps), "predict": (predict, task.reviews)}
    for run, _ in per.values():
        run()
    print("ready", flush=True)
    for line in sys.stdin:
        run, count = per[line.strip()]
        start = time.perf_counter()
        floor = run()
        print(floor if name == "floor" else (time.perf_counter() - start) / count, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Task(**json.loads(sys.argv[2])))
