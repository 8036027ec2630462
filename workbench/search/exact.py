"""Exact search: every row is compared, by blocked matrix products; rows are in memory or in a memory-mapped file."""

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from workbench.errors import VectorError
from workbench.quantization import PRECISIONS, Quantizer
from workbench.search.ids import Ids
from workbench.search.index import VectorIndex
from workbench.search.saved import VECTORS
from workbench.search.topk import top_k
from workbench.vectors import as_matrix, blocks

__all__ = ["ExactIndex"]

_Array = npt.NDArray[Any]
_CHUNK = 2**25  # bytes that a table of rows grows by


class ExactIndex(VectorIndex):
    """The truth that other indexes approximate; fast enough for some hundred thousand rows, and for any in batches.

    Args:
        device: where to compute; None: the cpu, or for ``over`` where the vectors are.
        options: see ``VectorIndex``.
    """

    kind = "exact"

    def __init__(self, *, device: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._device = device  # not kept in the folder, which may be opened on another machine
        self._rows: Any = None
        self._over = False

    @classmethod
    def over(cls, vectors: Any, ids: Any = None, **options: Any) -> Self:
        """Search vectors where they are, without a copy: an array, a tensor, a memory-mapped file of any size.

        No rows can be added or deleted; ``save`` writes an index of its own. Rows are checked as they are read.

        Raises:
            VectorError: no table of numbers, or a precision other than float32, which would need a copy.
        """
        index = cls(**options)
        if index.precision != "float32":
            raise VectorError(f"{index.precision} vectors are made from these by a copy: use add in place of over.")
        index._rows = as_matrix(vectors, name="vectors")
        index._ids.append(index._ids.check(ids, len(index._rows)))
        index._quantizer, index._over = Quantizer("float32", index._rows.shape[1]), True
        return index

    def add(self, ids: Any, rows: Any, *, show_progress_bar: bool | None = None) -> None:
        """Add vectors, as ``VectorIndex.add``."""
        if self._over:
            raise NotImplementedError("This index searches another one's vectors. Make an ExactIndex() to add rows.")
        super().add(ids, rows, show_progress_bar=show_progress_bar)

    def _search(self, queries: Any, k: int, show: bool | None) -> tuple[Tensor, Tensor]:
        if self._over:
            options: dict[str, Any] = {"metric": self.metric}
        else:
            queries = np.concatenate([self._asked(some) for _, some in blocks(queries, name="queries")] or [queries])
            options = {"metric": self._inner, "decode": self._quantizer.decode}
        scores, places = top_k(queries, self._rows, k, device=self._device, show=show, **options)
        return scores.cpu(), places.cpu()

    def _start(self, quantizer: Quantizer, sample: _Array, rows: int) -> None:
        self._rows = _Rows()

    def _insert(self, codes: _Array, place: int) -> None:
        self._rows.append(codes)

    def _remove(self, places: npt.NDArray[np.int64]) -> bool:
        if self._over:
            raise NotImplementedError("This index searches another one's vectors. Make an ExactIndex() to delete rows.")
        self._rows.remove(places)
        return True

    def _write(self, folder: Path) -> None:
        parts = (self._scaled(part) for _, part in blocks(self._rows)) if self._over else self._rows.parts
        width = self._quantizer.encode(np.zeros((1, self._quantizer.dim), np.float32)).shape[1]
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (len(self._rows), width)}
        with (folder / VECTORS).open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for part in parts:
                np.ascontiguousarray(part).tofile(file)

    def _read(self, folder: Path, ids: Ids) -> None:
        # An empty file cannot be mapped.
        rows = np.load(folder / VECTORS, mmap_mode="r" if ids.places else None, allow_pickle=False)
        width = self._quantizer.dim if "binary" not in self.precision else -(-self._quantizer.dim // 8)
        self._check_shape(rows.shape, (ids.places, width))
        if rows.dtype != self._dtype:
            raise ValueError(f"it holds {rows.dtype}, not {self._dtype}")
        self._rows = _Rows(rows)

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(PRECISIONS[self.precision]).newbyteorder("<")


class _Rows:
    """A table that grows by chunks, so that it is never copied as a whole; ``first`` may be a file."""

    def __init__(self, first: _Array | None = None) -> None:
        self.parts = [] if first is None else [first]
        self._chunk: _Array = np.zeros((0, 0))
        self._used = 0  # rows of the chunk

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def append(self, rows: _Array) -> None:
        while len(rows):
            if self._used == len(self._chunk):
                self._chunk = np.empty((max(1, _CHUNK // rows[0].nbytes), rows.shape[1]), rows.dtype)
                self._used = 0
                self.parts.append(self._chunk[:0])
            fit = rows[: len(self._chunk) - self._used]
            self._chunk[self._used : self._used + len(fit)] = fit
            self._used += len(fit)
            self.parts[-1] = self._chunk[: self._used]
            rows = rows[len(fit) :]

    def remove(self, places: npt.NDArray[np.int64]) -> None:
        keep = np.ones(len(self), bool)
        keep[places] = False
        kept = [(part, keep[start : start + len(part)]) for start, part in self._placed()]
        self.parts = [part if some.all() else part[some] for part, some in kept if some.any()]
        self._chunk, self._used = np.zeros((0, 0)), 0

    def __getitem__(self, index: Any) -> _Array:
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            found = [part[max(0, start - at) : stop - at] for at, part in self._placed() if at < stop]
            found = [part for part in found if len(part)]
            return found[0] if len(found) == 1 else np.concatenate(found)
        rows = np.empty((len(index), self.parts[0].shape[1]), self.parts[0].dtype)
        for at, part in self._placed():
            here = (index >= at) & (index < at + len(part))
            rows[here] = part[index[here] - at]
        return rows

    def _placed(self) -> Iterator[tuple[int, _Array]]:
        """Each part with the number of its first row."""
        return zip(accumulate(map(len, self.parts), initial=0), self.parts, strict=False)
