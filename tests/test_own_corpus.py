"""A file or folder of labelled texts becomes a corpus with all its rows, and each bad row is named."""

import copy
import csv
import gzip
import hashlib
import io
import json
import re
import shutil
import tracemalloc
import zipfile
from collections import Counter
from contextlib import suppress
from itertools import cycle, product
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from dvc.utils.serialize import modify_yaml
from hypothesis import given
from hypothesis import strategies as st

from corpora.look import Options, look
from demo.corpus import BLAME, NEUTRAL, PRAISE, make_corpus, word_index
from demo.project import write_project
from sentiment import InputError
from sentiment.data import labelled, raw, text
from sentiment.data.archives import members, pack_members
from sentiment.data.labelled import Form, Row
from sentiment.keras.backend import keras
from stages import corpus as stage
from stages.params import Corpus, parse
from tests.conftest import damaged, examples, shown_of
from tests.projects import Project

LABELS = ["bad", "good"]
VALUES = {"bad": 0, "good": 1}
TOKENS = text.Normal("words", lowercase=True, symbols=False)
FORM = labelled.Form("csv", text="text", label="label")
DRAWN = {"test_fraction": 0.5, "seed": 1}
COLUMNS = {"text": "text", "label": "label"}
GOOD = [(f"{word} film, {word} cast: {number}", LABELS[number % 2]) for number, word in enumerate("abcdefghijkl")]


def settings(reviews, **changes):
    return Corpus(reviews=str(reviews), labels=LABELS, bad_rows=0, **changes)


def table(rows, header=("text", "label"), **form):
    """CSV of any text. The writer of Python 3.10 refuses null characters, so another character replaces them."""
    file = io.StringIO(newline="")
    csv.writer(file, **form).writerows([[str(cell).replace("\0", "\udfff") for cell in row] for row in [header, *rows]])
    return file.getvalue().replace("\udfff", "\0").encode()


def json_lines(rows):
    return "".join(json.dumps({"label": label, "text": text}) + "\n" for text, label in rows).encode()


def folders(path, rows):
    for label in LABELS:
        (path / label).mkdir(parents=True)
    for number, (written, label) in enumerate(rows):
        (path / label / f"{number:05}.txt").write_text(written, encoding="utf-8", newline="")


def made(folder, monkeypatch, wanted):
    """Run the stage in a folder; return the arrays of its archive as lists, and its word index."""
    monkeypatch.chdir(folder)
    stage.main(wanted, "mine")
    with np.load("data/raw/mine.npz", allow_pickle=True) as saved:
        arrays = {name: saved[name].tolist() for name in saved}
    return arrays, json.loads(Path("data/raw/mine_word_index.json").read_text())


def written_again(arrays, index):
    """Sorted texts and labels of each split."""
    words = {rank: word for word, rank in index.items()}
    return {
        split: sorted(
            (" ".join(words[rank] for rank in review), label)
            for review, label in zip(arrays[f"x_{split}"], arrays[f"y_{split}"], strict=True)
        )
        for split in ("train", "test")
    }


def reviews_of(count):
    """Made-up reviews as texts with a little punctuation, and the names of their labels."""
    words = {rank: word for word, rank in word_index().items()}
    lists, labels = make_corpus(count, seed=3)
    return [
        (", ".join(words[rank] for rank in review).capitalize() + "!", LABELS[label])
        for review, label in zip(lists, labels, strict=True)
    ]


def test_the_written_corpus_is_what_keras_loads_and_the_ranks_are_those_of_a_count(tmp_path, monkeypatch):
    rows = {"train": reviews_of(60), "test": [("New words, clever film!", "good"), ("Unheard of", "bad")]}
    (tmp_path / "mine").mkdir()
    for split, part in rows.items():
        (tmp_path / "mine" / f"{split}.csv").write_bytes(table(part))
    _, index = made(tmp_path, monkeypatch, settings("mine", **COLUMNS))
    counts = Counter(word for written, _ in rows["train"] for word in re.findall("[a-z]+", written.lower()))
    assert [*index.items()] == [
        (word, rank) for rank, (word, _) in enumerate(sorted(counts.items(), key=lambda item: (-item[1], item[0])), 1)
    ]
    monkeypatch.setattr("keras.src.datasets.imdb.get_file", lambda **download: "data/raw/mine.npz")
    (x_train, y_train), (x_test, y_test) = keras.datasets.imdb.load_data(num_words=10_000)
    names = {rank + 3: word for word, rank in index.items()}
    for x, y, part in ((x_train, y_train, rows["train"]), (x_test, y_test, rows["test"])):
        known = [[word for word in re.findall("[a-z]+", written.lower()) if word in index] for written, _ in part]
        expected = sorted(zip(known, [LABELS.index(label) for _, label in part], strict=True))
        assert sorted(([names[id] for id in ids[1:]], label) for ids, label in zip(x, y, strict=True)) == expected


FORMS = {
    "mine.csv": lambda rows: table(rows),
    "quoted.csv": lambda rows: table(rows, quoting=csv.QUOTE_ALL, lineterminator="\n"),
    "excel.csv": lambda rows: b"\xef\xbb\xbf" + table(rows, delimiter=";"),
    "more columns.csv": lambda rows: table([(1, label, text, "") for text, label in rows], ("n", "label", "text", "")),
    "blank lines.csv": lambda rows: b"\n" + table(rows).replace(b"\r\n", b"\n\n").replace(b"two\n\n", b"two\r\n"),
    "mine.tsv": lambda rows: table(rows, dialect="excel-tab"),
    "mine.jsonl": json_lines,
    "mine.ndjson": lambda rows: b"\xef\xbb\xbf" + json_lines(rows).replace(b"\n", b"\r\n\r\n"),
}


@pytest.fixture(scope="module")
def mixed():
    """Rows with every character that a format must keep."""
    odd = [
        'He said "no, no; never"',
        "two\r\nlines\tand a tab",
        "na\u00efve caf\u00e9 \U0001f600 \u2028 x",
        "'tis ; , \\n \\",
        "#1",
    ]
    return reviews_of(30) + [(written, LABELS[number % 2]) for number, written in enumerate(odd)]


@pytest.mark.parametrize("name", FORMS)
def test_any_format_gives_the_bytes_of_the_others(tmp_path, monkeypatch, mixed, name):
    made_of = {}
    for file, form in {"plain.csv": FORMS["mine.csv"], name: FORMS[name]}.items():
        (tmp_path / file).write_bytes(form(mixed))
        made(tmp_path, monkeypatch, settings(file, **COLUMNS, **DRAWN))
        made_of[file] = [path.read_bytes() for path in sorted(Path("data/raw").iterdir())]
    assert made_of["plain.csv"] == made_of[name]


def test_folders_of_files_give_the_reviews_of_a_table(tmp_path, monkeypatch, mixed, capsys):
    rows = mixed[:20], mixed[20:]
    for split, part in zip(("train", "test"), rows, strict=True):
        folders(tmp_path / "split" / split, part)
        (tmp_path / "split" / f"{split}.bak").write_text("no part of it")
    folders(tmp_path / "whole", mixed)
    (tmp_path / "whole/good/.DS_Store").write_bytes(b"\0\xff")
    (tmp_path / "split/train/unsup").mkdir()
    (tmp_path / "mine.csv").write_bytes(table(mixed))
    whole = written_again(*made(tmp_path, monkeypatch, settings("whole", **DRAWN)))
    assert whole == written_again(*made(tmp_path, monkeypatch, settings("mine.csv", **COLUMNS, **DRAWN)))
    (tmp_path / "tables").mkdir()
    for split, part in zip(("train", "test"), rows, strict=True):
        (tmp_path / "tables" / f"{split}.jsonl").write_bytes(json_lines(part))
    split = written_again(*made(tmp_path, monkeypatch, settings("split")))
    assert "split/train: not read, as no label: unsup\n" in capsys.readouterr().out
    assert split == written_again(*made(tmp_path, monkeypatch, settings("tables", **COLUMNS)))
    assert [len(part) for part in split.values()] == [20, 15]


@given(
    st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=30), st.sampled_from(LABELS)), max_size=8),
    st.sampled_from([",", ";", "\t"]),
)
def test_any_text_comes_out_of_a_file_and_of_the_archive_as_its_words(rows, delimiter):
    expected = []
    for written, label in rows:
        words = text.words(text.clean(written, tokens=TOKENS), TOKENS)
        if words and "\0" not in written:
            expected.append((words, LABELS.index(label)))
    for content, reader in (
        (table(rows, delimiter=delimiter), labelled.table),
        (json_lines(rows), labelled.json_lines),
    ):
        cells = [row for _, row in reader(io.BytesIO(content), FORM, LABELS)]
        assert len(cells) == len(rows)
        parsed = [row for row in (labelled.as_row(*row, VALUES, TOKENS) for row in cells) if isinstance(row, Row)]
        assert parsed == expected
    index = text.make_index(Counter(word for words, _ in parsed for word in words))
    labels = np.array([label for _, label in parsed], np.uint8)
    raw.write(file := io.BytesIO(), {"train": ([[index[word] for word in words] for words, _ in parsed], labels)})
    names = {rank: word for word, rank in index.items()}
    read = [part for ranks, lengths in raw.reviews(file, "train") for part in np.split(ranks, np.cumsum(lengths)[:-1])]
    assert [[names[rank] for rank in part.tolist()] for part in read] == [words for words, _ in expected]
    assert raw.labels(file, "train").tolist() == labels.tolist()


def test_a_corpus_whose_reviews_and_labels_differ_in_number_is_refused():
    for count in (1, 3):
        with pytest.raises(InputError, match=f"expected a review for each of 2 labels, got {count}"):
            raw.write(io.BytesIO(), {"train": ([[1]] * count, np.array([0, 1]))})


LONG = "w" * (labelled.MAX_TEXT_CHARACTERS + 1)
BAD = {  # a bad line and a part of its message
    "unknown label": (b"a film,Good\n", "unknown label: 'Good', expected 'bad' or 'good'"),
    "label with a space": (b"a film,good \n", "unknown label: 'good ', expected"),
    "label without a text": (b"good\n", "number of fields: 1, expected 2"),
    "too many fields": (b"a film, a cast,good\n", "number of fields: 3, expected 2"),
    "empty text": (b",good\n", "empty text: ''"),
    "blank text": (b'" \n\t",good\n', r"empty text: ' \n\t'"),
    "no word": (b'"?! ...",good\n', "text without a token: '?! ...'"),
    "Latin-1": (b"caf\xe9,good\n", r"another encoding: 'caf\udce9'"),
    "null": (b"a\0b,good\n", r"null character: 'a\x00b'"),
    "long": (f"{LONG},good\n".encode(), "text too long: 131,073 characters, expected at most 131,072"),
}
BAD_JSON = {
    "cut": (b'{"text": "a film", "lab\n', "not JSON: Unterminated string"),
    "not an object": (b'["a film", "good"]\n', "not a JSON object: ['a film', 'good']"),
    "key": (b'{"txt": "a film", "label": "good"}\n', "missing key: 'text', the row has ['txt', 'label']"),
    "number": (b'{"text": 5, "label": "good"}\n', "text is no string: 5"),
    "nothing": (b'{"text": null, "label": "good"}\n', "text is no string: None"),
    "label": (b'{"text": "a", "label": null}\n', "unknown label: None"),
    "half": (b'{"text": "a \\ud83d", "label": "good"}\n', r"another encoding: 'a \ud83d'"),
    "null": (b'{"text": "a \\u0000", "label": "good"}\n', r"null character: 'a \x00'"),
    "deep": (b"[" * 100_000 + b"\n", "not JSON: "),
    "digits": (b'{"text": 1' + b"0" * 5000 + b', "label": "good"}\n', "not JSON: "),
}
CASES = [("mine.csv", *case) for case in BAD.values()] + [("mine.jsonl", *case) for case in BAD_JSON.values()]


@pytest.mark.parametrize(("name", "line", "expected"), CASES, ids=[*BAD, *(f"JSON: {name}" for name in BAD_JSON)])
def test_a_bad_row_is_named_by_its_line_and_left_out_only_if_that_is_allowed(
    tmp_path, monkeypatch, capsys, name, line, expected
):
    form = table if name.endswith("csv") else json_lines
    parts = [form(part).partition(b"\n")[2] if form is table else form(part) for part in (GOOD[:4], GOOD[4:])]
    if form is table:
        parts[0] = b"text,label\n" + parts[0] + b'"two\nlines",good\n'
        at = 8
    else:
        at = 5
    (tmp_path / name).write_bytes(parts[0] + line + parts[1])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        stage.main(settings(name, **COLUMNS, **DRAWN), "mine")
    head, *shown = str(caught.value).splitlines()
    kind = expected.partition(":")[0]
    assert head == (
        f"{name}: bad rows: 1 ({kind} 1); correct them, or raise corpora.mine.bad_rows, 0, to leave them out"
    )
    assert len(shown) == 1
    assert shown[0].startswith(f"{name}:{at}: {expected}")
    assert not Path("data").exists()
    capsys.readouterr()
    wanted = settings(name, **COLUMNS, **DRAWN).model_copy(update={"bad_rows": 1})
    arrays, _ = made(tmp_path, monkeypatch, wanted)
    assert capsys.readouterr().err == (f"warning: {name}: bad rows left out: 1 ({kind} 1)\nwarning: {shown[0]}\n")
    assert len(arrays["x_train"] + arrays["x_test"]) == len(GOOD) + (form is table)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "after a byte order mark"])
@pytest.mark.parametrize("letter", ["a", "\u00e9", "\u4e00", "\U00020000"], ids=["1", "2", "3", "4 bytes"])
def test_a_file_of_one_review_is_read_whole_or_refused_however_many_bytes_its_characters_have(letter, mark):
    most = 131_072
    longest = letter * (most - 4) + " end"
    row = labelled.as_row(labelled.plain(io.BytesIO(mark + longest.encode())), "good", VALUES, TOKENS)
    assert row == Row([letter * (most - 4), "end"], 1)
    for longer in (longest + "s", letter * (most + 1), letter * (2 * most + 1), letter * (4 * most + 9)):
        fault = labelled.as_row(labelled.plain(io.BytesIO(mark + longer.encode())), "good", VALUES, TOKENS)
        assert fault.kind == "text too long"


def test_all_bad_rows_are_counted_by_kind_and_the_first_ten_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = GOOD + [("a film", "x")] * 7 + [("!", "good")] * 2 + [("a film", "x")] * 4
    Path("mine.csv").write_bytes(table(rows))
    with pytest.raises(InputError) as caught:
        stage.main(settings("mine.csv", **COLUMNS, **DRAWN).model_copy(update={"bad_rows": 12}), "mine")
    head, *shown = str(caught.value).splitlines()
    assert "bad rows: 13 (unknown label 11, text without a token 2)" in head
    assert [line.split(":")[1] for line in shown[:-1]] == [str(line) for line in range(14, 24)]
    assert shown[-1] == "and 3 more"


def sheet(rows):
    """An Excel file whose members are not compressed."""
    book, file, plain = openpyxl.Workbook(), io.BytesIO(), io.BytesIO()
    for row in [("text", "label"), *rows]:
        book.active.append(row)
    book.save(file)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(plain, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return plain.getvalue()


def test_a_table_without_a_header_whose_lines_end_in_cr_alone_is_refused():
    form = FORM._replace(header=False, text="1", label="2")
    with pytest.raises(InputError, match="expected a row of a table, got"):
        [*labelled.table(io.BytesIO(b"a film,good\ra cast,bad\r"), form, LABELS)]


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (b"text,label\na film,good\n", {"encoding": "idna"}, "ENCODING=idna: no encoding by which Python reads texts"),
        (b"text,label\na film,good\n", {"encoding": "hex"}, "ENCODING=hex: no encoding by which Python reads texts"),
        (b"text,label\na film,good\n", {"encoding": "utf-16"}, "ENCODING=utf-16: expected this encoding, got: "),
        (
            b"text,label\n" + b"%01000d,good\n" % 5 * 1100 + b"a\rb,bad\n",
            {},
            "expected a table, got: new-line character",
        ),
    ],
    ids=["idna", "hex", "utf-16", "CR"],
)
def test_what_make_corpus_cannot_read_is_one_line(tmp_path, content, options, expected):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError) as caught:
        look(tmp_path / "a.csv", Options(**options))
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("dimension", [b'<dimension ref="A1:B13" />', b'<dimension ref="A1:ZZZ999999999" />', b""])
def test_a_sheet_with_a_row_that_no_sheet_has_ends(dimension, monkeypatch):
    monkeypatch.setattr(labelled, "MOST_EXCEL_ROWS", 1000)
    content = members(sheet(GOOD))
    name, old = "xl/worksheets/sheet1.xml", b'<dimension ref="A1:B13" />'
    content[name] = content[name].replace(old, dimension).replace(b'<row r="13"', b'<row r="99999999999"')
    assert content[name].count(b"99999999999") == 1
    rows = [*labelled.excel(io.BytesIO(pack_members(content)), FORM._replace(format="excel"), LABELS)]
    assert [cells for _, cells in rows] == GOOD[:-1]


def test_what_openpyxl_warns_of_is_no_line_of_the_stage():
    content = members(sheet(GOOD))
    content["xl/workbook.xml"] = content["xl/workbook.xml"].replace(b'r:id="rId1"', b"")
    assert b'r:id="' not in content["xl/workbook.xml"]
    with pytest.raises(InputError, match="list index out of range"):
        [*labelled.sheet_rows(io.BytesIO(pack_members(content)))]


def test_a_sheet_that_is_compressed_more_than_texts_can_be_is_refused(monkeypatch):
    monkeypatch.setattr(labelled, "PLAUSIBLE", 1000)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members(sheet(GOOD)).items():
            archive.writestr(name, content.replace(b"<row ", b"<row " + b" " * 10**6, 1))
    with pytest.raises(InputError, match="a member is compressed more than a hundredfold"):
        [*labelled.sheet_rows(bomb)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8"])
@pytest.mark.parametrize("name", ["bad.txt", "bad/1.txt"])
def test_a_text_of_a_folder_in_another_encoding_is_one_line(tmp_path, monkeypatch, name, encoding):
    monkeypatch.chdir(tmp_path)
    folders(tmp_path / "mine", GOOD)
    shutil.rmtree("mine/bad")
    (tmp_path / "mine" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "mine" / name).write_bytes(b"a\xff")
    with pytest.raises(InputError, match=f"mine/{name}|mine/good/00001.txt"):
        stage.main(settings("mine", encoding=encoding, **DRAWN), "mine")


SOURCES = {
    "a.csv": table(GOOD), "a.tsv": table(GOOD, delimiter="\t"), "a.jsonl": json_lines(GOOD),
    "a.json": b"[" + json_lines(GOOD).strip().replace(b"\n", b",") + b"]",
    "a.xlsx": sheet(GOOD), "a.csv.gz": gzip.compress(table(GOOD), mtime=0), "a.txt": b"good a film\nbad a cast\n" * 5,
}  # fmt: skip
SEPARATORS = [None, None, ",", "\t", " ", "::", '"', "\n", "\r"]
ENCODINGS = ["utf-8", "utf-8", "utf-16", "utf-32-be", "cp949", "latin-1", "cp037", "utf-7"]


@examples(40)
@given(st.sampled_from([*SOURCES]), st.sampled_from(ENCODINGS), st.sampled_from(SEPARATORS), st.booleans(), st.data())
def test_a_damaged_file_becomes_a_corpus_or_is_refused(tmp_path, monkeypatch, name, encoding, separator, header, data):
    monkeypatch.chdir(tmp_path)
    content = SOURCES[name]
    if name == "a.xlsx" and data.draw(st.booleans()):
        parts = members(content)
        part = data.draw(st.sampled_from([*parts]))
        content = pack_members(parts | {part: data.draw(damaged(parts[part]))})
    else:
        content = data.draw(damaged(content))
    Path(name).write_bytes(content)
    names = COLUMNS if header else {"text": "1", "label": "2"}
    form = {} if "." + name.partition(".")[2] in labelled.SUFFIXES else {"format": "label-text"}
    form |= {"separator": separator, "quoting": separator != "::" and data.draw(st.booleans())}
    wanted = settings(name, encoding=encoding, header=header, **form, **names, **DRAWN)
    lines = []
    try:
        stage.main(wanted.model_copy(update={"bad_rows": data.draw(st.sampled_from([0, 100]))}), "mine")
    except InputError as error:
        lines = str(error).splitlines()
    assert all(len(line) < 500 and line.isprintable() for line in lines)
    with suppress(InputError):
        look(Path(name), Options(encoding=data.draw(st.sampled_from([None, encoding]))))


QUOTE = "from here on rows can't be told apart"
BROKEN = {
    "empty": ("a.csv", b"", "a.csv: line 1: expected a header with the columns 'text' and 'label'"),
    "no header": ("a.csv", table(GOOD[1:], GOOD[0]), "got '\"a film, a cast: 0\",bad'"),
    "another header": ("a.csv", table(GOOD, ("Text", "label")), "; got 'Text,label'"),
    "column twice": ("a.csv", table([], ("text", "label", "text")), "has the column 'text' twice"),
    "header alone": ("a.csv", table([]), "a.csv: among 0 train reviews none has the label 'bad'; add some"),
    "one label": ("a.csv", table(GOOD[::2]), "reviews none has the label 'good'; add some"),
    "one text of a label": ("a.csv", table([*GOOD[::2], GOOD[1], GOOD[1]]), "test reviews none has the label 'good'"),
    "open quote": ("a.csv", table(GOOD) + b'"open,good\n' + b"b,bad\n", f"line 14: unexpected end of data; {QUOTE}"),
    "runaway quote": ("a.csv", table(GOOD) + b'"open,good\n' + b"b,bad\n" * 900_000, f"(4194304); {QUOTE}"),
    "quote inside": ("a.csv", table(GOOD) + b'"a "b" c",good\n', f"line 14: ',' expected after '\"'; {QUOTE}"),
    "UTF-16": ("a.csv", table(GOOD).decode().encode("utf-16"), "line 1: the encoding is UTF-16; set encoding: utf-16"),
    "CR": ("a.csv", table(GOOD, lineterminator="\r"), "line 1: lines end in CR alone"),
    "one line": ("a.jsonl", b" " * 5_000_000, "line 1 has more than 4,194,304 characters"),
    "suffix": ("a.doc", b"PK", "a.doc: expected a folder or a file ending in .csv, .tsv, .jsonl, .ndjson"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "expected"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path, monkeypatch, name, content, expected):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        stage.main(settings(name, **COLUMNS, **DRAWN), "mine")
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not Path("data").exists()


KEYS = {
    "no column": ("a.csv", DRAWN, "corpora.mine.text is missing, and a.csv needs it; add it"),
    "no seed": ("a.csv", COLUMNS | {"test_fraction": 0.5}, "corpora.mine.seed is missing"),
    "split that is there": (
        "split",
        COLUMNS | DRAWN,
        "test_fraction = 0.5, but the reviews have a test split of their",
    ),
    "column of a folder": ("texts", COLUMNS | DRAWN, "text = 'text', but a folder of texts has no columns; remove it"),
    "no file": ("b.csv", COLUMNS | DRAWN, "b.csv: no such file or folder; correct its name in params.yaml"),
    "no labels": (
        "texts/bad",
        DRAWN,
        "texts/bad: expected a folder or file for each label, bad and good, or train and test",
    ),
    "two of one": ("two", COLUMNS, "two: expected one train split, got two/train.csv and two/train.jsonl"),
}


@pytest.mark.parametrize(("reviews", "keys", "expected"), KEYS.values(), ids=KEYS)
def test_the_keys_of_a_corpus_are_those_that_its_files_need(tmp_path, monkeypatch, reviews, keys, expected):
    monkeypatch.chdir(tmp_path)
    folders(Path("texts"), GOOD)
    for name in ("a.csv", "split/train.csv", "split/test.csv", "two/train.csv", "two/train.jsonl", "two/test.csv"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(table(GOOD))
    with pytest.raises(InputError) as caught:
        stage.main(settings(reviews, **keys), "mine")
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_any_line_end_separates_words():
    assert labelled.as_row("two\r\nlines\rand one", "good", VALUES, TOKENS).words == ["two", "lines", "and", "one"]


def test_a_whole_number_is_a_label_by_its_digits():
    rows = labelled.json_lines(io.BytesIO(b'{"text": "a", "label": 1}\n{"text": "b", "label": "0"}'), FORM, "01")
    assert [labelled.as_row(*cells, {"0": 0, "1": 1}, TOKENS).label for _, cells in rows] == [1, 0]


@pytest.mark.parametrize(("fraction", "seed"), [(0.25, 0), (0.25, 1), (0.5, 2**31 - 1)])
def test_the_test_split_has_the_requested_share_of_each_label_whatever_the_order_and_the_copies(fraction, seed):
    rows = [Row([f"word{number}", "again"], int(number % 5 == 0)) for number in range(1000)]
    cuts = labelled.split_limits(rows, 2, fraction, seed)
    test = {row.words[0] for row in rows if labelled.is_test(row, cuts, seed)}
    assert [sum(row.label == label and row.words[0] in test for row in rows) for label in (0, 1)] == [
        800 * fraction, 200 * fraction
    ]  # fmt: skip
    assert labelled.split_limits(rows[::-1] + rows[:77] * 2, 2, fraction, seed) == cuts
    more = labelled.split_limits(rows, 2, fraction + 0.2, seed)
    assert all(labelled.is_test(row, more, seed) for row in rows if row.words[0] in test)
    other = labelled.split_limits(rows, 2, fraction, seed + 1)
    assert {row.words[0] for row in rows if labelled.is_test(row, other, seed + 1)} != test
    key = seed.to_bytes(8, "little")
    assert labelled.fingerprint(["a", "film"], seed) == int.from_bytes(
        hashlib.blake2b(b"afilm", digest_size=8, key=key).digest(), "little"
    )


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999])
def test_two_texts_of_each_label_are_enough_for_two_splits(fraction):
    rows = [Row([word], label) for word, label in (("a", 0), ("b", 0), ("a", 0), ("c", 1), ("d", 1), ("d", 1))]
    cuts = labelled.split_limits(rows, 2, fraction, 1)
    sides = {(labelled.is_test(row, cuts, 1), row.label) for row in rows}
    assert sides == {(False, 0), (True, 0), (False, 1), (True, 1)}


def test_the_test_split_does_not_depend_on_the_tokens():
    """``make corpus`` chooses the tokens on the training split, so other tokens may not give another split."""
    texts = [f"{word} İś it's NUMBER_{number}, ﬁlm ß & <b>한국어</b> {emoji}" for number, (word, emoji) in
             enumerate(zip(PRAISE * 20, cycle("👍👎 ")))] + [*"👍👎🎉🎬"]  # fmt: skip
    splits = []
    for unit, lowercase, symbols in product(("words", "characters"), (True, False), (True, False)):
        tokens = text.Normal(unit, lowercase=lowercase, symbols=symbols)
        rows = [labelled.as_row(each, "good", VALUES, tokens) for each in texts]
        cuts = labelled.split_limits([row for row in rows if isinstance(row, Row)], 2, 0.3, 1)
        splits.append([labelled.is_test(row, cuts, 1) for row in rows[:-4]])
    assert 0.2 < np.mean(splits[0]) < 0.4
    assert all(split == splits[0] for split in splits)
    only = [
        labelled.as_row(each, "good", VALUES, text.Normal("words", lowercase=True, symbols=True)) for each in "👍👎"
    ]
    assert {labelled.is_test(row, labelled.split_limits(only, 2, 0.5, 1), 1) for row in only} == {True, False}


def test_texts_in_both_splits_are_counted_and_drawn_splits_share_none(tmp_path, monkeypatch, capsys):
    rows = reviews_of(40)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/train.csv").write_bytes(table(rows))
    common = [*((written.upper(), label) for written, label in rows[:9]), *rows[-1:] * 3]
    (tmp_path / "mine/test.csv").write_bytes(table([("Else", "bad"), *common, ("One", "bad")]))
    made(tmp_path, monkeypatch, settings("mine", **COLUMNS))
    assert "warning: 12 of 14 test reviews are in the training split too" in capsys.readouterr().err
    (tmp_path / "mine.csv").write_bytes(table(rows * 3))
    arrays, _ = made(tmp_path, monkeypatch, settings("mine.csv", **COLUMNS, **DRAWN))
    assert capsys.readouterr().err == ""
    train, test = ({tuple(review) for review in arrays[f"x_{split}"]} for split in ("train", "test"))
    assert not train & test
    assert len(train) + len(test) == len({written for written, _ in rows})


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def peak(count):
        with Path("mine.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows([f"row {number % 997} of some words " * 4, LABELS[number % 2]] for number in range(count))
        tracemalloc.start()
        stage.main(settings("mine.csv", **COLUMNS, **DRAWN), "mine")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few, many = peak(1000), peak(4000)
    assert many < few + 3000 * 60  # a review adds 100 bytes to the file, and nine, copied once, to memory


def test_of_too_many_different_words_the_rarest_are_dropped_with_a_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sentiment.data.survey.MOST_WORDS", 20)
    rows = [(f"word{number} film film {'rare ' * (number == 5)}cast", LABELS[number % 2]) for number in range(100)]
    (tmp_path / "mine.csv").write_bytes(table(rows))
    _, index = made(tmp_path, monkeypatch, settings("mine.csv", **COLUMNS, **DRAWN))
    assert [*index][:2] == ["film", "cast"]
    assert "rare" not in index
    assert len(index) <= 20
    assert "those that occur at most 3 times may be left out" in capsys.readouterr().err


def take_over(params):
    """Write a corpus and a small network for it into params.yaml."""
    with modify_yaml(params) as values:
        values["corpora"] = {"mine": settings("mine.csv", **COLUMNS, test_fraction=0.2, seed=1).model_dump()}
        for model in values["models"].values():
            model["corpus"] = "imdb"
        values["models"]["mine"] = copy.deepcopy(values["models"]["small"]) | {"corpus": "mine"}
        values["models"]["mine"]["pad"]["max_length"] = 20
    parse(params.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_strangers_table_is_trained_on_verified_exported_and_followed_without_the_imdb_reviews(tmp_path):
    write_project(tmp_path, 10)
    project = Project(tmp_path)
    source = {"IMDB_SOURCE": project.environment.pop("IMDB_SOURCE")}
    take_over(tmp_path / "params.yaml")
    with modify_yaml(tmp_path / "params.yaml") as values:
        grams = values["models"][shown_of("ngrams", "scikit-learn")] | {"corpus": "mine"}
        values["models"] = {"mine": values["models"]["mine"], "grams": grams}
        values["models"]["mine"]["train"] |= {"epochs": 5, "batch": 10}
        values["corpora"]["mine_b"] = values["corpora"]["mine"] | {"reviews": "more.csv"}
    tales = zip(NEUTRAL * 5, PRAISE * 34, reversed(BLAME * 34), strict=False)
    rows = [
        (f"The {good if number % 2 else bad} {word} of number {number}", LABELS[number % 2])
        for number, (word, good, bad) in zip(range(500), cycle(tales))
    ]
    (tmp_path / "mine.csv").write_bytes(table(rows))
    (tmp_path / "more.csv").write_bytes(table(rows[::-3]))
    project.repro("evaluate@mine", "evaluate@grams")
    assert not (tmp_path / "data/raw/imdb.npz").exists()
    for name in ("mine", "grams"):
        assert json.loads((tmp_path / f"metrics/{name}.json").read_text())["accuracy"] > 0.9
    run = project.run("dvc", "repro", **source)
    assert sorted(re.findall("Running stage '(.*)'", run.stdout)) == ["corpus@mine_b", "download"]
    project.commit()
    project.tool("checks.gate")
    project.tool("checks.verify", "evaluate@mine")
    project.tool("export", "grams")
    recipe = json.loads((tmp_path / "exported/grams/reproduce.json").read_text())
    assert [*recipe["data"]] == [f"data/raw/mine{end}" for end in (".npz", "_about.json", "_word_index.json")]
    with (tmp_path / "mine.csv").open("a") as file:
        file.write("one more film,good\n")
    project.commit()
    refused = project.tool("export", "grams", code=3)
    assert re.fullmatch(r"error: stale: corpus@mine: mine.csv.*\n", refused.stderr)
    assert project.repro("pad@mine") == ["corpus@mine", "pad@mine"]


def test_a_json_array_in_one_long_line_is_read(tmp_path):
    content = [{"text": f"film {number} " * 9000, "label": "good"} for number in range(60)]
    assert len(json.dumps(content)) > labelled.MAX_LINE_CHARACTERS
    (tmp_path / "a.json").write_text(json.dumps(content))
    read = [cells for _, cells in labelled.rows(tmp_path / "a.json", Form("json", text="text", label="label"), ())]
    assert read == [(row["text"], row["label"]) for row in content]
    (tmp_path / "a.json").write_bytes(json.dumps(content[:1]).encode("utf-16"))
    with pytest.raises(InputError, match="the encoding is UTF-16"):
        next(labelled.rows(tmp_path / "a.json", Form("json", text="text", label="label"), ()))
