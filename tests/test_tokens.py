import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from transformers import CanineTokenizer

from tests import tiny_pairs
from workbench.models.transformer import pad
from workbench.tokens import Tokens

WORDS = tiny_pairs.WORDS[4:]


def texts(rows, longest, seed):
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(0, longest))) for _ in range(rows)]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [7, 8, 20])
@pytest.mark.parametrize("plain", [False, True], ids=["template", "no template"])
def test_rows_are_cut_to_the_tokens_that_the_tokenizer_itself_keeps(side, max_length, plain):
    tokenizer = tiny_pairs.tokenizer()
    tokenizer.truncation_side = side
    if plain:
        tokenizer.backend_tokenizer.post_processor = None
    first, second = texts(200, 25, 1), [*texts(190, 25, 2), *["a [SEP] man " * 9] * 10]
    for columns, rows in (((first,), first), ((first, second), list(zip(first, second, strict=True)))):
        expected = tokenizer(*columns, truncation=True, max_length=max_length)
        found = Tokens(tokenizer).rows(rows, max_length)
        for name in ("input_ids", "token_type_ids"):
            parts = np.split(found.columns[name], found.starts[1:-1])
            assert [part.tolist() for part in parts] == expected[name], name
        assert found.cut.tolist() == [len(row) > max_length for row in tokenizer(*columns)["input_ids"]]


def test_two_long_texts_are_cut_in_time_that_grows_with_their_sum():
    start = time.perf_counter()
    rows = Tokens(tiny_pairs.tokenizer()).rows([("a man " * 100_000, "the dog " * 100_000)], 40)
    assert rows.lengths.tolist() == [40]
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize("max_length", [None, 2, 9])
def test_a_tokenizer_written_in_python_gives_what_it_gives_itself(max_length):
    tokenizer = CanineTokenizer()
    assert getattr(tokenizer, "backend_tokenizer", None) is None
    first, second = ["a man", "", "😀 a", "a dog and a man"], ["b", "long enough", "", "c"]
    for columns, rows in (((first,), first), ((first, second), list(zip(first, second, strict=True)))):
        if len(columns) == 2 and max_length == 2:
            continue  # less than a pair's special tokens
        expected = tokenizer(*columns, truncation=max_length is not None, max_length=max_length)["input_ids"]
        found = Tokens(tokenizer).rows(rows, max_length)
        assert [part.tolist() for part in np.split(found.columns["input_ids"], found.starts[1:-1])] == expected
        assert Tokens(tokenizer).counts(rows).tolist() == [len(row) for row in tokenizer(*columns)["input_ids"]]


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_is_that_of_the_tokenizer_itself(side):
    tokenizer = tiny_pairs.tokenizer()
    tokenizer.padding_side = side
    rows = texts(20, 9, 3)
    expected = tokenizer(rows, padding=True, return_tensors="pt")
    found = pad(Tokens(tokenizer).rows(rows, None), np.arange(20), tokenizer)
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert found[name].equal(values), name


def test_tokens_that_are_added_later_are_seen():
    tokenizer = tiny_pairs.tokenizer()
    tokens = Tokens(tokenizer)
    before = tokens.counts(["a newword a"])
    tokenizer.add_tokens(["newword"])
    assert tokens.rows(["a newword a"], None).columns["input_ids"].max() == len(WORDS) + 4
    assert tokens.counts(["a newword a"]) == before


def test_the_tokenizer_that_was_given_is_not_changed():
    tokenizer = tiny_pairs.tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(5)
    tokenizer.backend_tokenizer.enable_padding(length=9)
    assert Tokens(tokenizer).rows(["a man " * 10], 8).lengths.tolist() == [8]
    assert tokenizer.backend_tokenizer.truncation["max_length"] == 5
    assert tokenizer.backend_tokenizer.padding["length"] == 9


def test_a_copy_for_another_process_gives_the_same():
    tokens = Tokens(tiny_pairs.tokenizer())
    rows = texts(20, 9, 4)
    first = tokens.rows(rows, 8)
    again = pickle.loads(pickle.dumps(tokens)).rows(rows, 8)
    assert (first.columns["input_ids"] == again.columns["input_ids"]).all()
    assert (first.starts == again.starts).all()


def test_ten_threads_with_one_tokenizer_get_the_tokens_of_one():
    tokens, rows = Tokens(tiny_pairs.tokenizer()), texts(300, 25, 5)
    with ThreadPoolExecutor(10) as threads:
        made = list(threads.map(lambda length: (length, tokens.rows(rows, length)), [5, 9, 20, None] * 10))
    expected = {length: Tokens(tiny_pairs.tokenizer()).rows(rows, length) for length in (5, 9, 20, None)}
    for length, found in made:
        assert (found.columns["input_ids"] == expected[length].columns["input_ids"]).all()


def test_no_texts_are_no_rows():
    rows = Tokens(tiny_pairs.tokenizer()).rows([], 8)
    assert len(rows) == 0
    assert rows.lengths.tolist() == []
