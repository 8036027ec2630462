"""What indexes kept by a search engine share: checked ids, rows and filters, batches with progress, and hits."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from workbench.errors import DataFormatError, ServiceError
from workbench.progress import track
from workbench.protocols import Hits
from workbench.search.fields import Fields
from workbench.search.ids import Ids
from workbench.search.saved import read_folder, write_folder
from workbench.texts import slices
from workbench.vectors import as_matrix, blocks, let_go

__all__ = ["EngineIndex", "Stopped", "without_credentials"]

_ID_BYTES = 512  # the longest id of Elasticsearch; Milvus's column is as wide
_KNOWN = 1_000  # ids in one question of which are there already


class Stopped(Exception):  # noqa: N818 (add() turns it into the error that the user sees)
    """A batch was not, or not wholly, written: how many of its rows are in, and the engine's reason."""

    def __init__(self, written: int, reason: str) -> None:
        super().__init__(reason)
        self.written = written
        self.reason = reason


class EngineIndex(ABC):
    """An ``Index`` whose rows an engine keeps; a subclass says how they are written and found.

    Args:
        metric: "cosine", "dot" or "euclidean"; None: what the index was made with, and "cosine" for a new one.
        fields: further fields by name, and their kinds, to filter by; None: what the index was made with.
        kinds: the kinds of field that the engine has.
        batch_size: most rows in one request.
    """

    kind: ClassVar[str]
    place: ClassVar[tuple[str, ...]]
    """The options that say where the index is."""

    def __init__(
        self, metric: str | None, fields: Mapping[str, str] | None, kinds: Collection[str], batch_size: int
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1.")
        self._wanted = {"metric": metric, "fields": None if fields is None else dict(fields)}
        self.metric = metric or "cosine"
        self.fields = Fields(fields or {}, kinds)
        self.batch_size = batch_size
        self.dim: int | None = None  # None until the first rows come
        self._id_type: type = int
        self._next = 0  # the number of the next row without an id

    def _adopt(self, *, metric: str, dim: int, fields: dict[str, str], id_type: type) -> None:
        """Go on with an index that is there; options that were given must be those it was made with."""
        for name, found in (("metric", metric), ("fields", fields)):
            if self._wanted[name] not in (None, found):
                raise ValueError(
                    f"{self} was made with {name} {found!r}, not {self._wanted[name]!r}. "
                    "Leave the option out, or choose another name for the index."
                )
        self.metric, self.dim, self._id_type = metric, dim, id_type
        self.fields = Fields(fields, set(fields.values()))

    # ── what a subclass brings ────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def _create(self, dim: int, id_type: type) -> None:
        """Make the index on the engine."""

    @abstractmethod
    def _known(self, ids: list[Any]) -> set[Any]:
        """Return which of the ids are there."""

    @abstractmethod
    def _write(self, ids: list[Any], vectors: npt.NDArray[np.float32], values: list[dict[str, Any]]) -> None:
        """Write one batch, over rows of the same id; raises ``Stopped``."""

    @abstractmethod
    def _remove(self, ids: list[Any]) -> None:
        """Delete rows that are there."""

    @abstractmethod
    def _settle(self) -> None:
        """Make what was written visible to searches."""

    @abstractmethod
    def _count(self) -> int:
        """How many rows there are in an index that was made."""

    @abstractmethod
    def close(self) -> None:
        """Let the connection go."""

    # ── what users call ───────────────────────────────────────────────────────────────────────────────────────────────

    def add(
        self,
        ids: Sequence[Any] | None,
        rows: Any,
        *,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        replace: bool = False,
        show_progress_bar: bool | None = None,
    ) -> None:
        """Add rows in batches. Everything is checked before the first one is sent.

        Args:
            ids: whole numbers from 0 or strings, one for each row, each once; None numbers them on.
            rows: (n, dim) vectors, or (dim,) for one; a memory-mapped file is read block by block.
            metadata: for each row its values by field; a missing field or None is no value.
            replace: write over rows whose id is there, rather than refuse them.
            show_progress_bar: see ``workbench.show_progress``.

        Raises:
            VectorError: another number of dimensions, or NaN or infinite values; names the rows.
            TypeError, ValueError: ids of the wrong kind, repeated, or not one for each row; metadata that does not fit.
            ServiceError: the engine refuses or does not answer; says how many rows are in, and how to go on.
        """
        matrix = as_matrix(rows, name="rows", dim=self.dim)
        names = self._checked_ids(ids, len(matrix))
        values = self.fields.rows(metadata, len(matrix))
        if not names:
            return
        for _ in blocks(matrix, name="rows"):  # raises before anything is sent
            let_go(matrix)
        if self.dim is None:
            self._create(matrix.shape[1], type(names[0]))
            self.dim, self._id_type = matrix.shape[1], type(names[0])
        elif not replace:
            self._refuse_known(names)
        with track(len(names), unit="rows", desc="Indexing", show=show_progress_bar) as bar:
            for start, part in blocks(matrix, self.batch_size, name="rows"):
                batch = slice(start, start + len(part))
                try:
                    self._write(names[batch], part.numpy(force=True), values[batch])
                except Stopped as stop:
                    done = start + stop.written
                    raise ServiceError(
                        f"{self} stopped: {stop.reason} {done:,} of {len(names):,} rows are indexed, "
                        f"{len(names) - done:,} are not. To go on, add the rows from position {start} "
                        f"(id {names[start]!r}) again, with their ids and replace=True."
                    ) from stop.__cause__
                let_go(matrix)
                bar.update(len(part))
        self._settle()
        if self._id_type is int:
            self._next = max(self._next, max(names) + 1)

    def delete(self, ids: Any) -> None:
        """Delete rows.

        Raises:
            KeyError: an id that no row has; nothing is deleted then.
            ServiceError: the engine refuses or does not answer.
        """
        listed = list(dict.fromkeys([ids] if isinstance(ids, (str, int)) else ids))
        names = self._checked_ids(listed, len(listed))
        for part in slices(names, _KNOWN):
            known = set() if self.dim is None else self._known(part)
            if unknown := [name for name in part if name not in known]:
                raise KeyError(f"No row has the id {unknown[0]!r}.")
        if names:
            for part in slices(names, _KNOWN):
                self._remove(part)
            self._settle()

    def save(self, path: str | Path) -> None:
        """Write to a folder, in one step, where the index is served, without credentials; ``open`` reads it.

        Raises:
            DataFormatError: the folder holds something else than an index, which is left alone.
        """
        with self._saving(path):
            pass

    @property
    def _address(self) -> dict[str, str]:
        return {name: str(getattr(self, name)) for name in self.place}

    def _saving(self, path: str | Path, address: dict[str, str] | None = None) -> AbstractContextManager[Path]:
        """A folder to write to, in which stands what opens the index again."""
        settings = self._address | (address or {})
        return write_folder(path, {"kind": self.kind, "count": 0, "settings": settings}, Ids())

    @classmethod
    def open(cls, path: str | Path, **options: Any) -> Self:
        """Open an index that ``save`` wrote; ``options`` are the constructor's, credentials among them.

        Raises:
            DataFormatError: no index of this kind, or a damaged one.
            ServiceError: the engine refuses or does not answer.
        """
        settings = read_folder(path, cls.kind)[0].get("settings")
        if (
            not isinstance(settings, dict)
            or set(settings) != set(cls.place)
            or not all(isinstance(value, str) for value in settings.values())
        ):
            raise DataFormatError(f"{path} does not say where the index is; it has {settings!r:.200}. Save it again.")
        return cls(**cls._opened(Path(path), settings) | options)

    @classmethod
    def _opened(cls, folder: Path, settings: dict[str, str]) -> dict[str, Any]:
        """The constructor's options for an index that was saved to a folder."""
        return {**settings}

    def __len__(self) -> int:
        return 0 if self.dim is None else self._count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._address.items())})"

    # ── checks and forms ──────────────────────────────────────────────────────────────────────────────────────────────

    def _checked_ids(self, ids: Any, count: int) -> list[Any]:
        """Ids for so many rows, all of the kind that the index has, each once."""
        kind = self._id_type if self.dim is not None else None
        if ids is None and kind is str:
            raise TypeError("The rows of this index have strings as ids: pass one for each new row.")
        if ids is None:
            self._next = max(self._next, len(self))
        names: list[Any] = Ids().check(range(self._next, self._next + count) if ids is None else ids, count).tolist()
        if names and kind not in (None, type(names[0])):
            kinds = ("strings", "whole numbers") if kind is str else ("whole numbers", "strings")
            raise TypeError("The rows of this index have {} as ids, the new ones {}. Use one kind.".format(*kinds))
        for name in names if names and isinstance(names[0], str) else ():
            if not 0 < len(name.encode()) <= _ID_BYTES:
                raise ValueError(f"The id {name!r:.50} is empty or longer than {_ID_BYTES} bytes.")
        return names

    def _refuse_known(self, names: list[Any]) -> None:
        for part in slices(names, _KNOWN):
            if known := self._known(part):
                shown = ", ".join(map(repr, sorted(known)[:5]))
                raise ValueError(
                    f"{len(known)} ids came before, such as {shown}. Each can be there once; "
                    "replace=True writes over the rows that are there."
                )

    def _checked_k(self, k: int, most: int) -> int:
        """How many rows to ask for: not more than there are."""
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least one row.")
        if k > most and len(self) > most:
            raise ValueError(f"k is {k:,}; {self.kind} gives at most {most:,} rows for a query.")
        return min(k, most)

    def _hits(self, lines: Sequence[Sequence[tuple[Any, float]]], k: int) -> Hits:
        """Lists of (id, score) as ``Hits``, filled up to k."""
        text = self._id_type is str
        ids = np.full((len(lines), k), None if text else -1, dtype=object if text else np.int64)
        scores = np.full((len(lines), k), -np.inf, dtype=np.float32)
        for number, line in enumerate(lines):
            for place, (name, score) in enumerate(line[:k]):
                ids[number, place], scores[number, place] = name if text else int(name), score
        return Hits(ids, scores)


def without_credentials(url: str) -> str:
    """Return the address without the name and password that it may hold."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
