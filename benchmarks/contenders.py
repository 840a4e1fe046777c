"""Process of one contender, which trains and predicts on request and prints the seconds.

`PYTHON benchmarks/contenders.py NAME TASK`, where TASK is a `Task` as JSON, reads requests from standard input, one a
line: "train", "predict" or "one". It prints the seconds per training step of one batch, per review of many reviews, or
per review if each is predicted alone. A contender is a pair of functions: one that trains, or None, and one that
predicts the first `count` reviews. The data are those of `dvc repro`. A contender imports only its own framework.
"""

import io
import itertools
import json
import os
import shutil
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
ALONE = 50  # number of reviews that are predicted one by one


class Unavailable(Exception):
    """A contender needs something that this machine lacks."""


class Task(NamedTuple):
    """A network, and the data to train it on."""

    data: str  # the model of params.yaml whose arrays are used
    network: str  # a Keras model as JSON
    batch: int
    sizes: dict[str, int | float] | None = None  # of the plain CNN-LSTM, for contenders that build it themselves

    @property
    def layers(self) -> list[dict]:
        """Layers of the network as plain values."""
        return json.loads(self.network)["config"]["layers"]

    @property
    def length(self) -> int:
        """Number of ids in a review."""
        return self.layers[0]["config"]["batch_shape"][1]

    @property
    def steps(self) -> int:
        """Number of updates in a measurement of training, which takes about a second."""
        return max(10, 10_000 // self.length)

    @property
    def reviews(self) -> int:
        """Number of reviews in a measurement of prediction."""
        return min(250 * self.steps, 25_000)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the first reviews of the training split, and their labels."""
        rows, folder = max(self.steps * self.batch, self.reviews), ROOT / "data" / self.data
        x, y = (np.load(folder / f"{kind}_train.npy", mmap_mode="r")[:rows] for kind in "xy")
        return np.ascontiguousarray(x), np.ascontiguousarray(y)


def ours(task: Task):
    """Use this project: epochs of the compiled trainer, and its predictions."""
    sys.path.insert(0, str(ROOT))
    from sentiment.engine.trainer import CompiledPredictor, CompiledTrainer

    x, y = task.arrays()
    rows = task.steps * task.batch
    trainer = CompiledTrainer(task.layers, batch=task.batch, shards=4, optimizer="adam", learning_rate=0.001, seed=1)
    weights, epochs = trainer.state()["weights"], itertools.count()

    def train():
        epoch = next(epochs)
        trainer.epoch(x, y, np.random.default_rng(epoch).permutation(rows), epoch)

    predictor = CompiledPredictor(task.layers, weights, batch=512)
    return train, lambda count: predictor.predict(x[:count])


def keras(task: Task, backend: str = "tensorflow", **compiled):
    """Use Keras's `fit` and `predict`."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": backend}
    import keras

    network = keras.models.model_from_json(task.network)
    loss = "binary_crossentropy" if network.output_shape[-1] == 1 else "sparse_categorical_crossentropy"
    network.compile("adam", loss, metrics=["accuracy"], **compiled)
    x, y = task.arrays()
    x, rows = x.astype("int32"), task.steps * task.batch
    return (
        lambda: network.fit(x[:rows], y[:rows], batch_size=task.batch, verbose=0),
        lambda count: network.predict(x[:count], batch_size=256, verbose=0),
    )


def keras_jit(task: Task):
    """Use Keras, compiled by XLA."""
    return keras(task, jit_compile=True)


def keras_on_jax(task: Task):
    """Use Keras on JAX."""
    return keras(task, "jax")


def jax_scan(task: Task):
    """Use the plain network in JAX: `jit`, the LSTM as a `scan`, and Adam as in Keras."""
    import jax
    import jax.numpy as jnp

    s, x, y = task.sizes, *task.arrays()
    x, y, units = x.astype("int32"), y.astype("float32"), task.sizes["units"]

    def shapes():
        yield "embedding", (s["vocabulary"], s["embedding"])
        yield "kernel", (s["kernel"], s["embedding"], s["filters"])
        yield "bias", (s["filters"],)
        yield "gates", (s["filters"] + units, 4 * units)
        yield "gates_bias", (4 * units,)
        yield from (("dense", (units, s["dense"])), ("dense_bias", (s["dense"],)))
        yield from (("output", (s["dense"],)), ("output_bias", ()))

    random = np.random.default_rng(0)
    weights = {name: jnp.asarray(random.uniform(-0.1, 0.1, shape), "float32") for name, shape in shapes()}

    def logits(w, ids, key=None):
        seen = jax.lax.conv_general_dilated(
            w["embedding"][ids], w["kernel"], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
        )
        seen = jax.nn.relu(seen + w["bias"])
        steps = seen.shape[1] // s["pool"]
        seen = seen[:, : steps * s["pool"]].reshape(len(ids), steps, s["pool"], -1).max(2)

        def step(state, row):
            output, cell = state
            i, f, g, o = jnp.split(jnp.concatenate([row, output], 1) @ w["gates"] + w["gates_bias"], 4, 1)
            cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(cell), cell), None

        nothing = jnp.zeros((len(ids), units))
        (output, _), _ = jax.lax.scan(step, (nothing, nothing), seen.swapaxes(0, 1))
        if key is not None:
            kept = jax.random.bernoulli(key, 1 - s["dropout"], output.shape)
            output = output * kept / (1 - s["dropout"])
        return jax.nn.sigmoid(output @ w["dense"] + w["dense_bias"]) @ w["output"] + w["output_bias"]

    def loss(w, ids, labels, key):
        z = logits(w, ids, key)
        return jnp.mean(jax.nn.softplus(z) - labels * z)

    @jax.jit
    def update(w, mean, square, number, ids, labels):
        gradient = jax.grad(loss)(w, ids, labels, jax.random.fold_in(jax.random.key(0), number))
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
        square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, square, gradient)
        rate = 0.001 * jnp.sqrt(1 - 0.999 ** (number + 1.0)) / (1 - 0.9 ** (number + 1.0))
        w = jax.tree.map(lambda a, m, v: a - rate * m / (jnp.sqrt(v) + 1e-7), w, mean, square)
        return w, mean, square

    score = jax.jit(lambda w, ids: jax.nn.sigmoid(logits(w, ids)))
    nothing = jax.tree.map(jnp.zeros_like, weights)
    state, numbers = [weights, nothing, nothing], itertools.count()

    def train():
        for rows in np.random.permutation(task.steps * task.batch).reshape(-1, task.batch):
            state[:] = update(*state, next(numbers), x[rows], y[rows])
        jax.block_until_ready(state)

    def predict(count):
        batches = np.split(x[:count], range(256, count, 256))
        return jax.block_until_ready([score(weights, ids) for ids in batches])

    return train, predict


def torch_network(sizes: dict[str, int | float]):
    """Return the plain network as a PyTorch module with the fused LSTM: int64 ids to logits."""
    import torch
    from torch import nn

    s = SimpleNamespace(**sizes)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(s.vocabulary, s.embedding)
            self.convolution = nn.Conv1d(s.embedding, s.filters, s.kernel, padding=s.kernel // 2)
            self.pooling = nn.MaxPool1d(s.pool)
            self.lstm = nn.LSTM(s.filters, s.units, batch_first=True)
            dense = nn.Linear(s.units, s.dense), nn.Sigmoid(), nn.Linear(s.dense, 1)
            self.head = nn.Sequential(nn.Dropout(s.dropout), *dense)

        def forward(self, ids):
            pooled = self.pooling(torch.relu(self.convolution(self.embedding(ids).transpose(1, 2))))
            return self.head(self.lstm(pooled.transpose(1, 2))[0][:, -1])[:, 0]

    return Network()


def pytorch(task: Task, compiled: bool = False):
    """The plain network in PyTorch, and its usual loop."""
    import torch
    from torch import nn

    network, loss = torch_network(task.sizes), nn.BCEWithLogitsLoss()
    adam = torch.optim.Adam(network.parameters())
    if compiled:
        network.compile(dynamic=False)
    x, y = task.arrays()
    x, y = torch.tensor(x.astype("int64")), torch.tensor(y.astype("float32"))

    def train():
        network.train()
        for rows in torch.randperm(task.steps * task.batch).split(task.batch):
            adam.zero_grad(set_to_none=True)
            loss(network(x[rows]), y[rows]).backward()
            adam.step()

    def predict(count):
        network.eval()
        with torch.inference_mode():
            return [network(rows).sigmoid() for rows in x[:count].split(256)]

    return train, predict


def pytorch_compiled(task: Task):
    """The same, compiled by `torch.compile`, which needs a C++ compiler."""
    if not (shutil.which("g++") or shutil.which("clang++")):
        raise Unavailable("torch.compile needs g++ or clang++")
    return pytorch(task, compiled=True)


def onnxruntime(task: Task):
    """PyTorch's network in ONNX's format, predicted by ONNX Runtime."""
    import onnxruntime
    import torch

    x, _ = task.arrays()
    x, file = x.astype("int64"), io.BytesIO()
    with warnings.catch_warnings():  # the exporter without more packages is deprecated
        warnings.simplefilter("ignore")
        torch.onnx.export(
            torch_network(task.sizes).eval(), (torch.tensor(x[:2]),), file, dynamo=False,
            input_names=["ids"], dynamic_axes={"ids": {0: "reviews"}},
        )  # fmt: skip
    network = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])

    def predict(count):
        batches = (x[begin : min(begin + 256, count)] for begin in range(0, count, 256))
        return [1 / (1 + np.exp(-network.run(None, {"ids": ids})[0])) for ids in batches]

    return None, predict


def openvino(task: Task):
    """Use PyTorch's network converted to OpenVINO, in float32 like the others; prediction only."""
    import openvino
    import torch

    x, _ = task.arrays()
    x = x.astype("int64")
    model = openvino.convert_model(torch_network(task.sizes).eval(), example_input=torch.tensor(x[:2]))
    network = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def predict(count):
        batches = (x[begin : min(begin + 256, count)] for begin in range(0, count, 256))
        return [1 / (1 + np.exp(-network(ids)[0])) for ids in batches]

    return None, predict


def peak(task: Task):
    """Return a lower bound: the FLOPs of the network at the speed of a large matrix product."""
    s = SimpleNamespace(**task.sizes)
    convolution = task.length * s.kernel * s.embedding * s.filters
    lstm = task.length // s.pool * (s.filters + s.units) * 4 * s.units
    flops = 2 * (
        convolution + lstm + s.units * s.dense + s.dense
    )  # of one review, forward; training also computes two gradients
    a = np.ones((2048, 2048), "float32")

    def at_peak(work: float) -> float:
        start = time.perf_counter()
        a @ a
        return (time.perf_counter() - start) * work / (2 * 2048**3)

    return lambda: at_peak(3 * flops * task.batch), lambda count: at_peak(flops)


CONTENDERS = {
    "ours": ours,
    "keras fit": keras,
    "keras jit_compile": keras_jit,
    "keras on jax": keras_on_jax,
    "jax": jax_scan,
    "pytorch": pytorch,
    "pytorch compiled": pytorch_compiled,
    "openvino": openvino,
    "onnxruntime": onnxruntime,
    "floor": peak,
}


def main(name: str, task: Task) -> None:
    """Warm up, print the kinds of work that the contender can do, or why it cannot, and measure on request."""
    try:
        train, predict = CONTENDERS[name](task)
    except Unavailable as error:
        print(json.dumps(str(error)))
        return
    kinds = {"train": (train, task.steps)} if train else {}
    kinds |= {"predict": (lambda: predict(task.reviews), task.reviews)}
    if name != "floor":
        kinds |= {"one": (lambda: [predict(1) for _ in range(ALONE)], ALONE)}
    for run, _ in kinds.values():
        run()
    print(json.dumps([*kinds]), flush=True)
    for line in sys.stdin:
        run, count = kinds[line.strip()]
        start = time.perf_counter()
        floor = run()
        print(floor if name == "floor" else (time.perf_counter() - start) / count, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Task(**json.loads(sys.argv[2])))
