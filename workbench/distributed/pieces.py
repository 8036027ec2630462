"""A data set as pieces: which rows of which file each shard is made of, found without holding it, and read."""

import csv
import io
import json
import traceback
from bisect import bisect_left, bisect_right
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import Any

from workbench._optional import require
from workbench.errors import DataFormatError, TextTypeError, choose
from workbench.texts import check_text

__all__ = ["Piece", "answer", "file_system", "find_files", "plan", "read_piece"]

_LONGEST = 2**31 - 1  # letters in a field; the csv module's own limit of 131,072 is shorter than some documents

_Cut = tuple[int, int, int]  # where a piece starts and stops in its file, and how many rows it has


@dataclass(frozen=True)
class Piece:
    """The rows of one shard: neighbours in one file."""

    number: int
    path: str
    start: int  # of a Parquet file rows, of a text file bytes
    stop: int
    rows: int
    first: int  # the number of its first row in the whole data set
    line: int  # ... and in its file


def file_system(path: str | Path) -> tuple[Any, str]:
    """Return pyarrow's file system for a path or an address such as ``s3://bucket/folder``, and the path in it."""
    fs = require("pyarrow.fs", extra="ray")
    if "://" not in str(path):
        return fs.LocalFileSystem(), str(Path(path).expanduser().resolve())
    try:
        system, inner = fs.FileSystem.from_uri(str(path))
    except (OSError, ValueError) as error:
        raise DataFormatError(f"{path} cannot be reached: {error}. Give a path, or an address like s3://…") from error
    return system, inner


def find_files(source: Any) -> list[str]:
    """Return the data files of a file, a folder with all below it, or a list of them, in the order of their names.

    Raises:
        DataFormatError: there is no such file, or none in the folder.
        ChoiceError: a file is of no known kind; lists the kinds.
    """
    fs = require("pyarrow.fs", extra="ray")
    found: list[str] = []
    for one in source if isinstance(source, (list, tuple)) else [source]:
        system, path = file_system(one)
        prefix = "" if "://" not in str(one) else str(one).removesuffix(path)
        info = system.get_file_info(path)
        if info.type == fs.FileType.NotFound:
            raise DataFormatError(f"There is no file or folder {one}. Check the path; every machine must see it.")
        if info.type == fs.FileType.File:
            _kind(path)
            found.append(prefix + path)
            continue
        inside = [entry.path for entry in system.get_file_info(fs.FileSelector(path, recursive=True)) if entry.is_file]
        hidden = len(Path(path).parts)
        known = sorted(
            name for name in inside
            if Path(name).suffix.lower() in _KINDS and not any(part[0] in "._" for part in Path(name).parts[hidden:])
        )  # fmt: skip
        if not known:
            raise DataFormatError(f"{one} holds no data. Expected files that end in one of: {', '.join(_KINDS)}.")
        found += [prefix + name for name in known]
    if len(set(found)) < len(found):
        raise DataFormatError("A file is named twice. Name each once: every row is encoded once.")
    return found


def plan(files: list[str], columns: list[str], size: int) -> tuple[list[Piece], list[dict[str, Any]]]:
    """Cut files into pieces of ``size`` rows, the last of each file shorter; also say what tells each file from others.

    Of Parquet only the footer is read. Text files are read through once, for where their rows end and a hash of all.

    Raises:
        DataFormatError: a file cannot be read, or lacks a column; names both and what columns there are.
    """
    pieces: list[Piece] = []
    about, first = [], 0
    for path in files:
        system, inner = file_system(path)
        with _named(path):
            cuts, digest = _kind(path).cut(system, inner, columns, size)
        line = 0
        for start, stop, rows in cuts:
            pieces.append(Piece(len(pieces), path, start, stop, rows, first, line))
            first, line = first + rows, line + rows
        about.append({"name": Path(inner).name, "bytes": system.get_file_info(inner).size, "digest": digest})
    return pieces, about


def read_piece(piece: Piece, text: str, id: str | None = None) -> tuple[Any, list[str]]:  # noqa: A002
    """Return the ids of a piece's rows as an Arrow array (int64 or string), and their texts.

    Raises:
        DataFormatError: the file cannot be read, a row is no text, or an id is missing or neither a whole number nor
            a string; names file and row.
    """
    pa = require("pyarrow", extra="ray")
    system, inner = file_system(piece.path)
    with _named(piece.path):
        columns = _kind(piece.path).read(system, inner, piece, [text] if id is None else [text, id])
    if len(columns[0]) != piece.rows:
        raise DataFormatError(f"{piece.path} has changed while it was read. Start again when it is whole.")
    for row, value in enumerate(columns[0]):
        try:
            check_text(value, piece.line + row)
        except TextTypeError as error:
            raise DataFormatError(f"{piece.path}, column {text!r}: {error}") from error
    if id is None:
        return pa.array(range(piece.first, piece.first + piece.rows), pa.int64()), columns[0]
    kinds = {type(value) for value in columns[1]}
    if kinds <= {int} or kinds <= {str}:
        try:
            return pa.array(columns[1], pa.int64() if kinds == {int} else pa.string()), columns[0]
        except OverflowError as error:
            raise DataFormatError(f"{piece.path}, column {id!r}: {error}. Ids have 64 bits; use strings.") from error
    usual = type(columns[1][0]) if type(columns[1][0]) in (int, str) else None
    odd = next(row for row, value in enumerate(columns[1]) if type(value) is not usual)
    raise DataFormatError(
        f"{piece.path}, row {piece.line + odd}: the id {columns[1][odd]!r:.50} does not fit. All ids must be whole "
        "numbers, or all strings."
    )


def answer(number: int, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a worker's work came to; what it raises is an answer too, so that only a death gives none."""
    said = {"number": number, "refused": "", "raised": ""}
    try:
        return {**said, **work()}
    except DataFormatError as error:
        return {**said, "refused": str(error)}
    except Exception:  # whatever it is, the caller must hear of it
        return {**said, "raised": traceback.format_exc()}


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Turn what reading raises into a ``DataFormatError`` that names the file."""
    try:
        yield
    except DataFormatError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        why = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else "cannot be read"
        raise DataFormatError(f"{path} {why}: {error}. Make or download it again.") from error


def _check_columns(path: str, wanted: list[str], known: list[str]) -> None:
    for column in wanted:
        if column not in known:
            raise DataFormatError(f"{path} has no column {column!r}. Its columns are: {', '.join(known) or 'none'}.")


# ── Parquet ───────────────────────────────────────────────────────────────────────────────────────────────────────


class _Parquet:
    """Pieces are ranges of rows; the footer knows how many there are."""

    def cut(self, system: Any, path: str, columns: list[str], size: int) -> tuple[list[_Cut], str]:
        pq, types = require("pyarrow.parquet", extra="ray"), require("pyarrow.types", extra="ray")
        with system.open_input_file(path) as file:
            table = pq.ParquetFile(file)
            schema, rows = table.schema_arrow, table.metadata.num_rows
            _check_columns(path, columns, schema.names)
            kind = schema.field(columns[0]).type
            kind = kind.value_type if types.is_dictionary(kind) else kind
            if not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
                raise DataFormatError(f"{path}: column {columns[0]!r} holds {kind}, not texts. Name a column of texts.")
            length = file.size()
            file.seek(length - 8)
            file.seek(length - 8 - int.from_bytes(file.read(4), "little"))
            digest = blake2b(file.read(), digest_size=16).hexdigest()  # of sizes, places and ranges of all columns
        return [(at, min(at + size, rows), min(size, rows - at)) for at in range(0, rows, size)], digest

    def read(self, system: Any, path: str, piece: Piece, columns: list[str]) -> list[list[Any]]:
        pq = require("pyarrow.parquet", extra="ray")
        found: list[list[Any]] = [[] for _ in columns]
        with system.open_input_file(path) as file:
            table = pq.ParquetFile(file)
            ends = list(accumulate(table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)))
            groups = range(bisect_right(ends, piece.start), bisect_left(ends, piece.stop) + 1)
            at = ends[groups[0] - 1] if groups[0] else 0
            for batch in table.iter_batches(batch_size=8_192, row_groups=list(groups), columns=columns):
                skipped = min(len(batch), max(0, piece.start - at))
                part = batch.slice(skipped, max(0, piece.stop - at - skipped))
                for values, column in zip(found, columns, strict=True):
                    values += part.column(column).to_pylist()
                at += len(batch)
                if at >= piece.stop:
                    break
        return found


# ── text files ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Lines:
    """Pieces are ranges of bytes that begin and end between rows; a row may be several lines of the file."""

    rows: Callable[[Iterable[str]], Iterator[Any]]  # lines → rows
    header: bool = True  # the first row holds the names of columns; else each row is a JSON object

    def cut(self, system: Any, path: str, columns: list[str], size: int) -> tuple[list[_Cut], str]:
        digest, at = blake2b(digest_size=16), 0

        def lines() -> Iterator[str]:
            nonlocal at
            for line in _raw_lines(system, path):
                at += len(line)
                digest.update(line)
                yield line.decode("utf-8-sig" if at == len(line) else "utf-8")

        rows = self.rows(lines())
        first = next(rows, None)
        if self.header or first is not None:
            _check_columns(path, columns, list(first or ()) if self.header else list(_object(first)))
        cuts: list[_Cut] = []
        start, count = (at, 0) if self.header else (0, int(first is not None))
        stop = at
        for _ in rows:
            if count == size:
                cuts.append((start, stop, count))
                start, count = stop, 0
            stop, count = at, count + 1
        return [*cuts, (start, stop, count)] if count else cuts, digest.hexdigest()

    def read(self, system: Any, path: str, piece: Piece, columns: list[str]) -> list[list[Any]]:
        names = next(self.rows(line.decode("utf-8-sig") for line in _raw_lines(system, path))) if self.header else []
        with system.open_input_file(path) as file:
            file.seek(piece.start)
            content = file.read(piece.stop - piece.start).removeprefix(b"" if piece.start else BOM_UTF8)
        found: list[list[Any]] = [[] for _ in columns]
        for number, row in enumerate(self.rows(line.decode() for line in io.BytesIO(content))):
            where = f"{path}, row {piece.line + number}"
            if self.header and len(row) != len(names):
                raise DataFormatError(f"{where} has {len(row)} columns; the header has {len(names)}. Quote its texts.")
            try:
                known = dict(zip(names, row, strict=True)) if self.header else _object(row)
            except ValueError as error:
                raise DataFormatError(f"{where} is no JSON object: {error}. Write one object a line.") from error
            for values, column in zip(found, columns, strict=True):
                values.append(known.get(column))
        return found


def _raw_lines(system: Any, path: str) -> Iterator[bytes]:
    """The lines of a file with their ends, a block of it in memory at a time."""
    with system.open_input_stream(path) as file, io.BufferedReader(file, 2**20) as lines:
        yield from lines


def _separated(delimiter: str) -> Callable[[Iterable[str]], Iterator[list[str]]]:
    def rows(lines: Iterable[str]) -> Iterator[list[str]]:
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
        return (row for row in csv.reader(lines, delimiter=delimiter, strict=True) if row)

    return rows


def _object(line: Any) -> dict[str, Any]:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError(f"{line.strip()[:50]!r}")
    return row


_KINDS: dict[str, Any] = {
    ".parquet": _Parquet(),
    ".csv": _Lines(_separated(",")),
    ".tsv": _Lines(_separated("\t")),
    ".jsonl": _Lines(lambda lines: (line for line in lines if line.strip()), header=False),
}


def _kind(path: str) -> Any:
    return choose("kind of file", Path(path).suffix.lower(), _KINDS)
