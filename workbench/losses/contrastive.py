"""Losses of pairs that are alike or not: pull the ones together, push the others beyond a margin."""

from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import cosine_similarity, pairwise_distance, relu

from workbench.losses.base import Inputs, Loss, Metric, metric_name, needed

__all__ = ["ContrastiveLoss", "OnlineContrastiveLoss", "SiameseDistanceMetric"]


class SiameseDistanceMetric:
    """Distances of row i and row i, (batch,)."""

    @staticmethod
    def EUCLIDEAN(x: Tensor, y: Tensor) -> Tensor:  # noqa: N802 (the published name)
        """Length of the difference."""
        return pairwise_distance(x, y, p=2)

    @staticmethod
    def MANHATTAN(x: Tensor, y: Tensor) -> Tensor:  # noqa: N802
        """Sum of absolute differences."""
        return pairwise_distance(x, y, p=1)

    @staticmethod
    def COSINE_DISTANCE(x: Tensor, y: Tensor) -> Tensor:  # noqa: N802
        """1 - cosine."""
        return 1 - cosine_similarity(x, y)


class ContrastiveLoss(Loss):
    """Mean of ½ (y d² + (1 - y) max(0, margin - d)²), where d is the distance of a pair and y its label.

    Every pair counts; ``OnlineContrastiveLoss`` uses the hard ones only. Hadsell, Chopra and LeCun 2006.

    Args:
        model: the model to train.
        distance_metric: distance of row i and row i.
        margin: pairs that are not alike rest when they are this far apart.
        size_average: mean over the batch, else sum.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (Inputs(("sentence1", "sentence2"), "binary"),)

    def __init__(
        self,
        model: Any,
        distance_metric: Metric = SiameseDistanceMetric.COSINE_DISTANCE,
        margin: float = 0.5,
        size_average: bool = True,
    ) -> None:
        super().__init__(model)
        self.distance_metric = distance_metric
        self.margin = margin
        self.size_average = size_average

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Weigh the distance of each pair by its label."""
        distances = self.distance_metric(*embeddings)  # (batch,)
        alike = needed(labels, self).view(-1).to(distances.dtype)
        losses = 0.5 * (alike * distances.square() + (1 - alike) * relu(self.margin - distances).square())
        return losses.mean() if self.size_average else losses.sum()

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        metric = metric_name(self.distance_metric, SiameseDistanceMetric)
        return {"distance_metric": metric, "margin": self.margin, "size_average": self.size_average}


class OnlineContrastiveLoss(Loss):
    """``ContrastiveLoss``, summed over the hard pairs of a batch only; usually reaches more.

    Hard are the alike pairs farther apart than the closest pair that is not, and the pairs not alike that are closer
    than the farthest alike one.

    Args:
        model: the model to train.
        distance_metric: distance of row i and row i.
        margin: pairs that are not alike rest when they are this far apart.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = ContrastiveLoss.inputs

    def __init__(
        self, model: Any, distance_metric: Metric = SiameseDistanceMetric.COSINE_DISTANCE, margin: float = 0.5
    ) -> None:
        super().__init__(model)
        self.distance_metric = distance_metric
        self.margin = margin

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Sum the hard pairs."""
        distances = self.distance_metric(*embeddings)  # (batch,)
        alike = needed(labels, self).view(-1) == 1
        far, near = distances[~alike], distances[alike]
        # Without a pair of the other kind to compare with, the mean of the own kind is the bound.
        far_bound = near.max() if len(near) else far.mean()
        near_bound = far.min() if len(far) else near.mean()
        hard_far, hard_near = far[far < far_bound], near[near > near_bound]
        return hard_near.square().sum() + relu(self.margin - hard_far).square().sum()

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        metric = metric_name(self.distance_metric, SiameseDistanceMetric)
        return {"distance_metric": metric, "margin": self.margin}
