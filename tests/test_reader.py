"""The stages see the values that DVC sees: PyYAML reads params.yaml as DVC's reader does."""

import math

import pytest
from dvc.utils.serialize import dumps_yaml, loads_yaml
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from sentiment import InputError
from stages.common.reader import MAX_NUMBER_CHARACTERS, load
from tests.conftest import ROOT

words = st.from_regex(r"[A-Za-z0-9_.+~<=\-]+([A-Za-z0-9_.+~<=:\-]*[A-Za-z0-9_.+~<=\-]+)?", fullmatch=True)
numbers = st.one_of(
    st.from_regex(r"[-+]?[0-9_]{0,4}\.?[0-9_]{0,4}([eE][-+]?[0-9]{0,2})?", fullmatch=True),
    st.from_regex(r"[-+]?0[box]?[0-9a-fA-F_]{1,5}", fullmatch=True),
    st.from_regex(r"[0-9]{1,4}[-:][0-9]{1,2}([-:][0-9]{1,2})?", fullmatch=True),
)
booleans = ["true", "True", "TRUE", "tRUE", "false", "yes", "Yes", "no", "on", "On", "off", "y", "n"]
others = ["null", "Null", "NULL", "~", ".inf", "-.Inf", "+.INF", ".nan", ".NaN", "-.nan", "=", "<<"]
keys = st.from_regex("[a-z]{1,3}", fullmatch=True)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


def same(ours, theirs) -> bool:
    """True if types and values are equal; NaN equals NaN."""
    if isinstance(ours, dict):
        return isinstance(theirs, dict) and [*ours] == [*theirs] and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    both_nan = isinstance(ours, float) and isinstance(theirs, float) and math.isnan(ours) and math.isnan(theirs)
    return type(ours) is type(theirs) and (ours == theirs or both_nan)


@given((words | numbers | st.sampled_from(booleans + others)).filter(bool))
@example("1e-3")
@example(".5e3")
@example("017")
@example("0o17")
@example("1_000")
@example("12:30:45")
@example("+_1")
@example("0b_")
def test_a_word_or_number_is_what_dvc_reads(scalar):
    """A file that DVC cannot read is an error of the stage, too. DVC's parser in C refuses colons in lists besides."""
    for text in (f"key: {scalar}", f"key: [{scalar}, 1]", f"key: '{scalar}'"):
        try:
            theirs = YAML(typ="safe", pure="[" in text).load(text)
        except Exception:
            with pytest.raises(InputError, match=r"^params\.yaml: not readable as YAML: .*$"):
                load(text)
        else:
            assert same(load(text), theirs)


@given(values)
def test_what_dvc_writes_is_read_back_the_same(value):
    text = dumps_yaml({"key": value})
    assert same(load(text), loads_yaml(text))


def test_the_project_file_is_what_dvc_reads():
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert same(load(text), loads_yaml(text))


BOMB = "x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 8)}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2\n", "line 2, column 1: found duplicate key 'a'"),
        ("a: {b: 1, b: 2}", "line 1, column 11: found duplicate key 'b'"),
        ("a: {", "line 1, column 5: while parsing a flow node, expected the node content"),
        ("a: &a [*b]", "line 1, column 8: found undefined alias 'b'"),
        ("a: !!python/name:os.system x", "could not determine a constructor"),
        ("%YAML 1.1\n---\na: on\n", "expected YAML 1.2, got 1.1"),
        ("a: 1\n---\na: 2\n", "line 2, column 1: expected a single document in the stream"),
        ("a: \x00", "special characters are not allowed"),
        (f"a: {'9' * 5000}", f"a number of 5000 characters, expected at most {MAX_NUMBER_CHARACTERS}"),
        (f"a: {'[' * 3000}", "maximum recursion depth exceeded"),
        ('a: "\\UFFFFFFFF"', "int too large"),
        (f"{BOMB}? *x29\n: 1\n", "line 6, column 5: expected at most 100,000 values, and aliases stand for more"),
    ],
)
def test_what_is_no_yaml_is_refused_in_one_line_that_names_line_and_column(text, expected):
    with pytest.raises(InputError) as caught:
        load(text)
    assert str(caught.value).startswith("params.yaml: not readable as YAML: ")
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["a: !!bool x", "a: !!timestamp x", "a: !!int ''", "a: !!binary x", "a: !!omap 3"])
def test_a_value_that_is_not_what_its_tag_says_is_one_line(text):
    with pytest.raises(InputError, match=r"^params\.yaml: not readable as YAML: .*$"):
        load(text)


def test_twenty_levels_of_merged_mappings_are_refused_at_once():
    levels = (f"l{n}: &l{n}\n  <<: [*l{n - 1}, *l{n - 1}]\n" for n in range(1, 21))
    with pytest.raises(InputError, match="expected at most 100,000 values"):
        load("l0: &l0 {a: 1}\n" + "".join(levels))


def test_the_version_of_dvc_may_be_named():
    assert load("%YAML 1.2\n---\na: on\n") == {"a": "on"}
