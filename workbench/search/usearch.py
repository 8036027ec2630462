"""USearch: a graph (HNSW) of floats, bytes or bits in one small, fast engine (Malkov & Yashunin, arXiv:1603.09320)."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench._optional import require
from workbench.quantization import Quantizer
from workbench.search.ids import Ids
from workbench.search.index import VectorIndex
from workbench.search.saved import ENGINE

__all__ = ["USearchIndex"]

_Array = npt.NDArray[Any]


class USearchIndex(VectorIndex):
    """A graph that takes new rows and deletions at any time, and stores bytes and bits as such.

    Args:
        m: neighbours of a row in the graph; more find more, and take memory.
        ef_construction: candidates while the graph is built.
        ef: candidates while it is searched, at least k.
        options: see ``VectorIndex``.
    """

    kind = "usearch"
    tunable = (*VectorIndex.tunable, "ef")

    def __init__(self, *, m: int = 16, ef_construction: int = 200, ef: int = 64, **options: Any) -> None:
        super().__init__(**options)
        self._set_sizes(m=m, ef_construction=ef_construction, ef=ef)
        self._engine: Any = None

    @property
    def _finds_by_codes(self) -> bool:
        return self.precision != "float32"

    def _start(self, quantizer: Quantizer, sample: _Array, rows: int) -> None:
        usearch = require("usearch.index", extra="search")
        if "binary" in self.precision:
            options = {"ndim": 8 * -(-quantizer.dim // 8), "metric": "hamming", "dtype": "b1"}
        elif self.precision == "float32":
            options = {"ndim": quantizer.dim, "metric": "l2sq" if self._inner == "euclidean" else "ip", "dtype": "f32"}
        else:  # among vectors of length 1, the nearest are those with the largest product
            options = {"ndim": quantizer.dim, "metric": "ip" if self.metric == "dot" else "l2sq", "dtype": "i8"}
        efs = {"expansion_add": self.settings["ef_construction"], "expansion_search": self.settings["ef"]}
        self._engine = usearch.Index(connectivity=self.settings["m"], **efs, **options)

    def _insert(self, codes: _Array, place: int) -> None:
        self._engine.add(np.arange(place, place + len(codes), dtype=np.uint64), self._stored(codes))

    def _find(self, queries: _Array, n: int) -> tuple[_Array, _Array]:
        self._engine.expansion_search = max(self.settings["ef"], n)
        if self._finds_by_codes:
            queries = self._stored(self._code_of(queries))
        # One query would come back in another form than several do.
        matches = self._engine.search(queries if len(queries) > 1 else np.repeat(queries, 2, axis=0), n)
        # Beyond the count of a query, keys and distances are whatever was in memory.
        there = np.arange(n) < np.asarray(matches.counts)[:, None]
        distances = np.where(there, np.asarray(matches.distances, np.float32), np.float32(np.inf))
        scores = -np.sqrt(np.maximum(distances, 0)) if self._inner == "euclidean" else 1 - distances
        places = np.where(there, np.asarray(matches.keys).astype(np.int64), -1)
        return scores[: len(queries)], places[: len(queries)]

    def _code_of(self, queries: _Array) -> _Array:
        """What queries are compared with codes as."""
        if self.metric != "dot" or self._quantizer.ranges is None:
            codes: _Array = self._quantizer.encode(queries)
            return codes
        # A row is low + (code + 1/2) step, so its dot product with q grows as that of its code with q step.
        low, high = self._quantizer.ranges
        steps = queries * (high - low)
        steps *= 127 / np.maximum(np.abs(steps).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return np.asarray(np.rint(steps), np.int8)

    def _stored(self, codes: _Array) -> _Array:
        """Codes as USearch has them: bytes signed, bits not."""
        wanted = {"int8": np.int8, "uint8": np.int8, "binary": np.uint8, "ubinary": np.uint8}.get(self.precision)
        return codes if wanted in (None, codes.dtype.type) else _flipped(codes)

    def _codes(self, places: npt.NDArray[np.int64]) -> _Array:
        codes = np.stack(self._engine.get(places.astype(np.uint64)))
        return codes if self.precision in ("int8", "ubinary") else _flipped(codes)

    def _remove(self, places: npt.NDArray[np.int64]) -> bool:
        self._engine.remove(places.astype(np.uint64))
        return False

    def _write(self, folder: Path) -> None:
        self._engine.save(str(folder / ENGINE))

    def _read(self, folder: Path, ids: Ids) -> None:
        usearch = require("usearch.index", extra="search")
        self._engine = usearch.Index.restore(str(folder / ENGINE))
        if self._engine is None:
            raise ValueError(f"{ENGINE} is not one of USearch")
        width = -(-self._quantizer.dim // 8) * 8 if "binary" in self.precision else self._quantizer.dim
        self._check_shape((len(self._engine), self._engine.ndim), (len(ids), width))
        self._engine.expansion_add = self.settings["ef_construction"]


def _flipped(codes: _Array) -> _Array:
    """Signed bytes as unsigned ones, and back: flipping the top bit is plus or minus 128."""
    return (codes.view(np.uint8) ^ 0x80).view(np.uint8 if codes.dtype == np.int8 else np.int8)
