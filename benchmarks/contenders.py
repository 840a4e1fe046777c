"""One contender in a process of its own: trains and predicts when told to, and says how long it took.

`PYTHON benchmarks/contenders.py NAME MODEL` reads "train" and "predict" from standard input, a line each, and answers
with seconds per training step of one batch, or per review predicted.
Data and sizes are those of `dvc repro`; the frameworks are imported only by their own contender.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
STEPS = {"small": 100, "full": 15}  # per block of training
REVIEWS = {"small": 25_000, "full": 5_000}  # per block of prediction
SIZES = {"small": (100, 500, 50), "full": (500, 5000, 100)}  # max_length, vocabulary, LSTM units
BATCH = 64


def data(model: str) -> tuple[np.ndarray, np.ndarray]:
    """The first reviews of a model's training split, and their labels."""
    rows = max(STEPS[model] * BATCH, REVIEWS[model])
    x, y = (np.load(ROOT / "data" / model / f"{kind}_train.npy", mmap_mode="r")[:rows] for kind in "xy")
    return np.ascontiguousarray(x), np.ascontiguousarray(y)


def ours(model: str):
    """This project: epochs of `training.fit`, and `network.predict`."""
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    from sentiment.network import Sizes, first_weights, predict
    from sentiment.training import fit
    from stages.params import read

    settings = read().model(model)
    layers = settings.network.model_dump(exclude={"units", "bidirectional", "average"})
    sizes = Sizes(**settings.pad.model_dump(), **layers, lstm=settings.network.units)
    x, y = data(model)
    rows, weights = STEPS[model] * BATCH, first_weights(sizes, 1)
    numbers = settings.train.model_dump(exclude={"engine", "optimizer"}) | {"epochs": 10**6}
    epochs = fit(sizes, x[:rows], y[:rows], **numbers)
    score = settings.evaluate.model_dump(include={"batch"})
    predict(sizes, weights, x[:256], **score)
    return lambda: next(epochs), lambda: predict(sizes, weights, x[: REVIEWS[model]], **score)


def keras(model: str, **compiled):
    """The published script's model and `fit`, stock layers."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from tensorflow import keras

    length, vocabulary, units = SIZES[model]
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((length,)),
            layers.Embedding(vocabulary, 32),
            layers.Conv1D(32, 5, padding="same", activation="relu"),
            layers.MaxPooling1D(2),
            layers.LSTM(units),
            layers.Dropout(0.2),
            layers.Dense(25, activation="sigmoid"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    network.compile("adam", "binary_crossentropy", metrics=["accuracy"], **compiled)
    x, y = data(model)
    x, rows = x.astype("int32"), STEPS[model] * BATCH
    return (
        lambda: network.fit(x[:rows], y[:rows], batch_size=BATCH, verbose=0),
        lambda: network.predict(x[: REVIEWS[model]], batch_size=256, verbose=0),
    )


def keras_jit(model: str):
    """The same, compiled by XLA."""
    return keras(model, jit_compile=True)


def pytorch(model: str):
    """The same network in PyTorch, its fused LSTM, and its usual loop."""
    import torch
    from torch import nn

    _, vocabulary, units = SIZES[model]

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, 32)
            self.convolution = nn.Conv1d(32, 32, 5, padding=2)
            self.pooling = nn.MaxPool1d(2)
            self.lstm = nn.LSTM(32, units, batch_first=True)
            self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(units, 25), nn.Sigmoid(), nn.Linear(25, 1))

        def forward(self, ids):
            pooled = self.pooling(torch.relu(self.convolution(self.embedding(ids).transpose(1, 2))))
            return self.head(self.lstm(pooled.transpose(1, 2))[0][:, -1])[:, 0]

    network, loss = Network(), nn.BCEWithLogitsLoss()
    adam = torch.optim.Adam(network.parameters())
    x, y = data(model)
    x, y = torch.tensor(x.astype("int64")), torch.tensor(y.astype("float32"))

    def train():
        network.train()
        for rows in torch.randperm(STEPS[model] * BATCH).split(BATCH):
            adam.zero_grad(set_to_none=True)
            loss(network(x[rows]), y[rows]).backward()
            adam.step()

    def predict():
        network.eval()
        with torch.inference_mode():
            return [network(rows).sigmoid() for rows in x[: REVIEWS[model]].split(256)]

    return train, predict


def peak(model: str):
    """The floor: a training step's FLOPs at the pace of the machine's best matrix product."""
    length, _, units = SIZES[model]
    convolution = length * 5 * 32 * 32
    lstm = length // 2 * (32 + units) * 4 * units
    flops = 2 * (convolution + lstm + units * 25 + 25)  # per review, forward; training also takes two gradients
    a = np.ones((2048, 2048), "float32")

    def at_peak(work: float) -> float:
        start = time.perf_counter()
        a @ a
        return (time.perf_counter() - start) * work / (2 * 2048**3)

    return lambda: at_peak(3 * flops * BATCH), lambda: at_peak(flops)


CONTENDERS = {"ours": ours, "keras fit": keras, "keras jit_compile": keras_jit, "pytorch": pytorch, "floor": peak}


def main(name: str, model: str) -> None:
    """Warm up, say "ready", and answer."""
    train, predict = CONTENDERS[name](model)
    per = {"train": (train, STEPS[model]), "predict": (predict, REVIEWS[model])}
    for run, _ in per.values():
        run()
    print("ready", flush=True)
    for line in sys.stdin:
        run, count = per[line.strip()]
        start = time.perf_counter()
        floor = run()
        print(floor if name == "floor" else (time.perf_counter() - start) / count, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
