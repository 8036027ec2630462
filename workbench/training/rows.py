"""What the rows of a data set hold, looked at in blocks through Arrow: labels, and rows without text."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from workbench._optional import require
from workbench.errors import ColumnsError

__all__ = ["blocks", "first_without_text", "head", "is_number", "label_facts"]

_BLOCK = 50_000  # rows looked at together
_HEAD = 100  # rows that are looked at to know what columns hold; of a stream, all that are looked at


def label_facts(dataset: Any, label: str, texts: Sequence[str], lists: Sequence[str]) -> dict[str, Any]:
    """Return what labels can be (keys of ``LABELS``) and further facts, or the problem why they can be nothing.

    Args:
        dataset: the data set.
        label: its column of labels.
        texts: its columns of texts.
        lists: those of them that hold lists of texts.
    """
    compute = require("pyarrow.compute", extra="lab")
    numbers, widths, kinds = [], set[int](), set[str]()
    for start, table in blocks(dataset, [label, *lists]):
        column = table[label]
        if column.null_count:
            row = start + compute.index(column.is_null(), True).as_py()
            return {"problem": f"{label!r} has no value in row {row}: drop such rows."}
        kind = str(column.type)
        if kind in ("string", "large_string"):
            code = f"dataset = dataset.class_encode_column({label!r})"
            problem = f"{label!r} holds strings; number the classes:"
            return {"problem": problem, "fix": code, "kinds": frozenset(["class"])}
        if "list" in kind:
            lengths = compute.list_value_length(column)
            widths |= set(lengths.unique().to_pylist())
            for other in lists:
                alike = compute.equal(lengths, compute.list_value_length(table[other]))
                if (row := compute.index(alike, False).as_py()) >= 0:
                    problem = f"{label!r} in row {start + row} has more or fewer numbers than {other!r} texts."
                    return {"problem": problem}
        elif kind.startswith(("int", "uint", "float", "double", "half", "bool")):
            numbers.append(column.to_numpy())
        else:
            return {"problem": f"{label!r} holds {kind}, no numbers."}
    if widths:
        width = max(widths)
        same = len(widths) == 1 and not lists
        kinds |= {"grades"} if lists else set()
        kinds |= {"embedding"} if same else set()
        kinds |= {"scores"} if same and width == len(texts) - 1 else set()
        kinds |= {"margin"} if same and width == len(texts) - 2 else set()
        return {"kinds": frozenset(kinds), "width": width}
    return _number_kinds(np.concatenate(numbers), label, len(texts))


def _number_kinds(numbers: Any, label: str, texts: int) -> dict[str, Any]:
    if len(wrong := np.flatnonzero(~np.isfinite(numbers))):
        return {"problem": f"{label!r} is not a number in row {wrong[0]}: drop such rows."}
    low, high = numbers.min(), numbers.max()
    kinds = {"score"} | ({"margin"} if texts == 3 else set())
    whole = numbers.dtype.kind in "iu"
    kinds |= {"class"} if whole and low >= 0 else set()
    kinds |= {"binary"} if np.isin(numbers, (0, 1)).all() else set()
    problem = ""
    if not whole and (numbers == np.round(numbers)).all():
        line = f"dataset = dataset.cast_column({label!r}, datasets.Value('int64'))"
        problem = f"{label!r} holds {numbers.dtype}; as classes: {line}"
    found = {"kinds": frozenset(kinds), "constant": bool(low == high), "top": int(high)}
    return found | ({"problem": problem} if problem else {})


def first_without_text(values: Any) -> int | None:
    """Return the first row without a text, in an Arrow array of texts or of lists of them."""
    compute = require("pyarrow.compute", extra="lab")
    kind = str(values.type)
    if "list<" in kind:
        inner = first_without_text(compute.list_flatten(values))
        rows = [] if inner is None else [compute.list_parent_indices(values)[inner].as_py()]
        wrong = compute.equal(compute.list_value_length(values), 0)
    elif "string" in kind:
        rows, wrong = [], compute.equal(compute.utf8_length(compute.utf8_trim_whitespace(values)), 0)
    else:  # pictures, or nothing but None
        rows, wrong = [], compute.is_null(values)
    row = compute.index(compute.fill_null(wrong, True), True).as_py()
    return min([*rows, *([row] if row >= 0 else [])], default=None)


def is_number(value: Any) -> bool:
    """Return whether a value of a column is a number or a list of numbers."""
    if isinstance(value, (list, tuple)):
        return bool(value) and is_number(value[0])
    kind = getattr(getattr(value, "dtype", None), "kind", None)  # of numpy's; a tensor's has none
    return isinstance(value, (bool, int, float)) or kind in tuple("biuf") or hasattr(value, "numpy")


def head(dataset: Any) -> list[Any]:
    """Return the first rows of a data set."""
    return list(itertools.islice(iter(dataset), _HEAD))


def blocks(dataset: Any, columns: Sequence[str]) -> Iterator[tuple[int, Any]]:
    """Yield blocks of rows as Arrow tables, with the number of their first row; of what is no table, its first rows."""
    arrow = require("pyarrow", extra="lab")
    if set(columns) <= set(getattr(dataset, "column_names", None) or ()) and hasattr(dataset, "__len__"):
        plain = dataset.select_columns(list(columns)).with_format("arrow")
        for start in range(0, len(dataset), _BLOCK):
            yield start, plain[start : start + _BLOCK]
        return
    rows = dataset if isinstance(dataset, list) else head(dataset)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        try:
            yield start, arrow.table({column: [_plain(row.get(column)) for row in block] for column in columns})
        except (TypeError, ValueError) as error:
            raise ColumnsError(f"A column of {', '.join(columns)} holds values of several types: {error}") from error


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
