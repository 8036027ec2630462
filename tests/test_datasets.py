"""Data sets: any table becomes one, and those that make their rows while they are read."""

import gzip
import json
from collections import Counter

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.datasets import (
    DenoisingAutoEncoderDataset,
    NoDuplicatesDataLoader,
    ParallelSentencesDataset,
    SentenceLabelDataset,
    SentencesDataset,
    as_dataset,
    delete_words,
)
from workbench.errors import ChoiceError, ColumnsError, DataFormatError
from workbench.losses import ContrastiveTensionDataLoader
from workbench.readers import InputExample

COLUMNS = {"anchor": ["None", "a, b", 'with "quotes"'], "positive": ["x", "ü", "NA"], "label": [0, 1, 1]}
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]


def lines(rows):
    return "\n".join(json.dumps(row) for row in rows)


@pytest.mark.parametrize(
    "make",
    [
        lambda at: COLUMNS,
        lambda at: ROWS,
        lambda at: pd.DataFrame(COLUMNS, index=[5, 7, 9]),
        lambda at: {n: make(COLUMNS[n]) for n, make in zip(COLUMNS, (np.array, pd.Series, tuple), strict=True)},
        lambda at: datasets.Dataset.from_dict(COLUMNS),
        lambda at: pd.DataFrame(COLUMNS).to_csv(at / "t.csv", index=False) or at / "t.csv",
        lambda at: pd.DataFrame(COLUMNS).to_csv(at / "t.csv.gz", index=False) or str(at / "t.csv.gz"),
        lambda at: pd.DataFrame(COLUMNS).to_csv(at / "t.TSV", index=False, sep="\t") or at / "t.TSV",
        lambda at: pd.DataFrame(COLUMNS, index=[5, 7, 9]).to_parquet(at / "t.parquet") or at / "t.parquet",
        lambda at: (at / "t.jsonl").write_text(lines(ROWS) + "\n\n") and at / "t.jsonl",
        lambda at: (at / "t.json").write_text(lines(ROWS)) and at / "t.json",
        lambda at: (at / "t.json").write_text(json.dumps(ROWS)) and at / "t.json",
        lambda at: (at / "t.json").write_text(json.dumps(COLUMNS)) and at / "t.json",
        lambda at: (at / "t.jsonl.gz").write_bytes(gzip.compress(lines(ROWS).encode())) and at / "t.jsonl.gz",
    ],
)  # fmt: skip
def test_any_table_becomes_a_data_set(tmp_path, make):
    found = as_dataset(make(tmp_path))
    assert isinstance(found, datasets.Dataset)
    assert found.to_dict() == COLUMNS


def test_examples_become_columns_with_vectors_as_labels():
    examples = [
        InputExample(texts=["a", "b"], label=np.array([1.0, 2.0])),
        InputExample(texts=["c", "d"], label=[3, 4]),
    ]
    assert as_dataset(examples).to_dict() == {
        "sentence_0": ["a", "c"],
        "sentence_1": ["b", "d"],
        "label": [[1.0, 2.0], [3.0, 4.0]],
    }


def test_data_sets_by_name_streams_and_missing_cells(tmp_path):
    (tmp_path / "t.csv").write_text("anchor,positive\na,\nb,c\n")
    found = as_dataset({"csv": tmp_path / "t.csv", "rows": ROWS, "frame": pd.DataFrame(COLUMNS), "columns": COLUMNS})
    assert list(found) == ["csv", "rows", "frame", "columns"]
    assert found["csv"]["positive"][:] == [None, "c"]
    assert found["columns"].to_dict() == COLUMNS
    stream = datasets.Dataset.from_dict(COLUMNS).to_iterable_dataset()
    assert as_dataset(stream) is stream
    whole = datasets.DatasetDict(train=datasets.Dataset.from_dict(COLUMNS))
    assert as_dataset(whole) is whole
    assert as_dataset([{"a": "x"}, {"a": "y", "b": "z"}]).to_dict() == {"a": ["x", "y"], "b": [None, "z"]}


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("t.pkl", "", ChoiceError, "file 'pkl'. Choose one of: 'csv', 'tsv', 'jsonl', 'json', 'parquet'"),
        ("t.py", "print()", ChoiceError, "Unknown kind of file 'py'"),
        ("noending", "", ChoiceError, "Unknown kind of file 'noending'"),
        ("t.csv", "a,b\n1,2\n1,2,3\n", DataFormatError, "t.csv: .*line 3"),
        ("t.csv", "", DataFormatError, "t.csv: No columns to parse"),
        ("t.jsonl", '{"a": "x"}\n{"a": \n', DataFormatError, "t.jsonl, line 2 is no JSON"),
        ("t.jsonl", '{"a": "x"}\n["y"]\n', DataFormatError, "t.jsonl, line 2: expected an object"),
        ("t.jsonl", "\n", DataFormatError, "t.jsonl holds no rows"),
        ("t.jsonl", '{"a": "x"}\n{"a": 1}\n', ColumnsError, "values of more than one type"),
        ("t.json", "[1, 2]", ColumnsError, "as_dataset takes a DataFrame"),
        ("t.json", "[" * 100_000, DataFormatError, "t.json is no JSON"),
        ("t.parquet", "PAR1 no parquet PAR1", DataFormatError, "t.parquet is no Parquet file, or damaged"),
        ("t.csv.gz", "plain", DataFormatError, "t.csv.gz is no whole gzip file"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, text, error, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        as_dataset(tmp_path / name)


@pytest.mark.parametrize("data", [5, None, [], [1, 2], ["a", "b"], {}, {"a": ["x"], "b": ["y", "z"]}])
def test_what_is_no_table_is_refused(data):
    with pytest.raises(ColumnsError, match=r"as_dataset takes|Columns must be of one length"):
        as_dataset(data)


def test_a_missing_file_is_not_found(tmp_path):
    for name in ("none.csv", "none.jsonl", "none.parquet"):
        with pytest.raises(FileNotFoundError):
            as_dataset(tmp_path / name)


# ── noise ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(text=st.text(max_size=60), ratio=st.floats(0, 1), seed=st.integers(0, 99))
@settings(max_examples=200, deadline=None)
def test_noise_takes_words_away_and_leaves_at_least_one(text, ratio, seed):
    made = delete_words(text, ratio, np.random.default_rng(seed))
    rest = iter(text)
    assert all(letter in rest for letter in made), "what is left stands in the same order"
    assert bool(made.strip()) == bool(text.strip()) or not text.split()


def test_noise_deletes_its_share_of_words_and_keeps_spaces():
    words = [f"word{number}" for number in range(10_000)]
    kept = delete_words(" ".join(words), 0.6, np.random.default_rng(0)).split(" ")
    assert len(kept) == pytest.approx(4_000, abs=200)
    assert set(kept) <= set(words)
    text = "It's a well-known fact (really), isn't it?"
    assert delete_words(text, 0.0, np.random.default_rng(0)) == text
    assert delete_words("one two three", 1.0, np.random.default_rng(0)) in {"one", "two", "three"}
    assert 0 < len(delete_words("昨日は天気がよかった", 0.5, np.random.default_rng(0))) < 10
    assert delete_words("", 0.6, np.random.default_rng(0)) == ""


def test_denoising_rows_are_new_noise_beside_the_text():
    texts = ["a b c d e f g h i j k l", "m n o p q r s t u v w"]
    data = DenoisingAutoEncoderDataset(texts)
    assert len(data) == 2
    assert data[0].texts[1] == texts[0]
    assert len({data[0].texts[0] for _ in range(10)}) > 5
    assert DenoisingAutoEncoderDataset(texts, str.upper)[1].texts == [texts[1].upper(), texts[1]]
    assert DenoisingAutoEncoderDataset(texts, seed=1)[0].texts == DenoisingAutoEncoderDataset(texts, seed=1)[0].texts
    assert len(DenoisingAutoEncoderDataset.delete("a b c d e f", del_ratio=0.0).split()) == 6


# ── examples ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("replaced", [False, True])
def test_labelled_examples_come_in_runs_of_one_label(replaced):
    examples = [InputExample(texts=[str(row)], label=row % 3) for row in range(20)] + [
        InputExample(texts=["x"], label=9)
    ]
    data = SentenceLabelDataset(examples, 3, replaced)
    found = list(data)
    assert len(data) == len(found) == 18
    for start in range(0, 18, 3):
        run = found[start : start + 3]
        assert len({one.label for one in run}) == 1
        assert len({id(one) for one in run}) == 3
    if not replaced:
        assert len({id(one) for one in found}) == 18
    assert [one.texts for one in data] != [one.texts for one in found], "each pass has an order of its own"
    with pytest.raises(ValueError, match="No label has 9 examples; 4 labels"):
        SentenceLabelDataset(examples, 9)


def test_batches_of_examples_hold_no_text_twice():
    examples = [InputExample(texts=[f"Anchor {row % 7}", f"positive {row}"]) for row in range(50)]
    examples += [InputExample(texts=["ANCHOR 0 ", "other"])]
    loader = NoDuplicatesDataLoader(examples, 5)
    for _ in range(2):
        length, batches = len(loader), list(loader)
        assert len(batches) == length >= 9
        for batch in batches:
            assert len({text.strip().lower() for one in batch for text in one.texts}) == 10
    loader.collate_fn = len
    assert set(loader) == {5}
    with pytest.raises(ValueError, match=r"Examples hold \[1, 2\] texts"):
        NoDuplicatesDataLoader([InputExample(texts=["a"]), InputExample(texts=["a", "b"])], 2)


def test_a_list_of_examples_is_a_torch_data_set():
    examples = [InputExample(texts=[str(row)]) for row in range(3)]
    loader = torch.utils.data.DataLoader(SentencesDataset(examples), batch_size=2, collate_fn=list)
    assert [len(batch) for batch in loader] == [2, 1]


class Teacher:
    """Encodes a text as its length, and counts the texts."""

    seen: list[str]

    def __init__(self):
        self.seen = []

    def encode(self, texts, batch_size, show_progress_bar):
        self.seen += texts
        return np.array([[float(len(text))] for text in texts])


@pytest.mark.parametrize("cached", [True, False])
def test_translations_get_the_vector_of_their_source(tmp_path, cached):
    teacher = Teacher()
    data = ParallelSentencesDataset(None, teacher, use_embedding_cache=cached)
    with pytest.raises(ValueError, match="There are no sentences"):
        data[0]
    (tmp_path / "en-de.tsv").write_text("one\teins\nthree\tdrei\none\tuno\n" + "long" * 40 + "\tlang\n")
    data.load_data(tmp_path / "en-de.tsv", weight=2)
    assert len(data) == 5
    source = {"one": 3, "eins": 3, "uno": 3, "three": 5, "drei": 5}
    for _ in range(3):
        round_ = [data[0] for _ in range(5)]
        assert {one.texts[0]: one.label[0] for one in round_} == source
    assert Counter(teacher.seen) == dict.fromkeys(["one", "three"], 1 if cached else 3)


def test_files_of_translations_are_drawn_by_weight():
    data = ParallelSentencesDataset(None, Teacher())
    data.add_dataset([[f"a{row}", f"b{row}"] for row in range(100)], weight=30)
    data.add_dataset([["c", "d"]], weight=10, max_sentences=1)
    data.add_dataset([])
    drawn = Counter(data[0].texts[0][0] for _ in range(80))
    assert drawn == {"a": 30, "b": 30, "c": 10, "d": 10}


def test_contrastive_pairs_are_one_text_with_itself_to_seven_of_two():
    sentences = [f"sentence {row}" for row in range(100)]
    loader = ContrastiveTensionDataLoader(sentences, 16)
    batches = list(loader)
    assert len(loader) == len(batches) == 100 // 30
    for batch in batches:
        assert [one.label for one in batch] == [1, 0, 0, 0, 0, 0, 0, 0] * 2
        assert all((one.texts[0] == one.texts[1]) == bool(one.label) for one in batch)
    assert len({text for batch in batches for one in batch for text in one.texts}) == 90
    assert sentences[0] == "sentence 0", "the list is left in its order"
    assert [one.texts for one in next(iter(loader))] != [one.texts for one in batches[0]]
    for size, ratio in ((12, 8), (8, 0), (0, 8)):
        with pytest.raises(ValueError, match="must be a multiple of pos_neg_ratio"):
            ContrastiveTensionDataLoader(sentences, size, ratio)
