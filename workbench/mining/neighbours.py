"""The nearest rows of one set of vectors for every row of another, by an exact scan here or by FAISS."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench._optional import require
from workbench.errors import choose
from workbench.search.topk import top_k
from workbench.vectors import as_matrix, blocks

__all__ = ["BACKENDS", "nearest"]

_Array = npt.NDArray[Any]


def nearest(
    queries: Any, corpus: Any, k: int, *, metric: str = "cosine", backend: str = "exact", show: bool | None = None
) -> tuple[_Array, _Array]:
    """Return scores and positions, (queries, k) each, best first; -inf and -1 where there are fewer than k rows.

    Args:
        queries: (q, dim) vectors.
        corpus: (n, dim) vectors.
        k: how many rows to find.
        metric: what to compare by: see ``workbench.search.METRICS``; FAISS knows "cosine", "dot" and "euclidean".
        backend: a key of ``BACKENDS``; both are exact.
        show: whether to show progress; see ``workbench.show_progress``.

    Raises:
        VectorError: the two sides differ in dimensions, or hold NaN or infinite values; names the rows.
        ChoiceError: an unknown backend or metric.
        DependencyError: FAISS is not installed.
    """
    return choose("backend", backend, BACKENDS)(queries, corpus, k, metric, show)


def _exact(queries: Any, corpus: Any, k: int, metric: str, show: bool | None) -> tuple[_Array, _Array]:
    scores, ids = top_k(queries, corpus, k, metric=metric, show=show)
    return scores.cpu().numpy(), ids.cpu().numpy()


def _faiss(queries: Any, corpus: Any, k: int, metric: str, show: bool | None) -> tuple[_Array, _Array]:
    faiss = require("faiss", extra="search")
    by_distance = choose("metric for FAISS", metric, {"cosine": False, "dot": False, "euclidean": True})
    corpus = as_matrix(corpus, name="corpus")
    queries = as_matrix(queries, name="queries", dim=corpus.shape[1])
    index = (faiss.IndexFlatL2 if by_distance else faiss.IndexFlatIP)(corpus.shape[1])
    scores, ids = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)

    def rows(matrix: Any, name: str) -> Any:
        for start, part in blocks(matrix, name=name):
            block = part.cpu().numpy()
            norms = np.linalg.norm(block, axis=1, keepdims=True).clip(1e-12) if metric == "cosine" else np.float32(1)
            yield start, block / norms

    for _, block in rows(corpus, "corpus"):
        index.add(block)
    for start, block in rows(queries, "queries") if index.ntotal else ():
        found, places = index.search(block, k)
        found = -np.sqrt(found) if by_distance else found
        scores[start : start + len(block)] = np.where(places < 0, -np.inf, found)
        ids[start : start + len(block)] = places
    return scores, ids


BACKENDS: dict[str, Callable[[Any, Any, int, str, bool | None], tuple[_Array, _Array]]] = {
    "exact": _exact,  # blocked matrix products: nothing to install
    "faiss": _faiss,  # IndexFlat: the same neighbours
}
"""Who finds the neighbours."""
