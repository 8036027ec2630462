"""FAISS: exact, clustered (IVF) and graph (HNSW) indexes, of floats, bytes or bits (Douze et al., arXiv:2401.08281)."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench._optional import require
from workbench.errors import choose
from workbench.quantization import Quantizer
from workbench.search.ids import Ids
from workbench.search.index import VectorIndex
from workbench.search.saved import ENGINE

__all__ = ["FaissIndex"]

_Array = npt.NDArray[Any]

_METHODS = {"flat": "{kind}", "ivf": "IVF{nlist},{kind}", "hnsw": "HNSW{m},{kind}"}
_BINARY = {"flat": "BFlat", "ivf": "BIVF{nlist}", "hnsw": "BHNSW{m}"}
_HASHTABLE = 2  # the map from places to rows that allows deletion


class FaissIndex(VectorIndex):
    """The engine with most choices. Bytes are compared with the float query as it is, bits by Hamming distance.

    Args:
        method: "flat" compares every row; "ivf" only those in the clusters nearest to the query, learned from the
            first rows added; "hnsw" follows a graph of neighbours: the fastest, without deletion.
        m: hnsw: neighbours of a row; more find more, and take memory.
        ef_construction: hnsw: candidates while the graph is built.
        ef: hnsw: candidates while it is searched, at least k.
        nlist: ivf: clusters; None: 4 times the square root of the first rows added.
        nprobe: ivf: clusters that a search looks at.
        options: see ``VectorIndex``.
    """

    kind = "faiss"
    tunable = (*VectorIndex.tunable, "ef", "nprobe")

    def __init__(
        self,
        *,
        method: str = "flat",
        m: int = 16,
        ef_construction: int = 200,
        ef: int = 64,
        nlist: int | None = None,
        nprobe: int = 16,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        choose("method", method, _METHODS)
        self._set(method=method, nlist=nlist)
        self._set_sizes(m=m, ef_construction=ef_construction, ef=ef, nprobe=nprobe)
        if nlist is not None:
            self._set_sizes(nlist=nlist)
        self._engine: Any = None

    @property
    def _finds_by_codes(self) -> bool:
        return "binary" in self.precision

    def _start(self, quantizer: Quantizer, sample: _Array, rows: int) -> None:
        faiss = require("faiss", extra="search")
        method, bits = self.settings["method"], self._finds_by_codes
        kind = "SQ8" if quantizer.ranges is not None else "Flat"
        nlist = min(self.settings["nlist"] or max(1, int(4 * rows**0.5)), len(sample))
        name = (_BINARY if bits else _METHODS)[method].format(kind=kind, nlist=nlist, m=self.settings["m"])
        if bits:
            engine = faiss.index_binary_factory(8 * -(-quantizer.dim // 8), name)
            sample = _bits(quantizer.encode(sample))
        else:
            metric = faiss.METRIC_L2 if self._inner == "euclidean" else faiss.METRIC_INNER_PRODUCT
            engine = faiss.index_factory(quantizer.dim, name, metric)
        if method == "hnsw":
            engine.hnsw.efConstruction = self.settings["ef_construction"]
        if method == "ivf":
            engine.cp.min_points_per_centroid = 1  # else it writes warnings to the terminal
            if bits:
                engine.set_direct_map_type(_HASHTABLE)
            else:
                engine.by_residual = False  # each row as its own code, whatever its cluster
        if not engine.is_trained:
            engine.train(sample)
        if quantizer.ranges is not None:
            low, high = quantizer.ranges
            storage = faiss.downcast_index(engine.storage) if method == "hnsw" else engine
            faiss.copy_array_to_vector(np.concatenate([low, high - low]).astype(np.float32), storage.sq.trained)
        self._engine = engine

    def _insert(self, codes: _Array, place: int) -> None:
        rows = _bits(codes) if self._finds_by_codes else self._quantizer.decode(codes)
        if self.settings["method"] == "ivf":
            self._engine.add_with_ids(rows, np.arange(place, place + len(rows)))
        else:
            self._engine.add(rows)

    def _find(self, queries: _Array, n: int) -> tuple[_Array, _Array]:
        if self.settings["method"] == "ivf":
            self._engine.nprobe = self.settings["nprobe"]
        elif self.settings["method"] == "hnsw":
            self._engine.hnsw.efSearch = max(self.settings["ef"], n)
        if self._finds_by_codes:
            queries = _bits(self._quantizer.encode(queries))
        scores, places = self._engine.search(queries, n)
        if self._inner == "euclidean":
            scores = -np.sqrt(np.maximum(scores, 0))
        return np.where(places < 0, -np.inf, scores).astype(np.float32), places

    def _codes(self, places: npt.NDArray[np.int64]) -> _Array:
        codes = np.stack([self._engine.reconstruct(int(place)) for place in places])
        return codes if self.precision == "ubinary" else (codes ^ 0x80).view(np.int8)

    def _remove(self, places: npt.NDArray[np.int64]) -> bool:
        if self.settings["method"] == "hnsw":
            return super()._remove(places)
        faiss = require("faiss", extra="search")
        self._engine.remove_ids(faiss.IDSelectorArray(places))
        return bool(self.settings["method"] == "flat")

    def _write(self, folder: Path) -> None:
        faiss = require("faiss", extra="search")
        write = faiss.write_index_binary if self._finds_by_codes else faiss.write_index
        write(self._engine, str(folder / ENGINE))

    def _read(self, folder: Path, ids: Ids) -> None:
        faiss = require("faiss", extra="search")
        read = faiss.read_index_binary if self._finds_by_codes else faiss.read_index
        self._engine = read(str(folder / ENGINE))
        dim = self._engine.code_size * 8 if self._finds_by_codes else self._engine.d
        width = -(-self._quantizer.dim // 8) * 8 if self._finds_by_codes else self._quantizer.dim
        self._check_shape((self._engine.ntotal, dim), (len(ids), width))


def _bits(codes: _Array) -> _Array:
    """Bits as FAISS has them, which knows no signed bytes."""
    return codes if codes.dtype == np.uint8 else codes.view(np.uint8) ^ 0x80
