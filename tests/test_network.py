import numpy as np
import pytest

from sentiment import InputError, archive, network
from sentiment.archive import keras
from sentiment.network import Sizes

AROUND_A_VECTOR = [  # sizes beside those of a vector
    {"lstm": 1, "dense": 1, "filters": 1, "embedding": 1, "vocabulary": 4},
    {"lstm": 16, "dense": 16, "filters": 17, "embedding": 16},
    {"lstm": 17, "dense": 33, "filters": 16, "embedding": 17},
]


def reviews(sizes, count, seed=0):
    """Padded ids of `count` reviews of all lengths, an empty and a full one among them."""
    random = np.random.default_rng(seed)
    ids = random.integers(1, sizes.vocabulary, (count, sizes.max_length))
    lengths = random.integers(0, sizes.max_length + 1, count)
    lengths[:2] = 0, sizes.max_length
    ids[np.arange(sizes.max_length) < sizes.max_length - lengths[:, None]] = 0
    return ids.astype("u2")


def test_the_published_run_has_its_parameters_and_shapes():
    sizes = Sizes(100, 500, 32, 32, 5, 2, 50, 0.2, 25)
    assert sizes.parameters == 39053
    assert sizes.shapes == (
        (500, 32), (5, 32, 32), (32,), (32, 200), (50, 200), (200,), (50, 25), (25,), (25, 1), (1,)
    )  # fmt: skip
    assert Sizes(500, 5000, 32, 32, 5, 2, 100, 0.2, 25).parameters == 220903


def test_first_weights_are_drawn_as_keras_draws_them():
    sizes = Sizes(50, 2000, 32, 48, 5, 2, 64, 0.2, 900)
    keras.utils.set_random_seed(1)
    model = archive.to_keras(sizes, network.first_weights(sizes, 1))
    fresh = keras.models.clone_model(model)  # a clone draws its weights anew
    for ours, theirs in zip(model.weights, fresh.weights, strict=True):
        name, mine, theirs = ours.path, ours.numpy(), theirs.numpy()
        if "bias" in name:
            np.testing.assert_array_equal(mine, theirs, name)
        else:
            np.testing.assert_allclose(np.std(mine), np.std(theirs), rtol=0.1, err_msg=name)
            np.testing.assert_allclose(np.abs(mine).max(), np.abs(theirs).max(), rtol=0.2, err_msg=name)


def test_first_weights_follow_the_seed(sizes):
    first = network.first_weights(sizes, 5)
    assert (first == network.first_weights(sizes, 5)).all()
    assert (first != network.first_weights(sizes, 6)).any()
    assert first.dtype == np.float32


def test_padding_the_weights_keeps_each_number_and_adds_zeros(sizes):
    flat = np.arange(1, sizes.parameters + 1, dtype="f4")
    padded = network.pad(sizes, flat)
    assert sorted(padded[padded != 0]) == flat.tolist()
    np.testing.assert_array_equal(network.unpad(sizes, padded), flat)
    weights = network.weights_in(sizes, padded)
    assert all(np.shares_memory(weight, padded) for weight in weights)
    assert weights.embedding[0, : sizes.embedding].tolist() == flat[: sizes.embedding].tolist()
    *_, recurrent, bias, dense, _, _, _ = np.split(flat, np.cumsum(sizes.counts)[:-1])
    units, width = sizes.lstm, weights.dense.shape[0]
    forget = recurrent.reshape(units, 4, units)[:, 1]
    np.testing.assert_array_equal(weights.gates[-width:, width : 2 * width][:units, :units], forget)
    np.testing.assert_array_equal(weights.gates_bias.reshape(4, width)[:, :units], bias.reshape(4, units))
    np.testing.assert_array_equal(weights.dense[:units, : sizes.dense], dense.reshape(units, sizes.dense))


def test_first_steps_are_the_last_that_see_only_padding_plus_one(sizes):
    """By brute force: a step sees a word if any of its pooled windows does."""
    ids = reviews(sizes, 40)
    side = sizes.kernel // 2
    padded = np.pad(ids, ((0, 0), (side, side)))
    expected = []
    for row in padded:
        sees = [row[s * sizes.pool : s * sizes.pool + sizes.pool - 1 + sizes.kernel].any() for s in range(sizes.steps)]
        expected.append(sees.index(True) if any(sees) else 0)
    np.testing.assert_array_equal(network.first_steps(sizes, ids), expected)


@pytest.mark.parametrize("count", [1, 2, 5, 11])
@pytest.mark.parametrize("batch", [1, 4, 100])
def test_predictions_are_those_of_keras_for_any_batch(sizes, count, batch):
    weights = network.first_weights(sizes, 2) * 3
    ids = reviews(sizes, max(count, 2))[:count]
    ours = network.predict(sizes, weights, ids, batch=batch)
    theirs = archive.to_keras(sizes, weights).predict(ids.astype("i4"), verbose=0)[:, 0]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_bits_of_a_prediction_depend_on_no_other_review(sizes):
    weights = network.first_weights(sizes, 2) * 3
    ids = reviews(sizes, 100)
    together = network.predict(sizes, weights, ids, batch=100)
    alone = [network.predict(sizes, weights, row[None], batch=1) for row in ids]
    np.testing.assert_array_equal(together, np.concatenate(alone))


@pytest.mark.parametrize(
    "changes",
    [
        {"pool": 1},
        {"pool": 3},
        {"pool": 17},
        {"kernel": 1},
        {"kernel": 17},
        {"lstm": 1},
        {"max_length": 6},
        *AROUND_A_VECTOR,
    ],
)
def test_predictions_are_those_of_keras_at_the_edges(sizes, changes):
    sizes = Sizes(**vars(sizes) | changes)
    weights = network.first_weights(sizes, 2) * 3
    ids = reviews(sizes, 6)
    theirs = archive.to_keras(sizes, weights).predict(ids.astype("i4"), verbose=0)[:, 0]
    np.testing.assert_allclose(network.predict(sizes, weights, ids, batch=6), theirs, atol=1e-5)


def test_progress_counts_every_review(sizes):
    seen = []
    network.predict(sizes, network.first_weights(sizes, 2), reviews(sizes, 7), batch=3, progress=seen.append)
    assert seen == [3, 3, 1]


@pytest.mark.parametrize("wrong", ["long", "unknown", "negative"])
def test_ids_that_are_not_the_networks_are_refused(sizes, wrong):
    ids = reviews(sizes, 3).astype("i4")
    ids = np.pad(ids, ((0, 0), (1, 0))) if wrong == "long" else ids
    ids[-1, -1] = {"long": 1, "unknown": sizes.vocabulary, "negative": -1}[wrong]
    with pytest.raises(InputError, match="ids: expected 17 per review, from 0 to 299, got"):
        network.predict(sizes, network.first_weights(sizes, 2), ids, batch=2)
