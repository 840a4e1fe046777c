"""The arrays of a split, which `pad` wrote. Only `train` and `evaluate` import it: it needs `sentiment/data`."""

from pathlib import Path

import numpy as np

from sentiment import InputError
from sentiment.data.padding import Ragged, Reviews
from stages.common.files import read_array


def read_split(name: str, split: str, different: int) -> tuple[Reviews, np.ndarray]:
    """A model's reviews of a split, word ids as ``pad`` wrote them, and their labels, unsigned int [reviews].

    Args:
        name: Name of the model.
        split: ``train`` or ``test``.
        different: The number of different labels.

    Raises:
        InputError: The arrays do not belong together.
    """
    ids, labels, lengths = (read_array(Path("data", name, f"{kind}_{split}.npy")) for kind in ("x", "y", "lengths"))
    unsigned = all(np.issubdtype(array.dtype, np.unsignedinteger) for array in (ids, labels, lengths))
    words = lengths.sum() if ids.ndim == 1 and unsigned else len(ids)
    fits = labels.ndim == 1 and lengths.shape == labels.shape and words == (len(ids) if ids.ndim == 1 else len(labels))
    if not unsigned or ids.ndim not in (1, 2) or not fits or not len(labels) or labels.max() >= different:
        raise InputError(
            f"data/{name}: expected the ids, a length and a label, 0 to {different - 1}, of each review, got {split}"
            f" ids {ids.dtype} {[*ids.shape]}, lengths {lengths.dtype} {[*lengths.shape]} and labels {labels.dtype}"
            f" {[*labels.shape]}; `dvc repro pad@{name}` makes them again"
        )
    return Ragged(ids, lengths) if ids.ndim == 1 else ids, labels
