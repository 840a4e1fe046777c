"""Keras's stock layers as plain values: a ``Sequential`` network, its configuration and variables, without Keras.

``build`` of a kind of model gets this module instead of ``keras`` if the compiled trainer trains the network, because
importing Keras takes seconds. Layers, settings and defaults have Keras's names and values. The tests compare
configuration, output shapes and file with Keras's. A layer that no block computes needs no row in ``STOCK``:
``engine.Network`` refuses it by its name.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from sentiment import InputError

Shape = tuple[int | None, ...]
"""Shape of a batch; the first axis, the reviews, is None."""

Variables = list[tuple[str, str, list[tuple[int, ...]]]]
"""Groups of variables in the order of Keras's weights: path in the layer, name, and shapes."""


def _object(class_name: str, module: str = "keras.initializers", **config: object) -> dict:
    """An object as Keras serializes it."""
    return {"class_name": class_name, "config": config, "module": module, "registered_name": None}


_FLOAT32 = _object("DTypePolicy", "keras", name="float32")
_WEIGHTS = {
    "activity_regularizer": None,
    "bias_constraint": None,
    "bias_initializer": _object("Zeros"),
    "bias_regularizer": None,
    "kernel_constraint": None,
    "kernel_initializer": _object("GlorotUniform", seed=None),
    "kernel_regularizer": None,
    "use_bias": True,
}
_POOLING = {"data_format": "channels_last", "keepdims": False}


def _windows(steps: int, size: int, stride: int, padding: str) -> int:
    """Number of positions of a window that moves over the steps."""
    return -(-steps // stride) if padding == "same" else (steps - size) // stride + 1


def _convolved(config: dict, takes: Shape) -> Shape:
    size = (config["kernel_size"][0] - 1) * config["dilation_rate"][0] + 1
    return None, _windows(takes[1], size, config["strides"][0], config["padding"]), config["filters"]


def _pooled(config: dict, takes: Shape) -> Shape:
    return None, _windows(takes[1], config["pool_size"][0], config["strides"][0], config["padding"]), takes[2]


def _recurrent(config: dict, takes: Shape) -> Shape:
    return (*(takes[:2] if config["return_sequences"] else (None,)), config["units"])


def _both_ways(config: dict, takes: Shape) -> Shape:
    *steps, units = _recurrent(config["layer"]["config"], takes)
    return *steps, 2 * units


def _of_lstm(config: dict, takes: Shape) -> Variables:
    gates = 4 * config["units"]
    shapes = [(takes[-1], gates), (config["units"], gates), (gates,)]
    return [("", config["name"], []), ("/cell", "lstm_cell", shapes)]


def _of_bidirectional(config: dict, takes: Shape) -> Variables:
    halves = [
        (f"/{half}{path}", name, shapes)
        for half, layer in (("forward_layer", config["layer"]), ("backward_layer", config["backward_layer"]))
        for path, name, shapes in _of_lstm(layer["config"], takes)
    ]
    return [("", config["name"], []), *halves]


class Stock(NamedTuple):
    """A class of layers.

    Attributes:
        arguments: Positional settings, in their order.
        defaults: Settings with Keras's defaults.
        gives: Shape of the outputs, from the configuration and the shape of the inputs.
        variables: Shapes of the variables, from the same.
    """

    arguments: tuple[str, ...]
    defaults: dict[str, object]
    gives: Callable[[dict, Shape], Shape] = lambda config, takes: takes
    variables: Callable[[dict, Shape], Variables] = lambda config, takes: [("", config["name"], [])]


STOCK = {
    "Embedding": Stock(
        ("input_dim", "output_dim"),
        {
            "activity_regularizer": None,
            "embeddings_constraint": None,
            "embeddings_initializer": _object("RandomUniform", minval=-0.05, maxval=0.05, seed=None),
            "embeddings_regularizer": None,
            "mask_zero": False,
        },
        lambda config, takes: (*takes, config["output_dim"]),
        lambda config, takes: [("", config["name"], [(config["input_dim"], config["output_dim"])])],
    ),
    "Conv1D": Stock(
        ("filters", "kernel_size"),
        {
            **_WEIGHTS,
            "activation": "linear",
            "data_format": "channels_last",
            "dilation_rate": 1,
            "groups": 1,
            "padding": "valid",
            "strides": 1,
        },
        _convolved,
        lambda config, takes: [
            ("", config["name"], [(*config["kernel_size"], takes[2], config["filters"]), (config["filters"],)])
        ],
    ),
    "MaxPooling1D": Stock(
        ("pool_size",), {"data_format": "channels_last", "padding": "valid", "strides": None}, _pooled
    ),
    "LSTM": Stock(
        ("units",),
        {
            **_WEIGHTS,
            "activation": "tanh",
            "dropout": 0.0,
            "go_backwards": False,
            "recurrent_activation": "sigmoid",
            "recurrent_constraint": None,
            "recurrent_dropout": 0.0,
            "recurrent_initializer": _object("Orthogonal", gain=1.0, seed=None),
            "recurrent_regularizer": None,
            "return_sequences": False,
            "return_state": False,
            "seed": None,
            "stateful": False,
            "unit_forget_bias": True,
            "unroll": False,
            "zero_output_for_mask": False,
        },
        _recurrent,
        _of_lstm,
    ),
    "Bidirectional": Stock(("layer",), {"merge_mode": "concat"}, _both_ways, _of_bidirectional),
    "GlobalAveragePooling1D": Stock((), _POOLING, lambda config, takes: (None, takes[2])),
    "GlobalMaxPooling1D": Stock((), _POOLING, lambda config, takes: (None, takes[2])),
    "Dropout": Stock(("rate",), {"noise_shape": None, "seed": None}),
    "Dense": Stock(
        ("units",),
        {name: value for name, value in _WEIGHTS.items() if name != "activity_regularizer"} | {"activation": "linear"},
        lambda config, takes: (*takes[:-1], config["units"]),
        lambda config, takes: [("", config["name"], [(takes[-1], config["units"]), (config["units"],)])],
    ),
}
"""Keras's layers that the blocks compute, by class."""

_LISTS = ("dilation_rate", "kernel_size", "pool_size", "strides")  # settings that Keras stores as lists


class Layer:
    """A layer: its class and Keras's settings of it.

    Raises:
        TypeError: The class has no such setting, or fewer positional settings.
    """

    def __init__(self, class_name: str, *values: object, name: str | None = None, **settings: Any):
        self.class_name, self.name = class_name, name
        self.stock = STOCK.get(class_name, Stock((), {}))
        if class_name in STOCK:
            known = [*self.stock.arguments, *self.stock.defaults]
            unknown = [*values[len(self.stock.arguments) :], *(key for key in settings if key not in known)]
            if unknown:
                raise TypeError(f"{class_name}: expected settings of {', '.join(known)}, got {unknown[0]!r}")
            settings |= zip(self.stock.arguments, values, strict=False)
        self.settings = settings

    def __call__(self, inputs: object) -> None:
        """Refuse a network that is not a ``Sequential``."""
        raise _no_sequence(f"{self.class_name} called")

    def serialize(self, takes: Shape | None, names: "_Names") -> dict:
        """The layer as in ``model.to_json``; ``takes`` is the shape of its inputs."""
        if self.class_name not in STOCK:
            return _object(self.class_name, "keras.layers", name=names.of(self))
        settings: dict[str, Any] = self.stock.defaults | self.settings
        if "pool_size" in settings and settings["strides"] is None:
            settings["strides"] = settings["pool_size"]
        for key in settings.keys() & {*_LISTS}:
            settings[key] = [settings[key]] if isinstance(settings[key], int) else [*settings[key]]
        config = {"dtype": _FLOAT32, "trainable": True}
        if self.class_name == "Bidirectional":
            inner: Any = settings["layer"]
            layer = inner.serialize(takes, names)
            both = layer["config"] | {"zero_output_for_mask": layer["config"]["return_sequences"]}
            settings["layer"], settings["backward_layer"] = (
                layer | {"config": both | {"name": f"{way}_{both['name']}", "go_backwards": back}}
                for way, back in (("forward", False), ("backward", True))
            )
        config |= settings | {"name": names.of(self)}
        built = {"build_config": {"input_shape": [*takes]}} if self._is_built() else {}
        return _object(self.class_name, "keras.layers", **config) | built

    def _is_built(self) -> bool:
        """True if Keras records the shape of the inputs, as it does for a layer with variables."""
        return self.stock.variables is not Stock._field_defaults["variables"]


class _Names:
    """Default names of layers: the class in snake case, numbered from the second one on, as in a new Keras session."""

    def __init__(self):
        self._counts = Counter()

    def of(self, layer: Layer) -> str:
        """The layer's name."""
        if layer.name is not None:
            return layer.name
        name = snake(layer.class_name)
        self._counts[name] += 1
        return name if self._counts[name] == 1 else f"{name}_{self._counts[name] - 1}"


class Input(NamedTuple):
    """The ids: their shape without the axis of reviews, and their type."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    name: str = "input_layer"

    def serialize(self) -> dict:
        """The input layer as in ``model.to_json``."""
        shape = [None, *self.shape]
        config = {"batch_shape": shape, "dtype": self.dtype, "name": self.name, "ragged": False, "sparse": False}
        return _object("InputLayer", "keras.layers", **config)


class Sequential:
    """A network of layers, one after the other, the first of which is an ``Input``.

    Attributes:
        name: Name of the network.
        layers: All layers, as in ``json.loads(model.to_json())["config"]["layers"]``.
        shapes: Shape of the outputs of each layer.
    """

    def __init__(self, layers: Sequence[Any], name: str = "sequential"):
        first, *remaining = layers
        self.name, names = name, _Names()
        self.layers, self.shapes = [first.serialize()], [(None, *first.shape)]
        self._stock = [layer.stock for layer in remaining]
        for layer in remaining:
            self.layers.append(layer.serialize(self.shapes[-1], names))
            self.shapes.append(layer.stock.gives(self.layers[-1]["config"], self.shapes[-1]))

    def config(self) -> dict:
        """The content of ``config.json``."""
        shape = [*self.shapes[0]]
        config = {"build_input_shape": shape, "dtype": _FLOAT32, "layers": self.layers, "name": self.name}
        return {
            **_object("Sequential", "keras", **config, trainable=True),
            "build_config": {"input_shape": shape},
            "compile_config": {},
        }

    def variables(self) -> Iterator[Variables]:
        """Variables of each layer but the input."""
        for stock, layer, takes in zip(self._stock, self.layers[1:], self.shapes, strict=False):
            yield stock.variables(layer["config"], takes)

    def rows(self) -> Iterator[tuple[str, str, Shape, int]]:
        """Name, class, output shape and number of parameters of each layer but the input."""
        for layer, shape, variables in zip(self.layers[1:], self.shapes[1:], self.variables(), strict=True):
            parameters = sum(math.prod(shape) for _, _, shapes in variables for shape in shapes)
            yield layer["config"]["name"], layer["class_name"], shape, parameters


class _Layers:
    """As ``keras.layers``: a constructor for each class of layers."""

    def __getattr__(self, class_name: str) -> Callable[..., Layer]:
        if class_name.startswith("_"):
            raise AttributeError(class_name)
        return partial(Layer, class_name)


layers = _Layers()


def __getattr__(name: str) -> object:
    """Raise an error for all other names of ``keras``."""
    if name.startswith("_"):
        raise AttributeError(name)
    raise _no_sequence(f"keras.{name}")


class _NoSequence(InputError, AttributeError):
    """Error about a part of Keras that this module lacks; an ``AttributeError`` too, so that ``hasattr`` is false."""


def _no_sequence(used: str) -> _NoSequence:
    return _NoSequence(
        f"architecture: expected a keras.Sequential of keras.layers for the compiled trainer, got {used}; set"
        " train.engine: keras, which trains any network"
    )


def snake(name: str) -> str:
    """Keras's ``to_snake_case``.

    >>> snake("Conv1D"), snake("LSTM"), snake("MaxPooling1D")
    ('conv1d', 'lstm', 'max_pooling1d')
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
