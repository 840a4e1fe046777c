"""n-grams against counting by hand, and against scikit-learn's own vectorizers of the decoded words."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from sentiment import InputError
from sentiment.data import ngrams
from sentiment.data.ngrams import BITS, LONGEST
from sentiment.data.padding import FIRST_WORD
from sentiment.data.text import decode
from sentiment.engine.functions import log
from sentiment.kinds.ngrams import Features

INDEX = {f"w{rank}": rank for rank in range(1, 40)}
ALL = {"minimum": 1, "most": 10**9}


def make(reviews: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranks and lengths; some reviews are empty, and some shorter than the longest n-gram."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 30, reviews) * random.integers(0, 5, reviews).clip(0, 1)
    return np.minimum(random.zipf(1.4, lengths.sum()), 39).astype(np.int32), lengths


def split(ranks, lengths) -> list[list[int]]:
    return [review.tolist() for review in np.split(ranks, np.cumsum(lengths)[:-1])]


def number(words) -> int:
    return sum(int(word) << BITS * n for n, word in enumerate(words))


def by_hand(review: list[int], longest: int) -> Counter:
    """How often each n-gram is in a review, by its number."""
    sizes = range(1, longest + 1)
    return Counter(number(review[at : at + n]) for n in sizes for at in range(len(review) - n + 1))


def vectorize(kind, longest, **settings):
    """scikit-learn's vectorizer, on words as they are."""
    return kind(ngram_range=(1, longest), token_pattern=r"\S+", lowercase=False, **settings)


def texts(ranks, lengths) -> list[str]:
    return [decode([rank + FIRST_WORD for rank in review], INDEX) for review in split(ranks, lengths)]


def columns_of(vectorizer, grams) -> list[int]:
    """Where scikit-learn has each of our columns."""
    words = (filter(None, (int(gram) >> BITS * n & 2**BITS - 1 for n in range(LONGEST))) for gram in grams)
    return [vectorizer.vocabulary_[" ".join(f"w{word}" for word in gram)] for gram in words]


@given(st.integers(1, 12), st.integers(1, LONGEST), st.integers(0, 2**31))
def test_the_counts_are_those_counted_by_hand(reviews, longest, seed):
    ranks, lengths = make(reviews, seed)
    expected = [by_hand(review, longest) for review in split(ranks, lengths)]
    known = sorted(set().union(*expected))
    if not known:
        with pytest.raises(InputError, match=r"grams\.minimum = 1: no n-gram is in so many of"):
            ngrams.learn(ranks, lengths, longest=longest, **ALL)
        return
    grams, counts = ngrams.learn(ranks, lengths, longest=longest, **ALL)
    assert grams.tolist() == known
    assert counts.toarray().tolist() == [[found[gram] for gram in known] for found in expected]
    assert (ngrams.count(ranks, lengths, grams) != counts).nnz == 0


@pytest.mark.parametrize(("longest", "minimum"), [(1, 1), (2, 3), (3, 2)])
def test_counts_and_tfidf_are_those_of_scikit_learn_on_the_words(longest, minimum):
    train, test = make(60, 1), make(60, 2)
    grams, counts = ngrams.learn(*train, longest=longest, minimum=minimum, most=10**9)
    vectorizer = vectorize(CountVectorizer, longest, min_df=minimum).fit(texts(*train))
    order = columns_of(vectorizer, grams)
    assert len(grams) == len(vectorizer.vocabulary_)
    for reviews, ours in ((train, counts), (test, ngrams.count(*test, grams))):
        np.testing.assert_array_equal(ours.toarray(), vectorizer.transform(texts(*reviews)).toarray()[:, order])
    vectorizer = vectorize(TfidfVectorizer, longest, min_df=minimum).fit(texts(*train))
    features = Features.learn("tfidf", counts, np.zeros(60, "u1"))
    ours = features.compute(ngrams.count(*test, grams)).toarray()
    np.testing.assert_allclose(ours, vectorizer.transform(texts(*test)).toarray()[:, order], rtol=1e-6)
    assert 0 in test[1]  # an empty review has no length to divide by


def test_the_n_grams_of_the_most_reviews_are_kept_of_equals_the_lower():
    ranks, lengths = np.array([3, 5, 5, 5, 3, 4, 4, 7, 3, 7]), np.array([4, 2, 4])  # in 3, 1, 2 and 1 reviews
    for most, kept in ((1, [3]), (2, [3, 4]), (3, [3, 4, 5]), (4, [3, 4, 5, 7]), (9, [3, 4, 5, 7])):
        grams, counts = ngrams.learn(ranks, lengths, longest=1, minimum=1, most=most)
        assert grams.tolist() == kept
        assert counts.shape == (3, len(kept))
    assert ngrams.learn(ranks, lengths, longest=1, minimum=2, most=9)[0].tolist() == [3, 4]


def test_the_log_count_ratio_is_its_formula_and_zero_where_both_sides_are_alike():
    ranks, lengths = make(40, 3)
    labels = (np.arange(40) % 3 == 0).astype("u1")
    grams, counts = ngrams.learn(ranks, lengths, longest=2, **ALL)
    found = [by_hand(review, 2) for review in split(ranks, lengths)]
    p, q = (
        np.array([1 + sum(gram in found[at] for at in np.flatnonzero(labels == label)) for gram in grams.tolist()])
        for label in (1, 0)
    )
    expected = np.log((p / p.sum()) / (q / q.sum()))
    np.testing.assert_allclose(ngrams.log_count_ratio(counts, labels), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(ngrams.log_count_ratio(counts, 1 - labels), -expected, rtol=1e-5, atol=1e-7)
    twice = np.tile(ranks, 2), np.tile(lengths, 2)
    _, both = ngrams.learn(*twice, longest=2, **ALL)
    assert np.abs(ngrams.log_count_ratio(both, np.repeat([0, 1], 40))).max() == 0


def test_the_highest_rank_is_kept_apart_and_a_higher_one_refused():
    highest = 2**BITS - 1
    grams, _ = ngrams.learn(np.array([highest] * 3), np.array([3]), longest=LONGEST, **ALL)
    assert grams.tolist() == sorted(number([highest] * n) for n in (1, 2, 3))
    assert (grams > 0).all()
    with pytest.raises(InputError, match=f"expected word ranks below {2**BITS}, got {2**BITS}"):
        ngrams.learn(np.array([highest + 1]), np.array([1]), longest=1, **ALL)


def test_the_logarithm_is_exact_to_the_last_digits():
    x = np.concatenate([np.geomspace(1e-300, 1e300, 4001), 1 + np.linspace(-1e-3, 1e-3, 2001), np.arange(1.0, 3000)])
    exact = np.log(x.astype(np.longdouble))
    assert (np.abs(log(x) - exact) <= 4e-16 * np.maximum(1, np.abs(exact))).all()
