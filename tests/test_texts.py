"""Inputs as lists: what is a row, which rows are alike, and what becomes of characters that are none."""

import random

import numpy as np
import pandas as pd
import pytest

from workbench.errors import TextTypeError
from workbench.texts import as_pairs, as_texts, clean, is_stream, slices, unique


def test_rows_know_their_twins_and_where_each_first_stood():
    rows = ["b", "a", "b", ("x", "y"), "a", ("x", "y"), "c"]
    first, inverse = unique(rows)
    assert first.tolist() == [0, 1, 3, 6]
    assert inverse.tolist() == [0, 1, 0, 2, 1, 2, 3]
    assert [array.tolist() for array in unique([])] == [[], []]


def test_twins_are_found_among_random_rows():
    draw = random.Random(0)
    rows = [str(draw.randrange(50)) for _ in range(500)]
    first, inverse = unique(rows)
    assert [rows[first[number]] for number in inverse] == rows
    assert len(first) == len(set(rows))
    assert all(rows.index(rows[place]) == place for place in first)


def test_texts_that_differ_in_case_or_blanks_are_no_twins():
    assert len(unique(["a", "A", " a", "a ", "á", "a\u0301"])[0]) == 6


def test_routes_make_rows_differ():
    first, _ = unique([{"query": "a"}, {"document": "a"}, {"query": "a"}, "a"])
    assert first.tolist() == [0, 1, 3]


def test_rows_that_are_no_texts_are_twins_only_of_themselves():
    image, other = object(), object()
    assert unique([image, other, image])[1].tolist() == [0, 1, 0]


def test_only_lone_surrogates_are_replaced():
    texts = ["a\ud83d", "\udc00b", "😀", "plain"]
    assert clean(texts) == ["a\ufffd", "\ufffdb", "😀", "plain"]
    whole = ["😀", "plain"]
    assert clean(whole) is whole
    assert clean([]) == []


def test_what_can_be_read_once_is_a_stream():
    assert all(map(is_stream, (iter([]), (x for x in "a"), map(str, []))))
    assert not any(map(is_stream, (["a"], ("a",), "a", np.array(["a"]), pd.Series(["a"]), range(3))))


def test_one_text_is_told_from_a_list_of_one():
    assert as_texts("a") == (["a"], True)
    assert as_texts(["a"]) == (["a"], False)
    assert as_texts(np.array("a")) == (["a"], True)
    assert as_texts({"query": "a"}, accept=(dict,)) == ([{"query": "a"}], True)


def test_the_argument_is_called_by_its_own_name():
    with pytest.raises(TextTypeError, match=r"^documents must be"):
        as_texts(None, name="documents")


def test_two_texts_are_one_pair_and_two_pairs_are_two():
    assert as_pairs(("a", "b")) == ([("a", "b")], True)
    assert as_pairs([("a", "b")]) == ([("a", "b")], False)
    assert as_pairs([["a", "b"], np.array(["c", "d"])]) == ([("a", "b"), ("c", "d")], False)


def test_slices_hold_every_row_in_order():
    assert list(slices(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(slices([], 3)) == []
