"""The folder of a run: a manifest that says what the vectors are, and shards of ids and vectors that appear whole."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from workbench._optional import require
from workbench.distributed.pieces import Piece, file_system
from workbench.errors import DataFormatError
from workbench.folders import MAX_JSON_BYTES

__all__ = ["Folder", "read_encoded"]

_MANIFEST = "_manifest.json"  # readers of Parquet folders pass over names that begin so
_SAID = {
    "format": "the format", "model": "the model", "settings": "the settings", "files": "the input files",
    "text": "the column of texts", "id": "the column of ids", "rows_per_shard": "the rows of a shard",
}  # fmt: skip


class Folder:
    """Where a run writes: any folder that all machines see.

    Args:
        path: a path, or an address such as ``s3://bucket/folder``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self.system, self.inner = file_system(path)

    def manifest(self) -> dict[str, Any] | None:
        """Return the manifest, or None where nothing is.

        Raises:
            DataFormatError: the folder holds something else, or a damaged manifest.
        """
        fs = require("pyarrow.fs", extra="ray")
        info = self.system.get_file_info(self._inside(_MANIFEST))
        if info.type == fs.FileType.NotFound:
            there = self.system.get_file_info(fs.FileSelector(self.inner, allow_not_found=True))
            if others := [entry.base_name for entry in there if not entry.base_name.startswith(".")]:
                raise DataFormatError(
                    f"{self.path} holds {others[0]!r} and no {_MANIFEST}: it is not the folder of a run. "
                    "Give a folder of its own."
                )
            return None
        try:
            if info.size > MAX_JSON_BYTES:
                raise ValueError(f"{info.size:,} bytes")
            with self.system.open_input_file(self._inside(_MANIFEST)) as file:
                manifest = json.loads(file.read())
            if not isinstance(manifest, dict) or not {*_SAID, "rows", "shards", "complete"} <= set(manifest):
                raise ValueError("names are missing")
        except (OSError, ValueError, RecursionError) as error:
            where = f"{self.path}/{_MANIFEST}"
            raise DataFormatError(f"{where} is damaged ({error}). Give another folder, and start anew.") from error
        return manifest

    def check(self, wanted: dict[str, Any]) -> bool:
        """Return whether the run that ``wanted`` describes has begun here.

        Raises:
            DataFormatError: another run has; says what differs.
        """
        there = self.manifest()
        if there is None:
            return False
        differs = [name for name in _SAID if there[name] != wanted[name]]
        if differs:
            said = "; ".join(
                f"{_SAID[name]}: {there[name]!r:.200} there, {wanted[name]!r:.200} here" for name in differs
            )
            raise DataFormatError(
                f"{self.path} is the folder of another run. What differs is {said}. Give another folder, or what that "
                "run was given."
            )
        return True

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write the manifest in one step."""
        self.system.create_dir(self.inner, recursive=True)
        with self._whole(_MANIFEST) as file:
            file.write(json.dumps(manifest, indent=2, ensure_ascii=False).encode())

    def write(self, number: int, ids: Any, vectors: npt.NDArray[Any]) -> None:
        """Write a shard in one step: whoever looks sees no shard, or a whole one.

        Args:
            number: of the shard; one that is there is replaced.
            ids: an Arrow array of as many ids.
            vectors: (rows, dim).
        """
        pa, pq = require("pyarrow", extra="ray"), require("pyarrow.parquet", extra="ray")
        lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        table = pa.table({"id": ids, "vector": lists})
        with self._whole(_name(number)) as file:
            pq.write_table(table, file, compression="none", use_dictionary=False, write_statistics=["id"])

    def missing(self, pieces: list[Piece]) -> list[Piece]:
        """Return the pieces whose shard is not there, or is damaged."""
        fs, pq = require("pyarrow.fs", extra="ray"), require("pyarrow.parquet", extra="ray")
        there = {entry.base_name for entry in self.system.get_file_info(fs.FileSelector(self.inner))}

        def is_whole(piece: Piece) -> bool:
            if _name(piece.number) not in there:
                return False
            try:
                with self.system.open_input_file(self._inside(_name(piece.number))) as file:
                    return bool(pq.read_metadata(file).num_rows == piece.rows)
            except (OSError, ValueError):  # cut short, as a power cut may leave a file
                return False

        with ThreadPoolExecutor(16) as threads:
            return [piece for piece, whole in zip(pieces, threads.map(is_whole, pieces), strict=True) if not whole]

    def tidy(self) -> None:
        """Remove what killed workers left half written."""
        fs = require("pyarrow.fs", extra="ray")
        for entry in self.system.get_file_info(fs.FileSelector(self.inner)):
            if entry.base_name.startswith(".") and entry.base_name.endswith(".part"):
                self.system.delete_file(entry.path)

    def _inside(self, name: str) -> str:
        return f"{self.inner}/{name}"

    @contextmanager
    def _whole(self, name: str) -> Iterator[Any]:
        """A file to write that takes its name when it is closed; one that is given up stays nameless."""
        part = self._inside(f".{name}.{uuid4().hex}.part")
        with self.system.open_output_stream(part) as file:
            yield file
        self.system.move(part, self._inside(name))


def read_encoded(out: str | Path) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Yield the ids and the (rows, dim) vectors of a finished run, shard by shard, in the order of the input.

    Raises:
        DataFormatError: the folder is no run's, the run is not finished, or a shard is damaged.
    """
    pq = require("pyarrow.parquet", extra="ray")
    folder = Folder(out)
    manifest = folder.manifest()
    if manifest is None or not manifest["complete"]:
        raise DataFormatError(f"{out} holds no finished run. Call encode_dataset again: it goes on where it stopped.")
    for number in range(manifest["shards"]):
        try:
            with folder.system.open_input_file(folder._inside(_name(number))) as file:
                table = pq.read_table(file)
            column = table["vector"].combine_chunks()
            vectors = column.flatten().to_numpy().reshape(len(table), column.type.list_size)
            yield np.asarray(table["id"].to_numpy()), vectors
        except (OSError, ValueError, KeyError, AttributeError) as error:
            where = f"{out}/{_name(number)}"
            raise DataFormatError(f"{where} is damaged ({error}). Delete it and call encode_dataset again.") from error


def _name(number: int) -> str:
    return f"shard-{number:07d}.parquet"
