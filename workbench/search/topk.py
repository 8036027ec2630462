"""The best k of a matrix of scores that is never whole in memory: blocked products and running lists of the best."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workbench.errors import choose
from workbench.progress import track
from workbench.similarity import (
    cos_sim,
    dot_score,
    euclidean_sim,
    manhattan_sim,
    pairwise_dot_score,
    pairwise_euclidean_sim,
)
from workbench.vectors import MAPPED_BYTES, as_matrix, blocks, float_rows, let_go

__all__ = ["METRICS", "Best", "best_first", "measure", "top_k"]

_SCORES = 2**23  # scores in one block: 32 MB
_ROWS = 2**13  # rows of the corpus in one block
_SLACK = 16  # candidates beyond those asked for, where rounded scores choose them

_Score = Callable[[Tensor, Tensor], Tensor]


def _euclidean(queries: Tensor, rows: Tensor) -> Tensor:
    """What orders rows as their distances do: |q - c|² = |q|² - 2 (qc - |c|²/2), where |q|² is the same for all."""
    return torch.addmm(rows.square().sum(1) / -2, queries, rows.T)


_SCORERS: dict[str, _Score] = {
    "cosine": lambda queries, rows: queries @ rows.T,  # of vectors that were scaled to length 1
    "dot": lambda queries, rows: queries @ rows.T,
    "euclidean": _euclidean,
    "manhattan": manhattan_sim,
}
METRICS = tuple(_SCORERS)
"""What rows can be compared by; distances are negated, so that higher is always better."""

# Functions that are known by name, and computed faster than by calling them.
_KNOWN: dict[Any, str] = {
    cos_sim: "cosine", dot_score: "dot", euclidean_sim: "euclidean", manhattan_sim: "manhattan",
}  # fmt: skip


def top_k(
    queries: Any,
    corpus: Any,
    k: int,
    *,
    metric: str | _Score = "cosine",
    corpus_chunk: int | None = None,
    decode: Callable[[Any], Any] | None = None,
    device: Any = None,
    show: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """Find the k best rows of a corpus for every query, exactly, with a bounded part of the scores in memory.

    Args:
        queries: (q, dim) vectors; a memory-mapped file stays on disk.
        corpus: (n, dim) vectors, read once from front to back; a memory-mapped file stays on disk. With ``decode``,
            anything that has a length and can be sliced.
        k: how many rows to find.
        metric: one of ``METRICS``, or a function (queries, rows) → (queries, rows) scores, higher for better.
        corpus_chunk: most rows of the corpus in memory at a time; None decides by size.
        decode: turns a slice of the corpus into vectors, where it holds codes.
        device: where to compute; None: where the tensors are, and for arrays the cpu.
        show: whether to show progress; see ``workbench.show_progress``.

    Returns:
        Scores (q, k) and positions in the corpus (q, k), best first, of equal scores the smaller position first (which
        of several equal rows have the last places is left open); -inf and -1 where there are fewer than k rows.

    Raises:
        VectorError: the two sides differ in dimensions, or hold NaN or infinite values; names the rows.
        ChoiceError: an unknown metric.
        ValueError: k is below 1.
    """
    metric = metric if isinstance(metric, str) else _KNOWN.get(metric, metric)
    score = _checked(metric) if callable(metric) else choose("metric", metric, _SCORERS)
    if k < 1:
        raise ValueError(f"k is {k}; ask for at least one row.")
    if corpus_chunk is not None and corpus_chunk < 1:
        raise ValueError(f"corpus_chunk is {corpus_chunk}; take at least one row at a time.")
    queries, corpus = as_matrix(queries, name="queries"), corpus if decode else as_matrix(corpus, name="corpus")
    dim = queries.shape[1] if len(queries) else None
    device = device or next((side.device for side in (queries, corpus) if isinstance(side, Tensor)), None)
    prepare: Callable[[Tensor], Tensor] = normalize if metric == "cosine" else torch.Tensor.contiguous
    if metric == "euclidean" and len(queries):  # distances stay the same, and squares lose fewer digits near the origin
        centre = float_rows(queries, 0, _ROWS, device=device, name="queries").mean(0)
        prepare = partial(torch.sub, other=centre)
    best = Best(len(queries), k + (_SLACK if metric == "euclidean" else 0), device)
    rows, mapped = min(corpus_chunk or _ROWS, _ROWS), 0
    with track(len(corpus), unit="rows", desc="Searching", show=show) as bar:
        for start in range(0, len(corpus), rows):
            stored = corpus[start : start + rows]
            part = as_matrix(decode(stored) if decode else stored, name="corpus", dim=dim)
            part = prepare(float_rows(part, 0, rows, device=device, name="corpus", first=start))
            for place, some in blocks(queries, max(1, _SCORES // rows), device=device, name="queries"):
                best.push(score(prepare(some), part), start, slice(place, place + len(some)))
            if (mapped := mapped + part.nbytes) > MAPPED_BYTES:
                let_go(stored)
                mapped = 0
            bar.update(len(part))
    if metric == "euclidean":
        _measure(best, queries, corpus, decode, device)
    scores, positions = best_first(best.scores, best.ids)
    return scores[:, :k], positions[:, :k]


def _checked(score: _Score) -> _Score:
    """A user's function of scores, held to what it must return."""

    def checked(queries: Tensor, rows: Tensor) -> Tensor:
        scores = torch.as_tensor(score(queries, rows))
        if scores.shape != (len(queries), len(rows)):
            expected = f"({len(queries)}, {len(rows)})"
            raise ValueError(f"The score function returned shape {tuple(scores.shape)}; expected {expected}.")
        return scores.detach().float().contiguous()

    return checked


def measure(queries: Tensor, chosen: Tensor, fetch: Callable[[Tensor], Any], metric: str) -> Tensor:
    """Score chosen rows for each query one by one: slower than a product of matrices, and without its rounding.

    Args:
        queries: (q, dim) float32 vectors.
        chosen: (q, n) positions of rows, -1 for none.
        fetch: turns positions (m,) into vectors (m, dim).
        metric: "dot" or "euclidean".

    Returns:
        (q, n) scores, -inf for no row.
    """
    pairwise = pairwise_euclidean_sim if metric == "euclidean" else pairwise_dot_score
    scores = torch.full(chosen.shape, -torch.inf, device=queries.device)
    there = chosen >= 0
    if not there.any():
        return scores
    rows = float_rows(as_matrix(fetch(chosen[there]), dim=queries.shape[1]), 0, int(there.sum()), device=queries.device)
    scores[there] = pairwise(queries[there.nonzero()[:, 0]], rows)
    return scores


def _measure(best: "Best", queries: Any, corpus: Any, decode: Any, device: Any) -> None:
    """Put true distances in place of the scores that chose the rows; those have lost digits by cancellation."""

    def fetch(chosen: Tensor) -> Any:
        rows = corpus[chosen if isinstance(corpus, Tensor) else chosen.cpu().numpy()]
        return decode(rows) if decode else rows

    for start, some in blocks(queries, max(1, _SCORES // (best.k * max(1, queries.shape[1]))), device=device):
        place = slice(start, start + len(some))
        best.scores[place] = measure(some, best.ids[place], fetch, "euclidean")


def best_first(scores: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Sort each row: best first, of equal scores the smaller id first; -1 where the score is -inf."""
    ids = torch.where(scores == -torch.inf, -1, ids)
    by_id = ids.argsort(dim=1)
    order = by_id.gather(1, scores.gather(1, by_id).argsort(dim=1, descending=True, stable=True))
    return scores.gather(1, order), ids.gather(1, order)


class Best:
    """The k best of all scores pushed so far, for each row.

    Args:
        rows: how many lists to keep.
        k: how long each list is.
        device: where the scores are.
    """

    def __init__(self, rows: int, k: int, device: Any = None) -> None:
        self.k = k
        self.scores = torch.full((rows, k), -torch.inf, device=device)  # (rows, k), in no order
        self.ids = torch.full((rows, k), -1, dtype=torch.int64, device=device)  # (rows, k)

    def push(self, scores: Tensor, start: int = 0, rows: slice = slice(None), ids: Tensor | None = None) -> None:
        """Take a block of scores into account.

        Args:
            scores: (rows, n), contiguous.
            start: the id of its first column; the others follow.
            rows: which lists the block's rows belong to.
            ids: (n,) ids of the columns, in place of ``start``.
        """
        count, k = scores.shape[1], self.k
        # Cut the columns into groups of every ``width``-th one. The k best columns lie in the k groups with the highest
        # maxima: any other column has k maxima at or above it. So one fast pass leaves k groups to sort.
        size = max(1, int((count / k) ** 0.5))  # columns in a group
        width = count // size if size > 1 else 0  # groups
        places = torch.arange(width * size, count, device=scores.device).expand(len(scores), -1)  # the rest
        found, where = scores[:, width * size :], places
        if width:
            grouped = scores[:, : width * size].view(len(scores), size, width)
            maxima = grouped.amax(dim=1)  # (rows, width)
            floor = self.scores[rows].amin(dim=1, keepdim=True)
            useful = int((maxima > floor).sum(dim=1).max())  # groups that can still better a list: ever fewer
            groups = maxima.topk(min(k, width, useful), dim=1, sorted=False).indices  # (rows, k or fewer)
            groups = groups[:, None, :].expand(-1, size, -1)  # (rows, size, k or fewer)
            steps = torch.arange(0, width * size, width, device=scores.device)[:, None]
            found = torch.cat([found, grouped.gather(2, groups).flatten(1)], dim=1)
            where = torch.cat([where, (groups + steps).flatten(1)], dim=1)
        where = where + start if ids is None else ids[where]
        found, where = torch.cat([self.scores[rows], found], dim=1), torch.cat([self.ids[rows], where], dim=1)
        top = found.topk(k, dim=1, sorted=False)
        self.scores[rows], self.ids[rows] = top.values, where.gather(1, top.indices)

    def ordered(self) -> tuple[Tensor, Tensor]:
        """Return (scores, ids), best first, of equal scores the smaller id first; -inf and -1 where there were none."""
        return best_first(self.scores, self.ids)
