"""Edge cases of an answer: a probability of one half, a text of the maximum length, and equal effects."""

import json
import re
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment import InputError
from sentiment import __main__ as command
from sentiment.data.padding import UNKNOWN
from sentiment.data.text import IMDB, SPACE, Normal, encode, words
from sentiment.kinds.ngrams import Linear, Weighting
from sentiment.model import TextModel, strongest
from sentiment.network import occlusion
from tests.conftest import about_of, examples

INDEX = {"good": 1, "film": 2, "rare": 3}


def ask(text: str, probability: float):
    """The answer of a model of four ids that gives every text one probability."""
    return TextModel(Constant(probability), INDEX, about_of(max_length=4, vocabulary=6)).predict(text)[0]


class Constant:
    """A model that gives every review one probability, or the same probability of each label."""

    unit = "probability"

    def __init__(self, probability: float | list[float]):
        self.probability, self.seen = probability, []

    def predict(self, reviews, *, batch):
        self.seen.append(reviews.tolist())
        return np.array([self.probability] * len(reviews), "f4")


def test_the_first_word_beyond_the_vocabulary_is_the_first_that_is_unknown():
    index, constant = {"good": 1, "film": 2, "rare": 3, "word": 4}, Constant(0.6)
    model = TextModel(constant, index, about_of(max_length=5, vocabulary=6))
    inside, beyond = model.predict(["good film", "film rare zxcvb word"])
    assert (inside.unknown, beyond.unknown) == (0, 3)
    assert constant.seen == [[[0, 0, 1, 4, 5], [0, 1, 5, 2, 2]]]


def test_texts_are_taken_in_batches_from_any_iterable_and_answers_keep_their_order():
    constant = Constant(0.6)
    model = TextModel(constant, INDEX, about_of(max_length=4, vocabulary=6))
    answers = model.predict(text for text in ["good film", "", "zxcvb"] * 400)
    assert [len(batch) for batch in constant.seen] == [
        171,
        171,
        58,
    ]  # of 512, 512 and 176 texts, without empty and unknown ones
    assert [answer.label for answer in answers] == ["good", "", ""] * 400
    assert np.isnan(answers[1].probability)
    assert (answers[1].error, answers[2].error) == (
        "the text is empty; expected words",
        "no word of it that the model reads is in its vocabulary; expected text with words as in its corpus",
    )
    assert model.predict([]) == []
    assert [answer.error for answer in model.predict("")] == ["the text is empty; expected words"]
    with pytest.raises(TypeError, match="expected strings, got int"):
        model.predict(["good", 3])


def test_the_effect_of_a_word_is_the_fall_of_the_output_without_it_and_an_unknown_word_has_none():
    def total(reviews, *, batch):
        return (reviews.sum(axis=1) / 100).astype("f4")

    reviews = np.array([[0, 1, 4, 2, 4], [1, 2, 2, 9, 5]], "u1")
    effects = [dict(pairs) for pairs in occlusion(total, reviews, total(reviews, batch=2), 2)]
    assert effects == [{(4,): pytest.approx(0.04)}, {(5,): pytest.approx(0.03), (9,): pytest.approx(0.07)}]


class Grams(Constant):
    """A model of three n-grams."""

    unit = "log-odds"

    def explain(self, reviews, *, batch, count):
        return self.predict(reviews, batch=batch), [[((4, 5), 0.5), ((4,), 0.25), ((5, 6), -0.5)]]


def test_an_explanation_shades_each_word_by_the_effects_of_its_n_grams_and_shows_itself():
    model = TextModel(Grams(0.75), INDEX, about_of(max_length=9, vocabulary=9))
    explanation = model.explain("GOOD <b>film</b> zxcvb, rare & good film")
    words = ["good", "b", "film", "b", "zxcvb", "rare", "good", "film"]
    assert explanation.shades == [*zip(words, [0.5, 0, 0.0, 0, 0, -0.25, 0.5, 0.25], strict=True)]
    assert explanation.answer.words == [("film rare", -0.5), ("good film", 0.5), ("good", 0.25)]
    assert str(explanation) == "good      P(good)=0.7500  film rare-0.500 good film+0.500 good+0.250"
    page = explanation._repr_html_()
    assert page.count("<span") == len(words)
    assert "probability of <i>good</i>: 0.7500" in page
    assert "green: towards good; red: towards bad; effects in log-odds" in page
    assert re.findall(r"background:rgba\(([\d,.]+)\)[^>]*>(good|rare|zxcvb)<", page) == [
        ("0,128,0,0.60", "good"), ("200,0,0,0.00", "zxcvb"), ("200,0,0,0.30", "rare"), ("0,128,0,0.60", "good"),
    ]  # fmt: skip
    green, red = "\x1b[48;5;34m\x1b[97mgood\x1b[0m", "\x1b[48;5;88m\x1b[97mrare\x1b[0m"
    colored = explanation.colored()
    assert (colored.count("\x1b[48;5;"), colored.count(green), colored.count(red)) == (4, 2, 1)
    assert model.explain("film rare").colored().count("\x1b[48;5;124m") == 2  # divided by the largest absolute effect
    index = {"<script>": 1, "film": 2, "rare": 3}
    hostile = TextModel(Grams(0.75), index, about_of(max_length=9, vocabulary=9, separators="?"))
    page = hostile.explain("<script> film")._repr_html_()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


def test_an_explanation_of_three_labels_is_of_the_predicted_one():
    labels = ("bad", "good", "mixed")
    model = TextModel(Grams([0.25, 0.25, 0.5]), INDEX, about_of(max_length=9, vocabulary=9, labels=labels))
    explanation = model.explain("good film")
    answer = explanation.answer
    assert (answer.label, answer.probability, answer.probability_of) == ("mixed", 0.5, "mixed")
    assert answer.probabilities == {"bad": 0.25, "good": 0.25, "mixed": 0.5}
    assert explanation.labels == ("other labels", "mixed")
    page = explanation._repr_html_()
    assert "<b>mixed</b> &nbsp; probability of <i>mixed</i>: 0.5000" in page
    assert "green: towards mixed; red: towards other labels" in page


@given(st.lists(st.text(st.sampled_from("abC' .\t,é\xa0"), max_size=30), max_size=5))
def test_ids_and_unknown_words_are_those_that_encode_finds(texts):
    index, constant = {"a": 1, "b": 2, "c": 3, "ab": 4, "a'b": 5, "é": 6}, Constant(0.6)
    model = TextModel(constant, index, about_of(max_length=30, vocabulary=7))  # its last word is "c"
    answers = model.predict(texts)
    cleaned = [model.clean(text) for text in texts]
    ids = [encode(text, index, 7) for text in cleaned]
    seen = [[0] * (30 - len(each)) + each for each in ids if max(each) > UNKNOWN]
    assert [row for batch in constant.seen for row in batch] == seen
    known = {"a", "b", "c"}
    assert [answer.unknown for answer in answers] == [sum(w not in known for w in words(text)) for text in cleaned]


HOSTILE = [
    "<br", "&#0038;", "&amp;" * 9, "&lt;br", "</p", "http://", "www.", "\u0130", "\u0301" * 9, "\U0001f44d\u200d",
    "good", "\ud800", "film", "\0", "\x85", "\xad", "\u202e", "\r\n", "\x1b[31m", " ", "'", "a" * 99, "\uff21",
    "\u1112\u1161",
]  # fmt: skip
TOKENS = [IMDB, Normal("words", lowercase=True, symbols=True), Normal("characters", lowercase=True, symbols=False)]


@pytest.mark.parametrize("tokens", TOKENS, ids=["IMDB", "words", "characters"])
@examples(10)
@given(pieces=st.lists(st.text() | st.sampled_from(HOSTILE)), times=st.sampled_from([1, 1, 1, 2000]), raw=st.binary())
def test_any_text_has_an_answer_and_any_line_is_a_text_or_refused(tmp_path, tokens, pieces, times, raw):
    index = INDEX | {SPACE: 4, **{letter: number for number, letter in enumerate("gofilm\u1112", 5)}}
    linear = Linear(Weighting("tfidf", np.ones(4, "f4")), np.array([4, 5, 4 + (5 << 21), 8]), np.arange(5, dtype="f4"))
    model = TextModel(linear, index, about_of(max_length=None, vocabulary=None) | {"tokens": tokens._asdict()})
    text = "".join(pieces) * times
    (answer,) = model.predict(text, words=3)
    assert (answer.error == "") == (0 < answer.probability < 1)
    json.loads(command.as_json(answer))
    explanation = model.explain(text)
    assert explanation.answer[:2] == answer[:2] or answer.error
    assert "\n" not in f"{explanation.colored()}{answer}"
    assert explanation._repr_html_()
    content = raw + text.encode("utf-8", "surrogatepass")
    (tmp_path / "lines").write_bytes(content)
    with (tmp_path / "lines").open("rb", buffering=0) as file:
        read = [line for batch in command.lines(file, "line") for line in batch]
    assert [line.content for line in read] == [*content.split(b"\n")][: len(read)]
    for line in read:
        with suppress(InputError):
            model.predict(command.decode(line))


@pytest.mark.parametrize(("probability", "label"), [(0.0, "bad"), (0.5, "bad"), (0.500001, "good"), (1.0, "good")])
def test_the_second_label_is_above_one_half(probability, label):
    answer = ask("good film", probability)
    assert answer.label == label
    assert answer.probability == pytest.approx(probability)


@pytest.mark.parametrize(
    ("words", "truncated"), [("good good", False), ("good good film", False), ("good good film film", True)]
)
def test_a_text_is_truncated_if_it_has_with_its_start_id_more_ids_than_the_model_reads(words, truncated):
    assert ask(words, 0.7).truncated is truncated


def test_a_text_whose_known_words_are_cut_off_has_no_label():
    assert ask("good rare rare rare", 0.7).label == "good"
    answer = ask("good rare rare rare rare", 0.7)
    assert (answer.label, answer.unknown) == ("", 4)
    assert answer.error.startswith("no word of it that the model reads is in its vocabulary")


def test_effects_are_ordered_by_size_and_equal_ones_by_their_words():
    effects = [("b", 0.2), ("a", 0.2), ("d", -0.2), ("c", -0.3), ("e", 0.0), ("f", 0.1)]
    assert strongest(effects, 2) == [("c", -0.3), ("a", 0.2), ("b", 0.2), ("d", -0.2)]
    assert strongest(effects, 9) == [("c", -0.3), ("a", 0.2), ("b", 0.2), ("d", -0.2), ("f", 0.1)]


def test_of_equal_effects_those_first_in_the_order_of_words_are_named():
    class Ties(Constant):
        def explain(self, reviews, *, batch, count):
            effects = [((6,), 0.5), ((5,), 0.5), ((4,), 0.5), ((6, 5), -0.25), ((4, 5), -0.25), ((5, 6), -0.5)]
            return self.predict(reviews, batch=batch), [effects]

    model = TextModel(Ties(0.75), INDEX, about_of(max_length=9, vocabulary=7))  # "rare" is its last word
    for count, expected in (
        (1, [("film", 0.5), ("film rare", -0.5)]),
        (2, [("film", 0.5), ("film rare", -0.5), ("good", 0.5), ("good film", -0.25)]),
    ):
        (answer,) = model.predict("good film", words=count)
        assert answer.words == expected


def test_a_text_without_a_known_character_has_no_label_though_each_text_has_known_spaces():
    index = {word: rank for rank, word in enumerate(words("good", Normal("characters", True, False))[:-1], 1)}
    assert SPACE in index
    about = about_of(max_length=9, vocabulary=None) | {"tokens": Normal("characters", True, False)._asdict()}
    known, unknown = TextModel(Constant(0.7), index, about).predict(["dog", "x y"])
    assert (known.label, unknown.label, unknown.unknown) == ("good", "", 2)
    assert unknown.error.startswith("no word of it that the model reads is in its vocabulary")
    few = TextModel(
        Constant(0.7), {SPACE: 1, "g": 2, "o": 3, "d": 4}, about | {"pad": {"max_length": 9, "vocabulary": 6}}
    )
    known, rare = few.predict(["dog", "do"])  # its only letter is "g"
    assert (known.label, rare.label, rare.unknown) == ("good", "", 2)
