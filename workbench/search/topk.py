"""The best k of a matrix of scores that is never whole in memory: blocked products and running lists of the best."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workbench.errors import choose
from workbench.progress import track
from workbench.similarity import manhattan_sim, pairwise_euclidean_sim
from workbench.vectors import as_matrix, blocks, float_rows

__all__ = ["METRICS", "Best", "top_k"]

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
        corpus: (n, dim) vectors, read once from front to back; a memory-mapped file stays on disk.
        k: how many rows to find.
        metric: one of ``METRICS``, or a function (queries, rows) → (queries, rows) scores, higher for better.
        corpus_chunk: most rows of the corpus in memory at a time; None decides by size.
        decode: turns a slice of the corpus into vectors, where it holds codes.
        device: where to compute; None: where the tensors are, and for arrays the cpu.
        show: whether to show progress; see ``workbench.show_progress``.

    Returns:
        Scores (q, k) and positions in the corpus (q, k), best first, of equal scores the smaller position first; -inf
        and -1 where there are fewer than k rows.

    Raises:
        VectorError: the two sides differ in dimensions, or hold NaN or infinite values; names the rows.
        ChoiceError: an unknown metric.
        ValueError: k is below 1.
    """
    score = metric if callable(metric) else choose("metric", metric, _SCORERS)
    if k < 1:
        raise ValueError(f"k is {k}; ask for at least one row.")
    queries, corpus = as_matrix(queries, name="queries"), corpus if decode else as_matrix(corpus, name="corpus")
    dim = queries.shape[1] if len(queries) else None
    device = device or next((side.device for side in (queries, corpus) if isinstance(side, Tensor)), None)
    scaled = normalize if metric == "cosine" else torch.Tensor.contiguous
    best = Best(len(queries), k + (_SLACK if metric == "euclidean" else 0), device)
    rows = min(corpus_chunk or _ROWS, _ROWS)
    with track(len(corpus), unit="rows", desc="Searching", show=show) as bar:
        for start in range(0, len(corpus), rows):
            part = corpus[start : start + rows]
            part = as_matrix(decode(part) if decode else part, name="corpus", dim=dim)
            part = scaled(float_rows(part, 0, rows, device=device, name="corpus", first=start))
            for place, some in blocks(queries, max(1, _SCORES // rows), device=device, name="queries"):
                best.push(score(scaled(some), part), start, slice(place, place + len(some)))
            bar.update(len(part))
    if metric == "euclidean":
        _measure(best, queries, corpus, decode, device)
    scores, positions = best.ordered()
    return scores[:, :k], positions[:, :k]


def _measure(best: "Best", queries: Any, corpus: Any, decode: Any, device: Any) -> None:
    """Put true distances in place of the scores that chose the rows; those have lost digits by cancellation."""
    for start, some in blocks(queries, max(1, _SCORES // (best.k * max(1, queries.shape[1]))), device=device):
        chosen = best.ids[start : start + len(some)].clamp(min=0)
        rows = corpus[chosen.flatten().cpu().numpy() if not isinstance(corpus, Tensor) else chosen.flatten()]
        found = float_rows(as_matrix(decode(rows) if decode else rows), 0, len(rows), device=device)
        true = pairwise_euclidean_sim(some.repeat_interleave(best.k, 0), found).view(len(some), best.k)
        best.scores[start : start + len(some)].copy_(
            torch.where(best.ids[start : start + len(some)] < 0, -torch.inf, true)
        )


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
            groups = grouped.amax(dim=1).topk(min(k, width), dim=1, sorted=False).indices  # (rows, k)
            groups = groups[:, None, :].expand(-1, size, -1)  # (rows, size, k)
            steps = torch.arange(0, width * size, width, device=scores.device)[:, None]
            found = torch.cat([found, grouped.gather(2, groups).flatten(1)], dim=1)
            where = torch.cat([where, (groups + steps).flatten(1)], dim=1)
        where = where + start if ids is None else ids[where]
        found, where = torch.cat([self.scores[rows], found], dim=1), torch.cat([self.ids[rows], where], dim=1)
        top = found.topk(k, dim=1, sorted=False)
        self.scores[rows], self.ids[rows] = top.values, where.gather(1, top.indices)

    def ordered(self) -> tuple[Tensor, Tensor]:
        """Return (scores, ids), best first, of equal scores the smaller id first; -inf and -1 where there were none."""
        ids = torch.where(self.scores == -torch.inf, -1, self.ids)
        by_id = ids.argsort(dim=1)
        order = by_id.gather(1, self.scores.gather(1, by_id).argsort(dim=1, descending=True, stable=True))
        return self.scores.gather(1, order), ids.gather(1, order)
