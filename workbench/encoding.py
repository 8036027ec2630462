"""What ``encode`` was asked for, the table its vectors go into, and the two ways of filling it: here or in workers."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench.batching import SLICE
from workbench.models.base import Features
from workbench.pool import WorkerPool
from workbench.progress import track
from workbench.texts import slices
from workbench.tokens import IntArray

__all__ = [
    "OUTPUT_VALUES",
    "PRECISIONS",
    "STREAM",
    "Options",
    "Precision",
    "Table",
    "check_out",
    "fill_from_pool",
    "prefixed",
    "real_tokens",
    "row_of",
]

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
PRECISIONS = dict.fromkeys(("float32", "int8", "uint8", "binary", "ubinary"))
OUTPUT_VALUES = {"sentence_embedding": None, "token_embeddings": None, None: None}
STREAM = 65_536  # texts of a generator that are held at a time


@dataclass(frozen=True)
class Options:
    """What ``encode`` was asked for, every default decided, as a worker process gets it."""

    prompt: str = ""
    batch_size: int | None = None
    truncate_dim: int | None = None
    normalize: bool = False
    precision: str = "float32"  # binary precisions are packed batch by batch, the others at the end
    to_tensor: bool = False
    show: bool | None = None


class Table:
    """One block of vectors, made when the first batch tells its width, and filled by row."""

    def __init__(self, rows: int, out: npt.NDArray[Any] | None, to_tensor: bool) -> None:
        self.rows, self.out, self.to_tensor = rows, out, to_tensor
        self.data: Any = None

    def write(self, rows: IntArray, vectors: Any) -> None:
        """Put vectors into the given rows."""
        if self.data is None:
            self.data = self._make(vectors)
        self.data[torch.from_numpy(rows) if self.to_tensor else rows] = vectors

    def _make(self, vectors: Any) -> Any:
        shape = (self.rows, *vectors.shape[1:])
        if self.to_tensor:
            with torch.inference_mode(False):  # the result may be used in training
                return torch.empty(shape, dtype=vectors.dtype, device=vectors.device)
        if self.out is None:
            return np.empty(shape, vectors.dtype)
        check_out(self.out, shape, vectors.dtype)
        return self.out[: self.rows]

    def copy(self, to: IntArray, source: IntArray) -> None:
        """Copy rows to rows, a bounded number at a time."""
        for start in range(0, len(to), SLICE):
            self.write(to[start : start + SLICE], self.data[source[start : start + SLICE]])


def check_out(out: npt.NDArray[Any], shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    """Raise ``ValueError`` unless ``out`` has room for vectors of this shape and type; it may have more rows."""
    if out.shape[1:] != shape[1:] or len(out) < shape[0]:
        raise ValueError(f"out has shape {out.shape}; these vectors need {shape}.")
    # Floats may be rounded to fewer bits; codes that did not fit would turn into other codes.
    if not np.can_cast(dtype, out.dtype, "same_kind" if np.dtype(dtype).kind == "f" else "safe"):
        raise ValueError(f"out has type {out.dtype}; these vectors are {np.dtype(dtype)}.")


def fill_from_pool(
    table: Table, texts: list[Any], places: IntArray, options: Options, pool: WorkerPool, chunk_size: int | None
) -> npt.NDArray[np.bool_]:
    """Have worker processes encode the texts, and write each vector to its place; returns which texts were cut."""
    size = chunk_size or min(5_000, -(-len(texts) // (10 * len(pool))))
    cut, start = np.zeros(len(texts), bool), 0
    with track(len(texts), unit="texts", desc="Encoding", show=options.show) as bar:
        for vectors, cut_here in pool.map(slices(texts, size), replace(options, show=False)):
            stop = start + len(vectors)
            table.write(places[start:stop], vectors)
            cut[start:stop] = cut_here
            bar.update(stop - start)
            start = stop
    return cut


def prefixed(prompt: str, row: Any) -> Any:
    """Return the row with the prompt before its text."""
    if isinstance(row, str):
        return prompt + row
    return {key: prompt + text for key, text in row.items()} if isinstance(row, dict) else row


def row_of(value: Any, place: int, rows: int) -> Any:
    """The part of a feature that belongs to one row of the batch."""
    if isinstance(value, (tuple, list)):
        return type(value)(row_of(item, place, rows) for item in value)
    return value[place].clone() if isinstance(value, Tensor) and value.ndim and len(value) == rows else value


def real_tokens(features: Features) -> Tensor:
    """The vectors of a row's own tokens, without those of padding."""
    tokens: Tensor = features["token_embeddings"]
    mask = features.get("attention_mask")
    return tokens if mask is None or len(mask) != len(tokens) else tokens[mask.bool()]
