"""The losses with in-batch negatives, with batches as large as one likes: each computed through GradCache."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from workbench.losses.base import Loss, Metric
from workbench.losses.gradcache import cached
from workbench.losses.ranking import (
    GISTEmbedLoss,
    MultipleNegativesRankingLoss,
    MultipleNegativesSymmetricRankingLoss,
)
from workbench.models.base import Features
from workbench.similarity import cos_sim

__all__ = [
    "CachedGISTEmbedLoss", "CachedLoss", "CachedMultipleNegativesRankingLoss",
    "CachedMultipleNegativesSymmetricRankingLoss",
]  # fmt: skip

_SCORED = 256  # anchors whose scores are held at a time


class CachedLoss(Loss):
    """What makes a loss cached: put before it among the base classes, it embeds and differentiates by parts.

    Value and gradient are those of the loss itself, dropout included; time grows by about a fifth, memory stays that
    of ``mini_batch_size`` rows.
    """

    mini_batch_size: int
    mini_batch_num_tokens: int | None = None
    show_progress_bar: bool = False

    def forward(
        self,
        sentence_features: Iterable[Features],
        labels: Tensor | None = None,
        compute: Callable[..., Tensor] | None = None,
    ) -> Tensor:
        """Return the loss of one batch; ``compute`` takes the place of the loss's own (for ``MatryoshkaLoss``)."""
        return cached(
            self.embed,
            sentence_features,
            partial(compute or self.compute, labels=labels),
            rows=self.mini_batch_size,
            tokens=self.mini_batch_num_tokens,
            show=self.show_progress_bar,
        )

    def _in_parts(self, mini_batch_size: int, mini_batch_num_tokens: int | None, show_progress_bar: bool) -> None:
        if min(mini_batch_size, mini_batch_num_tokens or 1) < 1:
            raise ValueError(f"mini_batch_size is {mini_batch_size}; it must be at least 1.")
        self.mini_batch_size = mini_batch_size
        self.mini_batch_num_tokens = mini_batch_num_tokens
        self.show_progress_bar = show_progress_bar

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        own = {"mini_batch_size": self.mini_batch_size, "mini_batch_num_tokens": self.mini_batch_num_tokens}
        return super().get_config_dict() | own


class CachedMultipleNegativesRankingLoss(CachedLoss, MultipleNegativesRankingLoss):
    """``MultipleNegativesRankingLoss`` with batches of thousands of rows in the memory of ``mini_batch_size``.

    Args:
        model: the model to train.
        scale: the inverse temperature.
        similarity_fct: similarity of every row with every row.
        mini_batch_size: rows embedded at a time.
        show_progress_bar: whether to show progress within a batch.
        gather_across_devices: take candidates from all processes.
        mini_batch_num_tokens: most tokens embedded at a time, in place of ``mini_batch_size``.
    """

    def __init__(
        self,
        model: Any,
        scale: float = 20.0,
        similarity_fct: Metric = cos_sim,
        mini_batch_size: int = 32,
        show_progress_bar: bool = False,
        gather_across_devices: bool = False,
        *,
        mini_batch_num_tokens: int | None = None,
    ) -> None:
        super().__init__(model, scale, similarity_fct, gather_across_devices)
        self._in_parts(mini_batch_size, mini_batch_num_tokens, show_progress_bar)

    def picked(self, anchors: Tensor, candidates: Tensor, first: int, reduction: str = "mean") -> Tensor:
        """Do so for some anchors at a time: all scores are never there at once."""
        pick = super().picked

        def part(rows: slice) -> Tensor:
            return pick(anchors[rows], candidates, first + rows.start, "sum")

        return _by_rows(part, anchors, reduction)


class CachedMultipleNegativesSymmetricRankingLoss(
    CachedMultipleNegativesRankingLoss, MultipleNegativesSymmetricRankingLoss
):
    """``MultipleNegativesSymmetricRankingLoss`` with large batches; arguments: the cached one above."""


class CachedGISTEmbedLoss(CachedLoss, GISTEmbedLoss):
    """``GISTEmbedLoss`` with large batches: the guide's vectors, too, are made part by part.

    Args:
        model: the model to train.
        guide: the model that judges; it is not trained.
        temperature: similarities are divided by it.
        mini_batch_size: rows embedded at a time.
        show_progress_bar: whether to show progress within a batch.
        margin_strategy: "absolute" or "relative".
        margin: how much less similar than the positive a negative must be for the guide.
        contrast_anchors: whether other anchors are candidates.
        contrast_positives: whether positives are compared among each other.
        gather_across_devices: take candidates from all processes.
        mini_batch_num_tokens: most tokens embedded at a time, in place of ``mini_batch_size``.
    """

    def __init__(
        self,
        model: Any,
        guide: Any,
        temperature: float = 0.01,
        mini_batch_size: int = 32,
        show_progress_bar: bool = False,
        margin_strategy: Literal["absolute", "relative"] = "absolute",
        margin: float = 0.0,
        contrast_anchors: bool = True,
        contrast_positives: bool = True,
        gather_across_devices: bool = False,
        *,
        mini_batch_num_tokens: int | None = None,
    ) -> None:
        contrast = (contrast_anchors, contrast_positives, gather_across_devices)
        super().__init__(model, guide, temperature, margin_strategy, margin, *contrast)
        self._in_parts(mini_batch_size, mini_batch_num_tokens, show_progress_bar)

    def picked(self, embeddings: list[Tensor], every: list[Tensor], first: int, reduction: str = "mean") -> Tensor:
        """Do so for some anchors at a time: all scores are never there at once."""
        pick = super().picked

        def part(rows: slice) -> Tensor:
            return pick([column[rows] for column in embeddings], every, first + rows.start, "sum")

        return _by_rows(part, embeddings[0], reduction)


def _by_rows(part: Callable[[slice], Tensor], anchors: Tensor, reduction: str) -> Tensor:
    """Add up the losses of some anchors at a time, each computed again in the backward pass."""
    total = anchors.new_zeros(())
    for start in range(0, len(anchors), _SCORED):
        rows = slice(start, start + _SCORED)
        total = total + checkpoint(part, rows, use_reentrant=False, preserve_rng_state=False)
    return total / len(anchors) if reduction == "mean" else total
