"""The check of a data set before it is encoded: its rows, and ids that come twice, found among any number on disk."""

import tempfile
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from workbench.distributed.pieces import Piece, answer, read_piece
from workbench.errors import DataFormatError

__all__ = ["Repeats", "check_piece"]

_BITS = 6  # 64 files; a billion ids make 125 MB of each
_ODD = np.uint64(0x9E3779B97F4A7C15)  # times this, modulo 2**64, whole numbers spread over all buckets, each on its own

_Hashes = npt.NDArray[np.uint64]


class Repeats:
    """Takes the hashes of ids, and tells which ids came twice."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self._files = [(folder / str(number)).open("w+b") for number in range(2**_BITS)]
        return self

    def __exit__(self, *exception: object) -> None:
        for file in self._files:
            file.close()
        self._folder.cleanup()

    @staticmethod
    def hashes(ids: Any) -> _Hashes:
        """Return a hash for each id of an Arrow array: of whole numbers one of its own, of strings 64 bits."""
        if str(ids.type) == "int64":
            return ids.to_numpy().view(np.uint64) * _ODD  # type: ignore[no-any-return]
        from pandas.util import hash_array

        return hash_array(np.asarray(ids.to_pylist(), object), categorize=False)

    def add(self, hashes: _Hashes) -> None:
        """Take the hashes of some ids."""
        hashes = np.sort(hashes)
        bounds = np.searchsorted(hashes >> np.uint64(64 - _BITS), np.arange(2**_BITS + 1, dtype=np.uint64))
        for file, start, stop in zip(self._files, bounds[:-1], bounds[1:], strict=True):
            file.write(hashes[start:stop].tobytes())

    def check(self, pieces: list[Piece], text: str, id: str | None) -> None:  # noqa: A002
        """Raise ``DataFormatError`` that names an id which came twice, and where. Equal hashes are looked up first."""
        found: list[_Hashes] = []
        for file in self._files:
            file.seek(0)
            hashes = np.sort(np.frombuffer(file.read(), np.uint64))
            found.append(np.unique(hashes[1:][hashes[1:] == hashes[:-1]]))
        twice = np.concatenate(found)
        seen: dict[Any, str] = {}
        for piece in pieces if len(twice) else ():
            ids, _ = read_piece(piece, text, id)
            for row in np.flatnonzero(np.isin(self.hashes(ids), twice)).tolist():
                value, where = ids[row].as_py(), f"row {piece.line + row} of {piece.path}"
                if value in seen:
                    raise DataFormatError(
                        f"The id {value!r:.50} of column {id!r} comes twice: in {seen[value]} and in {where}. Remove "
                        "one, or leave id out to have the rows numbered."
                    )
                seen[value] = where


def check_piece(row: dict[str, Any], text: str, id: str | None) -> dict[str, Any]:  # noqa: A002
    """Read a piece in a worker, and return the kind and hashes of its ids."""

    def work() -> dict[str, Any]:
        ids, _ = read_piece(Piece(**row), text, id)
        return {"kind": str(ids.type), "hashes": b"" if id is None else Repeats.hashes(ids).tobytes()}

    return answer(row["number"], work)
