"""The normaliser of vectors: what it takes, what it leaves alone, and how it names what it refuses."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.errors import VectorError
from workbench.vectors import as_matrix, blocks, float_rows, let_go

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_matrices_are_handed_on_as_they_are():
    for matrix in (ROWS, torch.tensor(ROWS), ROWS.astype(np.int8), ROWS.T):
        assert as_matrix(matrix) is matrix


@pytest.mark.parametrize(
    "form",
    [
        ROWS.tolist(),
        tuple(ROWS),
        list(torch.tensor(ROWS)),
        pd.DataFrame(ROWS),
        (row for row in ROWS),
        pd.Series([*ROWS]),
    ],
    ids=["lists", "tuple of arrays", "list of tensors", "DataFrame", "generator", "Series"],
)
def test_other_forms_become_matrices(form):
    if isinstance(form, pd.Series):
        form = form.tolist()
    np.testing.assert_array_equal(np.asarray(as_matrix(form)), ROWS)


def test_one_vector_is_one_row_and_none_are_no_rows():
    assert as_matrix(ROWS[0]).shape == as_matrix([1.0, 2.0, 3.0]).shape == (1, 3)
    assert as_matrix([], dim=5).shape == as_matrix(np.zeros(0), dim=5).shape == (0, 5)
    assert as_matrix(()).shape == as_matrix(torch.zeros(0)).shape == (0, 0)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (5, "embeddings must be vectors of one length, not int"),
        ([[1.0], [1.0, 2.0]], "vectors of one length, not list"),
        ([torch.zeros(2), torch.zeros(3)], "vectors of one length"),
        ("text", "must hold numbers"),
        ([None], "must hold numbers, not object"),
        ({"a": 1}, "must hold numbers"),
        (np.zeros((2, 2), complex), "not complex128"),
        (torch.zeros(2, 2, dtype=torch.complex64), "not torch.complex64"),
        (np.array([["a"]]), "must hold numbers"),
        (np.zeros((2, 2, 2)), "shape (2, 2, 2); expected (rows, dimensions)"),
        (np.zeros(()), "shape (); expected"),
        (ROWS[:, :2], "have 2 dimensions; expected 3"),
    ],
    ids=str,
)
def test_what_is_no_table_of_numbers_is_refused(vectors, message):
    with pytest.raises(VectorError, match=re.escape(message)):
        as_matrix(vectors, dim=3)


def test_rows_are_float32_and_keep_their_values():
    for form in (ROWS, ROWS.astype(np.float16), ROWS.astype(">f8"), torch.tensor(ROWS).half(), ROWS.astype(np.uint32)):
        rows = float_rows(form, 1, 3)
        assert rows.dtype == torch.float32
        assert rows.tolist() == ROWS[1:3].tolist()
    fixed = ROWS.copy()
    fixed.flags.writeable = False
    rows = float_rows(fixed, 0, 2)
    rows += 1
    assert fixed[0, 0] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_named_by_their_numbers(bad):
    broken = np.zeros((50, 3), np.float32)
    broken[10:25, 1] = bad
    with pytest.raises(
        VectorError, match=r"given hold NaN or infinite values in 15 rows, such as 10, 11, .*, 19\. Drop"
    ):
        list(blocks(broken, 50, name="given"))
    with pytest.raises(VectorError, match="in 5 rows, such as 20, 21, 22, 23, 24"):
        float_rows(broken, 20, 40)
    with pytest.raises(VectorError, match="such as 120"):
        float_rows(broken, 20, 40, first=120)


def test_sums_that_overflow_are_no_fault_of_their_values():
    large = np.full((4, 3), 3e38, np.float32)
    assert float_rows(large, 0, 4).shape == (4, 3)


def test_blocks_cover_all_rows_once():
    for size in (1, 3, 4, 100, None):
        parts = list(blocks(ROWS, size))
        assert torch.cat([rows for _, rows in parts]).tolist() == ROWS.tolist()
        assert [start for start, _ in parts] == list(range(0, 4, size or 4))
    assert list(blocks(ROWS[:0])) == []
    assert [rows.shape for _, rows in blocks(np.zeros((3, 0)), 2)] == [(2, 0), (1, 0)]


def test_letting_pages_go_loses_no_value(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, ROWS)
    for mode in ("r", "r+", "c"):
        mapped = np.load(path, mmap_mode=mode)
        if mode != "r":
            mapped[0, 0] = 77
        let_go(mapped[1:3])
        let_go(mapped)
        assert mapped[0, 0] == (0 if mode == "r" else 77)
    let_go(ROWS)
    let_go(torch.tensor(ROWS))
