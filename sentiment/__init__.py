"""The library behind the stages: pure functions of arrays and numbers that know no paths and no params file."""

DECIMALS = 6
"""Of every tracked figure: NumPy's exp and log differ between instruction sets by some units in the last place."""


class InputError(ValueError):
    """The user's input is at fault: the message says what, expected, got and remedy, in one line."""
