"""Losses of triplets: given as columns, or found in a batch of texts with classes."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, pairwise_distance, relu

from workbench.losses.base import Inputs, Loss, Metric, metric_name, needed
from workbench.similarity import cos_sim

__all__ = [
    "BatchAllTripletLoss", "BatchHardSoftMarginTripletLoss", "BatchHardTripletLoss",
    "BatchHardTripletLossDistanceFunction", "BatchSemiHardTripletLoss", "TripletDistanceMetric", "TripletLoss",
]  # fmt: skip


class TripletDistanceMetric:
    """Distances of row i and row i, (batch,)."""

    @staticmethod
    def COSINE(x: Tensor, y: Tensor) -> Tensor:  # noqa: N802 (the published name)
        """1 - cosine."""
        return 1 - cosine_similarity(x, y)

    @staticmethod
    def EUCLIDEAN(x: Tensor, y: Tensor) -> Tensor:  # noqa: N802
        """Length of the difference."""
        return pairwise_distance(x, y, p=2)

    @staticmethod
    def MANHATTAN(x: Tensor, y: Tensor) -> Tensor:  # noqa: N802
        """Sum of absolute differences."""
        return pairwise_distance(x, y, p=1)


class TripletLoss(Loss):
    """Mean of max(0, d(anchor, positive) - d(anchor, negative) + margin).

    Needs good negatives; with in-batch negatives, ``MultipleNegativesRankingLoss`` on the same columns usually reaches
    more. Schroff, Kalenichenko and Philbin 2015, arXiv:1503.03832.

    Args:
        model: the model to train.
        distance_metric: distance of row i and row i.
        triplet_margin: how much farther the negative should be than the positive.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (Inputs(("anchor", "positive", "negative")),)

    def __init__(
        self, model: Any, distance_metric: Metric = TripletDistanceMetric.EUCLIDEAN, triplet_margin: float = 5
    ) -> None:
        super().__init__(model)
        self.distance_metric = distance_metric
        self.triplet_margin = triplet_margin

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compare the two distances of each row."""
        anchor, positive, negative = embeddings
        gap = self.distance_metric(anchor, positive) - self.distance_metric(anchor, negative)
        return relu(gap + self.triplet_margin).mean()

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        metric = metric_name(self.distance_metric, TripletDistanceMetric)
        return {"distance_metric": metric, "triplet_margin": self.triplet_margin}


class BatchHardTripletLossDistanceFunction:
    """Distances of every row and every row, (batch, batch)."""

    @staticmethod
    def cosine_distance(embeddings: Tensor) -> Tensor:
        """1 - cosine."""
        return 1 - cos_sim(embeddings, embeddings)

    @staticmethod
    def eucledian_distance(embeddings: Tensor, squared: bool = False) -> Tensor:
        """The published spelling of ``euclidean_distance``."""
        return BatchHardTripletLossDistanceFunction.euclidean_distance(embeddings, squared)

    @staticmethod
    def euclidean_distance(embeddings: Tensor, squared: bool = False) -> Tensor:
        """Length of the difference, or its square, by |a|² - 2ab + |b|²: gradients stay finite at distance 0."""
        products = embeddings @ embeddings.T
        squares = products.diagonal()
        distances = relu(squares[:, None] - 2 * products + squares[None, :])
        if squared:
            return distances
        zero = distances == 0
        return torch.where(zero, 0, torch.where(zero, 1e-16, distances).sqrt())


class BatchHardTripletLoss(Loss):
    """Mean over the batch of max(0, d to the farthest of the same class - d to the nearest of another + margin).

    The hardest triplet of each anchor; ``BatchAllTripletLoss`` takes all, which is calmer on noisy classes. Needs
    several texts of each class in a batch: use the sampler ``group_by_label``. Hermans, Beyer and Leibe 2017,
    arXiv:1703.07737.

    Args:
        model: the model to train.
        distance_metric: distances within a batch: (batch, dim) → (batch, batch).
        margin: how much farther the nearest of another class should be.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (Inputs(("sentence",), "class"),)

    def __init__(
        self,
        model: Any,
        distance_metric: Any = BatchHardTripletLossDistanceFunction.euclidean_distance,
        margin: float = 5,
    ) -> None:
        super().__init__(model)
        self.distance_metric = distance_metric
        self.margin = margin

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compare the hardest positive and the hardest negative of each anchor."""
        return relu(self.hardest_gap(embeddings[0], needed(labels, self)) + self.margin).mean()

    def hardest_gap(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Distance to the farthest of the same class minus that to the nearest of another: (batch,)."""
        distances, same, other = self._pairs(embeddings, labels)
        farthest = (distances * same).amax(dim=1)  # 0 where an anchor is alone in its class
        beyond = distances.amax(dim=1, keepdim=True)  # where there is no other class
        return farthest - torch.where(other, distances, distances + beyond).amin(dim=1)

    def _pairs(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distances, which pairs are of one class (of two different rows), and which are of two: (batch, batch)."""
        labels = labels.view(-1)
        same = labels[:, None] == labels[None, :]
        alone = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        return self.distance_metric(embeddings), same & ~alone, ~same

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return {"distance_metric": metric_name(self.distance_metric), "margin": self.margin}


class BatchHardSoftMarginTripletLoss(BatchHardTripletLoss):
    """``BatchHardTripletLoss`` with log(1 + exp(gap)) in place of a margin, which never stops pulling.

    Args:
        model: the model to train.
        distance_metric: distances within a batch: (batch, dim) → (batch, batch).
    """

    def __init__(
        self, model: Any, distance_metric: Any = BatchHardTripletLossDistanceFunction.euclidean_distance
    ) -> None:
        super().__init__(model, distance_metric)

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compare the hardest positive and the hardest negative of each anchor."""
        gap = self.hardest_gap(embeddings[0], needed(labels, self))
        return torch.nn.functional.softplus(gap).mean()

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return {"distance_metric": metric_name(self.distance_metric)}


class BatchAllTripletLoss(BatchHardTripletLoss):
    """Mean of max(0, d(a, p) - d(a, n) + margin) over all triplets of the batch where it is above 0.

    Memory grows with the cube of the batch. Otherwise as ``BatchHardTripletLoss``.
    """

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compare every anchor with every positive and every negative."""
        distances, same, other = self._pairs(embeddings[0], needed(labels, self))
        losses = relu(distances[:, :, None] - distances[:, None, :] + self.margin)  # (anchor, positive, negative)
        losses = losses * (same[:, :, None] & other[:, None, :])
        return losses.sum() / ((losses > 1e-16).sum() + 1e-16)


class BatchSemiHardTripletLoss(BatchHardTripletLoss):
    """Mean over anchors and positives of max(0, d(a, p) - d(a, n) + margin), n the nearest negative beyond p.

    Where no negative lies beyond the positive, n is the farthest negative. Keeps mislabelled neighbours from leading,
    as they do in ``BatchHardTripletLoss``. Schroff, Kalenichenko and Philbin 2015, arXiv:1503.03832.
    """

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Find the semi-hard negative of each pair of one class."""
        distances, same, other = self._pairs(embeddings[0], needed(labels, self))
        beyond = other[:, None, :] & (distances[:, None, :] > distances[:, :, None])  # (anchor, positive, negative)
        nearest = torch.where(beyond, distances[:, None, :], torch.inf).amin(dim=2)
        farthest = torch.where(other, distances, -torch.inf).amax(dim=1, keepdim=True)
        farthest = torch.where(other.any(dim=1, keepdim=True), farthest, distances.amin(dim=1, keepdim=True))
        negative = torch.where(beyond.any(dim=2), nearest, farthest)
        losses = relu(distances - negative + self.margin) * same
        return losses.sum() / same.sum()
