"""Readers of example files: what they read, and how they name what is wrong."""

import gzip

import pytest

from workbench.errors import DataFormatError
from workbench.readers import (
    InputExample,
    LabelSentenceReader,
    NLIDataReader,
    PairedFilesReader,
    STSBenchmarkDataReader,
    STSDataReader,
    TripletReader,
)


def write(path, text):
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def shown(examples):
    return [(one.guid, one.texts, one.label) for one in examples]


@pytest.mark.parametrize("name", ["sts.tsv", "sts.tsv.gz"])
def test_scored_pairs_are_read_and_brought_to_0_to_1(tmp_path, name):
    write(tmp_path / name, 'A "quoted\tTwo é tabs\t2.5\r\n\r\nthree\tfour\t5\r\n')
    reader = STSDataReader(tmp_path)
    assert shown(reader.get_examples(name)) == [
        (f"{name}0", ['A "quoted', "Two é tabs"], 0.5),
        (f"{name}1", ["three", "four"], 1.0),
    ]
    assert len(reader.get_examples(name, max_examples=1)) == 1
    assert STSDataReader(tmp_path, normalize_scores=False).get_examples(name)[0].label == 2.5


def test_the_benchmark_reader_takes_its_columns_and_a_byte_order_mark_is_no_letter(tmp_path):
    write(tmp_path / "dev.tsv", "\ufeffgenre\tfile\tyear\tid\t4\tone\ttwo\n")
    assert shown(STSBenchmarkDataReader(tmp_path).get_examples("dev.tsv")) == [("dev.tsv0", ["one", "two"], 0.8)]
    write(tmp_path / "bom.tsv", "\ufeffone\ttwo\t1\n")
    assert STSDataReader(tmp_path).get_examples("bom.tsv")[0].texts == ["one", "two"]


def test_triplets_are_read_with_and_without_a_header(tmp_path):
    write(tmp_path / "t.csv", 'anchor,positive,negative\n"a, quoted",b,c\n')
    assert TripletReader(tmp_path, has_header=True, delimiter=",", quoting=0).get_examples("t.csv")[0].texts == [
        "a, quoted",
        "b",
        "c",
    ]
    assert len(TripletReader(tmp_path, delimiter=",").get_examples("t.csv")) == 2


def test_labels_are_numbered_as_they_appear_across_files(tmp_path):
    write(tmp_path / "a.tsv", "news\tone\nsport\ttwo\nnews\tthree\n")
    write(tmp_path / "b.tsv", "art\tfour\nsport\tfive\n")
    reader = LabelSentenceReader(tmp_path)
    assert shown(reader.get_examples("a.tsv")) == [
        ("a.tsv-0", ["one"], 0),
        ("a.tsv-1", ["two"], 1),
        ("a.tsv-2", ["three"], 0),
    ]
    assert [one.label for one in reader.get_examples("b.tsv")] == [2, 1]
    assert reader.label_map == {"news": 0, "sport": 1, "art": 2}


def test_lines_of_parallel_files_and_of_entailment_belong_together(tmp_path):
    first, second = write(tmp_path / "de.txt", "eins\nzwei\n"), write(tmp_path / "en.txt.gz", "one\ntwo\n")
    assert shown(PairedFilesReader([first, second]).get_examples()) == [
        ("0", ["eins", "one"], 1),
        ("1", ["zwei", "two"], 1),
    ]
    assert len(PairedFilesReader([first, second]).get_examples(1)) == 1
    write(tmp_path / "s1.train.gz", "a\nb\n")
    write(tmp_path / "s2.train.gz", "c\nd\n")
    write(tmp_path / "labels.train.gz", "Entailment\nneutral\n")
    reader = NLIDataReader(tmp_path)
    assert shown(reader.get_examples("train.gz")) == [("train.gz-0", ["a", "c"], 1), ("train.gz-1", ["b", "d"], 2)]
    assert reader.get_num_labels() == 3


def test_an_example_shows_its_texts():
    assert str(InputExample(texts=["a", "b"], label=1)) == "<InputExample> label: 1, texts: a; b"


@pytest.mark.parametrize(
    ("files", "read", "message"),
    [
        ({"x": "a\tb\t1\na\tb\n"}, lambda at: STSDataReader(at).get_examples("x"), r"x, line 2: too few columns"),
        ({"x": "a\tb\thigh\n"}, lambda at: STSDataReader(at).get_examples("x"), r"x, line 1: .*'high'"),
        ({"x": "a\tb\n"}, lambda at: TripletReader(at).get_examples("x"), r"x, line 1: too few columns between '\\t'"),
        ({"x": "no tab\n"}, lambda at: LabelSentenceReader(at).get_examples("x"), "x, line 1: too few columns"),
        (
            {"x": "a\nb\n", "y": "a\n"},
            lambda at: PairedFilesReader([at / "x", at / "y"]).get_examples(),
            "y ends after line 1, but .*x goes on",
        ),
        (
            {"s1.x": "a\nb\n", "s2.x": "a\nb\n", "labels.x": "neutral\nmaybe\n"},
            lambda at: NLIDataReader(at).get_examples("x"),
            "labels.x, line 2: the label is 'maybe'; it must be one of: contradiction, entailment, neutral",
        ),
        ({}, lambda at: STSDataReader(at, min_score=5).get_examples("x"), "the first must be the lower"),
    ],
)
def test_a_wrong_line_is_named_with_its_file(tmp_path, files, read, message):
    for name, text in files.items():
        write(tmp_path / name, text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"plain text", "no whole gzip file"),
        (gzip.compress(b"a\tb\t1\n" * 100)[:-12], "no whole gzip file"),
        (gzip.compress(b"a\tb\t1\n\xff\xfe\t\t\n"), "is not UTF-8"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, data, message):
    (tmp_path / "x.gz").write_bytes(data)
    with pytest.raises(DataFormatError, match=message):
        STSDataReader(tmp_path).get_examples("x.gz")
    with pytest.raises(FileNotFoundError):
        STSDataReader(tmp_path).get_examples("none.tsv")
