"""The folder that an index is kept in: index.json, the ids, and one file of vectors or of the engine's own.

``index.json`` says what the folder holds and how large every file is, with its SHA-256. Engines trust their files, so
one that is truncated, damaged or of another index is found here, before an engine reads it.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import DataFormatError
from workbench.folders import MAX_JSON_BYTES, write_atomically, write_json
from workbench.search.ids import Ids

__all__ = ["ENGINE", "VECTORS", "is_index", "read_folder", "write_folder"]

ENGINE, VECTORS = "engine.bin", "vectors.npy"
_FILES = ("ids.npy", "ids.json", VECTORS, ENGINE)
_FORMAT, _VERSION = "workbench-index", 1


def is_index(path: str | Path) -> bool:
    """Whether something is kept at a path: False where there is nothing or an empty folder.

    Raises:
        DataFormatError: something else is there, or an index of a newer version.
    """
    path = Path(path)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return False
    _read_values(path)
    return True


@contextmanager
def write_folder(path: str | Path, values: dict[str, Any], ids: Ids) -> Iterator[Path]:
    """Give a folder to write files of ``_FILES`` into; in place, with ids and index.json, when the block ends well.

    Raises:
        DataFormatError: the path holds something else than an index, which is left as it is.
    """
    is_index(path)
    with write_atomically(path, replaced=_FILES) as fresh:
        yield fresh
        if ids.strings:
            text = json.dumps(ids.all.tolist(), ensure_ascii=False)
            (fresh / "ids.json").write_text(text, encoding="utf-8", errors="surrogatepass")
        else:
            np.save(fresh / "ids.npy", ids.all, allow_pickle=False)
        files = {file.name: _fingerprint(file) for file in fresh.iterdir() if file.is_file()}
        write_json(fresh / "index.json", {"format": _FORMAT, "version": _VERSION, **values, "files": files})


def read_folder(path: str | Path, kind: str) -> tuple[dict[str, Any], Ids]:
    """Return what index.json says and the ids, after a check of every file.

    Raises:
        DataFormatError: no index, one of another kind or a newer version, or a damaged one.
    """
    path = Path(path)
    values = _read_values(path)
    if values.get("kind") != kind:
        found = values.get("kind")
        raise DataFormatError(f"{path} holds an index of kind {found!r}, not {kind!r}. Open it as that kind.")
    files = values.get("files")
    if not isinstance(files, dict) or set(files) != {name for name in _FILES if (path / name).exists()}:
        raise DataFormatError(f"{path} does not hold the files that its index.json names. Make the index again.")
    for name, expected in files.items():
        if _fingerprint(path / name) != expected:
            raise DataFormatError(f"{path / name} is damaged or of another index. Make the index again.")
    try:
        ids = Ids(_read_ids(path))
    except (OSError, ValueError, RecursionError) as error:
        raise DataFormatError(f"{path} has no readable ids ({error}). Make the index again.") from error
    if values.get("count") != ids.places:
        raise DataFormatError(f"{path} has {ids.places} ids for {values.get('count')!r} rows. Make the index again.")
    return values, ids


def _read_values(path: Path) -> dict[str, Any]:
    file = path / "index.json"
    try:
        with file.open(encoding="utf-8") as opened:
            values = json.loads(opened.read(MAX_JSON_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise DataFormatError(f"{path} holds no index that can be read ({error}). It is left as it is.") from error
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise DataFormatError(f"{file} is not one of an index of this workbench. It is left as it is.")
    if type(values.get("version")) is not int or values["version"] > _VERSION:
        raise DataFormatError(
            f"{path} was written in version {values.get('version')!r:.20}; this workbench reads up to {_VERSION}. "
            "Update it. The folder is left as it is."
        )
    return values


def _read_ids(path: Path) -> Any:
    if (path / "ids.npy").exists():
        numbers = np.load(path / "ids.npy", allow_pickle=False)
        if numbers.dtype != np.int64 or numbers.ndim != 1:
            raise ValueError(f"numbers of type {numbers.dtype}, shape {numbers.shape}")
        return numbers
    names = json.loads((path / "ids.json").read_text(encoding="utf-8", errors="surrogatepass"))
    if not isinstance(names, list) or not all(name is None or isinstance(name, str) for name in names):
        raise ValueError("ids.json is not a list of strings")
    array = np.empty(len(names), object)
    array[:] = names
    return array


def _fingerprint(file: Path) -> dict[str, Any]:
    """How large a file is, and its hash; vectors are only mapped into memory, never read by an engine."""
    values: dict[str, Any] = {"bytes": file.stat().st_size}
    if file.name != VECTORS:
        with file.open("rb") as opened:
            values["sha256"] = hashlib.file_digest(opened, "sha256").hexdigest()
    return values
