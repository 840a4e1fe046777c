import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from benchmarks.cases import CASES, Sizes, build, cnn_lstm_of, reviews, to_layers
from sentiment import InputError
from sentiment.engine.block import Block
from sentiment.engine.network import Network
from sentiment.engine.trainer import predict
from sentiment.keras import archive, backend, plain
from sentiment.keras.backend import keras
from sentiment.training import digest
from tests.conftest import ROOT


def model_of(seed):
    """A Keras model with the first weights of a seed."""
    model = build("dropout", Sizes())
    backend.set_weights(model, Network(to_layers(model)).first_weights(seed))
    return model


@pytest.fixture(scope="module")
def model():
    return model_of(1)


def assert_written_as_keras_does(make):
    """Compare layers, file and table of a network that ``make`` builds with ``plain`` and with Keras."""
    keras.backend.clear_session()  # so that the numbers in the names of layers start again
    ours, theirs = make(plain), make(keras)
    assert ours.layers == to_layers(theirs)
    weights = np.random.default_rng(1).random(theirs.count_params()).astype("f4")
    backend.set_weights(theirs, weights)
    assert archive.write(ours, weights) == archive.pack(theirs)
    assert archive.table(ours.rows()) == archive.table(backend.rows(theirs))


@pytest.mark.parametrize("case", CASES)
def test_a_file_written_without_keras_has_the_bytes_of_keras(case):
    assert_written_as_keras_does(lambda keras: build(case, Sizes(), keras))


@pytest.mark.parametrize("changes", [{"over_time": over} for over in ("last", "average", "maximum")] + [{"dense": 0}])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_every_cnn_lstm_written_without_keras_has_the_bytes_of_keras(bidirectional, changes):
    sizes = {"max_length": 100, "vocabulary": 500, "bidirectional": bidirectional} | changes
    assert_written_as_keras_does(lambda keras: cnn_lstm_of(keras, **sizes))


def test_settings_other_than_the_defaults_are_written_as_keras_writes_them():
    """The table and the file need shapes, even of layers that no block computes."""

    def make(keras):
        layers = keras.layers
        return keras.Sequential(
            [
                keras.Input((20,), dtype="int16", name="words"),
                layers.Embedding(9, 4, name="rows"),
                layers.Conv1D(3, 4, strides=2, padding="valid", use_bias=True, name="filters"),
                layers.MaxPooling1D(pool_size=3, strides=2, padding="same"),
                layers.Dense(5, activation="tanh"),
                layers.Dropout(rate=0.5),
                layers.Conv1D(2, 2, dilation_rate=2, activation="tanh"),
                layers.GlobalAveragePooling1D(name="mean"),
            ],
            name="odd",
        )

    assert_written_as_keras_does(make)


def test_every_layer_that_a_block_computes_can_be_described_without_keras():
    assert {name for kind in Block.__subclasses__() for name in kind.layers} == {*plain.STOCK}


def test_a_setting_that_the_layer_lacks_is_refused():
    for values, settings, got in (((3,), {"unit": 3}, "'unit'"), ((3, 4), {}, "4")):
        with pytest.raises(TypeError, match=f"Dense: expected settings of units, .*, got {got}"):
            plain.layers.Dense(*values, **settings)


@pytest.fixture(scope="module")
def packed(model):
    return archive.pack(model)


def test_nothing_in_the_file_is_a_date_or_an_address(packed):
    with zipfile.ZipFile(io.BytesIO(packed)) as members:
        assert {info.date_time for info in members.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert json.loads(members.read("metadata.json")) == {
            "keras_version": keras.__version__, "date_saved": "1980-01-01@00:00:00"
        }  # fmt: skip
        assert b"shared_object_id" not in members.read("config.json")


def test_plain_keras_opens_it_without_this_project(packed, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(packed)
    ids = reviews(Sizes(), 5).astype("i4")
    np.save(tmp_path / "ids.npy", ids)
    code = (
        "import keras, numpy, sys; model = keras.models.load_model('model.keras');"
        "numpy.save('positive.npy', model.predict(numpy.load('ids.npy'), verbose=0)[:, 0]);"
        "assert not [name for name in sys.modules if name.startswith('sentiment')]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    layers = to_layers(archive.unpack(packed))
    ours = predict(layers, Network(layers).first_weights(1), ids, batch=5)
    np.testing.assert_allclose(np.load(tmp_path / "positive.npy"), ours, atol=1e-5)


def edited(path):
    """Metadata without the date, weights and layers, as Keras's editor reads them; ``None`` if the editor fails."""
    try:
        editor = keras.saving.KerasFileEditor(str(path))
    except KeyError:
        return None
    return editor.metadata | {"date_saved": None}, editor.weights_dict, editor.object_metadata


def compress(path):
    """A copy of a zip archive with compressed members."""
    copy = path.with_name(f"compressed-{path.name}")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return copy


def test_the_editor_of_keras_files_reads_it_as_it_reads_one_that_keras_saved(model, packed, tmp_path):
    """The copies are for Python 3.12.0 to 3.12.8, 3.13.0 and 3.13.1, where the editor fails on both files.

    Their ``zipfile`` reads wrong bytes of uncompressed members: https://github.com/python/cpython/issues/127847.
    """
    ours, theirs = tmp_path / "ours.keras", tmp_path / "theirs.keras"
    ours.write_bytes(packed)
    model.save(theirs)
    np.testing.assert_equal(edited(ours), edited(theirs))
    expected = edited(compress(theirs))
    assert expected is not None
    np.testing.assert_equal(edited(compress(ours)), expected)


def test_unpack_is_the_inverse_of_pack(model, packed):
    unpacked = archive.unpack(packed)
    assert to_layers(unpacked) == to_layers(model)
    np.testing.assert_array_equal(backend.get_weights(unpacked), backend.get_weights(model))


@pytest.mark.parametrize("damage", [b"", b"PK", b"not a zip"], ids=str)
def test_a_damaged_file_is_refused_in_one_line(damage):
    with pytest.raises(InputError, match=r"^not a readable \.keras file \((?!.*tmp).*\)$"):
        archive.unpack(damage)


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
@pytest.mark.parametrize("content", [b"\xff\xfe", b"{", b"[]", b"{}", b'"text"', b'{"class_name": "Sequential"}'])
def test_a_file_of_a_damaged_member_is_refused_in_one_line(packed, member, content):
    damaged = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed)) as old, zipfile.ZipFile(damaged, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name == member else old.read(name))
    with pytest.raises(InputError, match=r"^not a readable \.keras file \((?!.*tmp).*\)$"):
        archive.unpack(damaged.getvalue())


def test_a_truncated_file_is_refused(packed):
    for length in range(0, len(packed), len(packed) // 7):
        with pytest.raises(InputError, match="not a readable"):
            archive.unpack(packed[:length])


def test_the_table_of_the_published_run():
    table = archive.table(cnn_lstm_of(plain, max_length=100, vocabulary=500).rows())
    for layer in ("(None, 100, 32)", "(None, 50, 32)", "16,600", "Total params: 39,053"):
        assert layer in table
    assert table.isascii()


def test_the_file_and_the_table_depend_on_the_network_and_its_weights_alone(tmp_path):
    """The process, its addresses and hash seed, earlier models, a terminal and a user's keras.json change nothing."""
    (tmp_path / "keras.json").write_text('{"floatx": "float16", "image_data_format": "channels_first", "epsilon": 0.1}')
    code = (
        "import sys; from benchmarks.cases import cnn_lstm_of, to_layers; from sentiment.engine.network import Network;"
        "from sentiment.keras import archive, backend;"
        "sizes = dict(max_length=9, vocabulary=20, embedding=3, units=5, bidirectional=True, over_time='average');"
        "model = cnn_lstm_of(**sizes); first = Network(to_layers(model)).first_weights;"
        "table = archive.table(backend.rows(model)).encode();"
        "packed = [backend.set_weights(model, first(seed)) or archive.pack(model) for seed in (1, 2)]"
    )
    environment = os.environ | {"COLUMNS": "40", "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "TERM": "dumb"}
    environment |= {"KERAS_HOME": str(tmp_path), "PYTHONHASHSEED": "3"}
    command = [sys.executable, "-c", f"{code}; sys.stdout.buffer.write(table + packed[0])"]
    elsewhere = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True).stdout
    here = {}
    exec(code, here)
    assert elsewhere == here["table"] + here["packed"][0]
    assert here["packed"][0] != here["packed"][1]


def test_the_digest_depends_on_every_bit(model):
    weights = backend.get_weights(model)
    changed = weights.copy()
    changed.view("u4")[-1] ^= 1
    assert len(digest(weights)) == 16
    assert digest(weights) != digest(changed)
