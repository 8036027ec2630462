import time

import numpy as np
import pytest

from tests import tiny_pairs
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
