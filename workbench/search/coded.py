"""Search over codes of fewer bytes: nearest bits by Hamming distance, and candidates scored again by float queries."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from workbench.errors import VectorError
from workbench.progress import track
from workbench.vectors import BLOCK_BYTES, as_matrix

__all__ = ["hamming_top_k", "rescore"]

_Array = npt.NDArray[Any]

_ROWS = 2**13  # codes of the corpus in one block
_QUERIES = 2**5  # so many at a time that the bits that differ stay near the processor
_BITS = 40  # of a position
_NONE = np.iinfo(np.int64).max


def hamming_top_k(queries: Any, corpus: Any, k: int, *, show: bool | None = None) -> tuple[_Array, _Array]:
    """Find for every query the k rows that differ from it in the fewest bits; each bit of each code is looked at.

    Args:
        queries: (q, width) codes of bits, of one byte each: ``binary`` or ``ubinary``.
        corpus: (n, width) codes of the same kind; a memory-mapped file stays on disk.
        k: how many rows to find.
        show: whether to show progress; see ``workbench.show_progress``.

    Returns:
        Negated distances (q, k), so that higher is better, and positions in the corpus (q, k), best first, of equal
        distances the smaller position first; -inf and -1 where there are fewer than k rows.

    Raises:
        VectorError: no codes of bits, or codes of another kind or width on the other side.
        ValueError: k is below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}; ask for at least one row.")
    queries = _bits(queries, "queries")
    corpus = _bits(corpus, "corpus", queries)
    # One whole number for each row, its distance before its position, so that the smallest numbers are the best rows.
    best = np.full((len(queries), k), _NONE)
    words = _words(queries)  # (q, words)
    with track(len(corpus), unit="rows", desc="Searching", show=show) as bar:
        for start in range(0, len(corpus), _ROWS):
            columns = np.ascontiguousarray(_words(corpus[start : start + _ROWS]).T)  # (words, rows)
            for place in range(0, len(words), _QUERIES):
                some = words[place : place + _QUERIES]
                distances = np.zeros((len(some), columns.shape[1]), np.uint32)
                for query, column in zip(some.T, columns, strict=True):
                    distances += np.bitwise_count(query[:, None] ^ column)
                _keep_best(best[place : place + len(some)], distances, start)
            bar.update(columns.shape[1])
    best.sort(axis=1)
    missing = best == _NONE
    return np.where(missing, -np.inf, -(best >> _BITS)).astype(np.float32), np.where(missing, -1, best & ~(-1 << _BITS))


def _keep_best(best: _Array, distances: _Array, start: int) -> None:
    """Take the distances (q, rows) of rows from ``start`` into the lists of the best, (q, k), in place."""
    better = distances < (best.max(axis=1) >> _BITS)[:, None]  # equal ones stand behind those that came before
    for line in np.flatnonzero(better.any(axis=1)):
        columns = np.flatnonzero(better[line])
        numbers = np.concatenate([best[line], (distances[line, columns].astype(np.int64) << _BITS) + columns + start])
        best[line] = np.partition(numbers, best.shape[1] - 1)[: best.shape[1]]


def rescore(queries: Any, ids: _Array, fetch: Callable[[_Array], Any], k: int) -> tuple[_Array, _Array]:
    """Score candidates again, by the dot products of float queries with the vectors of the candidates.

    Args:
        queries: (q, dim) vectors.
        ids: (q, c) the candidates of each query, -1 where there is none.
        fetch: gives the (m, dim) vectors of (m,) ids; called for a bounded number of them at a time.
        k: how many of them to keep.

    Returns:
        Scores (q, min(k, c)) in float64 and ids, best first, candidates of equal score in the order they had.

    Raises:
        VectorError: queries or candidates hold NaN or infinite values; names the queries.
    """
    queries = as_matrix(queries, name="queries")
    kept = min(k, ids.shape[1])
    scores, found = np.empty((len(ids), kept)), np.empty((len(ids), kept), np.int64)
    size = max(1, BLOCK_BYTES // (8 * max(1, ids.shape[1] * queries.shape[1])))
    for start in range(0, len(ids), size):
        part = ids[start : start + size]
        missing = part < 0
        some = queries[start : start + size]
        some = np.asarray(some.detach().cpu() if isinstance(some, torch.Tensor) else some, np.float64)
        vectors = np.asarray(fetch(np.where(missing, part.max(initial=0), part).ravel()), np.float64)
        with np.errstate(invalid="ignore"):
            new = (vectors.reshape(*part.shape, -1) @ some[:, :, None])[:, :, 0]  # (some, c)
        if not np.isfinite(new).all():
            rows = np.flatnonzero(~np.isfinite(new).all(axis=1))[:10] + start
            raise VectorError(f"Queries such as {rows.tolist()}, or their candidates, hold NaN or infinite values.")
        new[missing] = -np.inf
        order = np.argsort(-new, axis=1, kind="stable")[:, :kept]
        scores[start : start + size] = np.take_along_axis(new, order, axis=1)
        found[start : start + size] = np.take_along_axis(part, order, axis=1)
    return scores, found


def _bits(codes: Any, name: str, like: _Array | None = None) -> _Array:
    table = as_matrix(codes, name=name, dim=None if like is None else like.shape[1])
    array: _Array = table.cpu().numpy() if isinstance(table, torch.Tensor) else table
    if array.dtype not in (np.int8, np.uint8) or (like is not None and array.dtype != like.dtype):
        wanted = "int8 or uint8, eight bits to a byte" if like is None else str(like.dtype)
        raise VectorError(f"{name} are {array.dtype}; expected codes of {wanted}.")
    return array


def _words(codes: _Array) -> _Array:
    """Codes as (n, words) of 64 bits each; what is missing to the last word is the same in all."""
    padded = np.zeros((len(codes), -(-codes.shape[1] // 8) * 8), np.uint8)
    padded[:, : codes.shape[1]] = codes.view(np.uint8)
    return padded.view(np.uint64)
