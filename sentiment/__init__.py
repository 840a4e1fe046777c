"""Models of labelled text: train, predict, explain. Functions of arrays, which do not depend on the pipeline.

>>> import sentiment
>>> model = sentiment.load("models/nb-adam")  # doctest: +SKIP
>>> model.predict(["A wonderful film"])  # doctest: +SKIP
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentiment.model import TextModel

__all__ = ["InputError", "load"]


class InputError(ValueError):
    """An error in the user's input. The message is one line per fault: where, expected, got and remedy."""


def load(path: "str | Path") -> "TextModel":
    """A trained model that reads text.

    Args:
        path: A model's folder, ``models/<name>``, or an exported one.

    Returns:
        A model with ``predict(texts)`` and ``explain(text)``. TensorFlow is imported only for a Keras network that the
        compiled kernels cannot compute.

    Raises:
        InputError: A file is missing or damaged, or the files do not belong together.
    """
    from sentiment.model import load

    return load(path)
