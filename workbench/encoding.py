"""What ``encode`` was asked for, the table its vectors go into, and the ways to fill it: here, in workers, in a run."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench import processes
from workbench.batching import SLICE
from workbench.devices import default_devices, pick_device
from workbench.errors import TruncationWarning
from workbench.models.base import Features
from workbench.pool import WorkerPool
from workbench.progress import track
from workbench.texts import slices, unique
from workbench.tokens import IntArray
from workbench.vectors import let_go

__all__ = [
    "OUTPUT_VALUES", "STREAM", "Options", "Parallel", "Precision", "Table", "check_out", "fill_table", "prefixed",
    "real_tokens", "row_of", "warn_cut",
]  # fmt: skip

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
OUTPUT_VALUES = ("sentence_embedding", "token_embeddings", None)
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

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str):
            raise TypeError(f"prompt must be a string, not {type(self.prompt).__name__}.")
        for name, value in (("batch_size", self.batch_size), ("truncate_dim", self.truncate_dim)):
            if value is not None and (not isinstance(value, Integral) or value < 1):
                raise ValueError(f"{name} must be a whole number above 0, or None; not {value!r}.")

    task: str | None = None  # the route to take where blocks have routes


class Table:
    """One block of vectors, made when the first batch tells its width, and filled by row."""

    def __init__(self, rows: int, out: npt.NDArray[Any] | None, to_tensor: bool) -> None:
        self.rows, self.out, self.to_tensor = rows, out, to_tensor
        self.data: Any = None
        self._written = 0  # rows since the pages of a memory-mapped table were let go

    def write(self, rows: IntArray, vectors: Any) -> None:
        """Put vectors into the given rows."""
        if self.data is None:
            self.data = self._make(vectors)
        self.data[torch.from_numpy(rows) if self.to_tensor else rows] = vectors
        self._written += len(rows)
        if self._written >= SLICE:
            let_go(self.out)  # so that a large table does not fill this process's memory
            self._written = 0

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
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a numpy array, such as a np.memmap, not {type(out).__name__}.")
    if out.shape[1:] != shape[1:] or len(out) < shape[0]:
        raise ValueError(f"out has shape {out.shape}; these vectors need {shape}.")
    # Floats may be rounded to fewer bits; codes that did not fit would turn into other codes.
    if not np.can_cast(dtype, out.dtype, "same_kind" if np.dtype(dtype).kind == "f" else "safe"):
        raise ValueError(f"out has type {out.dtype}; these vectors are {np.dtype(dtype)}.")


_Cut = npt.NDArray[np.bool_]


def fill_table(
    table: Table,
    rows: list[Any],
    fill: Callable[[Table, list[Any], IntArray, Options], _Cut],
    options: Options,
    pool: WorkerPool | None = None,
    chunk_size: int | None = None,
) -> int:
    """Fill the table, working on each distinct row once, here or in worker processes; returns how many were cut.

    Args:
        table: as long as ``rows``.
        rows: texts, or pairs of texts.
        fill: does it here: writes the results of distinct rows to the given places, and says which of them were cut.
        options: what the model was asked for.
        pool: worker processes that do it instead of ``fill``.
        chunk_size: rows sent to a worker at a time.
    """
    first, inverse = unique(rows)
    distinct = rows if len(first) == len(rows) else [rows[row] for row in first]
    if pool is None and processes.is_spread():
        cut = _fill_spread(table, distinct, first, options, fill)
    elif pool is None:
        cut = fill(table, distinct, first, options)
    else:
        cut = _fill_from_pool(table, distinct, first, options, pool, chunk_size)
    repeats = np.flatnonzero(first[inverse] != np.arange(len(rows)))
    table.copy(repeats, first[inverse[repeats]])
    return int(cut[inverse].sum())


class Parallel:
    """What both model classes do with worker processes; a model adds ``device`` and ``_fill``, see ``fill_table``."""

    device: Any
    _fill: Any

    def run_chunk(self, chunk: list[Any], options: Options) -> tuple[npt.NDArray[Any], _Cut]:
        """Work on distinct rows in a worker process; returns a row of results for each, and which were cut."""
        table = Table(len(chunk), None, to_tensor=False)
        cut = self._fill(table, chunk, np.arange(len(chunk)), options)
        return table.data, cut

    def start_multi_process_pool(self, target_devices: list[str] | None = None) -> WorkerPool:
        """Start one worker process per device: all GPUs by default, else up to four on the cpu.

        Raises:
            ChoiceError: an unknown device.
            WorkerError: a worker did not start.
        """
        devices = list(target_devices) if target_devices else default_devices()
        for device in devices:
            pick_device(device)
        model: Any = self if self.device.type == "cpu" else copy.deepcopy(self)
        return WorkerPool(model.to("cpu"), devices)

    @staticmethod
    def stop_multi_process_pool(pool: WorkerPool) -> None:
        """Stop the workers of a pool."""
        pool.close()


def warn_cut(cut: int, rows: int, limit: int | None, *, what: str, setting: str) -> None:
    """Say once, at the line that called the model's method, how many rows were longer than the limit."""
    if cut:
        warnings.warn(
            f"{cut} of {rows} {what} were longer than {limit} tokens and were cut. "
            f"model.token_counts({what}) gives the lengths; model.{setting} sets the limit.",
            TruncationWarning,
            stacklevel=3,
        )


def _fill_from_pool(
    table: Table, texts: list[Any], places: IntArray, options: Options, pool: WorkerPool, chunk_size: int | None
) -> _Cut:
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


def _fill_spread(table: Table, texts: list[Any], places: IntArray, options: Options, fill: Any) -> _Cut:
    """Work on this process's share of the texts, and write the results of all; returns which texts were cut."""
    cut, quiet = np.zeros(len(texts), bool), replace(options, show=False)
    where: torch.device | None = None

    def work(part: list[Any]) -> tuple[Any, _Cut]:
        nonlocal where
        own = Table(len(part), None, table.to_tensor)
        cut_here = fill(own, part, np.arange(len(part)), quiet)
        where = own.data.device if table.to_tensor else None
        return own.data.cpu() if table.to_tensor else own.data, cut_here

    for place, (found, cut_here) in processes.map_spread(work, texts):
        table.write(places[place], found.to(where) if table.to_tensor else found)
        cut[place] = cut_here
    return cut


def prefixed(prompt: str, row: Any) -> Any:
    """Return the row with the prompt before its text."""
    if isinstance(row, str):
        return prompt + row
    return {key: prefixed(prompt, text) for key, text in row.items()} if isinstance(row, dict) else row


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
