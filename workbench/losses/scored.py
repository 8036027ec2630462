"""Losses of pairs that carry a score or a class: regression, order of scores, classification."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from workbench.losses.base import Inputs, Loss, Metric, metric_name, needed
from workbench.similarity import pairwise_angle_sim, pairwise_cos_sim

__all__ = ["AnglELoss", "CoSENTLoss", "CosineSimilarityLoss", "SoftmaxLoss"]

_SCORED = (Inputs(("sentence1", "sentence2"), "score"),)


class CosineSimilarityLoss(Loss):
    """Mean of (cos(u, v) - label)²: the cosine becomes the label, which should lie in -1 … 1.

    Simple and stable; ``CoSENTLoss`` asks for the right order only and usually reaches more. Reimers and Gurevych
    2019, arXiv:1908.10084.

    Args:
        model: the model to train.
        loss_fct: compares the cosines with the labels; mean squared error by default.
        cos_score_transformation: applied to the cosines first.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = _SCORED

    def __init__(
        self, model: Any, loss_fct: nn.Module | None = None, cos_score_transformation: nn.Module | None = None
    ) -> None:
        super().__init__(model)
        self.loss_fct = loss_fct or nn.MSELoss()
        self.cos_score_transformation = cos_score_transformation or nn.Identity()

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compare the cosine of each pair with its label."""
        scores = self.cos_score_transformation(pairwise_cos_sim(*embeddings))  # (batch,)
        loss: Tensor = self.loss_fct(scores, needed(labels, self).to(scores.dtype).view(-1))
        return loss

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return {"loss_fct": type(self.loss_fct).__name__}


class CoSENTLoss(Loss):
    """log(1 + Σ exp(scale · (s(i) - s(j)))) over all pairs of pairs whose labels say that i < j.

    Asks for the order of the labels, whatever their scale, and compares every pair of the batch with every other; so
    larger batches teach more. ``AnglELoss`` is the same with another similarity. Su 2022, kexue.fm/archives/8847.

    Args:
        model: the model to train.
        scale: the inverse temperature.
        similarity_fct: similarity of row i and row i.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = _SCORED

    def __init__(self, model: Any, scale: float = 20.0, similarity_fct: Metric = pairwise_cos_sim) -> None:
        super().__init__(model)
        self.scale = scale
        self.similarity_fct = similarity_fct

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Sum the pairs of rows that stand in the wrong order."""
        labels = needed(labels, self).view(-1)
        scores = self.similarity_fct(*embeddings) * self.scale  # (batch,)
        gaps = scores[:, None] - scores[None, :]  # (batch, batch)
        wrong = gaps.masked_fill(labels[:, None] >= labels[None, :], -torch.inf)
        return torch.logsumexp(torch.cat([gaps.new_zeros(1), wrong.flatten()]), dim=0)

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return {"scale": self.scale, "similarity_fct": metric_name(self.similarity_fct)}


class AnglELoss(CoSENTLoss):
    """``CoSENTLoss`` on the angle between vectors read as complex numbers, whose gradient does not fade near ±1.

    Li and Li 2023, arXiv:2309.12871.

    Args:
        model: the model to train.
        scale: the inverse temperature.
    """

    def __init__(self, model: Any, scale: float = 20.0) -> None:
        super().__init__(model, scale, pairwise_angle_sim)


class SoftmaxLoss(Loss):
    """Cross-entropy of a linear classifier on (u, v, |u - v|), thrown away after training; for NLI's three classes.

    ``MultipleNegativesRankingLoss`` on the entailment pairs, contradictions as hard negatives, gives better
    embeddings. Reimers and Gurevych 2019, arXiv:1908.10084.

    Args:
        model: the model to train.
        sentence_embedding_dimension: the length of its vectors.
        num_labels: how many classes.
        concatenation_sent_rep: give the classifier u and v.
        concatenation_sent_difference: give it |u - v|.
        concatenation_sent_multiplication: give it u · v, value by value.
        loss_fct: compares logits (batch, classes) with labels.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (Inputs(("sentence1", "sentence2"), "class"),)

    def __init__(
        self,
        model: Any,
        sentence_embedding_dimension: int,
        num_labels: int,
        concatenation_sent_rep: bool = True,
        concatenation_sent_difference: bool = True,
        concatenation_sent_multiplication: bool = False,
        loss_fct: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(model)
        self.num_labels = num_labels
        self.concatenation_sent_rep = concatenation_sent_rep
        self.concatenation_sent_difference = concatenation_sent_difference
        self.concatenation_sent_multiplication = concatenation_sent_multiplication
        parts = 2 * concatenation_sent_rep + concatenation_sent_difference + concatenation_sent_multiplication
        if not parts:
            raise ValueError("SoftmaxLoss has nothing to classify by: leave at least one concatenation_… on.")
        self.classifier = nn.Linear(parts * sentence_embedding_dimension, num_labels, device=model.device)
        self.loss_fct = loss_fct or nn.CrossEntropyLoss()

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Classify each pair."""
        return self.loss_fct(self.logits(embeddings), needed(labels, self).view(-1))

    def logits(self, embeddings: list[Tensor]) -> Tensor:
        """Return the classifier's answer for pairs of vectors: (batch, classes)."""
        u, v = embeddings
        parts = [u, v] if self.concatenation_sent_rep else []
        parts += [(u - v).abs()] if self.concatenation_sent_difference else []
        parts += [u * v] if self.concatenation_sent_multiplication else []
        logits: Tensor = self.classifier(torch.cat(parts, dim=1))
        return logits

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        names = ("rep", "difference", "multiplication")
        return {f"concatenation_sent_{name}": getattr(self, f"concatenation_sent_{name}") for name in names}
