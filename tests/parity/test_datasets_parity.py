"""Data sets that make their rows, beside the reference package's: the same rows, whatever their order."""

from collections import Counter

import numpy as np
import pytest
from sentence_transformers.sentence_transformer import datasets as their_datasets
from sentence_transformers.sentence_transformer.losses import ContrastiveTensionDataLoader as TheirLoader
from sentence_transformers.sentence_transformer.readers import InputExample as TheirExample

from workbench import datasets as our_datasets
from workbench.losses import ContrastiveTensionDataLoader
from workbench.readers import InputExample


class Teacher:
    """Encodes a text as its length and its first letter."""

    def encode(self, texts, **settings):
        return np.array([[float(len(text)), float(ord(text[0]))] for text in texts])


@pytest.mark.parametrize(("size", "ratio", "count"), [(16, 8, 100), (4, 2, 57), (3, 1, 10), (8, 8, 15)])
def test_contrastive_pairs_come_in_the_references_pattern(size, ratio, count):
    shown = []
    for kind in (ContrastiveTensionDataLoader, TheirLoader):
        loader = kind([str(row) for row in range(count)], size, ratio)
        pattern = [[(one.label, one.texts[0] == one.texts[1]) for one in batch] for batch in loader]
        shown.append((len(loader), pattern))
    assert shown[0] == shown[1]


@pytest.mark.parametrize(("longest", "sources"), [(None, 17), (10, 10)])
def test_a_round_of_translations_holds_the_references_rows(tmp_path, longest, sources):
    rows = [[f"source {row % 17}", f"Quelle {row}", f"fuente {row * 100}"] for row in range(40)]
    (tmp_path / "rows.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    rounds = []
    for kind in (our_datasets, their_datasets):
        data = kind.ParallelSentencesDataset(None, Teacher())
        data.add_dataset(rows, weight=sources, max_sentence_length=longest)  # each source once in a round
        data.load_data(str(tmp_path / "rows.tsv"), weight=5, max_sentences=5, max_sentence_length=longest)
        rounds.append(Counter((one.texts[0], tuple(one.label)) for one in (data[0] for _ in range(len(data)))))
    assert rounds[0] == rounds[1]


def test_labelled_examples_are_as_many_and_in_runs():
    rows = [(str(row), row % 4) for row in range(24)]
    for per_label in (2, 3):
        ours = our_datasets.SentenceLabelDataset([InputExample("", [text], label) for text, label in rows], per_label)
        theirs = their_datasets.SentenceLabelDataset(
            [TheirExample("", [text], label) for text, label in rows], per_label
        )
        assert len(ours) == len(theirs)
        for found in (list(ours), list(theirs)):
            runs = [found[start : start + per_label] for start in range(0, len(found), per_label)]
            assert {len({one.label for one in run}) for run in runs} == {1}
