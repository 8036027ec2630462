"""Fast community detection: groups of rows around one that is near them all, found without the whole matrix of scores.

The reference package's algorithm, by two passes over blocks: how many neighbours each row has, from one half of the
symmetric products; then the communities, whose members are looked up only when their turn comes. So nothing grows with
the number of pairs that are alike.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench.progress import track
from workbench.vectors import as_matrix, whole

__all__ = ["community_detection"]

_SCORES = 2**21  # scores in one block: 8 MB, which a cache holds
_ROWS = 16  # fewest rows and columns in a product: below, it takes no less time and rounds otherwise


def community_detection(
    embeddings: Any,
    threshold: float = 0.75,
    min_community_size: int = 10,
    batch_size: int = 1024,
    show_progress_bar: bool | None = False,
) -> list[list[int]]:
    """Find groups of rows that all have a cosine of at least ``threshold`` with the central row of their group.

    Every row proposes itself and its neighbours. The largest proposals come first, of equal ones the earlier row's;
    each loses the rows that are taken already, and is dropped if its central row is one of them or too few are left.

    Time grows with the square of the rows. Memory holds a float32 copy of the vectors and one block of scores.

    Args:
        embeddings: (n, dim) vectors, scaled to length 1 here.
        threshold: the least cosine between a central row and the members of its community.
        min_community_size: rows that make a community.
        batch_size: most rows in a block.
        show_progress_bar: whether to show progress; see ``workbench.show_progress``.

    Returns:
        Communities, the largest first: row numbers, the central one first, then from the nearest to the farthest; of
        equally near ones the smaller number.

    Raises:
        VectorError: no table of finite numbers; names the rows.
        ValueError: a size below 1.
    """
    if min_community_size < 1 or batch_size < 1:
        raise ValueError(f"min_community_size is {min_community_size}, batch_size {batch_size}; expected 1 or more.")
    matrix = as_matrix(embeddings)
    if len(matrix) < min_community_size:
        return []
    unit = whole(matrix, device=matrix.device if isinstance(matrix, Tensor) else None)
    limit = float(np.float32(threshold))  # scores are compared in their own precision
    counts = _neighbour_counts(unit, limit, batch_size, show_progress_bar)
    order = np.argsort(-counts, kind="stable")
    centres = order[counts[order] >= min_community_size]
    return sorted(_grow(unit, centres, limit, min_community_size, show_progress_bar), key=len, reverse=True)


def _neighbour_counts(unit: Tensor, limit: float, batch: int, show: bool | None) -> npt.NDArray[np.int64]:
    """How many rows have a score of at least ``limit`` with each row, itself included: (n,)."""
    n = len(unit)
    counts = torch.zeros(n, dtype=torch.int64, device=unit.device)
    height = min(max(batch, _ROWS), _SCORES // _ROWS)
    with track(n * (n + 1) / 2, unit="pairs", desc="Counting neighbours", show=show) as bar:
        for top, bottom in _cuts(0, n, height):
            counts[top:bottom] += (unit[top:bottom] @ unit[top:bottom].T >= limit).sum(1)
            bar.update((bottom - top) * (bottom - top + 1) / 2)
            for left, right in _cuts(bottom, n, _SCORES // height):
                scores = unit[top:bottom] @ unit[left:right].T
                rows = torch.nonzero(scores.amax(1) >= limit).flatten()  # most rows have no neighbour in most blocks
                if len(rows):
                    near = scores[rows] >= limit
                    counts[rows + top] += near.sum(1)
                    counts[left:right] += near.sum(0)  # (i, j) is (j, i)
                bar.update((bottom - top) * (right - left))
    return counts.cpu().numpy()


def _grow(
    unit: Tensor, centres: npt.NDArray[np.int64], limit: float, least: int, show: bool | None
) -> Iterator[list[int]]:
    """Yield the community of each central row in turn, of rows in no earlier one, unless it is taken or too small."""
    taken = np.zeros(len(unit), np.bool_)
    free, free_unit = np.arange(len(unit)), unit
    with track(len(centres), unit="rows", desc="Growing communities", show=show) as bar:
        while len(centres):
            some = torch.from_numpy(np.resize(centres, _ROWS)).to(unit.device)
            scores = (unit[some] @ free_unit.T).cpu().numpy()  # (rows, free)
            for centre, row in zip(centres[:_ROWS].tolist(), scores, strict=False):
                near = np.flatnonzero(row >= limit)
                near = near[~taken[free[near]]]
                if taken[centre] or len(near) < least:
                    continue
                members = free[near[np.argsort(-row[near], kind="stable")]]
                members = np.concatenate([[centre], members[members != centre]])
                taken[members] = True
                yield members.tolist()
            left = centres[_ROWS:]
            left = left[~taken[left]]
            bar.update(len(centres) - len(left))
            centres = left
            open_ = free[~taken[free]]
            if _ROWS <= len(open_) < len(free) / 2:
                free, free_unit = open_, unit[torch.from_numpy(open_).to(unit.device)]


def _cuts(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut a range into parts of at most ``size``, as even as can be, so that none is much smaller than the others."""
    edges = np.linspace(start, stop, -(-(stop - start) // size) + 1).astype(int)
    return pairwise(edges.tolist())
