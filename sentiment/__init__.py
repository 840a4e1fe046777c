"""The library behind the stages: pure functions of arrays and numbers that know no paths and no params file."""


class InputError(ValueError):
    """The user's input is at fault: the message says what, expected, got and remedy, in one line."""
