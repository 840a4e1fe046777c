"""The text of ``params.yaml`` -> plain values, by PyYAML, but as YAML 1.2 and DVC read it.

PyYAML's own safe loader speaks YAML 1.1: ``1e-3`` is a text there, ``on`` a truth, ``017`` fifteen, and of two equal
keys the last one counts. A stage must not see other values than DVC records.
"""

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from sentiment import InputError

MOST_KEYS = 10_000
LONGEST_NUMBER = 100  # digits; Python refuses to print those of thousands


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers and truths of YAML 1.2, refusing equal keys and other versions."""

    def process_directives(self):
        """The version and tags that a document begins with."""
        version, tags = super().process_directives()
        if version not in (None, (1, 2)):
            raise ConstructorError(
                None, None, f"expected YAML 1.2, got {version[0]}.{version[1]}", self.peek_token().start_mark
            )
        return version, tags

    def compose_mapping_node(self, anchor):
        """A mapping, no two of whose keys are the same."""
        node, seen = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise ConstructorError(None, None, f"found duplicate key {key.value!r}", key.start_mark)
            seen.add((key.tag, str(key.value)))
        return node

    def flatten_mapping(self, node):
        """Put the mappings that ``<<`` names into a mapping; a few levels of them could make one without an end."""
        super().flatten_mapping(node)
        if len(node.value) > MOST_KEYS:
            raise ConstructorError(None, None, f"expected at most {MOST_KEYS:,} keys in a mapping", node.start_mark)

    def construct_integer(self, node) -> int:
        """An int, in decimal also where it begins with 0."""
        text = _digits(self.construct_scalar(node))
        return int(text, 0 if re.match("[-+]?0[box]", text) else 10)

    def construct_float(self, node) -> float:
        """A float; ``.inf`` and ``.nan`` are floats."""
        text = _digits(self.construct_scalar(node)).lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))


NUMBERS = {  # as in ruamel.yaml, DVC's reader: the kind, how it is written, and the characters it may begin with
    "bool": ("true|True|TRUE|false|False|FALSE", "tTfF"),
    "float": (
        r"[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.[0-9_]+([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "int": ("[-+]?0b[01_]+|[-+]?0o?[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+", "-+0123456789"),
}
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag.rpartition(":")[2] not in NUMBERS]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for kind, (pattern, first) in NUMBERS.items():
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"(?:{pattern})$"), list(first))
Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_integer)
Loader.add_constructor("tag:yaml.org,2002:float", Loader.construct_float)


def load(text: str) -> Any:
    """The values of a params file.

    Raises:
        InputError: It is no YAML 1.2, or has a key twice: one line that names the place.

    >>> load("{rate: 1e-3, on: off}")
    {'rate': 0.001, 'on': 'off'}
    """
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        fault = ", ".join(filter(None, (error.context, error.problem)))
        raise InputError(f"params.yaml: not readable as YAML: {place}{fault}") from None
    except (KeyError, AttributeError):  # PyYAML's own of `!!bool x` and `!!timestamp x`
        raise InputError(
            "params.yaml: not readable as YAML: a value is not of the type that its tag (!!) says"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # characters, numbers, and depth that no one needs
        raise InputError(f"params.yaml: not readable as YAML: {' '.join(str(error).split())}") from None


def _digits(text: str) -> str:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} characters, expected at most {LONGEST_NUMBER}")
    return text.replace("_", "")
