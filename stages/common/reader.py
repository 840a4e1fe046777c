"""The text of ``params.yaml`` -> plain values, by PyYAML, with the rules of YAML 1.2 as in DVC.

PyYAML's safe loader reads YAML 1.1. There ``1e-3`` is a string, ``on`` is true, ``017`` is 15, and the last of two
equal keys is used. A stage must read the same values as DVC records.
"""

import re
from itertools import chain
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from sentiment import InputError

MOST_VALUES = 100_000
MAX_NUMBER_CHARACTERS = 100  # Python refuses to print numbers of thousands of digits


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers and booleans of YAML 1.2; equal keys and other versions are errors."""

    def process_directives(self):
        """The version and tags at the beginning of a document."""
        version, tags = super().process_directives()
        if version not in (None, (1, 2)):
            raise ConstructorError(
                None, None, f"expected YAML 1.2, got {version[0]}.{version[1]}", self.peek_token().start_mark
            )
        return version, tags

    def compose_node(self, parent, index):
        """A node and its ``size``, the number of its values. An alias counts as all values that it stands for."""
        is_alias, node = self.check_event(yaml.AliasEvent), super().compose_node(parent, index)
        if is_alias:
            return node
        inside = chain(*node.value) if isinstance(node, yaml.MappingNode) else node.value
        is_scalar = isinstance(node, yaml.ScalarNode)
        node.size = 1 if is_scalar else 1 + sum(getattr(each, "size", 1) for each in inside)  # none in a circle
        if node.size > MOST_VALUES:
            problem = f"expected at most {MOST_VALUES:,} values, and aliases stand for more"
            raise ConstructorError(None, None, problem, node.start_mark)
        return node

    def compose_mapping_node(self, anchor):
        """A mapping whose keys are all different."""
        node, seen = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise ConstructorError(None, None, f"found duplicate key {key.value!r}", key.start_mark)
            seen.add((key.tag, str(key.value)))
        return node

    def construct_integer(self, node) -> int:
        """An int; a number that begins with 0 is decimal."""
        text = _digits(self.construct_scalar(node))
        return int(text, 0 if re.match("[-+]?0[box]", text) else 10)

    def construct_float(self, node) -> float:
        """A float; ``.inf`` and ``.nan`` are floats."""
        text = _digits(self.construct_scalar(node)).lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))


NUMBERS = {  # as in ruamel.yaml, DVC's reader: type, pattern, and possible first characters
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
        InputError: The text is not YAML 1.2, or has a key twice. The message is one line with the position.

    >>> load("{rate: 1e-3, on: off}")
    {'rate': 0.001, 'on': 'off'}
    """
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        fault = ", ".join(filter(None, (error.context, error.problem)))
        raise InputError(f"params.yaml: not readable as YAML: {position}{fault}") from None
    except (KeyError, AttributeError):  # PyYAML raises these for `!!bool x` and `!!timestamp x`
        raise InputError(
            "params.yaml: not readable as YAML: a value is not of the type that its tag (!!) says"
        ) from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:  # characters, numbers, extreme depth
        raise InputError(f"params.yaml: not readable as YAML: {' '.join(str(error).split())}") from None


def _digits(text: str) -> str:
    if len(text) > MAX_NUMBER_CHARACTERS:
        raise ValueError(f"a number of {len(text)} characters, expected at most {MAX_NUMBER_CHARACTERS}")
    return text.replace("_", "")
