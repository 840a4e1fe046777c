"""Kinds of model. Each kind is one file, whose name is the value of ``architecture.kind`` in ``params.yaml``.

The file of a kind has

- ``Settings``, the schema of ``pad``, ``architecture`` and ``train``, a ``schema.ModelSettings``;
- ``FILE``, the name of the model file;
- ``PARALLEL``, true if several processes can share the training by ``engine: compiled``;
- ``make_trainer(settings, reviews, labels, state)``, which returns a ``training.Trainer`` with two more methods:
  ``save()`` returns the bytes of the model file, and ``table()`` returns the table of layers as text;
- ``open_model(content, expected)``, which returns a ``Model`` from the bytes of the model file. ``expected`` is the
  digest of the weights. ``model.read`` compares it with the weights, so ``open_model`` need not.

Importing the file of a kind imports no TensorFlow, Numba or scikit-learn. Its functions import them. A kind can be made
of other kinds, which its file imports: see ``parts``.
"""

import ast
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np

from sentiment import InputError
from sentiment.data.padding import Reviews

NAMES = sorted(module.name for module in pkgutil.iter_modules(__path__))
"""Names of all kinds."""


Effects = list[tuple[Sequence[int], float]]
"""Words or n-grams of a review, each as a sequence of word ids, and the effect of each."""


class Model(Protocol):
    """A trained model.

    Attributes:
        promise: One line that names the trainer and the machines on which the bits are the same.
        parallel: True if several processes can share a prediction.
        weights: float32 [parameters].
        labels: Number of labels.
        unit: Unit of the effects.
    """

    promise: str
    parallel: bool
    weights: np.ndarray
    labels: int
    unit: str

    def predict(
        self, reviews: Reviews, *, batch: int, progress: Callable[[int], None] = lambda reviews: None
    ) -> np.ndarray:
        """The probability of label 1 of each review, float32 [reviews]; of more labels, of each, [reviews, labels].

        Args:
            reviews: Word ids in the form that the stage ``pad`` writes.
            batch: Maximum number of reviews predicted at once.
            progress: Called after each batch with the number of reviews in it.

        Raises:
            InputError: The length or the vocabulary of the ids is not that of the model.
        """

    def explain(self, reviews: Reviews, *, batch: int, count: int) -> tuple[np.ndarray, list[Effects]]:
        """The result of ``predict``, and the effect of each word or n-gram on it, in ``unit``.

        The effects are on the prediction of label 1; with more than two labels, on that of the predicted label.

        Args:
            reviews: Word ids.
            batch: As for ``predict``.
            count: Minimum number of the largest effects above 0, and of those below 0; -1 for all.

        Returns:
            The probabilities, and the effects in each review, in any order. Each n-gram occurs once.
        """


@cache
def find(name: object) -> ModuleType:
    """The module of a kind.

    Raises:
        InputError: There is no such kind; the message lists the existing ones.
    """
    if name not in NAMES:
        raise InputError(f"kind: expected one of {', '.join(NAMES)}, got {name!r:.80}")
    return importlib.import_module(f"{__name__}.{name}")


def parts(kind: str) -> dict[str, Path]:
    """The other kinds that a kind is made of: those that it imports, and those that they import, with their files.

    >>> [*parts("wide_deep")], [*parts("gru")]
    (['cnn_lstm', 'ngrams'], [])
    """
    whole, new = set(), {kind}
    while new:
        whole |= new
        new = set().union(*map(_imports, new)) - whole
    return {part: file_of(part) for part in sorted(whole - {kind})}


def file_of(kind: str) -> Path:
    """The file of a kind."""
    return Path(__path__[0], f"{kind}.py")


def _imports(kind: str) -> set[str]:
    """The kinds that the file of a kind imports, anywhere in it."""
    modules = set()
    for node in ast.walk(ast.parse(file_of(kind).read_bytes())):
        if isinstance(node, ast.ImportFrom):
            package = resolve_name("." * node.level + (node.module or ""), __name__)
            modules |= {package, *(f"{package}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return {name for name in NAMES if f"{__name__}.{name}" in modules}
