"""The reader agrees with NumPy's unpickling on every good file, and refuses every bad one without executing it."""

import io
import os
import pickle
import tracemalloc
import zipfile
from contextlib import suppress
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment import InputError
from sentiment.data import raw
from tests.conftest import damaged, examples

RANKS = st.one_of(st.integers(1, 300), st.integers(1, 2**31 - 1), st.sampled_from([1, 255, 256, 65535, 65536, 75, 77]))
REVIEWS = st.lists(st.lists(RANKS, max_size=12), max_size=9)
EDGES = [[1], [], [255, 256], [65535, 65536, 2**31 - 1], [], [75] * 999, [77] * 1000, [74] * 1001, [93] * 2001, [101]]
PROTOCOLS = [2, 3, 4, 5]


def objects(reviews):
    array = np.empty(len(reviews), object)
    array[:] = reviews
    return array


def npy(pickled, number, kind="|O"):
    """An array file as NumPy writes it, of any payload."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({number},), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + pickled


def archive(compression=zipfile.ZIP_STORED, **members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as target:
        for name, content in members.items():
            target.writestr(f"{name}.npy", content)
    return file


def of_pickle(pickled, number):
    return archive(x_train=npy(pickled, number))


def of_reviews(reviews, protocol=4):
    return of_pickle(pickle.dumps(objects(reviews), protocol), len(reviews))


def of_body(body, number, protocol=2):
    """An array whose first list is open and followed by the opcodes of ``body``."""
    empty = pickle.dumps(objects([[]] * number), protocol)
    return of_pickle(empty[: empty.index(b"]") + 1] + body, number)


def read(file, split="train"):
    """The reviews of all blocks, as lists."""
    lists = []
    for ranks, lengths in raw.reviews(file, split):
        assert (ranks.dtype, lengths.dtype) == (np.int32, np.int64)
        assert lengths.sum() == len(ranks)
        lists += [part.tolist() for part in np.split(ranks, np.cumsum(lengths)[:-1])]
    return lists


@pytest.fixture
def tiny(monkeypatch):
    """Blocks of a few reviews and windows of a few bytes, so that every list crosses a border."""
    monkeypatch.setattr(raw, "WINDOW", 11)
    monkeypatch.setattr(raw, "BLOCK", 2)
    monkeypatch.setattr(raw, "PREAMBLE", 320)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("reviews", [EDGES, EDGES[:1], [[]], [], [[5, 6]] + [[rank] for rank in range(1, 2002)]])
def test_what_numpy_saves_is_read_as_numpy_loads_it(save, reviews):
    file = io.BytesIO()
    save(file, x_test=objects(reviews), y_test=np.arange(len(reviews)) % 2)
    file.seek(0)
    with np.load(file, allow_pickle=True) as loaded:
        assert read(file, "test") == loaded["x_test"].tolist() == reviews
        assert raw.labels(file, "test").tolist() == loaded["y_test"].tolist()
    assert raw.length(file, "test") == len(reviews)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_binary_protocol_is_read(protocol):
    assert read(of_reviews(EDGES, protocol)) == EDGES


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_borders_between_windows_and_blocks_change_nothing(protocol):
    assert read(of_reviews(EDGES, protocol)) == EDGES


@examples(200)
@given(REVIEWS, st.sampled_from(PROTOCOLS), st.integers(1, 40), st.integers(1, 4))
def test_any_reviews_are_read(reviews, protocol, window, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw, "WINDOW", window)
        patch.setattr(raw, "BLOCK", block)
        patch.setattr(raw, "PREAMBLE", 320)
        assert read(of_reviews(reviews, protocol)) == reviews


def test_the_spelling_of_python_2_is_read():
    pickled = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03(K\x01K\x03"
        b"\x85cnumpy\ndtype\nq\x04U\x02O8K\x00K\x01\x87Rq\x05(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89"
        b"]q\x06(]q\x07(M\xeeYM5\x01K\x06e]r\x08\x00\x00\x00]q\x09K\x4baetb."
    )
    assert read(of_pickle(pickled, 3)) == [[23022, 309, 6], [], [75]]


@pytest.mark.parametrize("rank", [75, 77, 74, 77 * 257, 75 * 257, 0x4A4A4A4A, 0x4D4B4A5D])
def test_operands_that_look_like_opcodes_are_operands(rank):
    reviews = [[rank] * 70_001, [rank, 1], [rank]]
    assert read(of_reviews(reviews)) == reviews


def test_a_split_is_read_in_blocks_of_whole_reviews_in_order():
    reviews = [[rank] * (rank % 5) for rank in range(1, 3 * raw.BLOCK)]
    blocks = list(raw.reviews(of_reviews(reviews), "train"))
    assert 2 <= len(blocks) <= 4
    assert np.concatenate([lengths for _, lengths in blocks]).tolist() == [len(review) for review in reviews]
    assert np.concatenate([ranks for ranks, _ in blocks]).tolist() == list(chain.from_iterable(reviews))


def test_memory_does_not_grow_with_the_number_of_reviews():
    batch = b"(" + (b"](" + b"M\xe8\x03" * 50 + b"e") * 1000 + b"e"

    def peak(batches):
        file = of_body(batch * batches + b"tb.", 1000 * batches)
        tracemalloc.start()
        assert sum(len(lengths) for _, lengths in raw.reviews(file, "train")) == 1000 * batches
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(160) < 2 * peak(20)


class Call:
    """Object whose unpickling calls ``function``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_a_call_is_refused_by_name_and_not_made(tmp_path, protocol, depth):
    marker = tmp_path / "executed"
    call = Call(os.system, f"touch {marker}")
    bad = [call, objects([call, [1]]), objects([[1], [2, call]]), objects([[1], [2, [call]]])][depth]
    with pytest.raises(InputError) as caught:
        read(of_pickle(pickle.dumps(bad, protocol), 2))
    assert f"asks for {os.system.__module__}.system" in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"(cos\nsystem\n(S'touch executed'\ntRetb.", "os.system"),
        (b"(](K\x01c__builtin__\neval\n(S'1'\ntReetb.", "__builtin__.eval"),
        (b"(](K\x01\x8c\x08builtins\x8c\x04eval\x93eetb.", "builtins.eval"),
        (b"(](K\x01\x8c\x02os\x94\x8c\x06system\x940\x8c\x01xh\x00h\x01\x93eetb.", "os.system"),
        (b"((ios\nsystem\netb.", "os.system"),
        (b"(](cnumpy\ndtype\nS'O8'\n\x85Reetb.", "numpy.dtype"),
        (b"(](\x8c\x02oshd\x93eetb.", "os.?"),
        (b"(](hde", "BINGET"),
        (b"(](K\x01\x82\x01eetb.", "EXT1"),
        (b"(](K\x01Peetb.", "b'P'"),
        (b"(](K\x01Qeetb.", "BINPERSID"),
        (b"(](K\x01Reetb.", "REDUCE"),
        (b"(](K\x01\x81eetb.", "NEWOBJ"),
        (b"(](K\x01oeetb.", "OBJ"),
        (b"(](\x88eetb.", "NEWTRUE"),
        (b"(](G\x00\x00\x00\x00\x00\x00\x00\x00eetb.", "BINFLOAT"),
        (b"(](\x8a\x05\x00\x00\x00\x80\x00eetb.", "LONG1"),
        (b"(](\xffeetb.", "b'\\xff'"),
    ],
)
def test_whatever_is_no_list_of_integers_is_refused_by_name(body, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for window in (2, raw.WINDOW):
        monkeypatch.setattr(raw, "WINDOW", window)
        with pytest.raises(InputError, match="was not executed") as caught:
            read(of_body(body, 2))
        assert named in str(caught.value)
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("far", [raw.PREAMBLE, raw.WINDOW, raw.PREAMBLE + raw.WINDOW])
@pytest.mark.parametrize("shift", range(-12, 12))
def test_a_call_across_a_border_is_refused_by_name(far, shift):
    file = of_body(b"", 1)
    begun = len(zipfile.ZipFile(file).read("x_train.npy")) - len(npy(b"", 1))
    filler = b"](" + b"K\x02" * ((far - begun + shift) // 2)
    with pytest.raises(InputError, match=r"asks for os\.system"):
        read(of_body(filler + b"cos\nsystem\n(etb.", 1))


@pytest.mark.parametrize("name", ["os.system", "numpy.load", "numpy.core.multiarray.scalar", "_codecs.decode"])
@pytest.mark.parametrize(
    "spelling", ["c{}\n{}\n", "\x8c{2}{0}\x8c{3}{1}\x93", "\x8c{2}{0}\x94\x8c{3}{1}\x940h\x00h\x01\x93"]
)
def test_a_preamble_may_only_name_functions_that_make_an_array(name, spelling):
    module, _, function = name.rpartition(".")
    call = spelling.format(module, function, chr(len(module)), chr(len(function))).encode("latin1")
    with pytest.raises(InputError, match=f"asks for {name}, and was not executed"):
        read(of_pickle(b"\x80\x04" + call + b"(U\x0etouch executedtR.", 1))


def test_one_list_in_two_places_is_refused_with_the_remedy():
    review = [1, 2]
    with pytest.raises(InputError, match="one list in two places; copy it"):
        read(of_reviews([review, review]))


def test_numbers_that_are_no_python_integers_are_refused():
    with pytest.raises(InputError, match=r"asks for .*scalar"):
        read(of_reviews([[np.int64(5)]]))


@pytest.mark.parametrize("block", [1, raw.BLOCK])
@pytest.mark.parametrize("rank", [0, -1, -(2**31)])
@pytest.mark.usefixtures("tiny")
def test_a_rank_below_one_is_refused_with_its_review(rank, block, monkeypatch):
    monkeypatch.setattr(raw, "BLOCK", block)
    with pytest.raises(InputError, match=f"x_train: review 102 holds {rank}, ranks start at 1"):
        read(of_reviews([[n, 2] for n in range(1, 101)] + [[], [3], [rank, 4], [5]]))


@pytest.mark.parametrize(("promised", "counted"), [(2, "more"), (4, 3)])
def test_a_header_that_promises_another_number_is_refused(promised, counted):
    pickled = pickle.dumps(objects([[1], [2], [3]]), 2).replace(b"K\x03\x85", bytes([75, promised, 0x85]))
    with pytest.raises(InputError, match=f"promises {promised} reviews, found {counted}"):
        read(of_pickle(pickled, promised))


@pytest.mark.usefixtures("tiny")
def test_no_more_reviews_are_yielded_than_promised():
    blocks = raw.reviews(of_body(b"(" + b"](K\x01e" * 50 + b"etb.", 40), "train")
    yielded = []
    with pytest.raises(InputError, match="found more"):
        yielded.extend(len(lengths) for _, lengths in blocks)
    assert 0 < sum(yielded) <= 40


def test_a_header_that_contradicts_the_pickle_is_refused():
    with pytest.raises(InputError, match="not of one array of 4 lists"):
        read(of_pickle(pickle.dumps(objects([[1], [2], [3]]), 2), 4))


@pytest.mark.parametrize(
    "content",
    [
        npy(pickle.dumps([[1], [2]], 4), 2),  # a list, not an array
        npy(pickle.dumps(np.arange(2), 4), 2),
        npy(np.arange(2).tobytes(), 2, "<i8"),
        npy(b"", "2, 2"),
        npy(b"", ""),
        npy(b"", 10**13),
        npy(b"", 2),
        b"\x93NUMPY\x01\x00\x00\x00",
        b"\x93NUMPY\x09\x00" + npy(b"", 2)[8:],
        b"\x93NUM",
        b"",
    ],
)
def test_what_is_no_array_of_lists_is_refused(content):
    with pytest.raises(InputError, match=r"^x_train: .*; expected imdb\.npz"):
        read(archive(x_train=content))


def test_the_reviews_of_an_array_of_numbers_are_not_counted():
    with pytest.raises(InputError, match="expected an array of lists, got '<i8'"):
        raw.length(archive(x_train=npy(bytes(16), 2, "<i8")), "train")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_file_cut_anywhere_is_refused(compression):
    whole = archive(compression, x_train=npy(pickle.dumps(objects(EDGES[:4])), 4)).getvalue()
    for length in range(len(whole)):
        with pytest.raises(InputError):
            read(io.BytesIO(whole[:length]))


def test_an_array_cut_anywhere_or_followed_by_anything_is_refused():
    whole = npy(pickle.dumps(objects([[1, 256], [], [65536] * 3]), 4), 3)
    for length in range(len(whole)):
        with pytest.raises(InputError):
            read(archive(x_train=whole[:length]))
    for more in (b".", b"]", b"K", b"\0"):
        with pytest.raises(InputError):
            read(archive(x_train=whole + more))


def test_a_damaged_byte_is_noticed_by_the_checksum():
    file = of_reviews([[1000, 1001, 1002]])
    damaged = bytearray(file.getvalue())
    damaged[damaged.index(b"M\xe9\x03") + 1] ^= 1
    with pytest.raises(InputError, match="Bad CRC"):
        read(io.BytesIO(damaged))


@pytest.mark.parametrize(("kind", "match"), [(zipfile.ZIP_BZIP2, "method 12"), (zipfile.ZIP_LZMA, "method 14")])
def test_a_compression_that_numpy_does_not_write_is_refused(kind, match):
    with pytest.raises(InputError, match=match):
        read(archive(kind, x_train=npy(pickle.dumps(objects([[1]])), 1)))


def test_a_missing_array_is_named_with_those_there_are():
    file = io.BytesIO()
    np.savez(file, x_train=objects([[1]]), y_train=[1])
    with pytest.raises(InputError, match=r"x_test: not in the archive, which holds \['x_train.npy', 'y_train.npy'\]"):
        read(file, "test")
    with pytest.raises(InputError, match="x_test: not in the archive"):
        raw.labels(file, "test")


@examples(300)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(content):
    for file in (io.BytesIO(content), archive(x_train=content), of_pickle(content, 1), of_body(content, 1)):
        with pytest.raises(InputError):
            read(file)
    for name in ("x_train", "y_train"):
        with pytest.raises(InputError):
            raw.labels(archive(**{"x_train": npy(b"", 1), name: content}), "train")


@examples(500)
@given(st.data(), st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
def test_changed_bytes_end_in_reviews_or_an_input_error(data, compression):
    content = bytearray(archive(compression, x_train=npy(pickle.dumps(objects(EDGES[:4])), 4)).getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        reviews = read(io.BytesIO(content))
    except InputError:
        return
    assert reviews == EDGES[:4]


EXECUTED = []


def execute(value: object) -> None:
    EXECUTED.append(value)


ANYTHING = st.recursive(
    RANKS | st.integers() | st.floats() | st.none() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner) | st.builds(Call, st.just(execute), inner),
)
TYPES = ["|O", "<i8", "<i4", ">i2", "|u1", "|b1", "<f8", "<U1", "|V0", "<i4,<i4", "|S1"]
MEMBERS = ["x_train", "y_train", "x_test", "y_test", "../x_train", "/y_train"]


@st.composite
def hostile_member(draw) -> bytes:
    """An array of anything, pickled or not, with a header that promises any type and number, perhaps damaged."""
    items = draw(st.lists(ANYTHING, max_size=4) | REVIEWS)
    pickled = pickle.dumps(draw(st.sampled_from([objects(items), items])), draw(st.sampled_from(PROTOCOLS)))
    content = draw(st.sampled_from([pickled, np.arange(-1, len(items)).tobytes()]))
    number = draw(st.just(len(items)) | st.integers(0, 5) | st.sampled_from([-1, 10**9, 10**12 - 1, "2, 3"]))
    member = npy(content, number, draw(st.sampled_from(TYPES[:2] + TYPES)))
    return draw(st.just(member) | damaged(member))


@examples(60)
@given(
    st.dictionaries(st.sampled_from(MEMBERS), hostile_member()), st.sampled_from([0, 8]), st.sampled_from([0, 10**6])
)
def test_hostile_members_are_read_in_little_memory_or_refused_and_never_executed(members, compression, zeros):
    file = archive(compression, **{name: member + bytes(zeros) for name, member in members.items()})
    tracemalloc.start()
    for split in ("train", "test"):
        with suppress(InputError):
            read(file, split)
        with suppress(InputError):
            labels = raw.labels(file, split, 300)
            assert len(labels) == raw.length(file, split)
            assert labels.max(initial=0) < 300
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**25
    assert EXECUTED == []


PIECES = [b"]", b"(", b"e", b"a", b"K\x05", b"](M\x05\x01K\x06e", b"]q\x07J\x05\x00\x01\x00a", b"]a"]
PIECES += [b"(](K\x07e]r\x07\x00\x00\x00ee", b"]\x94(K\x08ea"]


@examples(1000)
@given(st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join))
def test_opcodes_in_any_order_mean_what_pickle_says_or_are_refused(body):
    try:
        meant = pickle.loads(b"\x80\x04]" + body + b".")
    except (pickle.UnpicklingError, AttributeError, TypeError, IndexError):
        meant = None
    try:
        reviews = read(of_body(body + b"tb.", len(meant) if isinstance(meant, list) else 1))
    except InputError:
        return
    assert reviews == meant


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_numpys_format_is_read(version):
    members = {}
    for name, array in {"x_train": objects([[5], [], [6, 7]]), "y_train": np.array([1, 0, 1])}.items():
        np.lib.format.write_array(file := io.BytesIO(), array, version)
        members[name] = file.getvalue()
    file = archive(**members)
    assert read(file) == [[5], [], [6, 7]]
    assert raw.labels(file, "train").tolist() == [1, 0, 1]


def test_labels_are_read_in_any_integer_type():
    for kind in ("<i8", ">i4", "|u1", "|b1", "|i1"):
        content = npy(np.array([1, 0, 1]).astype(kind).tobytes(), 3, kind)
        labels = raw.labels(archive(x_train=npy(b"", 3), y_train=content), "train")
        assert labels.dtype == np.uint8
        assert labels.tolist() == [1, 0, 1]


def test_more_than_256_labels_are_written_and_read_as_they_are():
    labels, file = np.array([0, 255, 256, 999]), io.BytesIO()
    raw.write(file, {"train": ([[1]] * 4, labels)})
    assert raw.labels(file, "train", different=1000).tolist() == labels.tolist()
    with pytest.raises(InputError, match="review 3 has the label 999, expected 0 to 998"):
        raw.labels(file, "train", different=999)


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (np.array([0, 1, 2]), "review 2 has the label 2, expected 0 or 1"),
        (np.array([0, -1, 2]), "review 1 has the label -1"),
        (np.array([0, 1]), "expected a label for each of 3 reviews, got 2"),
        (np.array([0, 1, 0, 1]), "expected a label for each of 3 reviews, got 4"),
        (np.array([0.0, 1.0, 1.0]), "expected an array of integers, got '<f8'"),
        (objects([0, 1, 1]), "expected an array of integers, got '|O'"),
    ],
)
def test_labels_other_than_one_bit_for_each_review_are_refused(labels, match):
    file = io.BytesIO()
    np.savez(file, x_train=objects([[1], [2], [3]]), y_train=labels)
    with pytest.raises(InputError, match=f"^y_train: {match.replace('|', '[|]')}"):
        raw.labels(file, "train")


@pytest.mark.parametrize(("size", "match"), [(23, "expected 24 bytes of labels, got 23"), (25, "got more")])
def test_labels_of_another_size_than_promised_are_refused(size, match):
    with pytest.raises(InputError, match=match):
        raw.labels(archive(x_train=npy(b"", 3), y_train=npy(bytes(size), 3, "<i8")), "train")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"[1]", "expected an object of words and ranks, got a list"),
        (b'{"the": 0}', "the rank of 'the' is 0, expected a positive integer"),
        (b'{"the": -3}', "is -3"),
        (b'{"the": 1.0}', "is 1.0"),
        (b'{"the": true}', "is True"),
        (b'{"the": "1"}', "is '1'"),
        (b'{"the": 1', "not readable as JSON"),
        (b"\xff\xfe", "not readable as JSON"),
        (b"[" * 100_000, "not readable as JSON"),
        (b"", "not readable as JSON"),
    ],
)
def test_a_word_index_other_than_words_and_ranks_is_refused(content, match):
    with pytest.raises(InputError, match=match) as caught:
        raw.word_index(io.BytesIO(content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_real_reviews_are_read_as_numpy_loads_them(imdb, split):
    with np.load(imdb / "imdb.npz", allow_pickle=True) as loaded, open(imdb / "imdb.npz", "rb") as file:
        assert raw.length(file, split) == 25_000
        assert read(file, split) == loaded[f"x_{split}"].tolist()
        assert raw.labels(file, split).tolist() == loaded[f"y_{split}"].tolist()


def test_the_real_word_index_ranks_each_word_once(imdb):
    with open(imdb / "imdb_word_index.json", "rb") as file:
        ranks = sorted(raw.word_index(file).values())
    assert (ranks[0], ranks[-1], len(ranks)) == (1, 88_584, 88_584)
    assert all(after - before == 1 for before, after in pairwise(ranks))
