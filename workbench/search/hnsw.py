"""hnswlib: a graph of neighbours by the authors of HNSW (Malkov & Yashunin, arXiv:1603.09320)."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench._optional import require
from workbench.quantization import Quantizer
from workbench.search.ids import Ids
from workbench.search.index import VectorIndex
from workbench.search.saved import ENGINE

__all__ = ["HnswIndex"]

_Array = npt.NDArray[Any]


class HnswIndex(VectorIndex):
    """The reference HNSW. It computes with floats only: codes of other precisions are decoded, and save no memory.

    Args:
        m: neighbours of a row in the graph; more find more, and take memory.
        ef_construction: candidates while the graph is built.
        ef: candidates while it is searched, at least k.
        options: see ``VectorIndex``.
    """

    kind = "hnsw"
    tunable = (*VectorIndex.tunable, "ef")

    def __init__(self, *, m: int = 16, ef_construction: int = 200, ef: int = 64, **options: Any) -> None:
        super().__init__(**options)
        self._set_sizes(m=m, ef_construction=ef_construction, ef=ef)
        self._engine: Any = None

    def _start(self, quantizer: Quantizer, sample: _Array, rows: int) -> None:
        self._engine = self._empty(quantizer.dim)
        self._engine.init_index(rows, M=self.settings["m"], ef_construction=self.settings["ef_construction"])

    def _empty(self, dim: int) -> Any:
        space = "l2" if self._inner == "euclidean" else "ip"
        return require("hnswlib", extra="search").Index(space, dim)

    def _insert(self, codes: _Array, place: int) -> None:
        engine, stop = self._engine, place + len(codes)
        if stop > engine.get_max_elements():
            engine.resize_index(max(stop, engine.get_max_elements() * 3 // 2))
        engine.add_items(self._quantizer.decode(codes), np.arange(place, stop))

    def _find(self, queries: _Array, n: int) -> tuple[_Array, _Array]:
        self._engine.set_ef(max(self.settings["ef"], n))
        try:
            places, distances = self._engine.knn_query(queries, k=n)
        except RuntimeError:  # some query reaches fewer rows than n
            if len(queries) > 1:
                found = [self._find(query[None], n) for query in queries]
                scores, places = (np.concatenate(side) for side in zip(*found, strict=True))
                return scores, places
            scores, places = self._find(queries, n // 2) if n > 1 else (np.zeros((1, 0)), np.zeros((1, 0), np.int64))
            room = (0, 0), (0, n - n // 2 if n > 1 else 1)
            return np.pad(scores, room, constant_values=-np.inf), np.pad(places, room, constant_values=-1)
        scores = -np.sqrt(np.maximum(distances, 0)) if self._inner == "euclidean" else 1 - distances
        return scores, places.astype(np.int64)

    def _remove(self, places: npt.NDArray[np.int64]) -> bool:
        for place in places.tolist():
            self._engine.mark_deleted(place)
        return False

    def _write(self, folder: Path) -> None:
        self._engine.save_index(str(folder / ENGINE))

    def _read(self, folder: Path, ids: Ids) -> None:
        with (folder / ENGINE).open("rb") as file:
            header = np.fromfile(file, "<u8", 6)  # the engine takes the number of dimensions on trust
        places, labels, vectors = header[[2, 4, 5]].tolist()
        self._check_shape((places, (labels - vectors) // 4), (ids.places, self._quantizer.dim))
        self._engine = self._empty(self._quantizer.dim)
        self._engine.load_index(str(folder / ENGINE))
