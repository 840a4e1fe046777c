"""Text -> words -> ids and back. The exported graph and the model card are derived from these definitions.

The IMDB reviews are split by the rules of the data set's authors, ``Tokens``, and any other corpus by ``Normal``.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Literal, NamedTuple

from sentiment.data.padding import FIRST_WORD, START, UNKNOWN


class Tokens(NamedTuple):
    """Rules by which a text is split into words, a part of ``model.json``.

    Attributes:
        lowercase: True if ASCII letters are lower-cased. Other letters are lower-cased only by ``clean``.
        separators: Characters that separate words, in addition to the space.
    """

    lowercase: bool
    separators: str


class Normal(NamedTuple):
    """Rules by which a normalised text of a user's corpus is split into tokens.

    Attributes:
        unit: ``words``, separated by spaces, or ``characters``, with the token ``SPACE`` for a space.
        lowercase: True if letters are lower-cased.
        symbols: True if each punctuation character and symbol, such as an emoji, is a token; if false, they separate
            words.
    """

    unit: Literal["words", "characters"]
    lowercase: bool
    symbols: bool


AnyTokens = Tokens | Normal

SPACE = "\u2581"
"""The token for a space between words, and for the beginning and end of a text, if tokens are characters.

SentencePiece has the same token.
"""

IMDB = Tokens(lowercase=True, separators=string.punctuation.replace("'", "") + "\t\n")
"""The rules by which the data set's authors split the reviews."""

RULES = (
    (r"[\r\x0b\x0c\x1c-\x1f]", " "),
    (r"(?i)&(?:(?:amp|#0*38|#x0*26);)+", "&"),
    (r"(?i)&(?:apos|[lr]squo|#0*39|#0*821[67]|#x0*27|#x0*201[89]);", "'"),
    (
        r"(?i)&(?:nbsp|quot|[lr]dquo|[mn]dash|hellip|#0*(?:34|160|821[12]|822[01]|8230)|#x0*(?:22|a0|201[34cd]|2026));",
        " ",
    ),
    (r"(?i)(?:<|&lt;)/?br\b[^<>&\n]*(?:>|&gt;)", "\n"),
    (r"(?i)&(?:[lg]t|#0*6[02]|#x0*3[ce]);", "\n"),
)
"""Patterns and their replacements, in this order: ASCII white space that ``encode`` does not know, and markup.

The patterns have the same meaning in Python's ``re`` (with ``re.ASCII``) and in RE2, which TensorFlow uses.
"""

MARKUP = (
    (r"(?i)(?:https?://|www\.)[^ \t\r\n<>\"]+", " "),
    *RULES,
    (r"(?i)</?(?:a|b|big|blockquote|center|div|em|font|h[1-6]|hr|i|img|li|ol|p|small|span|strong|table|td|th|tr|u|ul)\b"
     r"[^<>]*>", " "),
)  # fmt: skip
"""Patterns and replacements for ``Normal`` tokens: web addresses and the usual tags are removed too."""

_MARKUP = [(re.compile(pattern, re.ASCII), replacement) for pattern, replacement in MARKUP]
_RULES = [(re.compile(pattern, re.ASCII), replacement) for pattern, replacement in RULES]
_MARKED = re.compile(r"[\r\x0b\x0c\x1c-\x1f&<]")
_SPECIAL = {0: "", START: "", UNKNOWN: "?"}
_KIN = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02b9\u02bc\xb4", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\xab\xbb", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    "\u2026": "...",
}


def from_dict(values: dict) -> AnyTokens:
    """The rules that ``model.json`` records."""
    return Normal(**values) if "unit" in values else Tokens(**values)


def words(text: str, tokens: AnyTokens = IMDB) -> list[str]:
    """The words of a text: separators become spaces, and spaces separate words. ``Normal`` needs a cleaned text.

    >>> words("A film, isn't it?")
    ['a', 'film', "isn't", 'it']
    >>> words("A film, isn't it?", Tokens(lowercase=False, separators="?"))
    ['A', 'film,', "isn't", 'it']
    >>> words("so bad", Normal("characters", lowercase=True, symbols=False))
    ['▁', 's', 'o', '▁', 'b', 'a', 'd', '▁']
    """
    if isinstance(tokens, Normal):
        if tokens.unit == "characters":
            return [*f" {text} ".replace(" ", SPACE)] if text else []
        return text.split(" ") if text else []
    return [*filter(None, text.translate(_table(tokens)).split(" "))]


def join(gram: Iterable[str], tokens: AnyTokens = IMDB) -> str:
    """Successive tokens as one text."""
    return ("" if isinstance(tokens, Normal) and tokens.unit == "characters" else " ").join(gram)


def put_as(tokens: AnyTokens) -> str:
    """The replacement of each character below U+0100, after which spaces separate the ``words`` of a cleaned text."""
    letters = "".join(map(chr, range(256)))
    return letters.translate(_table(tokens)) if isinstance(tokens, Tokens) else letters


@cache
def _table(tokens: Tokens) -> dict:
    """The table for ``str.translate`` that lower-cases letters and replaces separators by spaces."""
    upper, lower = (string.ascii_uppercase, string.ascii_lowercase) if tokens.lowercase else ("", "")
    return str.maketrans(upper + tokens.separators, lower + " " * len(tokens.separators))


@cache
def _word(tokens: Tokens) -> re.Pattern:
    """The pattern of a word before lower-casing."""
    return re.compile(f"[^ {re.escape(tokens.separators)}]+")


def make_index(counts: Counter[str]) -> dict[str, int]:
    """The rank of each word, 1 for the most frequent. Words of equal frequency are in the order of their code points.

    >>> make_index(Counter({"film": 2, "the": 5, "a": 2}))
    {'the': 1, 'a': 2, 'film': 3}
    """
    return {word: rank for rank, word in enumerate(sorted(counts, key=lambda word: (-counts[word], word)), start=1)}


def encode(text: str, index: dict[str, int], vocabulary: int, tokens: AnyTokens = IMDB) -> list[int]:
    """The ids of a text, computed as the data set's authors did for the reviews.

    Args:
        text: Any text.
        index: Rank of each word, from 1; words that are not in it are dropped.
        vocabulary: Ids from this number on become ``UNKNOWN``.
        tokens: Rules that split the text.

    Returns:
        ``START``, then an id per word.

    >>> encode("A film, isn't it?", {"a": 1, "film": 2, "isn't": 9}, vocabulary=10)
    [1, 4, 5, 2]
    """
    ranks = [index[word] for word in words(text, tokens) if word in index]
    return [START, *(rank + FIRST_WORD if rank + FIRST_WORD < vocabulary else UNKNOWN for rank in ranks)]


def clean(text: str, index: dict[str, int] | None = None, vocabulary: int = 0, tokens: AnyTokens = IMDB) -> str:
    """Clean a text of any source, so that ``words`` and ``encode`` find the words that a reader sees.

    White space of any kind and ``<br>`` in any spelling separate words. The usual HTML entities separate words too,
    except that an entity of an apostrophe becomes an apostrophe. A word with characters other than ASCII is kept if its
    id is below ``vocabulary``. Otherwise it is replaced by the result of ``fold``, if a part of the result is in the
    index. All other text is kept. Cleaning a cleaned text changes nothing. With ``Normal`` tokens, the result is that
    of ``normalise``, and the index is not used.

    Args:
        text: Any text.
        index: As for ``encode``; without an index, every word that is not ASCII is folded.
        vocabulary: As for ``encode``.
        tokens: As for ``encode``.

    >>> clean("It wasn\\u2019t good\\u2026<BR>It", {"wasn't": 1, "good": 2}, vocabulary=10)
    "It wasn't good...\\nIt"
    """
    if isinstance(tokens, Normal):
        return normalise(text, tokens)
    if text.isascii() and _MARKED.search(text) is None:
        return text

    def known(match: re.Match) -> str:
        word = match[0]
        if word.isascii():
            return word
        if index is None:
            return fold(word)
        if index.get(word.translate(_table(tokens)), vocabulary) + FIRST_WORD < vocabulary:
            return word
        folded = fold(word)
        return folded if any(part in index for part in words(folded, tokens)) else word

    before = None
    while text != before and not (text.isascii() and _MARKED.search(text) is None):
        before = text
        for pattern, replacement in _RULES:
            text = pattern.sub(replacement, text)
        if not text.isascii():
            text = _word(tokens).sub(known, text)
    return text


@lru_cache(1 << 16)
def fold(word: str) -> str:
    """The word in the spelling that most reviewers type: ``fold_character`` of each character, accents composed (NFC).

    >>> fold("Wasn\\u2019t"), fold("FILM\\xa0CLICHE\\u0301"), fold("film\\x96bad")
    ("wasn't", 'film cliché', 'film-bad')
    """
    return unicodedata.normalize("NFC", word.translate(_FOLD))


def normalise(text: str, tokens: Normal) -> str:
    """A text without markup and web addresses: ``normal_character`` of each character, and single spaces between words.

    Canonically equivalent texts have the same result (NFC). With ``lowercase``, an i with and without a dot are the
    same letter: Turkish has both, and the lower case of I depends on the language.

    >>> normalise("<p>It wasn\u2019t GOOD\u2026 \U0001f44d", Normal("words", lowercase=True, symbols=True))
    "it wasn't good . . . \U0001f44d"
    >>> normalise("CAFE\u0301!", Normal("words", lowercase=True, symbols=False))
    'café'
    """
    text = unicodedata.normalize("NFC", text)
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    text = unicodedata.normalize("NFC", text.translate(_normal(tokens)))
    if tokens.lowercase and DOTTED in text:
        text = unicodedata.normalize("NFC", text.replace(DOTTED, "i"))
    return " ".join(text.split())


DOTTED = "i\u0307"
"""A lower-case i with a second dot, which is the lower case of a dotted capital I."""


def normal_character(letter: str, tokens: Normal) -> str:
    """The replacement of a character.

    Letters are lower-cased with ``tokens.lowercase``. A compatibility character is replaced by its normal form
    (Unicode's NFKC). Quotes and dashes become those of ASCII. Characters without a width are removed. White space
    becomes a space. Each punctuation character and symbol except the apostrophe becomes a token with
    ``tokens.symbols``, and otherwise a space. Control characters from \\x80 to \\x9f are read as Windows-1252.
    """
    if "\x80" <= letter <= "\x9f":
        letter = bytes([ord(letter)]).decode("cp1252", "replace")
    category = unicodedata.category(letter)
    if letter in "\u200b\ufeff\ufffd" or category == "Cc" or category[0] == "Z":
        return " "
    if category == "Cf" or "VARIATION SELECTOR" in unicodedata.name(letter, ""):
        return ""
    compatible = unicodedata.normalize("NFKC", letter)
    if letter in _KIN:
        compatible = letter
    elif category == "No" or (category[0] in "SP" and len(compatible) > 1):
        compatible = letter  # NFKC would turn ½ into other numbers, and ™ into letters
    if tokens.lowercase:
        compatible = compatible.lower().replace("\u0131", "i")
    compatible = "".join(_KIN.get(part, part) for part in compatible)
    other = " {} " if tokens.symbols else " "
    return "".join(
        part if unicodedata.category(part)[0] in "LMN" or part == "'" else other.format(part) for part in compatible
    )


def fold_character(letter: str) -> str:
    """Replacement of a character.

    Letters are lower-cased. A compatibility form of a letter is replaced by the letter (Unicode's NFKC). Quotes, dashes
    and ellipses become those of ASCII. White space and every other sign that is not ASCII become a space. Characters
    without a width are removed, except two that may separate words and become a space. Control characters from \\x80 to
    \\x9f are read as Windows-1252, because words of the index show that encoding (``well\\x85``).
    """
    if letter.isascii():
        return letter.lower()
    if "\x80" <= letter <= "\x9f":
        letter = bytes([ord(letter)]).decode("cp1252", "replace")
    if letter in _KIN:
        return _KIN[letter]
    category = unicodedata.category(letter)
    if letter in "\u200b\ufeff":
        return " "
    if category == "Cf" or "VARIATION SELECTOR" in unicodedata.name(letter, ""):
        return ""
    if category[0] in "ZPS" or category == "Cc":
        return " "
    if category == "No":  # NFKC would turn characters like ½ into other numbers
        return letter
    plain = unicodedata.normalize("NFKC", letter).lower()
    if plain == letter:
        return letter
    return "".join(" " if part in string.punctuation else fold_character(part) for part in plain)


def decode(ids: list[int], index: dict[str, int]) -> str:
    """The words of ids, with single spaces between them, and "?" for ``UNKNOWN`` and for ids that are not in the index.

    Padding and ``START`` are skipped.

    >>> decode([0, 1, 4, 5, 2, 99], {"a": 1, "film": 2})
    'a film ? ?'
    """
    word_of = {rank + FIRST_WORD: word for word, rank in index.items()} | _SPECIAL
    return " ".join(filter(None, (word_of.get(id, "?") for id in ids)))


class _Fold(dict):
    """``fold_character`` by code point; an entry is added at its first use."""

    def __missing__(self, point: int) -> str:
        self[point] = fold_character(chr(point))
        return self[point]


_FOLD = _Fold()


class _Normal(dict):
    """``normal_character`` by code point; an entry is added at its first use."""

    def __init__(self, tokens: Normal):
        self.tokens = tokens

    def __missing__(self, point: int) -> str:
        self[point] = normal_character(chr(point), self.tokens)
        return self[point]


_normal = cache(_Normal)
