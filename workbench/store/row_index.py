"""Which row of which block a digest stands for, in memory and sorted, so that many are found at once."""

from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.tokens import IntArray

__all__ = ["PLACES", "RowIndex"]

_Array = npt.NDArray[Any]

PLACES = 2**20
"""A row's place is its block times this number, and its row in the block."""


class RowIndex:
    """Where the rows of a space are, by digest: 24 bytes a row.

    Rows are sorted by the first half of their digests. Of two rows that share it, one chance in 2**64, one may not be
    found: it is encoded again each time, which is never wrong.
    """

    def __init__(self) -> None:
        self.first = np.empty(0, np.uint64)  # (rows,), sorted
        self.second = np.empty(0, np.uint64)
        self.places = np.empty(0, np.int64)
        self.last = 0  # the last block that was looked at

    def find(self, digests: _Array) -> IntArray:
        """Return the places of digests, -1 for those that are not there."""
        if not len(self.first):
            return np.full(len(digests), -1)
        at = np.minimum(np.searchsorted(self.first, digests[:, 0]), len(self.first) - 1)
        there = (self.first[at] == digests[:, 0]) & (self.second[at] == digests[:, 1])
        return np.where(there, self.places[at], -1)

    def add(self, digests: _Array, places: IntArray) -> None:
        """Take rows in."""
        order = np.argsort(digests[:, 0], kind="stable")
        at = np.searchsorted(self.first, digests[order, 0])
        self.first = np.insert(self.first, at, digests[order, 0])
        self.second = np.insert(self.second, at, digests[order, 1])
        self.places = np.insert(self.places, at, places[order])

    def drop(self, blocks: list[int]) -> None:
        """Forget the rows of some blocks."""
        keep = ~np.isin(self.places // PLACES, blocks)
        self.first, self.second, self.places = self.first[keep], self.second[keep], self.places[keep]
