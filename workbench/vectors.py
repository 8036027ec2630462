"""One normaliser for everything a person may pass as vectors: arrays, tensors, lists of either, memory-mapped files."""

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from workbench.errors import VectorError

__all__ = [
    "BLOCK_BYTES", "MAPPED_BYTES", "as_matrix", "blocks", "check_finite", "float_rows", "let_go", "whole",
]  # fmt: skip

BLOCK_BYTES = 32 * 2**20  # of float32 vectors held at a time
MAPPED_BYTES = 2**28  # of a memory-mapped file that are read before its pages are let go
_LET_GO = getattr(mmap, "MADV_DONTNEED", None)  # not every system has it


def as_matrix(vectors: Any, *, name: str = "embeddings", dim: int | None = None) -> Any:
    """Return vectors as an (n, dim) array or tensor, without copying one that is there already.

    Args:
        vectors: (n, dim) or (dim,) numbers: array, memory-mapped file, tensor, list of either, lists of numbers, or
            what numpy turns into an array, such as a DataFrame.
        name: what the argument is called in error messages.
        dim: how many dimensions it must have; None: any.

    Raises:
        VectorError: no table of numbers, or another number of dimensions than ``dim``; says both.
    """
    if not isinstance(vectors, (np.ndarray, Tensor)):
        try:
            rows: Any = np.asarray(vectors) if hasattr(vectors, "__array__") else list(vectors)
            tensors = len(rows) > 0 and isinstance(rows[0], Tensor)
            vectors = torch.stack(rows) if tensors else np.asarray(rows) if len(rows) else np.zeros((0, dim or 0))
        except (TypeError, ValueError, RuntimeError) as error:
            raise VectorError(f"{name} must be vectors of one length, not {type(vectors).__name__}: {error}") from error
    kind = vectors.dtype.kind if isinstance(vectors, np.ndarray) else "c" if vectors.is_complex() else "f"
    if kind not in "fiub":
        raise VectorError(f"{name} must hold numbers, not {vectors.dtype}.")
    if vectors.ndim == 1:
        vectors = vectors.reshape(0, dim or 0) if not len(vectors) else vectors[None]
    if vectors.ndim != 2:
        raise VectorError(f"{name} have shape {tuple(vectors.shape)}; expected (rows, dimensions).")
    if dim is not None and vectors.shape[1] != dim:
        raise VectorError(f"{name} have {vectors.shape[1]} dimensions; expected {dim}.")
    return vectors


def float_rows(
    matrix: Any, start: int, stop: int, *, device: Any = None, name: str = "embeddings", first: int | None = None
) -> Tensor:
    """Return rows of a matrix as a float32 tensor, checked to be finite; ``first`` is what errors call row ``start``.

    Raises:
        VectorError: NaN or infinite values; names their rows.
    """
    part = matrix[start:stop]
    if isinstance(part, Tensor):
        rows = part.detach().float()
    else:
        with np.errstate(over="ignore"):  # what is too large for float32 turns infinite, and is named below
            rows = torch.from_numpy(np.require(part, np.float32, ["C", "W"]))
    if not torch.isfinite(rows.sum()):  # one pass; only a sum that is not finite is looked at value by value
        bad = torch.nonzero(~torch.isfinite(rows).all(dim=1)).flatten() + (start if first is None else first)
        if len(bad):
            shown = ", ".join(map(str, bad[:10].tolist()))
            raise VectorError(f"{name} hold NaN or infinite values in {len(bad)} rows, such as {shown}. Drop them.")
    return rows if device is None else rows.to(device)


def blocks(matrix: Any, size: int | None = None, *, device: Any = None, name: str = "embeddings") -> Iterator[Any]:
    """Yield (start, rows): consecutive rows of a matrix as ``float_rows`` gives them, a bounded number at a time."""
    size, read = size or max(1, BLOCK_BYTES // (4 * max(1, matrix.shape[1]))), 0
    for start in range(0, len(matrix), size):
        rows = float_rows(matrix, start, min(start + size, len(matrix)), device=device, name=name)
        yield start, rows
        if (read := read + rows.nbytes) > MAPPED_BYTES:
            let_go(matrix)
            read = 0


def let_go(array: Any) -> None:
    """Drop the pages of a memory-mapped file from this process's memory; they stay in the file, and come back by need.

    Anything else is left alone, also a file mapped with mode "c", whose changes live in memory only.
    """
    if isinstance(array, np.memmap) and array.mode != "c" and _LET_GO is not None:
        array._mmap.madvise(_LET_GO)  # type: ignore[attr-defined]


def check_finite(matrix: Any, *, name: str = "embeddings") -> None:
    """Raise ``VectorError`` naming rows with NaN or infinite values; for work that begins with a sample of the rows."""
    for _ in blocks(matrix, name=name):
        pass


def whole(matrix: Any, *, unit: bool = True, device: Any = None, name: str = "embeddings") -> Tensor:
    """Return a float32 copy of a matrix, (n, dim), its rows scaled to length 1 (``unit``); zero vectors stay zero."""
    copy = torch.empty(tuple(matrix.shape), device=device)
    for start, rows in blocks(matrix, device=device, name=name):
        copy[start : start + len(rows)] = normalize(rows) if unit else rows
    return copy
