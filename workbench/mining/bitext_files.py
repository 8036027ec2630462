"""Translated sentences of two text files, written to a table: what is held in memory is a few numbers of each line."""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import ColumnsError, DataFormatError, choose
from workbench.folders import replacing
from workbench.mining.bitext import mine_bitext
from workbench.mining.neighbours import BACKENDS
from workbench.protocols import Embeds
from workbench.readers import lines_of
from workbench.texts import slices

__all__ = ["mine_bitext_files"]

_PAIRS = 200_000  # whose texts are held while they are written
_LINES = 16_384  # encoded at a time
_Rows = npt.NDArray[np.int64]


def mine_bitext_files(
    source: str | Path,
    target: str | Path,
    out: str | Path,
    model: Embeds,
    *,
    k: int = 4,
    margin: str = "ratio",
    retrieval: str = "max",
    threshold: float | None = None,
    backend: str = "exact",
    batch_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> int:
    """Find the translated sentences of two files and write them to a table of tabs; returns how many.

    The vectors lie in files of the temporary folder while this works: 4 bytes a dimension and line. Blank lines and
    repeated ones are left out; a tab inside a sentence is written as a space.

    Args:
        source: sentences in one language, one on a line, in UTF-8; ``.gz`` is unpacked.
        target: sentences in the other.
        out: the table to write: score, source, target, best first, with a header. Stopped or killed meanwhile, it is
            as it was before.
        model: encodes both languages.
        k: see ``mine_bitext``, also for the arguments up to ``backend``.
        margin: see there.
        retrieval: see there.
        threshold: see there.
        backend: see there.
        batch_size: see ``SentenceTransformer.encode``.
        show_progress_bar: see there.

    Raises:
        DataFormatError: no such file, or it is not UTF-8.
        ColumnsError: a file holds no sentence.
        ChoiceError: an unknown margin, retrieval or backend.
    """
    mine_bitext([], [], k, margin, retrieval, threshold, backend)  # raises for what is unknown, before any work
    choose("backend", backend, BACKENDS)
    source, target, out = Path(source), Path(target), Path(out)
    kept = [_first_lines(path) for path in (source, target)]
    options = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
    with TemporaryDirectory(prefix="workbench-") as scratch:
        left, right = [
            _encoded(model, path, lines, Path(scratch) / name, options)
            for path, lines, name in zip((source, target), kept, ("source", "target"), strict=True)
        ]
        found = mine_bitext(left, right, k, margin, retrieval, threshold, backend, show_progress_bar=show_progress_bar)
        del left, right  # so that every system can remove the files
    with replacing(out) as fresh, fresh.open("w", encoding="utf-8", newline="\n") as file:
        file.write("score\tsource\ttarget\n")
        for pairs in slices(found, _PAIRS):
            scores, *places = zip(*pairs, strict=True)
            texts = [
                _texts(path, lines[list(rows)])
                for path, lines, rows in zip((source, target), kept, places, strict=True)
            ]
            file.writelines(f"{score:.6f}\t{a}\t{b}\n" for score, a, b in zip(scores, *texts, strict=True))
    return len(found)


def _sentences(path: Path) -> Iterator[str]:
    """The lines of a file, each as a sentence: no tabs or spaces around it."""
    if not path.is_file():
        raise DataFormatError(f"There is no file {path}. Check the path.")
    return (" ".join(line.split()) for line in lines_of(path))


def _first_lines(path: Path) -> _Rows:
    """The numbers of the lines that hold a sentence for the first time: (sentences,)."""
    hashes = np.fromiter(
        (int.from_bytes(blake2b(line.encode("utf-8", "replace"), digest_size=8).digest()) for line in _sentences(path)),
        np.uint64,
    )
    blank = np.uint64(int.from_bytes(blake2b(b"", digest_size=8).digest()))
    _, first = np.unique(hashes, return_index=True)
    lines: _Rows = np.sort(first[hashes[first] != blank]).astype(np.int64)
    if not len(lines):
        raise ColumnsError(f"{path} holds no sentence; expected one on each line.")
    return lines


def _chosen(path: Path, lines: _Rows) -> Iterator[str]:
    """The sentences of some lines, whose numbers rise."""
    wanted = iter(lines.tolist())
    following = next(wanted, None)
    for number, line in enumerate(_sentences(path)):
        if number == following:
            yield line
            if (following := next(wanted, None)) is None:
                return


def _texts(path: Path, lines: _Rows) -> Sequence[str]:
    """The sentences of some lines, in any order."""
    rising, place = np.unique(lines, return_inverse=True)
    found = list(_chosen(path, rising))
    return [found[row] for row in place.tolist()]


def _encoded(model: Embeds, path: Path, lines: _Rows, where: Path, options: dict[str, Any]) -> npt.NDArray[Any]:
    """The vectors of some lines, (lines, dim), in a file."""
    vectors, done = None, 0
    for part in slices(_chosen(path, lines), _LINES):
        rows = np.asarray(model.encode(part, **options), np.float32)
        if vectors is None:
            vectors = np.memmap(where, np.float32, "w+", shape=(len(lines), rows.shape[1]))
        vectors[done : done + len(rows)] = rows
        done += len(rows)
    assert vectors is not None  # noqa: S101  (there is a line)
    return vectors
