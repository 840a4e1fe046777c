"""`make corpus` finds the format of a file, and the section that it writes into params.yaml reads every row."""

import csv
import gzip
import io
import json
import random
import re
import shutil
import sys
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from corpora import __main__ as command
from corpora import recommend
from corpora.look import Options, label_keys, look, raw_rows, table_form
from corpora.sections import as_yaml, changes, insert
from sentiment import InputError
from sentiment.data import labelled, ngrams
from sentiment.data.labelled import BadRow, Form
from sentiment.data.text import Normal, clean, words
from sentiment.kinds.ngrams import Linear, OneVersusRest, Weighting, make_trainer, open_model
from stages import corpus as stage
from stages.common.reader import load
from stages.params import Corpus, check_model, parse
from tests.conftest import ROOT
from tests.grams import corpus as made_up_corpus
from tests.grams import settings as gram_settings
from tests.grams import train

TEXTS = [f"a {word} film, {'never' * (number % 3)} dull {number}" for number, word in enumerate("abcdefghijkl" * 3)]
ROWS = [(text, ["bad", "good", "mixed"][number % 3]) for number, text in enumerate(TEXTS)]
KOREAN = [(f"정말 재미있는 영화 {number} 번째", str(number % 2)) for number in range(40)]


def table(rows, header=("text", "label"), encoding="utf-8", **form):
    file = io.StringIO(newline="")
    csv.writer(file, **form).writerows([header, *rows] if header else rows)
    return file.getvalue().encode(encoding)


def book(rows):
    sheet = openpyxl.Workbook()
    for row in [("Comment", "label"), *rows]:
        sheet.active.append(row)
    sheet.save(file := io.BytesIO())
    return file.getvalue()


RAW = "".join(f"{label}\t{chr(34) * (number % 5 == 0)}café {text}\n" for number, (text, label) in enumerate(ROWS))
CAFE = [(f"café {text}", label) for text, label in ROWS]
FORMS = {  # the file's name and content, its rows, and some keys of the section
    "three classes": ("a.csv", table(ROWS), ROWS, {"format": "csv", "separator": ",", "header": True}),
    "Korean TSV": ("a.tsv", table(KOREAN, encoding="cp949", delimiter="\t"), KOREAN, {"encoding": "cp949"}),
    "byte order mark": ("a.csv", table(KOREAN, encoding="utf-8-sig"), KOREAN, {"encoding": "utf-8", "text": "text"}),
    "texts of several lines, each with a comma": (
        "a.csv", table([(f"{text}\n{text}\nso, {text.replace(',', '')}", label) for text, label in ROWS],
                       lineterminator="\n"),
        [(f"{text}\n{text}\nso, {text.replace(',', '')}", label) for text, label in ROWS], {"quoting": True},
    ),
    "UTF-16": ("a.csv", table(KOREAN, encoding="utf-16", delimiter=";"), KOREAN, {"encoding": "utf-16"}),
    **{
        f"{encoding} without a mark": ("a.csv", table(CAFE, encoding=encoding), ROWS, {"encoding": encoding})
        for encoding in ("utf-16-le", "utf-16-be")
    },
    "raw quotes": (
        "a.txt", RAW.encode("latin-1"), ROWS, {"quoting": False, "header": False, "text": "2", "encoding": "cp1252"}
    ),
    "gzip": ("a.csv.gz", gzip.compress(table(ROWS)), ROWS, {"format": "csv"}),
    "Excel": ("a.xlsx", book(ROWS), ROWS, {"format": "excel", "text": "Comment"}),
    "JSON lines": (
        "a.jsonl", "".join(json.dumps({"n": 1, "text": text, "label": label}) + "\n" for text, label in ROWS).encode(),
        ROWS, {"format": "jsonl"},
    ),
    "JSON array": (
        "a.json", json.dumps([{"text": text, "label": n % 2 > 0} for n, text in enumerate(TEXTS)]).encode(),
        [(text, str(n % 2 > 0).lower()) for n, text in enumerate(TEXTS)], {"format": "json"},
    ),
    "JSON object with an array, in one line": (
        "a.json", json.dumps({"n": 36, "rows": [{"text": text, "label": label} for text, label in ROWS]}).encode(),
        ROWS, {"format": "json"},
    ),
    "label lines": (
        "a.txt", "".join(f"__label__{label} {text}\n" for text, label in ROWS).encode(),
        [(text, f"__label__{label}") for text, label in ROWS], {"format": "label-text", "separator": " "},
    ),
    "label last": (
        "a.txt", "".join(f"{text}, {text}@,{label}\n" for text, label in ROWS).replace("@", "").encode(),
        [(f"{text}, {text}", label) for text, label in ROWS], {"format": "text-label", "separator": ","},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "expected", "keys"), FORMS.values(), ids=FORMS)
def test_the_section_for_a_file_reads_all_its_rows(tmp_path, monkeypatch, name, content, expected, keys):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    section = look(Path(name), Options())
    assert section | keys == section
    form = Form(**{key: value for key, value in section.items() if key in Form._fields})
    read = [cells for _, cells in labelled.rows(Path(name), form, {label for _, label in expected})]
    clean = [(str(text).removeprefix('"').removeprefix("café "), labelled.as_label(label)) for text, label in read]
    assert clean == expected


def test_an_excel_row_that_lacks_a_cell_is_a_row_and_a_blank_one_is_none(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(book([("a film", "good"), ("a cast", None), (None, None), (None, "bad")]))
    read = [*labelled.rows(tmp_path / "a.xlsx", Form("excel", text="Comment", label="label"), ())]
    assert read == [(2, ("a film", "good")), (3, ("a cast", None)), (5, (None, "bad"))]


def test_train_dev_and_test_are_splits_and_the_development_split_is_trained_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split, rows in (("train", ROWS[:18]), ("dev", ROWS[18:24]), ("test", ROWS[24:])):
        Path("set").mkdir(exist_ok=True)
        Path(f"set/{split}.tsv").write_bytes(table(rows, delimiter="\t"))
    section = look(Path("set"), Options())
    assert section["splits"] == {"train": ["train.tsv", "dev.tsv"], "test": ["test.tsv"]}
    stage.main(Corpus(**section, labels=["bad", "good", "mixed"], bad_rows=0), "mine")
    with np.load("data/raw/mine.npz", allow_pickle=True) as saved:
        assert [len(saved[f"y_{split}"]) for split in ("train", "test")] == [24, 12]
        assert saved["y_train"].tolist() == [0, 1, 2] * 8


def test_several_columns_that_could_be_the_label_are_named_with_the_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(text, label, number % 2) for number, (text, label) in enumerate(ROWS)]
    Path("a.csv").write_bytes(table(rows, ("text", "first", "second")))
    with pytest.raises(InputError, match="several columns could be the label: first, second; add LABEL=column"):
        look(Path("a.csv"), Options())
    assert look(Path("a.csv"), Options(label="second"))["label"] == "second"


def test_a_header_without_rows_is_an_error_that_says_so(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n")
    with pytest.raises(InputError, match="no rows below the header"):
        look(tmp_path / "a.csv", Options())


def test_values_that_differ_in_spaces_around_them_are_one_label():
    keys = label_keys(Counter({"good": 9, " good": 1, "bad ": 3, "odd": 1}), {}, Options())
    assert keys == {"labels": {"bad": ["bad "], "good": ["good", " good"]}, "leave_out": ["odd"]}


def test_label_0_has_a_usual_name_or_the_lowest_number():
    for values, expected in ((["awesome", "bad"], ["bad", "awesome"]), (["10", "9", "-1.5"], ["-1.5", "9", "10"])):
        assert label_keys(Counter(values * 2), {}, Options())["labels"] == expected


def test_a_table_has_a_separator_if_more_than_four_fifths_of_its_lines_have_as_many_fields():
    for others, expected in ((1, ","), (2, None), (3, None)):
        lines = ["a,b"] * (10 - others) + ["a,b,c"] * others
        assert table_form(lines, Options(quoting="false"), whole=True)[0] == expected


def test_hidden_files_are_neither_splits_nor_labels(tmp_path):
    for split, rows in (("train", ROWS[:18]), ("test", ROWS[18:])):
        (tmp_path / f"{split}.csv").write_bytes(table(rows))
    (tmp_path / ".test.csv.swp").write_bytes(b"of an editor")
    assert look(tmp_path, Options())["splits"] == {"train": ["train.csv"], "test": ["test.csv"]}
    for name in ("texts/bad/1.txt", "texts/good/1.txt", "texts/.cache/1.txt", "texts/.DS_Store"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a film\n")
    keys = look(tmp_path / "texts", Options())
    assert [*command.values_in(keys)] == [("bad", "a film\n"), ("good", "a film\n")]


def test_stars_become_two_labels_and_the_middle_is_left_out_unless_five_are_asked_for():
    counts = Counter(dict.fromkeys("12345", 9))
    assert label_keys(counts, {"label": "stars"}, Options()) == {
        "labels": {"negative": ["1", "2"], "positive": ["4", "5"]}, "leave_out": ["3"]
    }  # fmt: skip
    assert label_keys(counts, {"label": "stars"}, Options(labels="1,2,3,4,5")) == {"labels": [*"12345"]}
    assert label_keys(counts, {"label": "topic"}, Options()) == {"labels": [*"12345"]}
    assert label_keys(counts, {"label": "topic"}, Options(labels="low=1+2,high=5")) == {
        "labels": {"low": ["1", "2"], "high": ["5"]}, "leave_out": ["3", "4"]
    }  # fmt: skip
    with pytest.raises(InputError, match="'6' is not in the label column"):
        label_keys(counts, {}, Options(labels="1,6"))


def test_values_of_one_label_are_joined_and_those_left_out_are_no_faults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_bytes(table([(text, 1 + n % 5) for n, text in enumerate(TEXTS)]))
    stage.main(
        Corpus(
            reviews="a.csv", text="text", label="label", labels={"low": ["1", "2"], "high": ["4", "5"]},
            leave_out=["3"], bad_rows=0, test_fraction=0.25, seed=1,
        ),
        "mine",
    )  # fmt: skip
    with np.load("data/raw/mine.npz", allow_pickle=True) as saved:
        labels = np.concatenate([saved["y_train"], saved["y_test"]])
    wanted = [1 + n % 5 for n in range(len(TEXTS))]
    assert np.bincount(labels).tolist() == [sum(star < 3 for star in wanted), sum(star > 3 for star in wanted)]
    assert json.loads(Path("data/raw/mine_about.json").read_text())["labels"] == ["low", "high"]


@pytest.mark.parametrize("order", [("text", "label"), ("label", "text")])
def test_rows_that_a_raw_quotation_mark_merges_are_a_fault_and_a_text_of_two_lines_is_none(order):
    lines = {"text\tlabel": '"open\tgood\nmore\tbad\nclosed"\tgood\n"two\nlines"\tbad\n',
             "label\ttext": 'good\t"open\nbad\tmore\ngood\tclosed"\nbad\t"two\nlines"\n'}  # fmt: skip
    header = "\t".join(order)
    form = Form("csv", separator="\t", text="text", label="label")
    read = [*labelled.table(io.BytesIO(f"{header}\n{lines[header]}".encode()), form, {"good", "bad"})]
    (first, fault), (second, cells) = read
    assert isinstance(fault, BadRow)
    assert (first, fault.kind) == (2, "rows in quotes")
    assert "lines 2 to 4" in fault.detail
    assert "set quoting: false" in fault.detail
    assert (second, cells) == (5, ("two\nlines", "bad"))
    raw = [cells for _, cells in labelled.table(
        io.BytesIO(f"{header}\n{lines[header]}".encode()), form._replace(quoting=False), {"good", "bad"}
    )]  # fmt: skip
    assert sum(not isinstance(cells, BadRow) for cells in raw) == 4


def test_a_header_in_another_encoding_is_an_error_that_says_so(tmp_path):
    form = Form("csv", text="text", label="étiquette")
    (tmp_path / "a.csv").write_bytes("text,étiquette\na,b\n".encode("latin-1"))
    with pytest.raises(InputError, match="the header's encoding is not utf-8"):
        [*labelled.rows(tmp_path / "a.csv", form, {"b"})]


def test_a_cut_gzip_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(table(ROWS))[:-20])
    with pytest.raises(InputError, match="not a whole file of gzip"):
        [*labelled.rows(tmp_path / "a.csv.gz", Form("csv", text="text", label="label"), ())]


def test_sections_are_inserted_and_every_other_line_stays():
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    new = insert(text, as_yaml("mine", {"reviews": "a b.csv", "bad_rows": 0}), as_yaml("mine", {"pad": {"c": None}}))
    values = load(new)
    assert values["corpora"] == {"mine": {"reviews": "a b.csv", "bad_rows": 0}}
    assert values["models"].pop("mine") == {"pad": {"c": None}}
    assert values["models"] == load(text)["models"]
    lines = iter(new.splitlines())
    assert all(line in lines for line in text.splitlines() if not line.startswith("corpora:"))  # in their order
    assert changes({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}, "x") == ["x.b.c: 2 would be 3"]


def test_the_command_writes_valid_params_and_changes_nothing_when_run_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    drawn = random.Random(1)
    words = {"bad": ["awful", "dull"], "good": ["fine", "great"], "mixed": ["so", "passable"]}
    rows = [(" ".join(drawn.choices([*words[label], "film", "cast"], k=9)), label) for _, label in ROWS * 3]
    Path("mine.csv").write_bytes(table([*rows, ("!", "bad"), ("", "bad")], delimiter="\t"))
    monkeypatch.setattr(sys, "argv", ["corpora", "mine.csv", "--separator", "tab", "--compare"])
    monkeypatch.setattr(recommend, "TEXTS", 60)
    command.main()
    printed = capsys.readouterr().out
    assert "label 'mixed': 36 rows" in printed
    assert "choosing a model on 60 texts of the training split\n" in printed
    assert re.search(r"(?m)^reference on .*\n  \d\.\d{4}  (words, 1 to 2|characters, 1 to 4)\n  \d\.\d{4}  \w", printed)
    assert """  echo '"mine.csv" -text' >> .gitattributes""" in printed
    text = Path("params.yaml").read_text(encoding="utf-8")
    params = parse(text)
    assert params.corpora["mine"].labels == ["bad", "good", "mixed"]
    symbols = params.corpora["mine"].symbols
    assert params.corpora["mine"].bad_rows == (1 if symbols else 2)  # a text of symbols alone
    assert f"left out: {params.corpora['mine'].bad_rows} (" in printed
    stage.main(params.corpora["mine"], "mine")
    with np.load("data/raw/mine.npz", allow_pickle=True) as saved:
        train_texts, test_texts = (len(saved[f"y_{split}"]) for split in ("train", "test"))
    assert train_texts > test_texts > 0
    assert f"\n{train_texts} texts to train on, {test_texts} to test on, " in printed
    assert params.models["mine"].architecture.kind == "ngrams"
    command.main()
    assert "nothing would change" in capsys.readouterr().out
    assert Path("params.yaml").read_text(encoding="utf-8") == text
    monkeypatch.setattr(recommend, "LABELS", 2)
    monkeypatch.setattr(recommend, "WORK", 1)
    command.main()
    assert " texts of the 2 commonest labels of the training split\n" in capsys.readouterr().out


def test_the_reference_is_what_scikit_learn_predicts_on_the_folds_of_the_candidates():
    drawn = random.Random(3)
    vocabulary = {0: ["awful", "dull"], 1: ["fine", "great"], 2: ["so", "passable"]}
    labels = np.array([drawn.randrange(3) for _ in range(90)])
    texts = [" ".join(drawn.choices([*vocabulary[label], *["film", "cast", "the", "it"]], k=4)) for label in labels]
    folds, expected = recommend.fold_of(labels), {}
    for name, options in recommend.REFERENCES.items():
        right = 0
        for fold in range(recommend.FOLDS):
            train, test = ([*np.flatnonzero(folds != fold)], [*np.flatnonzero(folds == fold)])
            features = TfidfVectorizer(**options)
            model = LogisticRegression(max_iter=1000).fit(
                features.fit_transform([texts[row] for row in train]), labels[train]
            )
            right += (model.predict(features.transform([texts[row] for row in test])) == labels[test]).sum()
        expected[name] = right / 90
    assert recommend.references(texts, labels) == pytest.approx(expected)
    assert len({*expected.values()}) == 2
    assert np.isnan(recommend.references(["a"] * 9, np.arange(9) % 3)["words, 1 to 2"])


@pytest.mark.parametrize(
    ("content", "changes"),
    [
        (b"a\nb\r\n", True),
        (b"a\nb\r", False),
        ("a\r\n".encode("utf-16"), False),
        (gzip.compress(b"a\r\n", mtime=0), False),
    ],
)
def test_line_ends_that_git_would_change_are_noticed(tmp_path, content, changes):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/1.txt").write_bytes(b"fine\n")
    (tmp_path / "bad/2.txt").write_bytes(content)
    assert command.has_crlf(tmp_path) == changes


def test_a_column_named_like_a_rating_is_the_label_among_other_columns_of_few_values(tmp_path):
    rows = [(f"B{number % 4}", 1 + number % 5, text) for number, text in enumerate(TEXTS)]
    (tmp_path / "a.csv").write_bytes(table(rows, header=("product", "star_rating", "body_of_it")))
    keys = look(tmp_path / "a.csv", Options())
    assert (keys["text"], keys["label"]) == ("body_of_it", "star_rating")


def test_a_file_outside_the_repository_is_refused(tmp_path, monkeypatch):
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    (tmp_path / "a.csv").write_bytes(table(ROWS))
    with pytest.raises(InputError, match="outside this repository"):
        command.relative(Path("../a.csv"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [*((name, "the name is taken") for name in ("imdb", "raw", "noise")), ("small", "name under models alone")],
)
def test_a_name_that_is_taken_is_refused_before_the_file_is_read(tmp_path, monkeypatch, name, reason):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.setattr(sys, "argv", ["corpora", f"{name}.csv"])
    with pytest.raises(InputError, match=f"NAME={name}: .*{reason}"):
        command.main()


def test_texts_without_spaces_get_characters_and_the_best_of_the_folds_comes_first():
    drawn = random.Random(2)
    texts = ["".join(drawn.choices("坏差脏糟" if n % 2 else "好棒赞美", k=2) + drawn.choices("的是了在", k=6))
             for n in range(60)]  # fmt: skip
    candidates = recommend.choose(texts, np.arange(60) % 2)
    assert {candidate.tokens.unit for candidate in candidates} == {"characters"}
    pairs = {(weighting, loss) for weighting in ("tfidf", "naive-bayes") for loss in ("log_loss", "squared_hinge")}
    assert {(candidate.weighting, candidate.train.loss) for candidate in candidates} == pairs
    accuracies = [candidate.accuracy for candidate in candidates]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > 0.9
    assert recommend.language_of(recommend.scripts_of(texts)) == "zh"


def test_the_model_is_chosen_on_the_training_split_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_bytes(table(ROWS))
    form = {"text": "text", "label": "label", "labels": ["bad", "good", "mixed"], "test_fraction": 0.25, "seed": 1}
    settings = Corpus(reviews="a.csv", bad_rows=0, **form)
    stage.main(settings, "mine")
    with np.load("data/raw/mine.npz", allow_pickle=True) as saved:
        written = [*zip(saved["x_train"].tolist(), saved["y_train"].tolist(), strict=True)]
    index, tokens = json.loads(Path("data/raw/mine_word_index.json").read_text()), stage.tokens_of(settings)
    seen = [*recommend.training_texts(settings)]
    assert [
        ([index[word] for word in words(clean(text, tokens=tokens), tokens)], label) for text, label in seen
    ] == written
    assert len(seen) == 27


def test_a_file_is_counted_and_a_part_of_it_drawn_without_its_texts_in_memory(monkeypatch):
    monkeypatch.setattr(recommend, "TEXTS", 100)
    monkeypatch.setattr(recommend, "SCRIPT_TEXTS", 100)
    rows = [("good" if number % 4 else "bad", number) for number in range(10_000)]
    tracemalloc.start()
    counted = command.count_values((label, f"{number:1000}") for label, number in rows)
    drawn = recommend.some((f"{number:1000}", number) for _, number in rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000  # the texts have 10 million
    assert counted.values == {"bad": 2500, "good": 7500}
    assert [*counted.lengths] == [1000] * 10_000
    numbers = {number for _, number in drawn}
    assert len(numbers) == len(drawn) == 100
    assert 4000 < sum(numbers) / 100 < 6000  # from all parts of the file


def test_a_fold_is_scored_by_a_model_that_has_not_seen_it():
    """Each text is a different word, so that no text helps to predict another one."""
    labels = np.arange(60) % 2
    _, counts = ngrams.learn(ngrams.Ragged(np.arange(4, 64), np.ones(60, int)), longest=1, min_df=1, max_features=99)
    candidate = recommend.Candidate(
        Normal("words", lowercase=True, symbols=False), 1, "tfidf", recommend.logistic(10.0)
    )
    assert recommend.accuracy(candidate, counts, labels, recommend.fold_of(labels)) == 0.5


@pytest.mark.parametrize(
    ("weighting", "how"),
    [("tfidf", recommend.logistic(10.0)), ("tfidf", recommend.svm(0.3, 0.5)), ("naive-bayes", recommend.logistic(0.3))],
    ids=["tfidf", "svm", "naive-bayes"],
)
def test_the_accuracy_on_the_folds_is_that_of_the_models_that_train_would_make(weighting, how):
    reviews, _ = made_up_corpus(90)
    labels = reviews.ids[reviews.ends - 1].astype(int) % 3  # the remainder of the last word
    folds, right = recommend.fold_of(labels), 0
    for fold in range(recommend.FOLDS):
        seen, unseen = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        settings = gram_settings(weighting, **how.model_dump())
        trainer: Any = make_trainer(settings, reviews[seen], labels[seen].astype("u1"), None)
        trainer.epoch(reviews[seen], labels[seen], np.arange(len(seen)), 0)
        right += (trainer.model.predict(reviews[unseen]).argmax(axis=1) == labels[unseen]).sum()
    _, counts = ngrams.learn(reviews, longest=2, min_df=1, max_features=10**6)
    tokens = Normal("words", lowercase=True, symbols=False)
    assert recommend.accuracy(recommend.Candidate(tokens, 2, weighting, how), counts, labels, folds) == right / 90
    assert 30 < right < 90


@pytest.mark.parametrize(("few", "many"), [([0, 1], [2, 7]), ([0, 1, 2], [1, 4, 6])])
def test_the_accuracy_on_the_folds_does_not_depend_on_the_numbers_of_the_labels(few, many):
    """The rarest labels of a corpus are left out of the folds, so that numbers are missing."""
    reviews, _ = made_up_corpus(90)
    labels = reviews.ids[reviews.ends - 1].astype(int) % len(few)
    folds = recommend.fold_of(labels)
    _, counts = ngrams.learn(reviews, longest=1, min_df=1, max_features=10**6)
    tokens = Normal("words", lowercase=True, symbols=False)
    candidate = recommend.Candidate(tokens, 1, "tfidf", recommend.logistic(10.0))
    accuracy = recommend.accuracy(candidate, counts, np.array(few)[labels], folds)
    assert recommend.accuracy(candidate, counts, np.array(many)[labels], folds) == accuracy > 0.3


@pytest.mark.parametrize(
    ("longest", "labels", "different", "vocabulary", "most"),
    [
        (3, 2, 2_000_000, None, 5_000_000),  # 21 bits, for more tokens than a survey counts
        (4, 3, 32_764, None, 50_000_000 // 3),  # the id of the rarest token, its rank + 3, has 15 bits
        (4, 3, 32_765, 32_768, 50_000_000 // 3),
        (5, 7, 4092, None, 50_000_000 // 7),  # 12 bits
        (5, 7, 4093, 4096, 50_000_000 // 7),
    ],
)
def test_the_section_of_the_model_limits_the_ids_to_the_bits_of_a_word_and_the_weights_of_all_labels(
    longest, labels, different, vocabulary, most
):
    tokens = Normal("words", lowercase=True, symbols=False)
    best = recommend.Candidate(tokens, longest, "tfidf", recommend.logistic(10.0))
    section = recommend.model_keys(best, "mine", labels, different)
    assert section["pad"] == {"max_length": None, "vocabulary": vocabulary}
    assert section["architecture"]["max_features"] == most
    assert check_model(section, "models", "mine").architecture.longest == longest


@pytest.mark.parametrize(
    ("scripts", "language"),
    [
        ([("CJK", 0.94), ("HIRAGANA", 0.06)], "ja"),
        ([("CJK", 0.95), ("HIRAGANA", 0.05)], "zh"),
        ([("HANGUL", 0.41), ("LATIN", 0.4)], "ko"),
        ([("HANGUL", 0.4), ("LATIN", 0.3)], None),
        ([("CYRILLIC", 1.0)], None),
        ([], None),
    ],
)
def test_a_script_of_one_language_names_it_and_a_few_kana_are_enough_for_japanese(scripts, language):
    assert recommend.language_of(scripts) == language


@pytest.mark.parametrize(
    "value", ["null", "true", "false", "on", "a b", "1", "1e3", "#", None, True, 7, 0.5, "ü", "a: b"]
)
def test_every_value_of_a_section_is_read_as_it_was(value):
    assert load(as_yaml("mine", {"label": value, "labels": {"x": [value]}})) == {
        "mine": {"label": value, "labels": {"x": [value]}}
    }


@pytest.mark.parametrize(
    ("texts", "characters", "labels", "drawn", "commonest"),
    [
        (200, 50, 77, 200, 77),
        (12_000, 50, 2, 10_000, 2),
        (6000, 500, 2, 4000, 2),
        (4000, 500, 11, 3636, 11),  # 20 million characters times labels
        (9000, 200, 90, 3100, 31),  # 20,000 characters of each label: 32 labels would have more than 20 million
        (6000, 2000, 100, 500, 20),
    ],
)
def test_the_folds_have_so_few_characters_and_labels_that_the_choice_stays_short(
    texts, characters, labels, drawn, commonest
):
    numbers = np.arange(texts) % labels
    chosen, of = recommend.sample(["a" * characters] * texts, numbers)
    assert (len(chosen), len(of)) == (drawn, drawn)
    assert len(np.unique(of)) == commonest


def test_rare_labels_are_left_out_of_the_folds_first():
    numbers = np.repeat(np.arange(60), np.arange(60) * 2 + 1)
    texts = [f"{number:300}" for number in numbers]
    chosen, of = recommend.sample(texts, numbers)
    assert [int(text) for text in chosen] == of.tolist()
    assert 20 < len(np.unique(of)) < 60
    assert of.min() == 60 - len(np.unique(of))


@pytest.mark.parametrize(
    "how",
    [{"engine": "compiled", "epochs": 2, "batch": 8, "learning_rate": 0.01},
     {"engine": "scikit-learn", "loss": "log_loss", "c": 1.0},
     {"engine": "scikit-learn", "loss": "squared_hinge", "c": 1.0, "interpolation": 0.5}],
    ids=["adam", "log_loss", "svm"],
)  # fmt: skip
@pytest.mark.parametrize("weighting", ["tfidf", "naive-bayes"])
def test_each_of_three_labels_has_the_model_that_separates_it_from_the_others(how, weighting):
    reviews, _ = made_up_corpus(60)
    labels = (np.arange(60) % 3).astype("u1")
    chosen = gram_settings(weighting, **how)
    model = train(chosen, reviews, labels).model
    alone = [train(chosen, reviews, (labels == label).astype("u1")).model for label in range(3)]
    assert isinstance(model, OneVersusRest)
    for ours, theirs in zip(model.models, alone, strict=True):
        np.testing.assert_array_equal(ours.weights, theirs.weights)
    scores = np.stack([each.predict(reviews) for each in alone], axis=1).astype("f8")
    probabilities = model.predict(reviews, batch=7)
    np.testing.assert_allclose(probabilities, scores / scores.sum(axis=1, keepdims=True), rtol=1e-6)
    again = open_model(model.save(), "")
    np.testing.assert_array_equal(again.predict(reviews), probabilities)
    np.testing.assert_array_equal(again.weights, model.weights)
    predicted = probabilities.argmax(axis=1)
    assert set(predicted) == {0, 1, 2}
    for row, (label, effects) in enumerate(zip(predicted, model.effects(reviews, probabilities), strict=True)):
        each = slice(row, row + 1)
        assert dict(effects) == dict(alone[label].effects(reviews[each], scores[each, label])[0])


def test_longer_n_grams_of_fewer_words_are_saved_and_named():
    ids = np.array([4, 5, 6, 7, 8])
    reviews = ngrams.Ragged(ids, np.array([5]))
    grams, counts = ngrams.learn(reviews, longest=5, min_df=1, max_features=100)
    model = Linear(Weighting.learn("counts", counts, np.ones(1, "u1")), grams, np.ones(len(grams) + 1, "f4"), 12)
    again = open_model(model.save(), "")
    assert max(again.effects(reviews, model.predict(reviews))[0], key=lambda pair: len(pair[0]))[0] == (4, 5, 6, 7, 8)


UMLAUTS = [
    f"{number} für {word} Straße,{'bad' if number % 2 else 'good'}\n" for number, word in enumerate("abcdefghij" * 4)
]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.xlsx", b"text,label\na,b\n", "not a readable .xlsx file (File is not a zip file); save it again"),
        ("a.csv.gz", gzip.compress(table(ROWS))[:-20], "not a whole file of gzip (Compressed file ended"),
        ("a.csv.gz", table(ROWS), "not a whole file of gzip (Not a gzipped file"),
        ("a.csv", gzip.compress(table(ROWS)), "compressed by gzip; rename it so that its name ends in .gz"),
        ("a.xls", b"\xd0\xcf\x11\xe0" + bytes(900), "an old Excel file; save it as .xlsx or CSV"),
        ("a.csv", table(ROWS, lineterminator="\r"), "lines end in CR alone, expected LF or CRLF"),
        (
            "a.csv", b"text,label\n" + "".join(
                line.replace(" ", ", ", number % 3) for number, line in enumerate(UMLAUTS)
            ).encode(),
            "no separator splits its lines into a text and a label, each the same number of times; quote the texts",
        ),
        (
            "a.csv", b"".join(line.encode(("utf-8", "cp1252")[n % 4 > 1]) for n, line in enumerate(UMLAUTS)),
            "it has two encodings: 50% of the lines with characters other than ASCII are UTF-8",
        ),
        ("a.csv", table([(text, "good") for text in TEXTS]), "the number of values in parentheses: label (1)"),
        ("a.csv", table([("a film", label) for _, label in ROWS]), "no column has texts; add TEXT=column"),
        (
            "a.jsonl", "".join(json.dumps({"review": {"text": text}, "label": "b"}) + "\n" for text in TEXTS).encode(),
            "the values of review are objects, whose keys can't be read",
        ),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused_in_one_line_with_the_reason(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(expected)) as caught:
        look(tmp_path / name, Options())
    assert "\n" not in str(caught.value)


def test_a_damaged_excel_file_is_read_or_refused_in_one_line(tmp_path):
    whole, path = book(ROWS), tmp_path / "a.xlsx"
    damaged = [whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :] for at in range(7, len(whole), 60)]
    with zipfile.ZipFile(io.BytesIO(whole)) as archive, zipfile.ZipFile(file := io.BytesIO(), "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, archive.read(name).replace(b"</row>", b"</raw>"))
    faults, form = set(), Form("excel", text="Comment", label="label")
    for content in [file.getvalue(), *damaged]:
        path.write_bytes(content)
        for read in (raw_rows(path, form), labelled.rows(path, form, ())):
            try:
                faults.add("" if list(read) else "no rows")
            except InputError as error:
                faults.add(str(error))
    unreadable = rf"{path}: not a readable .xlsx file \(.+\); save it again as .xlsx or CSV"
    assert not [fault for fault in faults - {""} if not re.fullmatch(unreadable, fault)]
    assert all(any(reason in fault for fault in faults) for reason in ("invalid", "mismatched tag"))  # of zlib, of XML


def test_a_few_lines_in_another_encoding_do_not_change_the_encoding_of_the_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [line.encode("cp1252" if number == 7 else "utf-8") for number, line in enumerate(UMLAUTS)]
    Path("a.csv").write_bytes(b"text,label\n" + b"".join(lines))
    section = look(Path("a.csv"), Options())
    assert section["encoding"] == "utf-8"
    settings = Corpus(**section, labels=["bad", "good"], test_fraction=0.2, seed=1, bad_rows=1)
    kinds = [row.kind for _, _, row in stage.read_rows(stage.find_parts(settings), settings) if isinstance(row, BadRow)]
    assert kinds == ["another encoding"]


def test_the_encoding_of_a_folder_is_that_of_all_its_files(tmp_path):
    for number, line in enumerate(UMLAUTS):
        text, label = line.strip().split(",")
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / f"{number:02}.txt").write_bytes(text.encode("cp1252") if number > 5 else b"plain")
    assert look(tmp_path, Options())["encoding"] == "cp1252"


def test_a_quotation_mark_that_is_never_closed_is_part_of_a_text(tmp_path):
    lines = [f"{chr(34) * (number == 20)}{line}" for number, line in enumerate(UMLAUTS)]
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(lines), encoding="utf-8")
    assert look(tmp_path / "a.csv", Options())["quoting"] is False
    assert look(tmp_path / "a.csv", Options(quoting="true"))["quoting"] is True
    with pytest.raises(InputError, match="QUOTING=no: expected true or false"):
        look(tmp_path / "a.csv", Options(quoting="no"))


def test_the_only_other_column_is_the_label_up_to_hundreds_of_values(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [(f"some words of the text {number}", f"topic {number % 150}") for number in range(450)]
    Path("a.csv").write_bytes(table(rows, header=("text", "topic")))
    keys = look(Path("a.csv"), Options())
    assert keys["label"] == "topic"
    counts = command.count_values(command.values_in(keys))
    command.report(keys | label_keys(counts.values, keys, Options()), counts)
    assert "label 'topic 115': 3 rows\nand 130 other labels, which params.yaml lists" in capsys.readouterr().out


def test_several_columns_of_long_texts_are_named(tmp_path, capsys):
    (tmp_path / "a.csv").write_bytes(table([(text, text[::-1], label) for text, label in ROWS], ("a", "b", "label")))
    assert look(tmp_path / "a.csv", Options())["text"] == "a"
    assert "texts are read from the column a; TEXT= names another one, such as b" in capsys.readouterr().out
    assert look(tmp_path / "a.csv", Options(text="b"))["text"] == "b"
    assert not capsys.readouterr().out


def test_a_test_file_without_labels_is_refused_with_the_file_that_has_some(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("set").mkdir()
    Path("set/train.csv").write_bytes(table(ROWS))
    Path("set/test.csv").write_bytes(table([("1", "a film")], ("id", "text")))
    with pytest.raises(InputError, match=re.escape("FILE=set/train.csv reads this file alone")):
        command.count_values(command.values_in(look(Path("set"), Options())))
