"""What all embedded vector indexes share: ids, checks, precisions, rescoring, and the folder that they are kept in."""

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from workbench.errors import ChoiceError, DataFormatError, choose
from workbench.progress import track
from workbench.protocols import Hits
from workbench.quantization import PRECISIONS, Quantizer
from workbench.search.ids import Ids
from workbench.search.saved import read_folder, write_folder
from workbench.search.topk import best_first, measure
from workbench.vectors import BLOCK_BYTES, as_matrix, blocks, float_rows

__all__ = ["VectorIndex"]

_Array = npt.NDArray[Any]
_Places = npt.NDArray[np.int64]

_METRICS = dict.fromkeys(("cosine", "dot", "euclidean"))
_SAMPLE = 2**16  # rows that ranges and clusters are learned from


class VectorIndex:
    """Base of the indexes that live in this process; each engine adds how rows are put in, found and kept.

    Args:
        metric: cosine, dot or euclidean (distances are negated in hits, so that higher is always better).
        precision: a key of ``workbench.quantization.PRECISIONS``: what a vector is stored in. Ranges for bytes are
            taken from the first rows added and stay: add typical ones first.
        rescore: score by the float query, not by the query's code, where rows are stored as codes.
        rescore_multiplier: how many times k candidates the engine finds by codes before they are scored again.
    """

    kind: ClassVar[str]
    tunable: ClassVar[tuple[str, ...]] = ("rescore", "rescore_multiplier")
    """The options that may change when a saved index is opened."""

    def __init__(
        self, *, metric: str = "cosine", precision: str = "float32", rescore: bool = True, rescore_multiplier: int = 4
    ) -> None:
        choose("metric", metric, _METRICS)
        choose("precision", precision, PRECISIONS)
        self.settings: dict[str, Any] = {}
        self._set(metric=metric, precision=precision, rescore=bool(rescore))
        self._set_sizes(rescore_multiplier=rescore_multiplier)
        self._ids = Ids()
        self._quantizer: Any = None  # a Quantizer, which comes with the engine at the first row

    def _set(self, **settings: Any) -> None:
        self.settings |= settings

    def _set_sizes(self, **sizes: Any) -> None:
        for name, size in sizes.items():
            if type(size) is not int or size < 1:
                raise ValueError(f"{name} is {size!r}; it must be a whole number from 1.")
        self._set(**sizes)

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"{type(self).__name__}({len(self):,} rows; {settings})"

    @property
    def dim(self) -> int | None:
        """How many dimensions the vectors have; None before the first row."""
        return self._quantizer.dim if self._quantizer else None

    @property
    def metric(self) -> str:
        """What rows are compared by."""
        return str(self.settings["metric"])

    @property
    def precision(self) -> str:
        """What rows are stored in."""
        return str(self.settings["precision"])

    def add(self, ids: Any, rows: Any, *, show_progress_bar: bool | None = None) -> None:
        """Add vectors; either all rows pass the checks, or none is added.

        Args:
            ids: whole numbers from 0 or strings, one for each row, each once; None numbers them on.
            rows: (n, dim) vectors, or (dim,) for one.
            show_progress_bar: see ``workbench.show_progress``.

        Raises:
            VectorError: NaN or infinite values, or another number of dimensions than the rows before.
            TypeError, ValueError: ids of the wrong kind, repeated, or not one for each row.
        """
        rows = as_matrix(rows, name="rows", dim=self.dim)
        new = self._ids.check(ids, len(rows))
        if not len(rows):
            return
        for _ in blocks(rows, name="rows"):  # raises before anything is added
            pass
        if self._quantizer is None:
            sample = self._scaled(rows[:: -(-len(rows) // _SAMPLE)])
            quantizer = Quantizer.fit(self.precision, sample)
            self._start(quantizer, sample, len(rows))
            self._quantizer = quantizer
        with track(len(rows), unit="rows", desc="Indexing", show=show_progress_bar) as bar:
            for start, part in blocks(rows):
                self._insert(self._quantizer.encode(self._scaled(part)), self._ids.places)
                self._ids.append(new[start : start + len(part)])
                bar.update(len(part))

    def search(self, queries: Any, k: int = 10, *, show_progress_bar: bool | None = None) -> Hits:
        """Find the k best rows for each query.

        Args:
            queries: (q, dim) vectors, or (dim,) for one.
            k: how many rows to find.
            show_progress_bar: see ``workbench.show_progress``.

        Raises:
            VectorError: NaN or infinite values, or another number of dimensions than the rows.
            ValueError: k is below 1.
        """
        queries = as_matrix(queries, name="queries", dim=self.dim)
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least one row.")
        scores, places = torch.full((len(queries), k), -torch.inf), torch.full((len(queries), k), -1)
        if found := min(k, len(self)):
            scores[:, :found], places[:, :found] = self._search(queries, found, show_progress_bar)
        return Hits(self._ids.at(places.numpy()), scores.numpy())

    def delete(self, ids: Any) -> None:
        """Delete rows.

        Raises:
            KeyError: an id that no row has.
            NotImplementedError: the engine cannot.
        """
        if len(places := self._ids.find(ids)):
            self._ids.remove(places, close=self._remove(places))

    def save(self, path: str | Path) -> None:
        """Write the index to a folder, in one step: a killed save leaves what was there.

        Raises:
            DataFormatError: the folder holds something else than an index, which is left alone.
        """
        values = {"kind": self.kind, "settings": self.settings, "count": self._ids.places}
        values["quantizer"] = None if self._quantizer is None else self._quantizer.to_dict()
        with write_folder(path, values, self._ids) as fresh:
            if self._quantizer is not None:
                self._write(fresh)

    @classmethod
    def open(cls, path: str | Path, **options: Any) -> Self:
        """Open an index that ``save`` wrote; ``options`` may change those named in ``tunable``.

        Raises:
            DataFormatError: no index of this kind, or a damaged one.
            ChoiceError: an option differs from what the index was made with.
        """
        values, ids = read_folder(path, cls.kind)
        try:
            saved = cls(**values["settings"]).settings
            kept = values["quantizer"]
            quantizer = None if kept is None else Quantizer.from_dict(kept)
            if quantizer is not None and quantizer.precision != saved["precision"]:
                raise ValueError(f"codes of {quantizer.precision}, not of {saved['precision']}")
        except (KeyError, TypeError, ValueError) as error:
            raise DataFormatError(f"{path}: index.json is damaged ({error}). Make the index again.") from error
        for name in options.keys() & saved.keys() - set(cls.tunable):
            if options[name] != saved[name]:
                raise ChoiceError(
                    f"{path} was made with {name}={saved[name]!r}, not {options[name]!r}. "
                    "Leave the option out, or make a new index."
                )
        index = cls(**saved | options)
        if quantizer is not None:
            index._quantizer = quantizer
            try:
                index._read(Path(path), ids)
            except (TypeError, ValueError, RuntimeError, OSError) as error:
                raise DataFormatError(f"{path} is damaged ({error}). Make the index again.") from error
        index._ids = ids
        return index

    def _scaled(self, rows: Any) -> _Array:
        """Rows as float32, of length 1 where only their direction counts."""
        floats = float_rows(rows, 0, len(rows)).cpu()
        return (normalize(floats) if self.metric == "cosine" else floats).numpy()

    def _asked(self, queries: Any) -> _Array:
        """Queries as rows are, or rounded as those are where scores come from the codes of both sides."""
        floats = self._scaled(queries)
        if self.settings["rescore"]:
            return floats
        rounded: _Array = self._quantizer.decode(self._quantizer.encode(floats))
        return rounded

    def _search(self, queries: Any, k: int, show: bool | None) -> tuple[Tensor, Tensor]:
        """Scores and places, (q, k), best first; k is at most the number of rows."""
        n = min(len(self), k * self.settings["rescore_multiplier"]) if self._finds_by_codes else k
        found = torch.empty(len(queries), k), torch.empty(len(queries), k, dtype=torch.int64)
        with track(len(queries), unit="queries", desc="Searching", show=show) as bar:
            for start, some in blocks(queries, max(1, BLOCK_BYTES // (4 * n * self._quantizer.dim)), name="queries"):
                asked = self._asked(some)
                scores, places = (torch.as_tensor(side) for side in self._find(asked, n))
                if self._finds_by_codes:
                    scores = measure(torch.from_numpy(asked), places, self._fetch, self._inner)
                for side, best in zip(found, best_first(scores, places), strict=True):
                    side[start : start + len(some)] = best[:, :k]
                bar.update(len(some))
        return found

    @property
    def _inner(self) -> str:
        """What the engine compares by: vectors of length 1 have their cosine as dot product."""
        return "euclidean" if self.metric == "euclidean" else "dot"

    @property
    def _finds_by_codes(self) -> bool:
        """Whether the engine compares codes with codes, so that what it finds is scored again."""
        return False

    def _fetch(self, places: Tensor) -> _Array:
        """Vectors (m, dim) of the rows at places (m,), from their codes."""
        vectors: _Array = self._quantizer.decode(self._codes(places.numpy()))
        return vectors

    def _start(self, quantizer: Quantizer, sample: _Array, rows: int) -> None:
        """Make the engine, for so many rows at first; ``sample`` holds some of them."""
        raise NotImplementedError

    def _insert(self, codes: _Array, place: int) -> None:
        """Put in rows at ``place`` and after it."""
        raise NotImplementedError

    def _find(self, queries: _Array, n: int) -> tuple[_Array, _Array]:
        """Scores and places (q, n) of the best rows, -inf and -1 where there are no more."""
        raise NotImplementedError

    def _codes(self, places: _Places) -> _Array:
        """Codes of the rows at places, where ``_finds_by_codes``."""
        raise NotImplementedError

    def _remove(self, places: _Places) -> bool:
        """Delete rows; returns whether those behind them move up."""
        raise NotImplementedError(f"This {self.kind} index cannot delete rows. Make a new one of the rows to keep.")

    def _write(self, folder: Path) -> None:
        """Write the rows to a folder."""
        raise NotImplementedError

    def _read(self, folder: Path, ids: Ids) -> None:
        """Read what ``_write`` wrote for these ids; any error means that the file is damaged."""
        raise NotImplementedError

    @staticmethod
    def _check_shape(found: tuple[int, int], expected: tuple[int, int]) -> None:
        if found != expected:
            raise ValueError(f"it holds rows and dimensions {found}, not {expected}")
