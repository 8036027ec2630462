"""Paraphrase mining: the most similar pairs among all texts, found from one half of the table of scores."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench.progress import track
from workbench.protocols import Embeds
from workbench.search.topk import top_k as nearest
from workbench.similarity import cos_sim
from workbench.vectors import as_matrix, blocks, float_rows

__all__ = ["paraphrase_mining", "paraphrase_mining_embeddings"]

_Score = Callable[[Tensor, Tensor], Tensor]
_Floats = npt.NDArray[np.float32]
_Keys = npt.NDArray[np.int64]

_CELL = 512  # rows of the squares that are compared first
_ROWS, _COLUMNS = 1024, 8192  # scores in one block: 32 MB
_ROOM = 8  # times max_pairs: so many pairs may wait before they are sorted out


def paraphrase_mining(
    model: Embeds,
    sentences: Any,
    show_progress_bar: bool | None = False,
    batch_size: int | None = 32,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100000,
    max_pairs: int = 500000,
    top_k: int = 100,
    score_function: _Score = cos_sim,
    truncate_dim: int | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
) -> list[list[float | int]]:
    """Find the most similar pairs of texts: ``paraphrase_mining_embeddings`` of their vectors.

    Args:
        model: makes the vectors.
        sentences: texts; the results name their positions.
        show_progress_bar: whether to show progress; see ``workbench.show_progress``.
        batch_size: texts encoded at a time; None decides by their length.
        query_chunk_size: see ``paraphrase_mining_embeddings``.
        corpus_chunk_size: see there.
        max_pairs: how many pairs to return at most.
        top_k: how many neighbours of each text count.
        score_function: see ``paraphrase_mining_embeddings``.
        truncate_dim: dimensions to keep; None: all.
        prompt_name: prompt of the texts, as in ``encode``.
        prompt: the same, as text.
    """
    embeddings = model.encode(
        sentences,
        show_progress_bar=show_progress_bar,
        batch_size=batch_size,
        convert_to_tensor=True,
        truncate_dim=truncate_dim,
        prompt_name=prompt_name,
        prompt=prompt,
    )
    return paraphrase_mining_embeddings(
        embeddings,
        query_chunk_size,
        corpus_chunk_size,
        max_pairs,
        top_k,
        score_function,
        show_progress_bar=show_progress_bar,
    )


def paraphrase_mining_embeddings(
    embeddings: Any,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100000,
    max_pairs: int = 500000,
    top_k: int = 100,
    score_function: _Score = cos_sim,
    *,
    show_progress_bar: bool | None = None,
) -> list[list[float | int]]:
    """Find the most similar pairs of rows, exactly, each pair once.

    A pair counts if one of its rows is among the ``top_k`` nearest of the other. Only half of the scores are computed,
    and once ``max_pairs`` pairs are known, a block of scores costs one comparison with the worst of them. Besides the
    vectors, memory holds a block of at most 1024 by 8192 scores and some ten times ``max_pairs`` pairs.

    Args:
        embeddings: (n, dim) vectors; a memory-mapped file stays on disk.
        query_chunk_size: most rows to compare at a time.
        corpus_chunk_size: most rows to compare them with at a time.
        max_pairs: how many pairs to return at most.
        top_k: how many neighbours of each row count.
        score_function: (rows, dim), (columns, dim) → (rows, columns) scores, higher for more alike; must be symmetric.
        show_progress_bar: whether to show progress; see ``workbench.show_progress``.

    Returns:
        ``[score, i, j]`` with i < j, best first, of equal scores the smaller i and j first. Of pairs that tie for the
        last place, or for the last neighbour of a row, any may be returned.

    Raises:
        VectorError: no table of numbers, or NaN or infinite values; names the rows.
        ValueError: ``max_pairs``, ``top_k`` or a chunk size is below 1.
    """
    limits = {"query_chunk_size": query_chunk_size, "corpus_chunk_size": corpus_chunk_size}
    for name, value in (limits | {"max_pairs": max_pairs, "top_k": top_k}).items():
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1.")
    matrix = as_matrix(embeddings)
    if len(matrix) * top_k <= 2 * max_pairs:  # too few pairs for a bound: the lists of all rows are the whole story
        scores, keys = _lists(matrix, top_k, corpus_chunk_size, score_function, show_progress_bar)
    else:
        pool = _Pool(len(matrix), max_pairs, top_k)
        for block in _bands(matrix, query_chunk_size, corpus_chunk_size, score_function, show_progress_bar):
            pool.push(*block)
        scores, keys = pool.best()
    order = np.lexsort((keys, -scores))[:max_pairs]
    columns = scores[order].tolist(), (keys[order] // len(matrix)).tolist(), (keys[order] % len(matrix)).tolist()
    with _no_collection():
        return [[score, i, j] for score, i, j in zip(*columns, strict=True)]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python's cycle collector from running: it takes five times as long as making half a million small lists."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _lists(matrix: Any, k: int, chunk: int, score_function: _Score, show: bool | None) -> tuple[_Floats, _Keys]:
    """Return the pairs of every row with its k nearest, each once: scores and keys ``i * n + j`` with i < j."""
    count = len(matrix)
    metric = "cosine" if score_function is cos_sim else score_function
    found = nearest(matrix, matrix, min(k + 1, max(count, 1)), metric=metric, corpus_chunk=chunk, show=show)
    scores, ids = (side.cpu().numpy() for side in found)
    rows = np.arange(count)[:, None]
    others = ids != rows  # a row's list has one place too many: its own, or else the last
    others[others.all(axis=1), -1] = False
    keys = (np.minimum(ids, rows) * count + np.maximum(ids, rows))[others]
    keys, first = np.unique(keys, return_index=True)
    return scores[others][first], keys


def _bands(
    matrix: Any, height: int, width: int, score_function: _Score, show: bool | None
) -> Iterator[tuple[Any, ...]]:
    """Yield (scores, first row, first column, cell) of blocks that hold each pair once; see ``_Pool.push``.

    Small squares along the diagonal come first, then bands ever farther from it: so the first pairs are of all rows.
    """
    count, device = len(matrix), matrix.device if isinstance(matrix, Tensor) else None
    cell, height, width = min(height, _CELL), min(height, _ROWS) // _CELL * _CELL or height, min(width, _COLUMNS)
    bands = [(0, 1, cell, cell), *((far, cell, height, width) for far in range(0, count, width))]
    plan = [
        (slice(first, min(first + high, count)), slice(first + far, min(first + far + wide, count)), apart)
        for far, apart, high, wide in bands
        for first in range(0, count - far, high)
    ]
    cosine = score_function is cos_sim
    norms = [part.norm(dim=1, keepdim=True) for _, part in blocks(matrix, device=device)] if cosine else []
    scales = torch.cat(norms).clamp_(min=1e-12).reciprocal_() if norms else None
    total = sum((rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns, _ in plan)
    with track(total, unit="scores", desc="Mining paraphrases", show=show) as bar:
        for rows, columns, apart in plan:
            left, right = (float_rows(matrix, side.start, side.stop, device=device) for side in (rows, columns))
            if scales is None:
                scores = score_function(left, right).detach()
            else:
                scores = (left * scales[rows]) @ (right * scales[columns]).T  # (rows, columns)
            yield scores.cpu().numpy(), rows.start, columns.start, apart
            bar.update(scores.numel())


class _Pool:
    """The best pairs pushed so far, of those where one row is among the k nearest of the other."""

    def __init__(self, rows: int, max_pairs: int, top_k: int) -> None:
        self.rows, self.max_pairs, self.top_k = rows, max_pairs, top_k
        self.scores: list[_Floats] = [np.empty(0, np.float32)]
        self.keys: list[_Keys] = [np.empty(0, np.int64)]  # i * rows + j, where i < j
        self.room = _ROOM * max_pairs
        self.floor = -np.inf  # a pair must be better than this ...
        self.floors: _Floats | None = None  # ... and than this of one of its rows; None: no difference

    def push(self, scores: npt.NDArray[Any], first: int, place: int, apart: int) -> None:
        """Take into account the scores of rows from ``first`` on with columns from ``place`` on.

        Near the diagonal, where a pair may stand twice, those count whose column is in a later cell of ``apart`` rows.
        """
        height, width = scores.shape
        floor: Any = self.floor
        if self.floors is not None:
            rows, columns = (self.floors[start : start + size] for start, size in ((first, height), (place, width)))
            floor = np.minimum(rows[:, None], columns)
        better = scores > floor
        if first + height + apart > place:
            rows, columns = np.arange(first, first + height), np.arange(place, place + width)
            better &= (rows // apart)[:, None] < columns // apart
        at = np.flatnonzero(better)
        self.scores.append(scores.ravel()[at].astype(np.float32, copy=False))
        self.keys.append((first + at // width) * self.rows + place + at % width)
        if sum(map(len, self.scores)) > self.room:
            self._sort_out()

    def _sort_out(self) -> None:
        """Drop pairs that cannot be among the results, whatever follows, and raise the floors.

        A row's list of its k best only improves, and a pair stands on at most two lists. So once the pairs from some
        score upwards fill 2 ``max_pairs`` places on lists, ``max_pairs`` of them will be there at the end.
        """
        scores, keys = np.concatenate(self.scores), np.concatenate(self.keys)
        take = self.max_pairs
        while take < min(len(scores), self.room // 2):
            worst = np.partition(scores, -take)[-take]
            kept = scores >= worst
            if self._places(keys[kept]) >= 2 * self.max_pairs:
                self.floor, scores, keys = float(worst), scores[kept], keys[kept]
                break
            take += take // 2 + 1
        if len(scores) > self.room // 2:
            scores, keys = self._listed(scores, keys)
        if self.floors is not None:
            self.floors = np.maximum(self.floors, np.float32(self.floor))
        self.scores, self.keys, self.room = [scores], [keys], max(self.room, 2 * len(scores))

    def _places(self, keys: _Keys) -> int:
        """How many places on lists these pairs fill."""
        counts = sum(np.bincount(ends, minlength=self.rows) for ends in (keys // self.rows, keys % self.rows))
        return int(np.minimum(counts, self.top_k).sum())

    def _listed(self, scores: _Floats, keys: _Keys) -> tuple[_Floats, _Keys]:
        """Keep the pairs on the list of one of their rows, best first, and note the last score of full lists."""
        order = np.lexsort((keys, -scores))
        scores, keys = scores[order], keys[order]
        ends = np.stack([keys // self.rows, keys % self.rows], axis=1).ravel()  # both rows of each pair: (2 pairs,)
        counts = np.bincount(ends, minlength=self.rows)
        by_row = ends.argsort(kind="stable")  # for each row its pairs, best first
        starts = counts.cumsum() - counts
        ranks = np.empty_like(ends)
        ranks[by_row] = np.arange(len(ends)) - starts.repeat(counts)
        full = counts >= self.top_k
        self.floors = np.full(self.rows, -np.inf, np.float32)
        self.floors[full] = scores[by_row[starts[full] + self.top_k - 1] // 2]
        listed = (ranks < self.top_k).reshape(-1, 2).any(axis=1)
        return scores[listed], keys[listed]

    def best(self) -> tuple[_Floats, _Keys]:
        """Return scores and keys of the pairs that are on a list, best first; there may be more than ``max_pairs``."""
        return self._listed(np.concatenate(self.scores), np.concatenate(self.keys))
