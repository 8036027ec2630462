"""One normaliser for everything a person may pass as texts: a list, a column, an array, a generator."""

from collections.abc import Hashable, Iterable, Iterator, KeysView, Mapping, Sequence, Set
from itertools import islice
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import TextTypeError

__all__ = ["as_pairs", "as_texts", "check_text", "clean", "is_stream", "iter_texts", "slices", "unique"]


def as_texts(inputs: Any, *, accept: tuple[type, ...] = (), name: str = "sentences") -> tuple[list[Any], bool]:
    """Return ``inputs`` as a list of checked texts, and whether it was one text.

    Args:
        inputs: one text, or any iterable of texts: list, tuple, numpy array, pandas Series, ``datasets`` column,
            generator. Sets and mappings are refused, since they have no order of rows.
        accept: further types a row may have (a router's ``dict``, an image).
        name: what the argument is called in error messages.

    Raises:
        TextTypeError: a row is not a text; names its index and type.
    """
    one = isinstance(inputs, accept) and getattr(inputs, "ndim", 2) in (2, 3)  # an array of texts has one axis
    if one or isinstance(inputs, str):
        check_text(inputs, 0, accept)
        return [inputs], True
    if isinstance(inputs, np.ndarray) and inputs.ndim == 0 and isinstance(inputs.item(), str):
        return [inputs.item()], True
    return list(iter_texts(inputs, accept=accept, name=name)), False


def iter_texts(inputs: Any, *, accept: tuple[type, ...] = (), name: str = "sentences") -> Iterator[Any]:
    """Yield the checked texts of an iterable one by one; see ``as_texts``."""
    unordered = isinstance(inputs, (Mapping, Set)) and not isinstance(inputs, KeysView)
    axes = getattr(inputs, "ndim", 1)  # a table of pandas would give the names of its columns
    axes -= 3 * (axes == 4 and isinstance(inputs, accept))  # an array of images is a list of them
    if unordered or axes != 1 or isinstance(inputs, (bytes, bytearray)) or not isinstance(inputs, Iterable):
        hint = " Its order is not defined: pass a list." if unordered else " Pass one column of it." if axes > 1 else ""
        raise TextTypeError(f"{name} must be a string or an iterable of strings, not {_describe(inputs)}.{hint}")
    for index, text in enumerate(inputs):
        check_text(text, index, accept)
        yield text


def check_text(text: object, index: int, accept: tuple[type, ...] = ()) -> None:
    """Raise ``TextTypeError`` naming ``index`` and the type, unless ``text`` is a string or of an accepted type."""
    if not isinstance(text, (str, *accept)):
        raise TextTypeError(
            f"Row {index} is {_describe(text)}; every row must be a string. "
            "Drop or fill missing values first, and convert numbers with str()."
        )


def as_pairs(inputs: Any, *, name: str = "sentences") -> tuple[list[tuple[str, str]], bool]:
    """Return ``inputs`` as a list of checked (text, text) pairs, and whether it was one pair.

    ``inputs`` is one pair, or any iterable of pairs: lists, tuples, a numpy array or a pandas DataFrame of two columns.

    Raises:
        TextTypeError: a row is not two texts; names its index, what it holds, and the side that is wrong.
    """
    if isinstance(inputs, (str, bytes, bytearray, Mapping, Set)) or not isinstance(inputs, Iterable):
        raise TextTypeError(f"{name} must be a pair of strings or an iterable of pairs, not {_describe(inputs)}.")
    rows = list(inputs.itertuples(index=False, name=None) if hasattr(inputs, "itertuples") else inputs)
    single = len(rows) == 2 and all(isinstance(row, str) for row in rows)
    if single:
        return [(rows[0], rows[1])], True
    pairs: list[tuple[str, str]] = []
    for index, row in enumerate(rows):
        if isinstance(row, (str, bytes)) or not isinstance(row, (Sequence, np.ndarray)):
            raise TextTypeError(f"Row {index} is {_describe(row)}; every row must be a pair of strings.")
        if len(row) != 2:
            raise TextTypeError(f"Row {index} holds {len(row)} values; every row must be a pair of two strings.")
        for side, text in zip(("first", "second"), row, strict=True):
            if not isinstance(text, str):
                raise TextTypeError(f"Row {index}: the {side} value is {_describe(text)}; both must be strings.")
        pairs.append((row[0], row[1]))
    return pairs, False


def is_stream(inputs: object) -> bool:
    """Whether ``inputs`` can be read only once, from front to back (a generator, an open file)."""
    return isinstance(inputs, Iterator)


def slices(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield consecutive lists of at most ``size`` rows."""
    rest = iter(rows)
    while part := list(islice(rest, size)):
        yield part


def unique(rows: Sequence[Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return where each distinct row first stands, and for every row the number of its twin among the distinct ones."""
    seen: dict[Hashable, int] = {}
    inverse = np.fromiter((seen.setdefault(_key(row), len(seen)) for row in rows), np.intp, len(rows))
    first = np.empty(len(seen), np.intp)
    first[inverse[::-1]] = np.arange(len(rows) - 1, -1, -1)  # the last write for each number is its first row
    return first, inverse


def clean(texts: list[Any]) -> list[Any]:
    """Replace lone surrogates, which no tokenizer takes, by U+FFFD; other texts are returned as they are."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
    return texts


def _key(row: Any) -> Hashable:
    """What equal rows have in common: a text's letters, a file's path; any other image is equal to itself only."""
    if isinstance(row, dict):
        return tuple((name, _key(value)) for name, value in row.items())
    return row if isinstance(row, (str, tuple, PurePath)) else id(row)


def _describe(value: object) -> str:
    """The type of a value in words, with the value itself where it is short and safe to show."""
    kind = type(value).__name__
    return f"None ({kind})" if value is None else f"{kind} ({value})" if isinstance(value, (int, float)) else kind
