"""Codes: vectors as one byte per dimension (int8, uint8) or one bit (binary, ubinary), and back."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from workbench.errors import DataFormatError, VectorError, WorkbenchError, choose
from workbench.texts import is_stream
from workbench.vectors import BLOCK_BYTES, as_matrix, blocks, float_rows

__all__ = ["PRECISIONS", "Quantizer", "quantize_embeddings"]

_logger = logging.getLogger(__name__)

_Array = npt.NDArray[Any]

PRECISIONS = {"float32": np.float32, "int8": np.int8, "uint8": np.uint8, "binary": np.int8, "ubinary": np.uint8}
"""The precisions there are, and the type of number that each is stored in."""

_ENOUGH = 100  # vectors; ranges from fewer are too narrow for the vectors to come
_MAX_DIM = 2**20


def quantize_embeddings(
    embeddings: Any, precision: str, ranges: Any = None, calibration_embeddings: Any = None
) -> "_Array | list[_Array]":
    """Store vectors in fewer bytes, for a smaller and faster index.

    ``int8`` and ``uint8`` (4 times smaller) cut the range of each dimension into 255 equal steps; ``binary`` and
    ``ubinary`` (32 times smaller) keep one bit per dimension, positive or not, eight to a byte. Re-rank the best hits
    with the float32 query to win back most of what is lost (about 4 % of quality for bits, 1 to 3 % for bytes).

    Args:
        embeddings: (n, dim) or (dim,) numbers: array, tensor, list of either; or a list of (tokens, dim) matrices of
            different lengths, which gives a list.
        precision: a key of ``PRECISIONS``; "binary" is "ubinary" minus 128, for stores without unsigned bytes.
        ranges: (2, dim) smallest and largest value of each dimension; values beyond are clipped. Compute them once
            and keep them (a ``Quantizer`` does): vectors quantized with different ranges cannot be compared.
        calibration_embeddings: (m, dim) typical vectors to take the ranges from; without it, and without ``ranges``,
            they come from ``embeddings``.

    Raises:
        ChoiceError: unknown precision; lists the known ones.
        VectorError: NaN or infinite values, whole numbers (so already quantized), ranges that do not fit, or one
            vector with nothing to take ranges from.
    """
    choose("precision", precision, PRECISIONS)
    if isinstance(embeddings, (list, tuple)) and embeddings and np.ndim(embeddings[0]) == 2:
        parts = [_floats(part) for part in embeddings]
        joined = quantize_embeddings(np.concatenate(parts), precision, ranges, calibration_embeddings)
        return np.split(joined, np.cumsum([len(part) for part in parts])[:-1])
    vectors = _floats(embeddings)
    if precision == "float32":
        return vectors.astype(np.float32, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        total = vectors.sum()
    if not np.isfinite(total) and not (finite := np.isfinite(vectors).all(axis=-1)).all():  # looked at only if need be
        raise VectorError(f"Cannot quantize NaN or infinite values: rows {np.flatnonzero(~finite)[:5].tolist()}.")
    if "int" not in precision:
        return _encode(vectors, precision, None)
    if ranges is None:
        sample = vectors if calibration_embeddings is None else _floats(calibration_embeddings)
        if sample.ndim != 2 or (vectors.size and not len(sample)):
            raise VectorError(f"One vector has no ranges: pass ranges or calibration_embeddings for {precision!r}.")
        ranges = _limits([sample])[1] if len(sample) else np.zeros((2, vectors.shape[-1]))
    return _encode(vectors, precision, _checked(ranges, vectors.shape[-1]))


@dataclass(frozen=True, eq=False)
class Quantizer:
    """Vectors to codes and back, by ranges fitted once, so that later batches and queries have the same codes.

    Keep it with the codes: ``to_dict`` gives plain values. One byte per dimension loses next to nothing when the
    queries stay float32; one bit per dimension needs many dimensions, and re-scoring.

    Raises:
        ChoiceError: unknown precision.
        VectorError: ranges that do not fit the precision or the dimensions.
    """

    precision: str
    dim: int
    ranges: _Array | None = None  # (2, dim) float32, for bytes only

    def __post_init__(self) -> None:
        choose("precision", self.precision, PRECISIONS)
        if type(self.dim) is not int or not 1 <= self.dim <= _MAX_DIM:
            raise VectorError(f"dim is {self.dim!r:.50}; expected a whole number from 1 to {_MAX_DIM:,}.")
        if ("int" in self.precision) != (self.ranges is not None):
            raise VectorError(
                f"{self.precision!r} {'has no ranges' if self.ranges is None else 'takes no ranges'}: they belong to "
                "int8 and uint8, and Quantizer.fit takes them from typical vectors."
            )
        if self.ranges is not None:
            object.__setattr__(self, "ranges", _checked(self.ranges, self.dim))

    @classmethod
    def fit(cls, precision: str, vectors: Any) -> Self:
        """Take the smallest and largest value of each dimension, in one pass that holds one block of rows in memory.

        The whole range is kept: cutting the rarest values off makes the steps finer and the search worse.

        Args:
            precision: a key of ``PRECISIONS``.
            vectors: (n, dim) typical vectors, at least a hundred: an array, a tensor, a memory-mapped file; or an
                iterator of such blocks, which is read to its end (for bytes).

        Raises:
            ChoiceError: unknown precision.
            VectorError: no rows, NaN or infinite values (names the rows), or whole numbers (so already quantized).
        """
        choose("precision", precision, PRECISIONS)
        parts = vectors if is_stream(vectors) else iter([vectors])
        if "int" not in precision:
            return cls(precision, as_matrix(_uncoded(next(parts, ()))).shape[1])
        dim, ranges = _limits(parts)
        return cls(precision, dim, ranges)

    @property
    def width(self) -> int:
        """How many numbers a code has: one for each dimension, or one for each eight."""
        return -(-self.dim // 8) if self.precision.endswith("binary") else self.dim

    @property
    def bytes_per_vector(self) -> int:
        """How many bytes a code takes."""
        return self.width * np.dtype(PRECISIONS[self.precision]).itemsize

    @property
    def steps(self) -> _Array:
        """How much one step of a code is worth in each dimension, for bytes: (dim,).

        The dot product of ``queries * steps`` with codes orders them as that of ``queries`` with vectors would.
        """
        if self.ranges is None:
            raise VectorError(f"{self.precision!r} has no steps: they belong to int8 and uint8.")
        steps: _Array = (self.ranges[1] - self.ranges[0]) / 255
        return steps

    def encode(self, vectors: Any) -> _Array:
        """Turn (n, dim) vectors into codes, (n, width), block by block; values beyond the ranges are clipped.

        A bit says whether a value is above zero, so the code of a zero vector is that of one negative throughout.

        Raises:
            VectorError: another number of dimensions (says both), NaN or infinite values (names the rows), or whole
                numbers (so already quantized).
        """
        matrix = as_matrix(_uncoded(vectors), dim=self.dim)
        codes = np.empty((len(matrix), self.width), PRECISIONS[self.precision])
        for start, rows in blocks(matrix):
            codes[start : start + len(rows)] = _encode(rows.cpu().numpy(), self.precision, self.ranges)
        return codes

    def decode(self, codes: Any) -> _Array:
        """Turn codes back into (n, dim) float32 vectors: each byte the middle of its step, each bit ±1 / sqrt(dim).

        Raises:
            VectorError: codes of another precision or width.
        """
        table = as_matrix(codes, name="codes", dim=self.width)
        table = np.asarray(table.cpu() if hasattr(table, "cpu") else table)
        if self.precision == "float32":
            return table.astype(np.float32, copy=False)
        if table.dtype != (kind := np.dtype(PRECISIONS[self.precision])) and table.size:
            raise VectorError(f"The codes are {table.dtype}; codes of {self.precision!r} are {kind}.")
        table = table.astype(kind, copy=False)
        unsigned: npt.NDArray[np.uint8] = table if kind == np.uint8 else table.view(np.uint8) ^ np.uint8(0x80)
        if self.ranges is None:
            bits = np.unpackbits(unsigned, axis=-1, count=self.dim)
            signs: _Array = (bits * np.float32(2) - np.float32(1)) / np.float32(self.dim**0.5)
            return signs
        values: _Array = unsigned * self.steps
        values += self.ranges[0] + self.steps / 2
        np.minimum(values, self.ranges[1], out=values)  # the highest code is no step: it is the largest value
        return values

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, to be saved with an index; ``from_dict`` reads them."""
        ranges = None if self.ranges is None else self.ranges.tolist()
        return {"precision": self.precision, "dim": self.dim, "ranges": ranges}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` gave.

        Raises:
            DataFormatError: a value is missing, of another type, or does not fit the others.
        """
        if not isinstance(values, Mapping) or not {"precision", "dim", "ranges"} <= set(values):
            raise DataFormatError(f"A quantizer is precision, dim and ranges; this is {values!r:.100}. Fit a new one.")
        try:
            return cls(values["precision"], values["dim"], values["ranges"])
        except WorkbenchError as error:
            raise DataFormatError(f"The saved quantizer is damaged: {error} Fit a new one.") from error


def _limits(parts: Any) -> tuple[int, _Array]:
    """The dimensions of blocks of vectors, and the smallest and largest value of each: (2, dim)."""
    count, dim, low, high = 0, None, None, None
    for part in parts:
        matrix = as_matrix(_uncoded(part), dim=dim)
        size = max(1, BLOCK_BYTES // (4 * max(1, matrix.shape[1])))
        for start in range(0, len(matrix), size):
            rows = float_rows(matrix, start, start + size, first=count + start).cpu().numpy()
            dim = rows.shape[1]
            low = rows.min(0) if low is None else np.minimum(low, rows.min(0))
            high = rows.max(0) if high is None else np.maximum(high, rows.max(0))
        count += len(matrix)
    if dim is None or low is None or high is None:
        raise VectorError("There are no vectors to take ranges from.")
    if count < _ENOUGH:
        _logger.warning("The ranges come from only %d vectors; calibrate on more of them.", count)
    return dim, np.stack([low, high])


def _checked(ranges: Any, dim: int) -> _Array:
    """Ranges as a (2, dim) table of float32, checked."""
    try:
        table = np.asarray(ranges.detach().cpu() if hasattr(ranges, "detach") else ranges)
    except ValueError:  # rows of different lengths
        table = np.empty(0, object)
    if table.dtype.kind not in "fiu" or table.shape != (2, dim):
        what = f"shape {table.shape}" if table.dtype.kind in "fiu" else "no numbers, or rows of different lengths"
        raise VectorError(f"ranges have {what}; expected (2, {dim}): low and high.")
    with np.errstate(over="ignore", invalid="ignore"):
        table = table.astype(np.float32)
        spread = table[1] - table[0]
    if not (np.isfinite(table).all() and np.isfinite(spread).all() and (spread >= 0).all()):
        raise VectorError("ranges must be finite numbers, the first row nowhere above the second.")
    return table


def _encode(vectors: _Array, precision: str, ranges: _Array | None) -> _Array:
    """Codes of finite vectors: (..., dim), or (..., ceil(dim / 8)) for bits."""
    if precision == "float32":
        return vectors
    if ranges is None:
        codes = np.packbits(vectors > 0, axis=-1)  # the first dimension in the highest bit
    else:
        step = (ranges[1] - ranges[0]) / 255
        steps = vectors - ranges[0]
        steps /= np.where(step > 0, step, 1)
        codes = np.clip(steps, 0, 255, out=steps).astype(np.uint8)
    return codes if PRECISIONS[precision] is np.uint8 else (codes ^ 0x80).view(np.int8)  # the top bit is worth 128


def _uncoded(vectors: Any) -> Any:
    """The vectors as they came, unless they are an array or a tensor of whole numbers."""
    if hasattr(vectors, "is_floating_point"):
        whole = not vectors.is_floating_point()
    else:
        whole = getattr(getattr(vectors, "dtype", None), "kind", "f") in "iub"
    if whole:
        raise VectorError(f"The vectors are {vectors.dtype}: already quantized. Pass the float vectors they came from.")
    return vectors


def _floats(vectors: Any) -> _Array:
    """Vectors as an array of float32, or of float64 where they are that."""
    if hasattr(vectors, "detach"):
        vectors = _uncoded(vectors).detach().cpu()
        vectors = (vectors.float() if vectors.itemsize < 4 else vectors).numpy()
    elif isinstance(vectors, (list, tuple)) and any(hasattr(row, "dtype") for row in vectors):
        vectors = [_floats(row) for row in vectors]
    array = np.asarray(_uncoded(vectors))
    array = array if array.dtype == np.float64 else array.astype(np.float32, copy=False)
    return array if array.shape != (0,) else array.reshape(0, 0)
