"""How alike two sets of vectors are: cosine, dot product, and negated Euclidean and Manhattan distance."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from workbench.errors import choose

__all__ = [
    "SimilarityFunction", "cos_sim", "dot_score", "euclidean_sim", "manhattan_sim", "normalize_embeddings",
    "pairwise_angle_sim", "pairwise_cos_sim", "pairwise_dot_score", "pairwise_euclidean_sim", "pairwise_manhattan_sim",
    "pytorch_cos_sim", "truncate_embeddings",
]  # fmt: skip


def cos_sim(a: Any, b: Any) -> Tensor:
    """Cosine between every row of ``a`` and every row of ``b``; the usual choice for sentence embeddings.

    Args:
        a: (n, dim) vectors or one (dim,) vector: a tensor, an array, a list of either, or lists of numbers. Float64
            stays, anything else is computed in float32. Gradients flow where they are asked for.
        b: (m, dim) vectors or one (dim,) vector.

    Returns:
        (n, m) scores, on the device of the inputs; a zero vector scores 0.

    Raises:
        ValueError: the vectors differ in their number of dimensions.
    """
    a, b = _both(a, b)
    return torch.mm(normalize(a, dim=-1), normalize(b, dim=-1).T)


def dot_score(a: Any, b: Any) -> Tensor:
    """Dot products, (n, m), for models trained with them: long vectors score high. Otherwise as ``cos_sim``."""
    left, right = _both(a, b)
    return left @ right.T


def euclidean_sim(a: Any, b: Any) -> Tensor:
    """Negated Euclidean distances, (n, m). Otherwise as ``cos_sim``."""
    # By differences: the faster |a|² - 2ab + |b|² gives two equal vectors a distance of 1e-3.
    return -torch.cdist(*_both(a, b), compute_mode="donot_use_mm_for_euclid_dist")


def manhattan_sim(a: Any, b: Any) -> Tensor:
    """Negated sums of absolute differences, (n, m); one odd dimension moves them less. Otherwise as ``cos_sim``."""
    return -torch.cdist(*_both(a, b), p=1.0)


def pairwise_cos_sim(a: Any, b: Any) -> Tensor:
    """Cosine of row i of ``a`` and row i of ``b``, (n,); one vector on either side meets every row of the other."""
    a, b = _both(a, b, pairs=True)
    return (normalize(a, dim=-1) * normalize(b, dim=-1)).sum(-1)


def pairwise_dot_score(a: Any, b: Any) -> Tensor:
    """Dot product of row i of ``a`` and row i of ``b``: (n,)."""
    return torch.mul(*_both(a, b, pairs=True)).sum(-1)


def pairwise_euclidean_sim(a: Any, b: Any) -> Tensor:
    """Negated Euclidean distance of row i of ``a`` and row i of ``b``: (n,)."""
    return -torch.pairwise_distance(*_both(a, b, pairs=True), eps=0.0)


def pairwise_manhattan_sim(a: Any, b: Any) -> Tensor:
    """Negated sum of absolute differences of row i of ``a`` and row i of ``b``: (n,)."""
    return -torch.sub(*_both(a, b, pairs=True)).abs().sum(-1)


def pairwise_angle_sim(x: Any, y: Any) -> Tensor:
    """AnglE score of row i of ``x`` and of ``y``, (n,): |Re<x,y> + Im<x,y>| of unit vectors read as complex numbers.

    The first half of the dimensions is real, the second imaginary. Li & Li, 2023 (arXiv:2309.12871).
    """
    halves = (pad(normalize(side, dim=-1), (0, side.shape[-1] % 2)).chunk(2, -1) for side in _both(x, y, pairs=True))
    zx, zy = (torch.complex(real, imaginary) for real, imaginary in halves)
    inner = (zx * zy.conj()).sum(-1)
    return (inner.real + inner.imag).abs()


pytorch_cos_sim = cos_sim


def normalize_embeddings(embeddings: Any) -> Tensor:
    """Scale vectors to length 1, keeping their precision; zero vectors stay zero."""
    vectors = _tensor(embeddings)
    return normalize(_wide(vectors), dim=-1).to(vectors.dtype if vectors.is_floating_point() else torch.float32)


def truncate_embeddings(embeddings: Any, truncate_dim: int | None) -> Any:
    """Keep the first ``truncate_dim`` dimensions (None: all) of a tensor or array; ``ValueError`` below 1."""
    if truncate_dim is not None and truncate_dim < 1:
        raise ValueError(f"truncate_dim is {truncate_dim}; it must be at least 1, or None for all dimensions.")
    return embeddings[..., :truncate_dim]


class SimilarityFunction(StrEnum):
    """The similarities a model may be meant for. A member equals its plain string; an unknown name is a ChoiceError."""

    COSINE = "cosine"
    DOT_PRODUCT = "dot"
    DOT = "dot"
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"

    @classmethod
    def _missing_(cls, value: object) -> "SimilarityFunction":
        return choose("similarity function", value, {member.value: member for member in cls})

    @staticmethod
    def to_similarity_fn(similarity_function: str) -> Callable[[Any, Any], Tensor]:
        """Return the function that scores every row against every row."""
        return _FUNCTIONS[SimilarityFunction(similarity_function)][0]

    @staticmethod
    def to_similarity_pairwise_fn(similarity_function: str) -> Callable[[Any, Any], Tensor]:
        """Return the function that scores row i against row i."""
        return _FUNCTIONS[SimilarityFunction(similarity_function)][1]

    @staticmethod
    def possible_values() -> list[str]:
        """Return the names there are."""
        return [member.value for member in SimilarityFunction]


_FUNCTIONS = {
    SimilarityFunction.COSINE: (cos_sim, pairwise_cos_sim),
    SimilarityFunction.DOT_PRODUCT: (dot_score, pairwise_dot_score),
    SimilarityFunction.EUCLIDEAN: (euclidean_sim, pairwise_euclidean_sim),
    SimilarityFunction.MANHATTAN: (manhattan_sim, pairwise_manhattan_sim),
}


def _both(a: Any, b: Any, *, pairs: bool = False) -> tuple[Tensor, Tensor]:
    """Both sides in one precision on one device, as matrices or as rows that pair up."""
    a, b = _wide(_tensor(a)), _wide(_tensor(b))
    a, b = (side if pairs or side.ndim != 1 else side[None] for side in (a, b))
    rows = {len(side) for side in (a, b) if side.ndim == 2} - {1}
    if not 1 <= a.ndim <= 2 or not 1 <= b.ndim <= 2 or a.shape[-1] != b.shape[-1] or (pairs and len(rows) > 1):
        wanted = "(n, dim) and (n, dim)" if pairs else "(n, dim) and (m, dim)"
        raise ValueError(f"Cannot compare vectors {tuple(a.shape)} and {tuple(b.shape)}: expected {wanted}.")
    dtype = torch.promote_types(a.dtype, b.dtype)
    device = b.device if a.device.type == "cpu" else a.device
    return a.to(device, dtype), b.to(device, dtype)


def _tensor(vectors: Any) -> Tensor:
    if isinstance(vectors, Tensor):
        return vectors
    if isinstance(vectors, np.ndarray) and vectors.dtype != object:
        return torch.from_numpy(np.require(vectors, requirements=["C", "W"]))  # torch shares no other array
    rows = list(vectors)
    if rows and isinstance(rows[0], (Tensor, np.ndarray)):
        return torch.stack([_tensor(row) for row in rows])
    return torch.tensor(rows) if rows else torch.empty(0, 0)


def _wide(vectors: Tensor) -> Tensor:
    """Float64 as it is, everything else in float32: half precision adds up badly, and slowly on a CPU."""
    return vectors if vectors.dtype == torch.float64 else vectors.float()
