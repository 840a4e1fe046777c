"""The compiled trainer: the same bits on every processor.

The arithmetic of a network is written out, every rounding of it, and compiled by Numba for the processor at hand, which
may compute independent numbers side by side but may reorder nothing. ``Network`` lays a Keras model's layers out as
``blocks``; ``trainer`` trains and predicts with them. Nothing here needs Keras.
"""

import platform


def promise() -> str:
    """One line on whether the bits made here are those of other machines."""
    machine = platform.machine()
    if machine.lower() in ("x86_64", "amd64", "aarch64", "arm64"):
        return "the bits are those of every x86-64 and Arm processor"
    return f"the bits should be those of x86-64 and Arm processors, which has not been seen: this one is {machine}"
