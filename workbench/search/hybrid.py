"""Hybrid search: several indexes asked the same question, and their answers merged into one list."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from workbench.errors import choose
from workbench.protocols import Hits, Index

__all__ = ["FUSIONS", "HybridIndex", "fuse"]

_Array = npt.NDArray[Any]


def _ranks(hits: Hits, rank_constant: float) -> _Array:
    """1 / (constant + rank): (queries, k)."""
    return np.broadcast_to(1 / (rank_constant + np.arange(1, hits.ids.shape[1] + 1)), hits.ids.shape)


def _scaled(hits: Hits, rank_constant: float) -> _Array:
    """Scores moved to 1 for the best and 0 for the last that was found; 1 for all where they are equal: (queries, k)."""
    scores, found = hits.scores.astype(np.float64), np.isfinite(hits.scores)
    low = np.where(found, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    high = np.where(found, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    with np.errstate(invalid="ignore"):
        return np.where(high > low, (scores - low) / np.where(high > low, high - low, 1), 1.0)


FUSIONS = {"rrf": _ranks, "weighted": _scaled}
"""Ways to merge: "rrf" adds 1 / (constant + rank), "weighted" adds scores scaled to 0 … 1 within each list."""


def fuse(
    hits_list: Sequence[Hits],
    k: int = 10,
    method: str = "rrf",
    weights: Sequence[float] | None = None,
    rank_constant: float = 60,
) -> Hits:
    """Merge what several searches found for the same queries.

    "rrf" (reciprocal rank fusion; Cormack, Clarke and Büttcher, 2009) looks at ranks only, so it needs no tuning and
    joins scores of any scale. "weighted" keeps how far apart the scores are; choose it with weights fitted on judged
    queries. A list in which an id is missing adds nothing for it.

    Args:
        hits_list: one ``Hits`` for each search, all with the same number of queries and one kind of ids.
        k: how many to keep for each query.
        method: one of ``FUSIONS``.
        weights: how much each search counts, from 0 up; None: all the same.
        rank_constant: for "rrf": higher makes the first ranks count less against the later ones.

    Returns:
        The merged hits. Of equal scores, what an earlier list found stands first.

    Raises:
        ChoiceError: unknown method; lists the known ones.
        ValueError: nothing to merge, different numbers of queries, kinds of ids, wrong weights, or k below 1.
    """
    points = choose("fusion", method, FUSIONS)
    if not hits_list or len({len(hits) for hits in hits_list}) > 1:
        raise ValueError(f"Got hits for {[len(hits) for hits in hits_list]} queries; expected the same in every list.")
    if len(kinds := {hits.ids.dtype == object for hits in hits_list}) > 1:
        raise ValueError("Some hits have whole numbers as ids and some have strings. Use the same ids in every index.")
    if k < 1 or not rank_constant >= 0:
        raise ValueError(f"k is {k} and rank_constant {rank_constant}; expected k of 1 or more, and no negative constant.")
    shares = _shares(weights, len(hits_list))
    if method == "weighted":
        shares = shares / shares.sum()
    queries = len(hits_list[0])
    found = np.concatenate([np.isfinite(hits.scores) for hits in hits_list], axis=1)  # (queries, all)
    gained = [share * points(hits, rank_constant) for share, hits in zip(shares, hits_list, strict=True)]
    names, numbers = _numbered(np.concatenate([hits.ids for hits in hits_list], axis=1)[found])
    query = np.nonzero(found)[0]
    pairs, first, place = np.unique(query * max(1, len(names)) + numbers, return_index=True, return_inverse=True)
    totals = np.bincount(place, np.concatenate(gained, axis=1)[found], len(pairs)).astype(np.float32)
    order = np.lexsort((first, -totals, query[first]))
    query, pairs, totals = query[first][order], pairs[order], totals[order]
    rank = np.arange(len(query)) - np.searchsorted(query, query)  # within its query
    kept = rank < k
    ids = np.full((queries, k), None if kinds == {True} else -1, object if kinds == {True} else np.int64)
    scores = np.full((queries, k), -np.inf, np.float32)
    ids[query[kept], rank[kept]] = names[pairs[kept] % max(1, len(names))]
    scores[query[kept], rank[kept]] = totals[kept]
    return Hits(ids, scores)


def _shares(weights: Sequence[float] | None, count: int) -> _Array:
    shares = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != (count,) or not np.isfinite(shares).all() or (shares < 0).any() or not shares.any():
        raise ValueError(f"weights are {weights}; expected {count} numbers from 0 up, not all of them 0.")
    return shares


def _numbered(ids: _Array) -> tuple[_Array, _Array]:
    """The different ids, and for each one its number among them; by hashing, since sorting strings is slow."""
    import pandas as pd

    numbers, names = pd.factorize(ids)
    return np.asarray(names), numbers
