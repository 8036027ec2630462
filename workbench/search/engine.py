"""What indexes kept by a search engine share: checked ids, rows and filters, batches with progress, and hits."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from workbench.errors import DataFormatError, ModelFormatError, ServiceError
from workbench.folders import read_json, write_atomically, write_json
from workbench.progress import track
from workbench.protocols import Hits
from workbench.search.fields import Fields
from workbench.texts import slices
from workbench.vectors import as_matrix, blocks

__all__ = ["EngineIndex", "Stopped", "without_credentials"]

_POINTER = "index.json"  # in a folder that tells where an index is served
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

    kind: ClassVar[str]  # what open_index calls it

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

    @property
    @abstractmethod
    def _address(self) -> dict[str, str]:
        """What opens the same index again, without credentials."""

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
        show: bool | None = None,
    ) -> None:
        """Add rows in batches. Everything is checked before the first one is sent.

        Args:
            ids: whole numbers or strings, each once; None numbers them on.
            rows: (n, dim) vectors; a memory-mapped file is read block by block.
            metadata: for each row its values by field; a missing field or None is no value.
            replace: write over rows whose id is there, rather than refuse them.
            show: whether to show progress; see ``workbench.show_progress``.

        Raises:
            VectorError: another number of dimensions, or NaN or infinite values; names the rows.
            ValueError: ids that are not unique, or no ids; metadata that does not fit the fields.
            ServiceError: the engine refuses or does not answer; says how many rows are in, and how to go on.
        """
        matrix = as_matrix(rows, name="rows", dim=self.dim)
        names = self._checked_ids(ids, len(matrix))
        values = self.fields.rows(metadata, len(matrix))
        if not names:
            return
        for _ in blocks(matrix, name="rows"):  # the whole of it is looked at for NaN before any of it is sent
            pass
        if self.dim is None:
            self._create(matrix.shape[1], type(names[0]))
            self.dim, self._id_type = matrix.shape[1], type(names[0])
        elif not replace:
            self._refuse(known for part in slices(names, _KNOWN) for known in sorted(self._known(part)))
        with track(len(names), unit="rows", desc="Indexing", show=show) as bar:
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
                bar.update(len(part))
        self._settle()

    def delete(self, ids: Sequence[Any]) -> int:
        """Delete rows by their ids, those that are there, and return how many they were."""
        names, count = self._checked_ids(ids, None), 0
        if self.dim is not None:
            for part in slices(names, _KNOWN):
                if known := self._known(part):
                    self._remove([name for name in part if name in known])
                    count += len(known)
            self._settle()
        return count

    def save(self, path: str | Path) -> None:
        """Write to the folder ``path`` where the index is served; ``open`` reads it. Credentials are not written."""
        with write_atomically(path) as folder:
            write_json(folder / _POINTER, {"kind": self.kind, "metric": self.metric, **self._address})

    @classmethod
    def open(cls, path: str | Path, **options: Any) -> Self:
        """Open a saved index; ``options`` are the constructor's, credentials among them.

        Raises:
            DataFormatError: the folder holds no pointer to such an index.
        """
        try:
            saved = read_json(path, _POINTER)
        except ModelFormatError as error:
            raise DataFormatError(f"{path} holds no saved index of {cls.__name__}: {error}") from error
        kind = saved.pop("kind", None)
        if kind != cls.kind or not all(isinstance(value, str) for value in saved.values()):
            raise DataFormatError(f"{path} holds no saved index of {cls.__name__}: its kind is {kind!r}.")
        try:
            return cls(**saved | options)
        except TypeError as error:
            raise DataFormatError(f"{Path(path) / _POINTER} does not fit {cls.__name__}: {error}") from error

    def __len__(self) -> int:
        return 0 if self.dim is None else self._count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._address.items())})"

    # ── checks and forms ──────────────────────────────────────────────────────────────────────────────────────────────

    def _checked_ids(self, ids: Any, count: int | None) -> list[Any]:
        """Ids as whole numbers or as strings of the index's kind, ``count`` of them, each once."""
        if ids is None:
            first = len(self)
            return list(range(first, first + (count or 0)))
        if isinstance(ids, (str, bytes)):
            raise ValueError(f"ids are one {type(ids).__name__}; pass a list of them.")
        names = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        names = [int(name) if isinstance(name, np.integer) else name for name in names]
        if count is not None and len(names) != count:
            raise ValueError(f"{len(names)} ids for {count} rows; give one to each.")
        kind: Any = self._id_type if self.dim is not None else int if names and isinstance(names[0], int) else str
        for position, name in enumerate(names):
            if type(name) is not kind:
                raise ValueError(
                    f"The id at position {position} is {name!r} ({type(name).__name__}); this index has "
                    f"{'whole numbers' if kind is int else 'strings'} as ids."
                )
            if kind is int and not -(2**63) <= name < 2**63:
                raise ValueError(f"The id {name} at position {position} is beyond 64 bits.")
            if kind is str and not 0 < len(name.encode()) <= _ID_BYTES:
                raise ValueError(f"The id at position {position} is empty or longer than {_ID_BYTES} bytes.")
        if len(set(names)) < len(names):
            self._refuse(name for name, times in Counter(names).items() if times > 1)
        return names

    def _refuse(self, twice: Iterable[Any]) -> None:
        """Raise on the first id that is there already."""
        for name in twice:
            raise ValueError(
                f"ids must be unique: {name!r} comes twice or is in the index already. "
                "Give other ids, or replace=True to write over rows that are there."
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
