"""Readers beside the reference package's: the same files give the same examples."""

import csv
import gzip
import random

import pytest
from sentence_transformers.sentence_transformer import readers as theirs

from workbench import readers as ours


@pytest.fixture
def folder(tmp_path):
    draw = random.Random(0)
    words = ['"quoted"', "plain", "ünï", "a, b", "'", "x  y"]

    def text():
        return " ".join(draw.choices(words, k=draw.randint(1, 5)))

    def table(row):
        return "".join("\t".join(row()) + "\n" for _ in range(30))

    (tmp_path / "sts.tsv").write_text(table(lambda: [text(), text(), f"{draw.uniform(0, 5):.3f}"]))
    (tmp_path / "stsb.tsv").write_text(table(lambda: [*"abcd", f"{draw.uniform(0, 5):.3f}", text(), text()]))
    (tmp_path / "triplets.tsv").write_text(table(lambda: [text(), text(), text()]))
    (tmp_path / "labels.tsv").write_text(table(lambda: [draw.choice(["news", "sport", "art"]), text()]))
    for name, row in {"s1": text, "s2": text, "labels": lambda: draw.choice(["neutral", "entailment"])}.items():
        (tmp_path / f"{name}.train.gz").write_bytes(gzip.compress(table(lambda row=row: [row()]).encode()))
    return tmp_path


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the reference leaves files open
@pytest.mark.parametrize(
    ("read", "count"),
    [
        (lambda kind, at: kind.STSDataReader(at).get_examples("sts.tsv"), 30),
        (lambda kind, at: kind.STSDataReader(at, 1, 0, 2, normalize_scores=False).get_examples("sts.tsv", 7), 7),
        (lambda kind, at: kind.STSDataReader(at, min_score=1, max_score=4).get_examples("sts.tsv"), 30),
        (lambda kind, at: kind.STSBenchmarkDataReader(at).get_examples("stsb.tsv"), 30),
        (lambda kind, at: kind.TripletReader(at).get_examples("triplets.tsv"), 30),
        (lambda kind, at: kind.TripletReader(at, 2, 1, 0, has_header=True).get_examples("triplets.tsv"), 29),
        (
            lambda kind, at: kind.TripletReader(at, quoting=csv.QUOTE_MINIMAL, delimiter="\t").get_examples(
                "triplets.tsv", 1
            ),
            1,
        ),
        (lambda kind, at: kind.LabelSentenceReader(at).get_examples("labels.tsv", 20), 20),
        (lambda kind, at: kind.NLIDataReader(at).get_examples("train.gz"), 30),
        (
            lambda kind, at: kind.PairedFilesReader([f"{at}/s1.train.gz", f"{at}/s2.train.gz"]).get_examples(12),
            12,
        ),
    ],
)
def test_examples_equal_the_references(folder, read, count):
    def shown(kind):  # the reference leaves the line's end on some texts
        return [(one.guid, [text.rstrip("\n") for text in one.texts], one.label) for one in read(kind, str(folder))]

    assert shown(ours) == shown(theirs)
    assert len(shown(ours)) == count
