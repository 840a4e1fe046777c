"""n-grams against counting by hand, and against scikit-learn's vectorizers on the decoded words."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from sentiment import InputError
from sentiment.data import ngrams
from sentiment.data.ngrams import BITS, MAX_N, bits_for
from sentiment.data.padding import FIRST_WORD, START, UNKNOWN, Ragged, words_of
from sentiment.data.text import decode
from sentiment.engine.functions import log
from sentiment.kinds.ngrams import Weighting

INDEX = {f"w{rank}": rank for rank in range(1, 40)}
ALL = {"min_df": 1, "max_features": 10**9}


def make(reviews: int, seed: int) -> Ragged:
    """Reviews of word ids; some reviews are empty, and some shorter than the longest n-gram."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 30, reviews) * random.integers(0, 5, reviews).clip(0, 1)
    return Ragged(np.minimum(random.zipf(1.4, lengths.sum()), 39).astype(np.uint32) + FIRST_WORD, lengths)


def split(reviews: Ragged) -> list[list[int]]:
    return [reviews[at : at + 1].ids.tolist() for at in range(len(reviews))]


def number(words, bits=BITS) -> int:
    return sum(int(word) << bits * n for n, word in enumerate(words))


def by_hand(review: list[int], longest: int, ending: int = 0) -> Counter:
    """Counts of the n-grams in a review and in its last words; the keys are the numbers of the n-grams."""
    sizes, last = range(1, longest + 1), max(0, len(review) - ending)
    bits = bits_for(longest, ending)
    listed = [number(review[at : at + n], bits) for n in sizes for at in range(len(review) - n + 1)]
    return Counter(listed + [
        2**62 + number(review[at : at + n], bits) for n in sizes for at in range(last, len(review) - n + 1)
    ])  # fmt: skip


def vectorize(kind, longest, **settings):
    """scikit-learn's vectorizer for words separated by spaces."""
    return kind(ngram_range=(1, longest), token_pattern=r"\S+", lowercase=False, **settings)


def texts(reviews: Ragged) -> list[str]:
    return [decode(review, INDEX) for review in split(reviews)]


def columns_of(vectorizer, grams) -> list[int]:
    """Column of scikit-learn for each of our columns."""
    return [vectorizer.vocabulary_[decode(ngrams.words(gram), INDEX)] for gram in grams]


@given(st.integers(1, 12), st.integers(1, MAX_N), st.sampled_from([0, 1, 7, 100]), st.integers(0, 2**31))
def test_the_counts_are_those_counted_by_hand(reviews, longest, ending, seed):
    reviews = make(reviews, seed)
    expected = [by_hand(review, longest, ending) for review in split(reviews)]
    known = sorted(set().union(*expected))
    if not known:
        with pytest.raises(InputError, match=r"architecture\.min_df = 1: no n-gram occurs in so many of"):
            ngrams.learn(reviews, longest=longest, **ALL)
        return
    grams, counts = ngrams.learn(reviews, longest=longest, ending=ending, **ALL)
    assert grams.tolist() == known
    assert counts.toarray().tolist() == [[counter[gram] for gram in known] for counter in expected]
    assert (ngrams.count(reviews, grams, bits_for(longest, ending), ending) != counts).nnz == 0


@pytest.mark.parametrize(("longest", "min_df"), [(1, 1), (2, 3), (3, 2)])
def test_counts_and_tfidf_are_those_of_scikit_learn_on_the_words(longest, min_df):
    train, test = make(60, 1), make(60, 2)
    grams, counts = ngrams.learn(train, longest=longest, min_df=min_df, max_features=10**9)
    vectorizer = vectorize(CountVectorizer, longest, min_df=min_df).fit(texts(train))
    order = columns_of(vectorizer, grams)
    assert len(grams) == len(vectorizer.vocabulary_)
    for reviews, ours in ((train, counts), (test, ngrams.count(test, grams))):
        np.testing.assert_array_equal(ours.toarray(), vectorizer.transform(texts(reviews)).toarray()[:, order])
    vectorizer = vectorize(TfidfVectorizer, longest, min_df=min_df).fit(texts(train))
    weighting = Weighting.learn("tfidf", counts, np.zeros(60, "u1"))
    ours = weighting.features(ngrams.count(test, grams)).toarray()
    np.testing.assert_allclose(ours, vectorizer.transform(texts(test)).toarray()[:, order], rtol=1e-6)
    assert 0 in test.lengths  # an empty review has no length to divide by


def test_the_n_grams_of_the_most_reviews_are_kept_and_of_equal_ones_those_with_the_lower_number():
    reviews = Ragged(np.array([3, 5, 5, 5, 3, 4, 4, 7, 3, 7]), np.array([4, 2, 4]))  # in 3, 1, 2 and 1 reviews
    for most, kept in ((1, [3]), (2, [3, 4]), (3, [3, 4, 5]), (4, [3, 4, 5, 7]), (9, [3, 4, 5, 7])):
        grams, counts = ngrams.learn(reviews, longest=1, min_df=1, max_features=most)
        assert grams.tolist() == kept
        assert counts.shape == (3, len(kept))
    assert ngrams.learn(reviews, longest=1, min_df=2, max_features=9)[0].tolist() == [3, 4]
    many = Ragged(np.arange(500, 3, -1), np.array([497]))  # an unstable sort keeps the order only of a few
    assert ngrams.learn(many, longest=1, min_df=1, max_features=300)[0].tolist() == [*range(4, 304)]


def test_padding_and_start_are_no_words_and_an_n_gram_with_an_unknown_word_is_not_counted():
    review = [START, 7, 8, UNKNOWN, 9, 9]
    whole = Ragged(np.array([*review, START]), np.array([len(review), 1]))
    padded = np.array([[0, 0, *review], [0] * 7 + [START]], "u1")
    for reviews in (whole, padded):
        words = words_of(reviews)
        assert (words.ids.tolist(), words.lengths.tolist()) == ([7, 8, UNKNOWN, 9, 9], [5, 0])
        grams, counts = ngrams.learn(words, longest=3, **ALL)
        expected = {(7,): 1, (8,): 1, (9,): 2, (7, 8): 1, (9, 9): 1}
        assert dict(zip(map(ngrams.words, grams), counts.toarray()[0].tolist(), strict=True)) == expected
        assert counts.toarray()[1].sum() == 0


def test_the_log_count_ratio_follows_its_formula_and_is_zero_where_both_labels_have_the_same_counts():
    reviews = make(40, 3)
    labels = (np.arange(40) % 3 == 0).astype("u1")
    grams, counts = ngrams.learn(reviews, longest=2, **ALL)
    counters = [by_hand(review, 2) for review in split(reviews)]
    p, q = (
        np.array([1 + sum(gram in counters[at] for at in np.flatnonzero(labels == label)) for gram in grams.tolist()])
        for label in (1, 0)
    )
    expected = np.log((p / p.sum()) / (q / q.sum()))
    np.testing.assert_allclose(ngrams.log_count_ratio(counts, labels), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(ngrams.log_count_ratio(counts, 1 - labels), -expected, rtol=1e-5, atol=1e-7)
    twice = Ragged(np.tile(reviews.ids, 2), np.tile(reviews.lengths, 2))
    _, both = ngrams.learn(twice, longest=2, **ALL)
    assert np.abs(ngrams.log_count_ratio(both, np.repeat([0, 1], 40))).max() == 0


@pytest.mark.parametrize(
    ("longest", "ending", "bits"),
    [(1, 0, 21), (3, 0, 21), (4, 0, 15), (5, 0, 12), (1, 9, 20), (3, 9, 20), (4, 9, 15), (5, 9, 12)],
)
def test_the_highest_id_fits_into_a_number_and_a_higher_one_is_refused(longest, ending, bits):
    highest, all_of = 2**bits - 1, {"longest": longest, "ending": ending, **ALL}
    grams, _ = ngrams.learn(Ragged(np.array([highest] * longest), np.array([longest])), **all_of)
    numbers = sorted(number([highest] * n, bits) for n in range(1, longest + 1))
    assert grams.tolist() == numbers + [2**62 + each for each in numbers if ending]
    assert (grams > 0).all()
    assert ngrams.words_in(grams, bits) == longest
    sizes = [*range(1, longest + 1)] * (2 if ending else 1)
    assert [ngrams.words(gram, bits) for gram in grams] == [(highest,) * n for n in sizes]
    with pytest.raises(InputError, match=f"n-grams of {longest}: expected word ids below {2**bits}, got {2**bits}"):
        ngrams.learn(Ragged(np.array([highest + 1]), np.array([1])), **all_of)


def test_the_logarithm_is_exact_to_the_last_digits():
    x = np.concatenate([np.geomspace(1e-300, 1e300, 4001), 1 + np.linspace(-1e-3, 1e-3, 2001), np.arange(1.0, 3000)])
    exact = np.log(x.astype(np.longdouble))
    assert (np.abs(log(x) - exact) <= 4e-16 * np.maximum(1, np.abs(exact))).all()
