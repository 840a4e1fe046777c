import hashlib
import itertools
import json
import string
import unicodedata
from functools import cache, partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from keras.src.legacy.preprocessing.text import text_to_word_sequence

from sentiment.data import text
from sentiment.engine.lookup import Lookup

INDEX = {"a": 1, "film": 2, "isn't": 3, "b-movie": 4, "rare": 96, "rarer": 97}


@given(st.text(st.characters(max_codepoint=126, exclude_characters="\r\v\f")))
def test_words_are_split_as_keras_splits_them(written):
    words = [word for word in text_to_word_sequence(written)]
    index = {word: rank for rank, word in enumerate(sorted(set(words)), start=1)}
    assert text.encode(written, index, 10**6) == [1, *(index[word] + 3 for word in words)]


def test_case_is_folded_only_in_ascii():
    assert text.encode("FILM Éa", INDEX, 100) == [1, 5]


def test_a_hyphen_separates_words_and_an_apostrophe_does_not():
    assert text.encode("A b-movie isn't a film.", INDEX, 100) == [1, 4, 6, 4, 5]


def test_the_first_id_outside_the_vocabulary_is_unknown():
    assert text.encode("rare rarer", INDEX, 100) == [1, 99, 2]


def test_an_empty_text_is_its_start():
    assert text.encode("", INDEX, 100) == [1]


def test_an_id_that_no_word_has_is_no_error():
    assert text.decode([1, 4, 1000, 2], INDEX) == "a ? ?"


WORDS = ("it", "wasn't", "good", "bad", "film", "cliché", "boring", "next", "tis", "br")
SPOKEN = {word: rank for rank, word in enumerate(WORDS, 1)}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("It wasn\u2019t good.", "it wasn't good"),
        ("it wasn\xb4t, it wasn&rsquo;t, it wasn&#39;t, it wasn&amp;#8217;t", " ".join(["it wasn't"] * 4)),
        ("good\r\nfilm\x0bnext\x0cfilm\x1cbad\rfilm", "good film next film bad film"),
        ("good\xa0film\u2028next\u3000film\u2009bad\x85", "good film next film bad"),
        (
            "film\u2026boring, good\u2014bad\u2013boring, \u201cboring\u201d \xabbad\xbb",
            "film boring good bad boring boring bad",
        ),
        ("good<br /><br />film<BR>bad<br/>next<br clear='all'>film</br >bad", "good film bad next film bad"),
        ("good&lt;br /&gt;film &amp;lt;BR&amp;gt; bad<br&nbsp;/>next", "good film bad next"),
        ("good&nbsp;film &quot;bad&quot; &mdash;boring&hellip;next R&amp;D", "good film bad boring next"),
        ("cliche\u0301 CLICH\xc9 CLICHE\u0301", "cliché cliché cliché"),
        ("\uff26\uff49\uff4c\uff4d \uff1cbr\uff1ebad", "film br bad"),
        ("\ufeffgood\u200bfilm ba\u00add bo\u200dring", "good film bad boring"),
        ("film\x96bad wasn\x92t \x93good\x94 next\x85", "film bad wasn't good next"),
        ("good\U0001f600film \u2764\ufe0fbad", "good film bad"),
        ("na\xefve caf\xe9", ""),
    ],
    ids=ascii,
)
def test_cleaned_text_has_the_words_that_a_reader_sees(written, read):
    cleaned = text.clean(written, SPOKEN, 100)
    assert text.decode(text.encode(cleaned, SPOKEN, 100), SPOKEN) == read


def test_a_word_of_the_vocabulary_is_kept_and_a_rarer_one_is_replaced_by_a_common_spelling():
    index = {"it": 1, "it's": 2, "it\u2019s": 50, "well\x85": 51, "\x96": 52}
    for word in index:
        assert text.encode(text.clean(word, index, 100), index, 100) == [1, index[word] + 3]
    assert text.encode(text.clean("it\u2019s", index, 40), index, 40) == [1, 5]
    assert [text.encode(text.clean("it\u2019s", index, size), index, size) for size in (53, 54)] == [[1, 5], [1, 53]]
    assert text.encode(text.clean("\x96", index, 40), index, 40) == [1, 2]  # there is no other spelling


PRINTABLE = st.text(st.characters(max_codepoint=126, exclude_characters="\r\v\f\x1c\x1d\x1e\x1f&<"))
HOSTILE = st.lists(
    st.sampled_from(
        [
            *"<>&;/ '#x\r\n\x85\x96\xa0\xb4\xbd\xc9e\u0301\u2019\u2026\u200b\uff41\uff06\uff1c\ufb01",
            "br",
            "amp;",
            "lt;",
            "&gt;",
            "&#39;",
        ]
    )
).map("".join)


@given(PRINTABLE)
def test_cleaning_does_not_change_plain_ascii(written):
    assert text.clean(written, SPOKEN, 100) == written


@example("<\uff42\uff52>bad")  # full-width letters in a tag
@given(st.one_of(st.text(), HOSTILE))
def test_cleaning_twice_is_cleaning_once(written):
    index = {"é": 1, "br": 2, "x'é": 3, "fi": 4, "\u2019": 5, "a": 6, "e\u2026": 99}
    once = text.clean(written, index, 50)
    assert text.clean(once, index, 50) == once


def test_no_character_is_replaced_by_markup_or_by_what_is_replaced_again():
    letters = map(chr, range(0x110000))
    changed = {letter: put for letter in letters if (put := text.fold_character(letter)) != letter}
    assert not set("".join(changed.values())) & set(string.punctuation) - set("'\"-.")
    assert [letter for letter, put in changed.items() if text.fold(put) != put] == []


NORMAL = [
    text.Normal(unit, lower, symbols) for unit in ("words", "characters") for lower in (1, 0) for symbols in (1, 0)
]


@pytest.mark.parametrize("tokens", NORMAL, ids=str)
@given(written=st.one_of(st.text(), HOSTILE))
def test_normalised_text_does_not_depend_on_composition_and_does_not_change_when_normalised_again(tokens, written):
    forms = {text.normalise(unicodedata.normalize(form, written), tokens) for form in ("NFC", "NFD")}
    once = text.normalise(written, tokens)
    assert forms == {once}
    assert "  " not in once
    assert once == once.strip()


def test_the_replacement_of_each_character_does_not_depend_on_the_version_of_python():
    """Checks Unicode 3.2 without ideographs and syllables. All of Unicode 13 were the same on Python 3.10 to 3.13."""
    seen = hashlib.sha256()
    for letter in map(chr, itertools.chain(range(0x3400), range(0xF900, 0x20000))):
        if unicodedata.ucd_3_2_0.category(letter) not in ("Cn", "Co"):
            normal = (text.normal_character(letter, tokens) for tokens in NORMAL[:4])
            seen.update("\x1f".join([letter, text.fold_character(letter), *normal]).encode())
    assert seen.hexdigest()[:16] == "2c0ecf0145c3f76e"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("\u1112\u1161\u11ab\u1100\u1173\u11af", ["\ud55c\uae00"]),
        ("e\u0302\u0323 e\u0323\u0302", ["\u1ec7", "\u1ec7"]),
        ("\uff27\uff2f\uff2f\uff24!", ["good", "!"]),
        ("\u0130stanbul I\u015fik \u0131", ["istanbul", "i\u015fik", "i"]),
        ("<b>fine</b><br/>&amp; http://a.b/c?d=e WWW.a.b/c dull", ["fine", "&", "dull"]),
        ("so \U0001f44d\u200d\ufe0f :)", ["so", "\U0001f44d", ":", ")"]),
        ("\U0001f44d", ["\U0001f44d"]),
    ],
    ids=ascii,
)
def test_symbols_are_tokens_and_letters_are_normalised(written, words):
    tokens = text.Normal("words", lowercase=True, symbols=True)
    assert text.words(text.clean(written, tokens=tokens), tokens) == words
    plain = tokens._replace(symbols=False)
    letters = [word for word in words if any(letter.isalpha() for letter in word)]
    assert text.words(text.clean(written, tokens=plain), plain) == letters


WORDY = st.lists(
    st.sampled_from(["it", "Wasn't", "good", "9", "99", "x'\xe9", "\xc9", "film,", " ", "\t", "\0", "\ud800"])
)
NUMBERS = {str(number): number for number in range(1, 3000)}
LOOKED = SPOKEN | NUMBERS | {"x'\xe9": 5000, "\xc9": 5001, "\0": 5002, "\ud800": 5003, "It": 5004}
LOOKUP = cache(partial(Lookup, LOOKED))


@pytest.mark.parametrize("tokens", [text.IMDB, text.Tokens(False, "."), text.Normal("words", True, True)], ids=str)
@given(texts=st.lists(st.one_of(st.text(), HOSTILE, WORDY.map(" ".join), WORDY.map("".join)), max_size=4))
def test_a_lookup_finds_the_rank_of_each_word(tokens, texts):
    cleaned = [text.clean(written, LOOKED, 9000, tokens) for written in texts]
    ranks, counts = LOOKUP(tokens)(cleaned)
    expected = [text.words(written, tokens) for written in cleaned]
    assert counts.tolist() == [*map(len, expected)]
    assert ranks.tolist() == [LOOKED.get(word, 0) for words in expected for word in words]


def test_a_lookup_finds_every_word_of_its_index():
    words = [*NUMBERS]
    assert LOOKUP(text.IMDB)([" ".join(words[:1000]), " ".join(words[1000:])])[0].tolist() == [*NUMBERS.values()]


def test_every_word_of_the_real_index_is_found_through_cleaning(imdb):
    index = json.loads((imdb / "imdb_word_index.json").read_text())
    ids = {word: text.encode(text.clean(word, index, 88_588), index, 88_588) for word in index}
    assert ids == {word: [1, rank + 3] for word, rank in index.items()}


def test_a_review_encoded_and_decoded_by_the_real_index_is_the_same(imdb):
    index = json.loads((imdb / "imdb_word_index.json").read_text())
    review = "this isn't a bad film but the acting was awful"
    assert text.decode(text.encode(review, index, 88_588), index) == review
