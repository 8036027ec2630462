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

_Ints = npt.NDArray[np.int64]

_SCORES = 2**22  # scores in one block: 16 MB
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
        Communities, the largest first: row numbers, the central one first, then from the nearest to the farthest.

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
    found = list(_grow(unit, centres, limit, min_community_size, show_progress_bar))
    lengths = _list_lengths(counts, min_community_size)
    return sorted(_nearest_first(unit, found, lengths), key=len, reverse=True)


def _neighbour_counts(unit: Tensor, limit: float, batch: int, show: bool | None) -> _Ints:
    """How many rows have a score of at least ``limit`` with each row, itself included: (n,)."""
    n = len(unit)
    counts = np.zeros(n, np.int64)
    height = min(max(batch, _ROWS), _SCORES // _ROWS)
    width = _SCORES // height // _ROWS * _ROWS  # products of other widths are a third slower
    with track(n * (n + 1) / 2, unit="pairs", desc="Counting neighbours", show=show) as bar:
        for top, bottom in _cuts(0, n, height):
            for left, right in [(top, bottom), *_cuts(bottom, n, width)]:
                near = (unit[top:bottom] @ unit[left:right].T).cpu().numpy() >= limit
                rows = np.flatnonzero(near.any(axis=1))  # few rows have a neighbour in a given block
                near = near[rows]
                counts[top + rows] += np.count_nonzero(near, axis=1)
                if left > top:
                    counts[left:right] += np.count_nonzero(near, axis=0)  # (i, j) is (j, i)
                bar.update((bottom - top) * (right - left if left > top else (bottom - top + 1) / 2))
    return counts


def _grow(unit: Tensor, centres: _Ints, limit: float, least: int, show: bool | None) -> Iterator[_Ints]:
    """Yield the community of each central row in turn, of rows in no earlier one, unless it is taken or too small.

    The central row comes first, the others in the order of their numbers.
    """
    taken = np.zeros(len(unit), np.bool_)
    free, free_unit = np.arange(len(unit)), unit
    with track(len(centres), unit="rows", desc="Growing communities", show=show) as bar:
        while len(centres):
            scores = free_unit @ _some(unit, centres[:_ROWS]).T  # (free, rows): faster than the other way round
            near = np.ascontiguousarray((scores.cpu().numpy() >= limit).T)
            for centre, row in zip(centres[:_ROWS].tolist(), near, strict=False):
                members = free[row]
                members = members[~taken[members]]
                if taken[centre] or len(members) < least:
                    continue
                members = np.append(centre, members[members != centre])
                taken[members] = True
                yield members
            left = centres[_ROWS:]
            left = left[~taken[left]]
            bar.update(len(centres) - len(left))
            centres = left
            rest = free[~taken[free]]
            if _ROWS <= len(rest) < len(free) / 2:
                free, free_unit = rest, unit[torch.from_numpy(rest).to(unit.device)]


def _nearest_first(unit: Tensor, found: list[_Ints], lengths: _Ints) -> Iterator[list[int]]:
    """Yield communities with their members in the order of their scores, and equal scores as the reference has them."""
    member = np.zeros(len(unit), np.bool_)
    for start in range(0, len(found), _ROWS):
        some = found[start : start + _ROWS]
        scores = (unit @ _some(unit, np.array([rows[0] for rows in some])).T).T.contiguous()  # (rows, n)
        for rows, row in zip(some, scores, strict=False):
            centre, others = int(rows[0]), rows[1:]
            member[others] = True
            ranked = row.topk(int(lengths[centre])).indices.cpu().numpy()
            yield [centre, *ranked[member[ranked]].tolist()]
            member[others] = False


def _list_lengths(counts: _Ints, least: int) -> _Ints:
    """How many nearest rows the reference lists for each row, (n,): it doubles them when a list was too short.

    ``topk`` orders equal scores in no way but always the same one for the same number: so this is part of the result.
    """
    most = np.maximum.accumulate(np.where(counts >= least, counts, 0))
    lengths = np.full(len(counts), min(max(2 * least, 50), len(counts)))
    while (short := (lengths <= most) & (lengths < len(counts))).any():
        lengths[short] = np.minimum(2 * lengths[short], len(counts))
    return lengths


def _some(unit: Tensor, rows: _Ints) -> Tensor:
    """A few rows, repeated until a product with them rounds as one with many does."""
    return unit[torch.from_numpy(np.resize(rows, min(_ROWS, len(unit)))).to(unit.device)]


def _cuts(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut a range into parts of ``size``; what is left over is the last part, or joins it where it is very small."""
    edges = [*range(start, stop, size), stop]
    if len(edges) > 2 and edges[-1] - edges[-2] < _ROWS:
        del edges[-2]
    return pairwise(edges)
