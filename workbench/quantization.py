"""Vectors in fewer bytes: one byte per dimension (int8, uint8) or one bit (binary, ubinary)."""

import logging
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from workbench.errors import choose

__all__ = ["PRECISIONS", "Quantizer", "quantize_embeddings"]

_logger = logging.getLogger(__name__)

_Array = npt.NDArray[Any]

PRECISIONS = {"float32": np.float32, "int8": np.int8, "uint8": np.uint8, "binary": np.int8, "ubinary": np.uint8}
"""The precisions there are, and the type of number that each is stored in."""


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
            and keep them: vectors quantized with different ranges cannot be compared.
        calibration_embeddings: (m, dim) typical vectors to take the ranges from; without it, and without ``ranges``,
            they come from ``embeddings``.

    Raises:
        ChoiceError: unknown precision; lists the known ones.
        ValueError: NaN or infinite values, wrong shape of ranges, or one vector with nothing to take ranges from.
        TypeError: the vectors are integers, so already quantized.
    """
    kind = choose("precision", precision, PRECISIONS)
    if isinstance(embeddings, (list, tuple)) and embeddings and np.ndim(embeddings[0]) == 2:
        parts = [_floats(part) for part in embeddings]
        joined = quantize_embeddings(np.concatenate(parts), precision, ranges, calibration_embeddings)
        return np.split(joined, np.cumsum([len(part) for part in parts])[:-1])
    vectors = _floats(embeddings)
    if precision == "float32":
        return vectors.astype(np.float32, copy=False)
    if not (finite := np.isfinite(vectors).all(axis=-1)).all():
        raise ValueError(f"Cannot quantize NaN or infinite values: rows {np.flatnonzero(~finite)[:5].tolist()}.")
    if precision.endswith("binary"):
        codes = np.packbits(vectors > 0, axis=-1)  # (n, ceil(dim / 8)), the first dimension in the highest bit
    else:
        low, high = _ranges(vectors, precision, ranges, calibration_embeddings)
        step = (high - low) / 255
        steps = vectors - low
        steps /= np.where(step > 0, step, 1)
        codes = np.clip(steps, 0, 255, out=steps).astype(np.uint8)  # (n, dim)
    return codes if kind is np.uint8 else (codes ^ 0x80).view(np.int8)  # flipping the top bit is minus 128


@dataclass(frozen=True)
class Quantizer:
    """Vectors to codes and back, by ranges fitted once, so that later batches and queries have the same codes."""

    precision: str
    dim: int
    ranges: _Array | None = None  # (2, dim), for bytes only

    @classmethod
    def fit(cls, precision: str, vectors: Any) -> Self:
        """Take the ranges of typical (n, dim) vectors; raises as ``quantize_embeddings`` does."""
        choose("precision", precision, PRECISIONS)
        sample = _floats(vectors)
        return cls(precision, sample.shape[-1], _ranges(sample, precision, None, None) if "int" in precision else None)

    def encode(self, vectors: Any) -> _Array:
        """Turn (n, dim) vectors into codes: (n, dim), or (n, ceil(dim / 8)) for bits."""
        codes: _Array = quantize_embeddings(vectors, self.precision, self.ranges)  # type: ignore[assignment]
        return codes

    def decode(self, codes: Any) -> _Array:
        """Turn codes back into (n, dim) float32 vectors: each byte the middle of its step, each bit ±1 / sqrt(dim)."""
        codes = np.asarray(codes)
        if self.precision == "float32":
            return np.asarray(codes, np.float32)
        codes = codes if codes.dtype == np.uint8 else codes.view(np.uint8) ^ 0x80
        if self.ranges is None:
            bits = np.unpackbits(codes, axis=-1, count=self.dim)
            signs: _Array = (bits * np.float32(2) - np.float32(1)) / np.float32(self.dim**0.5)
            return signs
        low, high = self.ranges
        middle: _Array = low + (codes + np.float32(0.5)) * ((high - low) / 255)
        return middle

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, to be saved with an index; ``from_dict`` reads them."""
        ranges = None if self.ranges is None else self.ranges.tolist()
        return {"precision": self.precision, "dim": self.dim, "ranges": ranges}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what ``to_dict`` gave."""
        ranges = None if values["ranges"] is None else np.asarray(values["ranges"], np.float32)
        return cls(values["precision"], values["dim"], ranges)


def _ranges(vectors: _Array, precision: str, ranges: Any, calibration: Any) -> _Array:
    if ranges is None:
        sample = vectors if calibration is None else _floats(calibration)
        if sample.ndim != 2 or (vectors.size and not len(sample)):
            raise ValueError(f"One vector has no ranges: pass ranges or calibration_embeddings for {precision!r}.")
        if 0 < len(sample) < 100:
            _logger.warning("%s ranges come from only %d vectors; calibrate on more of them.", precision, len(sample))
        ranges = np.stack([sample.min(0), sample.max(0)]) if len(sample) else np.zeros((2, vectors.shape[-1]))
    if np.shape(ranges) != (2, vectors.shape[-1]):
        raise ValueError(f"ranges have shape {np.shape(ranges)}; expected (2, {vectors.shape[-1]}): low and high.")
    return np.asarray(ranges, np.float32)


def _floats(vectors: Any) -> _Array:
    """Vectors as an array of float32, or of float64 where they are that."""
    if hasattr(vectors, "detach"):
        vectors = vectors.detach().cpu()
        vectors = (vectors.float() if vectors.itemsize < 4 and vectors.is_floating_point() else vectors).numpy()
    elif isinstance(vectors, (list, tuple)) and any(hasattr(row, "detach") for row in vectors):
        vectors = [_floats(row) for row in vectors]
    array = np.asarray(vectors)
    if array.dtype in (np.int8, np.uint8):
        raise TypeError(f"The vectors are {array.dtype}: already quantized. Pass the float vectors they came from.")
    array = array if array.dtype == np.float64 else array.astype(np.float32, copy=False)
    return array if array.shape != (0,) else array.reshape(0, 0)
