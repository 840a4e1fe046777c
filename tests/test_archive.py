import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from sentiment import InputError, archive, network
from sentiment.archive import keras


@pytest.fixture(scope="module")
def packed(sizes):
    return archive.pack(archive.to_keras(sizes, network.first_weights(sizes, 1)))


def test_the_bytes_depend_on_the_weights_alone(sizes, packed):
    """Another process, with other addresses, hash seed and clock, and other models made before."""
    code = (
        "import sys; from sentiment import archive, network; from sentiment.network import Sizes;"
        f"sizes = Sizes(**{vars(sizes)}); archive.to_keras(sizes, network.first_weights(sizes, 2));"
        "packed = archive.pack(archive.to_keras(sizes, network.first_weights(sizes, 1)));"
        "sys.stdout.buffer.write(packed)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert run.stdout == packed
    assert archive.pack(archive.to_keras(sizes, network.first_weights(sizes, 2))) != packed


def test_nothing_in_the_file_is_a_date_or_an_address(packed):
    with zipfile.ZipFile(io.BytesIO(packed)) as members:
        assert {info.date_time for info in members.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert json.loads(members.read("metadata.json")) == {}
        assert b"shared_object_id" not in members.read("config.json")


def test_plain_keras_opens_it_with_none_of_this_project(sizes, packed, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(packed)
    ids = np.random.default_rng(0).integers(0, sizes.vocabulary, (5, sizes.max_length)).astype("i4")
    np.save(tmp_path / "ids.npy", ids)
    code = (
        "import keras, numpy, sys; model = keras.models.load_model('model.keras');"
        "numpy.save('positive.npy', model.predict(numpy.load('ids.npy'), verbose=0)[:, 0]);"
        "assert not [name for name in sys.modules if name.startswith('sentiment')]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    ours = network.predict(sizes, network.first_weights(sizes, 1), ids, batch=5)
    np.testing.assert_allclose(np.load(tmp_path / "positive.npy"), ours, atol=1e-5)


def test_unpack_is_the_inverse_of_pack(sizes, packed):
    unpacked, weights = archive.unpack(packed)
    assert unpacked == sizes
    np.testing.assert_array_equal(weights, network.first_weights(sizes, 1))


@pytest.mark.parametrize("damage", [b"", b"PK", b"not a zip"], ids=str)
def test_a_damaged_file_is_refused_in_one_line(damage):
    with pytest.raises(InputError, match=r"^model: not a readable \.keras file .*; run train again$"):
        archive.unpack(damage)


def test_a_truncated_file_is_refused(packed):
    for length in range(0, len(packed), len(packed) // 7):
        with pytest.raises(InputError, match="not a readable"):
            archive.unpack(packed[:length])


def test_another_network_is_refused(sizes):
    layers = keras.layers
    dense = keras.Sequential([keras.Input((sizes.max_length,)), layers.Dense(1)])
    with pytest.raises(InputError, match="expected the CNN-LSTM"):
        archive.from_keras(dense)
    same_names = archive.to_keras(sizes, network.first_weights(sizes, 1))
    same_names.get_layer("lstm").cell.activation = keras.activations.relu
    with pytest.raises(InputError, match="found other layers"):
        archive.from_keras(same_names)


def test_the_table_of_the_published_run():
    sizes = network.Sizes(100, 500, 32, 32, 5, 2, 50, 0.2, 25)
    table = archive.table(archive.to_keras(sizes, network.first_weights(sizes, 1)))
    for layer in ("(None, 100, 32)", "(None, 50, 32)", "16,600", "Total params: 39,053"):
        assert layer in table
    assert max(map(len, table.splitlines())) <= 80


def test_the_digest_follows_every_bit(sizes):
    weights = network.first_weights(sizes, 1)
    changed = weights.copy()
    changed.view("u4")[-1] ^= 1
    assert len(archive.digest(weights)) == 16
    assert archive.digest(weights) != archive.digest(changed)
