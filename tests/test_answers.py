"""The edges of an answer: one half, a text as long as the model reads, and words that weigh alike."""

import numpy as np
import pytest

from sentiment.model import Asker, strongest

INDEX = {"good": 1, "film": 2, "rare": 3}


def ask(text: str, probability: float):
    """The answer of a model of four ids that gives every text one probability."""
    asker = Asker(
        lambda rows: np.full(len(rows), probability, "f4"), INDEX, max_length=4, vocabulary=6, labels=["bad", "good"]
    )
    return asker.ask([text])[0]


@pytest.mark.parametrize(("probability", "label"), [(0.0, "bad"), (0.5, "bad"), (0.500001, "good"), (1.0, "good")])
def test_the_second_label_is_above_one_half(probability, label):
    answer = ask("good film", probability)
    assert answer.label == label
    assert answer.probability == pytest.approx(probability)


@pytest.mark.parametrize(
    ("words", "truncated"), [("good good", False), ("good good film", False), ("good good film film", True)]
)
def test_a_text_is_cut_that_has_more_ids_than_the_model_reads_its_start_among_them(words, truncated):
    assert ask(words, 0.7).truncated is truncated


def test_effects_are_ordered_by_size_and_equal_ones_by_their_words():
    effects = [("b", 0.2), ("a", 0.2), ("d", -0.2), ("c", -0.3), ("e", 0.0), ("f", 0.1)]
    assert strongest(effects, 2) == [("c", -0.3), ("a", 0.2), ("b", 0.2), ("d", -0.2)]
    assert strongest(effects, 9) == [("c", -0.3), ("a", 0.2), ("b", 0.2), ("d", -0.2), ("f", 0.1)]
