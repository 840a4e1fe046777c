"""The compiled trainer: the same bits on every processor.

The code writes down every rounding of a network's arithmetic. Numba compiles it for the processor at hand, which may
compute independent numbers in parallel but may reorder nothing. ``Network`` turns the layers of a Keras model into
``blocks``. ``trainer`` trains and predicts with the blocks. Nothing here needs Keras.

Another order of a floating-point sum gives other bits. So the docstring of each function that sums says: "The order of
the sums is part of the contract."
"""

import os
import platform

os.environ["NUMBA_DISABLE_JIT"] = "0"  # Python cannot run the instructions of ``vectors``


def promise() -> str:
    """One line that names the trainer and the machines on which the bits are the same."""
    machine, bits = platform.machine(), "compiled arithmetic: the same bits on every x86-64 and Arm processor"
    if machine.lower() in ("x86_64", "amd64", "aarch64", "arm64"):
        return bits
    return f"{bits}; they should be the same on this processor too, but this has not been tested: {machine}"
