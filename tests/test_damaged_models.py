"""A damaged or hostile folder of a model gives one error line or a model that answers, and runs no code."""

import hashlib
import io
import json
import os
import shutil
import sys
import zipfile
from contextlib import suppress
from copy import copy as shallow_copy
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment import InputError, load
from sentiment.__main__ import as_json
from sentiment.data.archives import members, pack_members
from sentiment.data.text import IMDB
from sentiment.keras import archive
from sentiment.keras.backend import keras
from sentiment.kinds import find
from sentiment.kinds.ngrams import WEIGHTINGS, Linear, OneVersusRest, Weighting, open_model
from sentiment.model import describe
from sentiment.schema import Pad
from sentiment.training import digest
from tests.conftest import VALUES, damaged, examples
from tests.test_export import INDEX, LENGTH, PAD, VOCABULARY, network_of, write_model

GRAMS = np.array([3, 4, 5 + (6 << 21)])
WEIGHTS = np.array([0.5, -0.25, 2, 0.125], "f4")
NAMES = ["model.keras", "model.npz", "model.zip"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """The folders of a network, of an n-gram model and of their sum, by the names of their model files."""
    base, network = tmp_path_factory.mktemp("models"), archive.pack(network_of(PAD))
    write_model(base / "network", network)
    write_grams(base / "grams", GRAMS, WEIGHTS)
    write_grams(base / "sum", GRAMS, WEIGHTS)
    (base / "sum/model.npz").unlink()
    about = json.dumps({"max_length": LENGTH, "vocabulary": VOCABULARY, "weight": 2.0}).encode()
    parts = {"wide.npz": (base / "grams/model.npz").read_bytes(), "deep.keras": network, "sum.json": about}
    (base / "sum/model.zip").write_bytes(pack_members(parts))
    edit(base / "sum/model.json", kind="wide_deep")
    claim(base / "sum")
    return {"model.keras": base / "network", "model.npz": base / "grams", "model.zip": base / "sum"}


def edit(path: Path, **values: object) -> None:
    """Replace values of a JSON object in a file."""
    path.write_text(json.dumps(json.loads(path.read_bytes()) | values))


def claim(folder: Path) -> None:
    """Write the digests of the files into ``model.json``, as an attacker does."""
    about, index = json.loads((folder / "model.json").read_bytes()), (folder / "word_index.json").read_bytes()
    kind = find(about["kind"])
    with suppress(InputError):
        weights = digest(kind.open_model((folder / kind.FILE).read_bytes(), about["weights"]).weights)
        edit(folder / "model.json", weights=weights, word_index=hashlib.sha256(index).hexdigest())


def write_grams(
    folder: Path, grams: np.ndarray, weights: np.ndarray, weighting: str = "counts", ranks: dict = INDEX,
    model: Linear | None = None,
) -> None:  # fmt: skip
    folder.mkdir(exist_ok=True)
    index, pad = json.dumps(ranks).encode(), Pad(max_length=None, vocabulary=None)
    about = describe(
        kind="ngrams",
        corpus="films",
        labels=["bad", "good"],
        tokens=IMDB._asdict(),
        pad=pad,
        index=index,
        weights=weights,
    )
    content = (model or Linear(Weighting(weighting, np.ones(len(grams), "f4")), grams, weights)).save()
    for name, written in {
        "model.npz": content, "model.json": json.dumps(about).encode(), "word_index.json": index
    }.items():  # fmt: skip
        (folder / name).write_bytes(written)


def outcome(folder: Path) -> str:
    """Error line for a folder; "" if its model answers."""
    try:
        answers = load(folder).predict(["it wasn't good", "a bad film"], words=2)
    except InputError as error:
        line = str(error)
    else:
        for answer in answers:
            json.loads(as_json(answer.error or answer), parse_constant=pytest.fail)
        return ""
    assert len(line.splitlines()) == 1
    assert len(line) < 800
    assert str(folder) in line or "got NaN from its extreme weights" in line
    return line


@examples(150)
@given(st.sampled_from(NAMES), st.data())
def test_flipped_bytes_and_cut_tails_are_one_line(folders, tmp_path, name, data):
    content = bytearray((folders[name] / name).read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=5)):
        content[at] ^= data.draw(st.integers(1, 255))
    del content[data.draw(st.sampled_from([len(content), *range(0, len(content), 97)])) :]
    copy(folders[name], tmp_path)
    (tmp_path / name).write_bytes(content)
    outcome(tmp_path)


ARCHIVES = (".keras", ".npz", ".zip")


def damaged_member(data, content: bytes) -> bytes:
    """An archive with a damaged member, or with one whose member is damaged. All checksums are right."""
    parts = members(content)
    name = data.draw(st.sampled_from([*parts]))
    inside = name.endswith(ARCHIVES) and data.draw(st.integers(0, 4)) > 0
    parts[name] = damaged_member(data, parts[name]) if inside else data.draw(damaged(parts[name]))
    return pack_members(parts)


@examples(100)
@given(st.sampled_from(NAMES), st.data())
def test_damaged_members_with_right_checksums_are_one_line(folders, tmp_path, name, data):
    copy(folders[name], tmp_path)
    (tmp_path / name).write_bytes(damaged_member(data, (tmp_path / name).read_bytes()))
    claim(tmp_path)
    outcome(tmp_path)


NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, 1.0, -3e38, 3e38])


@examples(20)
@given(st.sampled_from(["model.keras", "model.zip"]), st.data())
def test_any_weights_of_a_network_give_answers_or_one_line(folders, tmp_path, name, data):
    def change(weights):
        array = weights[data.draw(st.sampled_from([*weights]))]
        array[...] = np.resize(np.array(data.draw(st.lists(NUMBERS, min_size=1, max_size=5)), "f4"), array.shape)

    copy(folders[name], tmp_path)
    parts = {"": (tmp_path / name).read_bytes()} if name == "model.keras" else members((tmp_path / name).read_bytes())
    deep = [*parts][-2 if len(parts) > 1 else 0]
    layer = data.draw(st.sampled_from(["dense", "dense_1", "embedding", "conv1d", "lstm/cell"]))
    parts[deep] = with_weights(parts[deep], change, layer)
    (tmp_path / name).write_bytes(parts[deep] if len(parts) == 1 else pack_members(parts))
    claim(tmp_path)
    outcome(tmp_path)


@examples(40)
@given(st.data())
def test_any_numbers_in_a_model_of_n_grams_give_answers_or_one_line(tmp_path, data):
    size, labels = data.draw(st.integers(1, 4)), data.draw(st.sampled_from([1, 3]))
    id = st.integers(0, 20) | st.integers(-(2**63), 2**63 - 1)
    words = st.lists(st.integers(3, 20), min_size=1, max_size=3)
    gram = id | words.map(lambda ids: sum(each << 21 * at for at, each in enumerate(ids)))
    grams = np.array(sorted(data.draw(st.lists(gram, min_size=size, max_size=size, unique=True))))
    weighting, few = data.draw(st.sampled_from(WEIGHTINGS)), st.lists(NUMBERS, min_size=size, max_size=size)
    rows = [[data.draw(few), data.draw(few), data.draw(NUMBERS)] for _ in range(labels)]
    models = [
        Linear(Weighting(weighting, np.array(scale, "f4")), grams, np.array([*weights, bias], "f4"))
        for scale, weights, bias in rows
    ]
    model = models[0] if labels == 1 else OneVersusRest(models)
    write_grams(tmp_path, grams, model.weights, model=model)
    if labels > 1:
        edit(tmp_path / "model.json", labels=["bad", "good", "mixed"])
    outcome(tmp_path)


def copy(folder: Path, target: Path) -> None:
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())


@examples(150)
@given(st.sampled_from(NAMES), st.sampled_from(["model.json", "word_index.json"]), st.data())
def test_any_values_in_the_json_files_are_one_line(folders, tmp_path, name, file, data):
    copy(folders[name], tmp_path)
    values = json.loads((tmp_path / file).read_bytes())
    key = data.draw(st.sampled_from([None, *values]))
    value = data.draw(VALUES)
    if key is None:
        values = value
    elif isinstance(values[key], dict):
        values[key] = values[key] | {data.draw(st.sampled_from([*values[key], "more"])): value}
    else:
        values[key] = value
    (tmp_path / file).write_text(json.dumps(values))
    if file == "word_index.json":
        claim(tmp_path)
    outcome(tmp_path)


@examples(100)
@given(st.data())
def test_any_value_in_the_configuration_of_a_network_is_one_line(folders, tmp_path, data):
    copy(folders["model.keras"], tmp_path)
    content = (tmp_path / "model.keras").read_bytes()
    config = json.loads(zipfile.ZipFile(io.BytesIO(content)).read("config.json"))
    above = config
    while True:
        keys = [*above] if isinstance(above, dict) else [*range(len(above))]
        key = data.draw(st.sampled_from(keys))
        if not isinstance(above[key], (dict, list)) or not above[key] or data.draw(st.integers(0, 9)) == 0:
            break
        above = above[key]
    above[key] = data.draw(VALUES)
    (tmp_path / "model.keras").write_bytes(with_member(content, "config.json", json.dumps(config).encode()))
    outcome(tmp_path)


def with_member(content: bytes, name: str, member: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w", method) as new:
        for each in old.namelist():
            new.writestr(each, member if each == name else old.read(each))
    return packed.getvalue()


def with_weights(content: bytes, change, layer: str = "dense") -> bytes:
    file = io.BytesIO(zipfile.ZipFile(io.BytesIO(content)).read("model.weights.h5"))
    with h5py.File(file, "r+") as weights:
        change(weights[f"layers/{layer}/vars"])
    return with_member(content, "model.weights.h5", file.getvalue())


def replace(group, make) -> None:
    del group["0"]
    make(group)


HARMFUL = {
    "a file of another": lambda group: replace(
        group, lambda group: group.create_dataset("0", (8, 2), "f4", external=[("/dev/zero", 0, 64)])
    ),
    "a link to another file": lambda group: replace(
        group, lambda group: group.__setitem__("0", h5py.ExternalLink("/dev/zero", "/x"))
    ),
    "a circle": lambda group: group.__setitem__("circle", group.parent),
    "a huge shape": lambda group: replace(
        group, lambda group: group.create_dataset("0", (10**6, 10**6), "f4", chunks=(10, 10), fillvalue=1)
    ),
    "an array that is larger than the file": lambda group: replace(
        group, lambda group: group.create_dataset("0", (3000, 3000), "f4")
    ),
    "a compressed array": lambda group: replace(
        group, lambda group: group.create_dataset("0", data=np.zeros((8, 2), "f4"), compression="gzip")
    ),
    "objects": lambda group: replace(
        group, lambda group: group.create_dataset("0", (2,), h5py.string_dtype())
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", HARMFUL.values(), ids=HARMFUL)
def test_weights_that_are_not_plain_arrays_in_the_file_are_refused(folders, tmp_path, change):
    copy(folders["model.keras"], tmp_path)
    path = tmp_path / "model.keras"
    path.write_bytes(with_weights(path.read_bytes(), change))
    assert "model.keras: not a readable .keras file (expected" in outcome(tmp_path)


@pytest.mark.parametrize(("size", "refused"), [(10**8, False), (10**8 + 1, True), (-(10**8) - 1, True)])
def test_a_size_that_no_machine_has_memory_for_is_refused(folders, tmp_path, size, refused):
    copy(folders["model.keras"], tmp_path)
    path = tmp_path / "model.keras"
    config = json.loads(zipfile.ZipFile(path).read("config.json")) | {"size": size}
    path.write_bytes(with_member(path.read_bytes(), "config.json", json.dumps(config).encode()))
    assert ("expected sizes of at most 100,000,000" in outcome(tmp_path)) == refused


@pytest.mark.parametrize("name", ["model.keras", "model.npz"])
def test_a_compressed_member_is_refused_before_it_is_unpacked(folders, tmp_path, name):
    copy(folders[name], tmp_path)
    path = tmp_path / name
    member = {"model.keras": "config.json", "model.npz": "grams.npy"}[name]
    path.write_bytes(with_member(path.read_bytes(), member, bytes(10**7), zipfile.ZIP_DEFLATED))
    assert "without compression" in outcome(tmp_path)


def test_a_member_that_occurs_twice_is_refused():
    with pytest.raises(ValueError, match="expected each member once"):
        members(pack_members({"one": b"1", "two": b"2"}).replace(b"two", b"one"))


def test_members_that_share_their_bytes_are_refused():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("one", bytes(1000))
        other = shallow_copy(archive.infolist()[0])
        other.filename = "two"
        archive.filelist.append(other)
    with pytest.raises(ValueError, match=r"expected members of at most 1,\d{3} bytes, got 2,000"):
        members(packed.getvalue())


@pytest.mark.parametrize("grams", [[4, 3, 5], [3, 3, 5], [-1, 3, 5], [0, 3, 5]], ids=str)
def test_n_grams_out_of_order_are_refused(tmp_path, grams):
    write_grams(tmp_path, np.array(grams), WEIGHTS)
    assert "ascending order, each once" in outcome(tmp_path)


@pytest.mark.parametrize("rank", [0, -1, 2**21, 1.0, True, "1"], ids=repr)
def test_a_word_index_of_what_is_no_rank_is_refused(tmp_path, rank):
    write_grams(tmp_path, GRAMS, WEIGHTS, ranks=INDEX | {"odd": rank})
    assert "expected a rank from 1 for each word" in outcome(tmp_path)


@pytest.mark.parametrize("labels", [[], ["good"], "ab", [1, 2], {"bad": 0, "good": 1}], ids=str)
def test_labels_other_than_two_names_or_more_are_refused(tmp_path, labels):
    write_grams(tmp_path, GRAMS, WEIGHTS)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": labels}))
    assert "labels: expected two names or more" in outcome(tmp_path)


@pytest.mark.parametrize("file", ["model.keras", "model.npz"])
@pytest.mark.parametrize("more", [["mixed"], ["mixed", "none"]], ids=len)
def test_labels_of_another_number_than_the_model_predicts_are_refused(tmp_path, folders, file, more):
    folder = Path(shutil.copytree(folders[file], tmp_path / "copy"))
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": ["bad", "good", *more]}))
    assert f"labels: expected 2, as many as the model predicts, got {2 + len(more)}" in outcome(folder)


def test_two_labels_for_a_model_of_three_are_refused(tmp_path):
    one = Linear(Weighting("counts", np.ones(len(GRAMS), "f4")), GRAMS, WEIGHTS)
    model = OneVersusRest([one, one, one])
    write_grams(tmp_path, GRAMS, model.weights, model=model)
    assert "labels: expected 3, as many as the model predicts, got 2" in outcome(tmp_path)


def test_an_unknown_weighting_and_weights_that_are_no_numbers_are_refused(tmp_path):
    write_grams(tmp_path, GRAMS, WEIGHTS, weighting="other")
    assert "weighting: expected one of counts" in outcome(tmp_path)
    write_grams(tmp_path, GRAMS, np.array([np.nan, 1, 1, 1], "f4"))
    assert "expected finite weights" in outcome(tmp_path)
    write_grams(tmp_path, GRAMS, WEIGHTS)
    assert outcome(tmp_path) == ""


def test_a_header_of_an_array_that_is_no_python_is_refused(tmp_path):
    write_grams(tmp_path, GRAMS, WEIGHTS)
    content = members((tmp_path / "model.npz").read_bytes())
    content["grams.npy"] = content["grams.npy"].replace(b"(3,)", b"((3,")
    (tmp_path / "model.npz").write_bytes(pack_members(content))
    assert "not a readable file of n-grams" in outcome(tmp_path)


@pytest.mark.parametrize("kind", ["f2", "f8"])
def test_numbers_of_another_type_than_saved_are_refused(tmp_path, kind):
    write_grams(tmp_path, GRAMS, WEIGHTS)
    content, file = members((tmp_path / "model.npz").read_bytes()), io.BytesIO()
    np.save(file, np.array([1e300, 1, 1]).clip(0, np.finfo(kind).max).astype(kind))
    (tmp_path / "model.npz").write_bytes(pack_members(content | {"scale.npy": file.getvalue()}))
    assert f"scale: got float{8 * int(kind[1])}" in outcome(tmp_path)


def test_a_probability_that_is_no_number_is_one_line(tmp_path, folders):
    nothing = Linear(Weighting("tfidf", np.zeros(len(GRAMS), "f4")), GRAMS, WEIGHTS)
    write_grams(tmp_path / "grams", GRAMS, WEIGHTS, model=nothing)
    shutil.copytree(folders["model.keras"], tmp_path / "network")
    path = tmp_path / "network/model.keras"
    path.write_bytes(with_weights(path.read_bytes(), lambda weights: weights["0"].write_direct(EXTREME), "embedding"))
    claim(tmp_path / "network")
    for name in ("grams", "network"):
        assert "got NaN from its extreme weights" in outcome(tmp_path / name)


EXTREME = np.resize(np.array([0, 0, 3e38, -3e38], "f4"), (VOCABULARY, 3))


def test_a_weight_of_a_network_beyond_the_legal_ones_is_refused(folders, tmp_path):
    copy(folders["model.zip"], tmp_path)
    parts = members((tmp_path / "model.zip").read_bytes())
    parts["sum.json"] = parts["sum.json"].replace(b"2.0", b"1e300")
    (tmp_path / "model.zip").write_bytes(pack_members(parts))
    assert "Input should be less than or equal to 1000" in outcome(tmp_path)


@pytest.mark.parametrize("key", ["weights", "word_index"])
def test_a_digest_of_several_lines_is_shown_in_one(folders, tmp_path, key):
    copy(folders["model.npz"], tmp_path)
    edit(tmp_path / "model.json", **{key: "a\nerror: b" + "c" * 10_000})
    assert r"a\nerror: bc" in outcome(tmp_path)


PADS = [{"max_length": None}, {"vocabulary": 99}, {"vocabulary": None}]


@pytest.mark.parametrize("change", PADS, ids=str)
def test_a_network_of_other_reviews_than_its_settings_say_is_refused(folders, tmp_path, change):
    layers = [keras.layers.Embedding(VOCABULARY, 3), keras.layers.GRU(4), keras.layers.Dense(1, activation="sigmoid")]
    write_model(tmp_path / "gru", archive.pack(keras.Sequential([keras.Input((LENGTH,), dtype="int32"), *layers])))
    shutil.copytree(folders["model.keras"], tmp_path / "compiled")
    for name in ("gru", "compiled"):
        assert outcome(tmp_path / name) == ""
        edit(tmp_path / name / "model.json", pad=PAD.model_dump() | change)
        assert "not what `train` writes" in outcome(tmp_path / name)


@pytest.mark.parametrize("name", ["model.json", "model.npz", "word_index.json"])
@pytest.mark.skipif(sys.platform == "win32", reason="has no pipes among files")
def test_a_pipe_in_the_place_of_a_file_is_refused(tmp_path, name):
    assert sys.platform != "win32"
    write_grams(tmp_path, GRAMS, WEIGHTS)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    assert f"{name}: expected an ordinary file" in outcome(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "word_index.json"])
def test_deep_json_is_refused(tmp_path, name):
    write_grams(tmp_path, GRAMS, WEIGHTS)
    (tmp_path / name).write_text("[" * 100_000)
    assert outcome(tmp_path)


def test_a_pickle_in_an_archive_runs_nothing(tmp_path):
    file = io.BytesIO()
    np.savez(file, grams=np.array([print], object), scale=WEIGHTS, weights=WEIGHTS, weighting="counts", bias=WEIGHTS[0])
    with pytest.raises(InputError, match="Object arrays cannot be loaded"):
        open_model(file.getvalue(), "")
