"""The compiled trainer: the same bits on every processor.

The arithmetic of a network is written out, every rounding of it, and compiled by Numba for the processor at hand, which
may compute independent numbers side by side but may reorder nothing. ``Network`` lays a Keras model's layers out as
``blocks``; ``trainer`` trains and predicts with them. Nothing here needs Keras.
"""

import os
import platform

os.environ["NUMBA_DISABLE_JIT"] = "0"  # the instructions of ``vectors`` are not Python's


def promise() -> str:
    """One line on what computes, and whether the bits made here are those of other machines."""
    machine, bits = platform.machine(), "the compiled trainer: the bits are those of every x86-64 and Arm processor"
    if machine.lower() in ("x86_64", "amd64", "aarch64", "arm64"):
        return bits
    return f"{bits}, which should hold for others but has not been seen: this one is {machine}"
