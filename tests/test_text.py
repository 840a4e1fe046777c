import json

from hypothesis import given
from hypothesis import strategies as st
from keras.src.legacy.preprocessing.text import text_to_word_sequence

from sentiment import text

INDEX = {"a": 1, "film": 2, "isn't": 3, "b-movie": 4, "rare": 96, "rarer": 97}


@given(st.text(st.characters(max_codepoint=126, exclude_characters="\r\v\f")))
def test_words_are_cut_as_keras_cuts_them(written):
    words = [word for word in text_to_word_sequence(written)]
    index = {word: rank for rank, word in enumerate(sorted(set(words)), start=1)}
    assert text.encode(written, index, 10**6) == [1, *(index[word] + 3 for word in words)]


def test_case_is_folded_in_ascii_alone():
    assert text.encode("FILM Éa", INDEX, 100) == [1, 5]


def test_a_hyphen_parts_words_and_an_apostrophe_does_not():
    assert text.encode("A b-movie isn't a film.", INDEX, 100) == [1, 4, 6, 4, 5]


def test_the_first_id_outside_the_vocabulary_is_unknown():
    assert text.encode("rare rarer", INDEX, 100) == [1, 99, 2]


def test_an_empty_text_is_its_start():
    assert text.encode("", INDEX, 100) == [1]


def test_the_real_index_takes_a_review_there_and_back(imdb):
    index = json.loads((imdb / "imdb_word_index.json").read_text())
    review = "this isn't a bad film but the acting was awful"
    assert text.decode(text.encode(review, index, 88_588), index) == review
