"""Rows of vectors in one SQLite file (https://sqlite.org), in blocks, found by the digests of their texts."""

import logging
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import DataFormatError, VectorError
from workbench.store.row_index import PLACES, RowIndex
from workbench.tokens import IntArray

__all__ = ["VectorFile"]

logger = logging.getLogger(__name__)

_Array = npt.NDArray[Any]

_APPLICATION, _FORMAT = 0x57425653, 1  # "WBVS" and the version of the tables, both in the file's header
_HEADER = {"pages": 28, "format": 60, "application": 68}  # where (https://sqlite.org/fileformat2.html)
_TABLES = (
    # What one model makes with the same options.
    "CREATE TABLE space(id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, about TEXT NOT NULL,"
    " dim INTEGER NOT NULL, dtype TEXT NOT NULL)",
    # Ids are never used twice, so a reader that knows of a block knows what is in it.
    "CREATE TABLE block(id INTEGER PRIMARY KEY AUTOINCREMENT, space INTEGER NOT NULL, rows INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, used REAL NOT NULL)",
    "CREATE INDEX block_space ON block(space)",
    # Apart, so that reading the one passes over none of the others' pages.
    "CREATE TABLE digests(block INTEGER PRIMARY KEY, content BLOB NOT NULL)",
    "CREATE TABLE vectors(block INTEGER PRIMARY KEY, content BLOB NOT NULL)",
)
_SIZE = "SELECT coalesce(sum(bytes), 0) FROM block"
_BLOCK = 2**16  # bytes of vectors in a block: what is read for one row
_PAGE = 2**14  # bytes in a page of the file
_READ = 64  # blocks read at a time
_WAIT = 60.0  # seconds to wait for another process's commit


@dataclass(frozen=True)
class _Space:
    id: int
    dim: int
    dtype: np.dtype[Any]


class VectorFile:
    """A file of vectors, for several threads and processes at once. Digests are (n, 2) uint64.

    Every commit is whole or absent, also after a kill. An index of 24 bytes a row is kept in memory.

    Args:
        path: the file; made with its folder when it is not there.
        max_bytes: the most bytes of digests and vectors to keep; None: no limit.

    Raises:
        DataFormatError: the file is damaged, of another program, or of a newer version. It is left as it is.
        OSError: it cannot be opened or made.
    """

    def __init__(self, path: str | Path, max_bytes: int | None = None) -> None:
        if max_bytes is not None and (not isinstance(max_bytes, int) or max_bytes < 1):
            raise ValueError(f"max_bytes must be a whole number above 0, or None; not {max_bytes!r}.")
        self.path, self.max_bytes = Path(path), max_bytes
        self._lock = threading.RLock()
        self._indexes: dict[int, RowIndex] = {}  # by space
        self._pid = os.getpid()
        self._connection: sqlite3.Connection | None = None
        with self._lock, self._translated(writing=True):
            self._connection = self._connect()
        if max_bytes is not None and self.size()[1] > max_bytes:
            with self._transaction() as db:
                self._evict(db, time.time())
            self._shrink()

    def read(self, key: bytes, digests: _Array, take: Callable[[IntArray, _Array], None]) -> IntArray:
        """Call ``take(rows, vectors)`` for all rows of ``digests`` that are there; returns those that are not."""
        with self._db() as db:
            if (space := self._space(db, key)) is None:
                return np.arange(len(digests))
            index = self._index(db, space)
            places = index.find(digests)
        order = np.argsort(places, kind="stable")
        order = order[np.searchsorted(places, 0, sorter=order) :]  # those that are there, block by block
        blocks, starts = np.unique(places[order] // PLACES, return_index=True)
        groups = np.split(order, starts[1:]) if len(blocks) else []
        gone = []
        for start in range(0, len(blocks), _READ):
            some = blocks[start : start + _READ].tolist()
            with self._db() as db:
                found = [
                    db.execute("SELECT content FROM vectors WHERE block = ?", (block,)).fetchone() for block in some
                ]
            for block, blob, group in zip(some, found, groups[start : start + _READ], strict=True):
                if blob is None:  # evicted by another process
                    gone.append(block)
                else:
                    take(group, self._rows(blob[0], space)[places[group] % PLACES])
        if len(blocks):
            self._touch(blocks.tolist())
        if gone:
            with self._lock:
                index.drop(gone)
            places[np.isin(places // PLACES, gone)] = -1
        return np.flatnonzero(places < 0)

    def add(self, key: bytes, about: str, digests: _Array, vectors: _Array, since: float) -> None:
        """Commit rows of distinct digests; those that are there already stay as they are.

        Args:
            key: what they belong to.
            about: what that is, in words.
            digests: (n, 2).
            vectors: (n, dim), of the same dimension and type as all others under ``key``.
            since: a time; blocks used later are not evicted to make room.

        Raises:
            VectorError: another dimension or type.
            OSError: the file cannot be written (a full disk, rights, a lock held too long); nothing of it is kept.
        """
        with self._transaction() as db:
            settings = (key, about, vectors.shape[1], vectors.dtype.str)
            db.execute("INSERT OR IGNORE INTO space(key, about, dim, dtype) VALUES (?, ?, ?, ?)", settings)
            space = self._space(db, key)
            assert space is not None  # noqa: S101  (inserted above)
            if (space.dim, space.dtype) != (vectors.shape[1], vectors.dtype):
                raise VectorError(
                    f"The vectors have {vectors.shape[1]} dimensions of {vectors.dtype}; under the same key "
                    f"{self.path} keeps {space.dim} of {space.dtype}. Give another fingerprint."
                )
            new = np.flatnonzero(self._index(db, space).find(digests) < 0)
            size = min(PLACES, max(1, _BLOCK // max(1, vectors[:1].nbytes)))
            for some in (new[start : start + size] for start in range(0, len(new), size)):
                content = digests[some].tobytes(), vectors[some].tobytes()
                block = (space.id, len(some), sum(map(len, content)), time.time())
                made = db.execute("INSERT INTO block(space, rows, bytes, used) VALUES (?, ?, ?, ?)", block)
                db.execute("INSERT INTO digests VALUES (?, ?)", (made.lastrowid, content[0]))
                db.execute("INSERT INTO vectors VALUES (?, ?)", (made.lastrowid, content[1]))
            self._evict(db, since)

    def size(self) -> tuple[int, int]:
        """Return how many rows and how many bytes of digests and vectors there are."""
        with self._db() as db:
            rows, size = db.execute("SELECT coalesce(sum(rows), 0), coalesce(sum(bytes), 0) FROM block").fetchone()
        return int(rows), int(size)

    def spaces(self) -> list[dict[str, Any]]:
        """Return a row for each key: ``about``, ``dim``, ``dtype``, ``rows``, ``bytes``, and when it was last used."""
        names = ("about", "dim", "dtype", "rows", "bytes", "used")
        with self._db() as db:
            found = db.execute(
                "SELECT about, dim, dtype, sum(rows), sum(bytes), max(used) FROM space JOIN block ON space = space.id"
                " GROUP BY space.id ORDER BY space.id"
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in found]

    def clear(self) -> None:
        """Remove all rows and give the disk its space back."""
        with self._transaction() as db:
            for table in ("vectors", "digests", "block", "space"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608  (names from the line above)
            self._indexes.clear()
        self._shrink()

    def close(self) -> None:
        """Close the file; everything was committed before."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    # ── the connection ────────────────────────────────────────────────────────────────────────────────────────────

    def _connect(self) -> sqlite3.Connection:
        """Open the file, or make it."""
        if self.path.is_dir():
            raise DataFormatError(f"{self.path} is a folder. Give the path of a file.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for pause in (0.05, 0.2):  # a file that another process is just making, or closing, is soon in order
            try:
                self._check_header()
                break
            except DataFormatError:
                time.sleep(pause)
        else:
            self._check_header()
        db = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
        try:
            db.execute(f"PRAGMA page_size = {_PAGE}")  # these two count for a new file only, in this order
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            if not self._is_ours(db):
                db.execute("BEGIN EXCLUSIVE")
                if not self._is_ours(db):  # nor has another process been faster
                    for statement in (*_TABLES, f"PRAGMA user_version = {_FORMAT}"):
                        db.execute(statement)
                    db.execute(f"PRAGMA application_id = {_APPLICATION}")
                db.execute("COMMIT")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")  # a kill loses no commit; a power cut may lose the last few
        except BaseException:
            db.close()
            raise
        return db

    def _check_header(self) -> None:
        """Refuse a file that is not ours before SQLite may touch it. Its marks are set once, when it is made.

        With a journal beside it, a process was killed in the middle: SQLite first puts the file in order.
        """
        if not self.path.exists() or self._beside("-journal") or not (size := self.path.stat().st_size):
            return
        with self.path.open("rb") as file:
            header = file.read(100)
        number = {name: int.from_bytes(header[at : at + 4], "big") for name, at in _HEADER.items()}
        page = int.from_bytes(header[16:18], "big")
        page = 2**16 if page == 1 else page
        if header[:16] != b"SQLite format 3\0" or len(header) < 100:
            raise self._damaged("it is not a database")
        if number["application"] != _APPLICATION:
            raise self._foreign()
        if number["format"] > _FORMAT:
            raise DataFormatError(
                f"{self.path} has format {number['format']}; this version reads {_FORMAT}. Update the package, "
                "or give the path of another file."
            )
        if size != page * number["pages"] and not self._beside("-wal"):
            raise self._damaged(f"it has {size:,} bytes; its header says {page * number['pages']:,}")

    def _is_ours(self, db: sqlite3.Connection) -> bool:
        """Whether the tables are there; False: nothing is there."""
        mark = db.execute("PRAGMA application_id").fetchone()[0]
        if mark not in (0, _APPLICATION) or (not mark and db.execute("SELECT 1 FROM sqlite_master").fetchone()):
            raise self._foreign()
        return bool(mark)

    def _foreign(self) -> DataFormatError:
        return DataFormatError(f"{self.path} is a database of another program. Give the path of another file.")

    def _beside(self, suffix: str) -> bool:
        """Whether there is a file of SQLite's own, which goes when the last user closes the store."""
        other = self.path.with_name(self.path.name + suffix)
        return other.exists() and other.stat().st_size > 0

    def _damaged(self, why: object) -> DataFormatError:
        return DataFormatError(
            f"{self.path} is damaged or no store: {why}. Delete it, or give the path of another file."
        )

    @contextmanager
    def _db(self, *, writing: bool = False) -> Iterator[sqlite3.Connection]:
        """Give the connection to this thread alone; a forked process gets one of its own."""
        with self._lock, self._translated(writing):
            if self._connection is None:
                raise ValueError(f"{self.path} is closed. Open it again.")
            if self._pid != os.getpid():
                self._inherited = self._connection  # never closed: it is the parent's
                self._connection, self._pid = self._connect(), os.getpid()
            yield self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for changes that are all made, or, if something raises, not at all."""
        with self._db(writing=True) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                self._indexes.clear()  # they may know of what is now undone
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self, writing: bool = False) -> Iterator[None]:
        """Raise ``DataFormatError`` for a damaged file, ``OSError`` for one that cannot be written."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if writing and isinstance(error, sqlite3.OperationalError):
                raise OSError(f"{self.path} cannot be written ({error})") from error
            raise self._damaged(error) from error

    # ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _space(self, db: sqlite3.Connection, key: bytes) -> _Space | None:
        row = db.execute("SELECT id, dim, dtype FROM space WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if not re.fullmatch("[<>|][fiub][1248]", str(row[2])):
            raise self._damaged(f"it keeps vectors of type {row[2]!r:.20}")
        return _Space(row[0], row[1], np.dtype(row[2]))

    def _index(self, db: sqlite3.Connection, space: _Space) -> RowIndex:
        """Where the rows of a space are, with what was committed since the last look."""
        index = self._indexes.setdefault(space.id, RowIndex())
        query = "SELECT id, content FROM block JOIN digests ON block = id WHERE space = ? AND id > ?"
        found = db.execute(query, (space.id, index.last)).fetchall()
        if found:
            try:
                digests = [np.frombuffer(blob, np.uint64).reshape(-1, 2) for _, blob in found]
            except ValueError as error:
                raise self._damaged("a block of digests ends early") from error
            places = [block * PLACES + np.arange(len(part)) for (block, _), part in zip(found, digests, strict=True)]
            index.add(np.concatenate(digests), np.concatenate(places))
            index.last = max(block for block, _ in found)
        return index

    def _rows(self, blob: bytes, space: _Space) -> _Array:
        try:
            return np.frombuffer(blob, space.dtype).reshape(-1, space.dim)
        except ValueError as error:
            raise self._damaged("a block of vectors ends early") from error

    def _touch(self, blocks: list[int]) -> None:
        """Note that blocks were used just now, if the file can be written."""
        now = time.time()
        try:
            with self._transaction() as db:
                db.executemany("UPDATE block SET used = ? WHERE id = ?", ((now, block) for block in blocks))
        except OSError as error:
            logger.info("Use of vectors was not noted: %s", error)

    def _evict(self, db: sqlite3.Connection, since: float) -> None:
        """Remove the least recently used blocks beyond the limit, but none used after ``since``."""
        if self.max_bytes is None:
            return
        over, gone = db.execute(_SIZE).fetchone()[0] - self.max_bytes, []
        if over > 0:
            for block, size in db.execute("SELECT id, bytes FROM block WHERE used < ? ORDER BY used, id", (since,)):
                gone.append(block)
                over -= size
                if over <= 0:
                    break
            for table, key in (("vectors", "block"), ("digests", "block"), ("block", "id")):
                db.executemany(f"DELETE FROM {table} WHERE {key} = ?", ((block,) for block in gone))  # noqa: S608
            for index in self._indexes.values():
                index.drop(gone)

    def _shrink(self) -> None:
        """Give pages that hold nothing back to the disk."""
        with self._db() as db:
            db.executescript("PRAGMA incremental_vacuum")  # ``execute`` would stop after one page
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
