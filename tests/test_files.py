"""Stages write a file completely or not at all, and only values that every reader accepts."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from stages.common import files, guard


def test_json_is_sorted_and_ends_with_a_line_end(tmp_path):
    path = tmp_path / "new folder/m.json"
    files.write_json(path, {"b": [1.5], "a": "\u00e9"})
    assert path.read_bytes() == b'{\n  "a": "\\u00e9",\n  "b": [\n    1.5\n  ]\n}\n'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_in_json(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "m.json", {"loss": value})
    assert [*tmp_path.iterdir()] == []


def test_a_table_has_a_line_for_each_row_and_columns_of_different_lengths_are_refused(tmp_path):
    files.write_csv(tmp_path / "t.csv", {"x": np.array([1, 2]), "y": np.array(["a", "b"])})
    assert (tmp_path / "t.csv").read_bytes() == b"x,y\n1,a\n2,b\n"
    with pytest.raises(ValueError, match="argument 2 is longer"):
        files.write_csv(tmp_path / "u.csv", {"x": np.array([1, 2]), "y": np.array([1, 2, 3])})
    assert not (tmp_path / "u.csv").exists()


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    """Otherwise a power cut could leave an empty file of this name."""
    done = []

    def sync(file, real=os.fsync):
        done.append(("synced", os.fstat(file).st_size))
        real(file)

    def replace(source, target, real=os.replace):
        done.append(("named", Path(target).name))
        real(source, target)

    monkeypatch.setattr(files.os, "fsync", sync)
    monkeypatch.setattr(files.os, "replace", replace)
    files.write_text(tmp_path / "t", "text")
    assert done == [("synced", 4), ("named", "t")]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full", "elsewhere"), OSError(errno.EIO, "broken", "here")])
def test_a_failure_leaves_the_file_that_was_there_and_a_full_disk_names_it(tmp_path, error):
    path = tmp_path / "t"
    path.write_text("old")

    def fail():
        with files.replacing(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(OSError, match=error.strerror) as caught:
        fail()
    named = str(path) if error.errno == errno.ENOSPC else "here"
    assert (caught.value.errno, caught.value.filename) == (error.errno, named)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"t": "old"}
    assert files.unfinished == set()


def test_a_large_file_written_in_place_has_changed_though_its_size_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "LARGE", 1)
    path = tmp_path / "x.npy"
    path.write_bytes(b"ab")
    os.utime(path, (1, 1))
    before = guard._note([path])
    assert guard._note([path]) == before
    path.write_bytes(b"cd")
    assert guard._note([path]) != before


def test_a_file_that_is_removed_added_or_changed_in_or_below_a_dependency_is_named(tmp_path, monkeypatch):
    folder, file = tmp_path / "code", tmp_path / "x.npy"
    (folder / "inner").mkdir(parents=True)
    kept, edited, removed, added = (folder / f"inner/{name}.py" for name in ("kept", "edited", "removed", "added"))
    for path in (kept, edited, removed, file):
        path.write_text("old")
    monkeypatch.setattr(guard, "_dependencies", [folder, file])
    monkeypatch.setattr(guard, "_noted", guard._note([folder, file]))
    assert guard.changed() == []
    edited.write_text("new")
    removed.unlink()
    added.touch()
    file.unlink()
    assert sorted(guard.changed()) == [added, edited, removed, file]


def test_an_array_is_created_as_zeros_in_its_file_and_read_back_as_it_was_written(tmp_path):
    array = files.create_array(tmp_path / "x.npy", np.dtype("u2"), (3, 5))
    assert not array.any()
    array[:] = np.arange(15).reshape(3, 5)
    array.flush()
    del array
    loaded = files.read_array(tmp_path / "x.npy")
    assert (loaded.dtype, loaded.tolist()) == (np.dtype("u2"), np.arange(15).reshape(3, 5).tolist())
    with pytest.raises(ValueError, match="read-only"):
        loaded[0, 0] = 1
    files.write_array(tmp_path / "y.npy", np.float32([0.5]))
    assert np.load(tmp_path / "y.npy").tolist() == [0.5]
