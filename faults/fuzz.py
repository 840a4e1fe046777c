"""Coverage-guided fuzzers of the readers of unknown bytes: `python -m faults.fuzz raw -max_total_time=600`.

They need atheris, which is not among the locked packages; its options are those of libFuzzer.
"""

import io
import pickle
import sys
import zipfile
from contextlib import suppress

import numpy as np

from sentiment import InputError
from sentiment.data import raw, text

INDEX = {"film": 1, "a": 2, "isn't": 3, "\u00e9t\u00e9": 4, "rare": 90, "rarer": 96}
VOCABULARY = 95


class Plain(pickle.Unpickler):
    """Unpickler that calls only the functions that NumPy needs for a pickled array."""

    def find_class(self, module: str, name: str) -> object:
        """Return a function of NumPy that makes an array, and refuse all others."""
        if f"{module}.{name}" not in raw._GLOBALS:
            raise pickle.UnpicklingError
        return super().find_class(module, name)


HEADER = io.BytesIO()
np.lib.format.write_array_header_1_0(HEADER, {"descr": "|O", "fortran_order": False, "shape": (2,)})


def read_raw(data: bytes) -> None:
    """Read bytes as an archive, a pickled array or its items; accepted reviews must equal those that NumPy reads."""
    kind, data = data[:1], data[1:]
    file = io.BytesIO(data)
    pickled = raw._BEFORE[0] + b"K\x02" + raw._BEFORE[1] + data if kind < b"\x80" else data
    if kind < b"\xf0":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x_train.npy", HEADER.getvalue() + pickled)
    with suppress(InputError):
        reviews = [review for ranks, lengths in raw.reviews(file, "train") for review in split(ranks, lengths)]
        if kind < b"\xf0":
            assert reviews == [*Plain(io.BytesIO(pickled)).load()]


def split(ranks, lengths) -> list[list[int]]:
    """Split concatenated ranks into reviews."""
    ends = [*lengths.cumsum()]
    return [[*map(int, ranks[begin:end])] for begin, end in zip([0, *ends], ends, strict=False)]


def read_text(data: bytes) -> None:
    """Clean and encode text: the start id must be first, and all other ids must be below the vocabulary."""
    written = data.decode("utf-8", "surrogateescape")
    ids = text.encode(text.clean(written, INDEX, VOCABULARY), INDEX, VOCABULARY)
    assert ids[0] == 1
    assert all(0 < word < VOCABULARY for word in ids)


TARGETS = {"raw": read_raw, "text": read_text}

if __name__ == "__main__":
    import atheris  # ty: ignore[unresolved-import]

    target = TARGETS[sys.argv.pop(1)]
    atheris.instrument_func(target)
    for module in (raw, text):
        for name, value in vars(module).items():
            if callable(value) and getattr(value, "__module__", "") == module.__name__ and hasattr(value, "__code__"):
                setattr(module, name, atheris.instrument_func(value))
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
