"""Semantic search in one call, with the familiar signature: the best corpus rows of every query as lists of dicts."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from workbench.search import topk
from workbench.similarity import cos_sim
from workbench.vectors import as_matrix

__all__ = ["information_retrieval", "semantic_search"]

_SMALLEST = 1024  # rows of the corpus in a block: fewer save no memory worth the time


def semantic_search(
    query_embeddings: Any,
    corpus_embeddings: Any,
    query_chunk_size: int = 100,
    corpus_chunk_size: int = 500000,
    top_k: int = 10,
    score_function: Callable[[Any, Any], Any] | str = cos_sim,
) -> list[list[dict[str, int | float]]]:
    """Find the best rows of a corpus for every query, exactly. ``top_k`` gives the same as two tensors.

    Args:
        query_embeddings: (q, dim) or (dim,) vectors: tensor, array, list of either.
        corpus_embeddings: (n, dim) vectors; a memory-mapped file stays on disk.
        query_chunk_size: kept for the familiar signature: blocks of scores are small whatever the number of queries.
        corpus_chunk_size: most rows of the corpus in a block, from 1,024 on; at most 8,192 are taken.
        top_k: how many rows to find.
        score_function: a function of ``workbench.similarity``, a name in ``METRICS``, or any function of two
            matrices (a, dim) and (b, dim) that gives scores (a, b), higher for better.

    Returns:
        For each query, best first: {"corpus_id": row of the corpus, "score": score}; without rows that score -inf.

    Raises:
        VectorError: the two sides differ in dimensions, or hold NaN or infinite values; names the rows.
        ValueError: ``top_k`` or a chunk size is below 1.
    """
    for name, size in (("query_chunk_size", query_chunk_size), ("corpus_chunk_size", corpus_chunk_size)):
        if size < 1:
            raise ValueError(f"{name} is {size}; take at least one row at a time.")
    corpus = as_matrix(corpus_embeddings, name="corpus")
    chunk = max(corpus_chunk_size, _SMALLEST)
    scores, ids = topk.top_k(query_embeddings, corpus, top_k, metric=score_function, corpus_chunk=chunk)
    width = min(top_k, len(corpus))
    columns = zip(ids[:, :width].flatten().tolist(), scores[:, :width].flatten().tolist(), strict=True)
    with _no_collection():
        flat: list[dict[str, int | float]] = [{"corpus_id": row, "score": score} for row, score in columns]
    found = [flat[start : start + width] for start in range(0, len(ids) * width, width)] if width else [[] for _ in ids]
    if callable(score_function) and (ids < 0).any():  # rows that a function scored with -inf
        found = [[hit for hit in hits if hit["corpus_id"] >= 0] for hits in found]
    return found


information_retrieval = semantic_search


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the search for garbage, which a million new dicts would set off again and again to find none."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
