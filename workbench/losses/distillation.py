"""Losses that copy a teacher: its vectors, the margins between its scores, or the shape of its scores."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, mse_loss, softmax

from workbench.losses.base import Inputs, Loss, Metric, metric_name, needed
from workbench.similarity import pairwise_dot_score

__all__ = ["DistillKLDivLoss", "MSELoss", "MarginMSELoss", "margins"]


class MSELoss(Loss):
    """Mean squared difference between the student's vectors and the teacher's, given as labels.

    With several text columns (a sentence and its translations), each is drawn to the same teacher vector. Copies
    positions, so the student must have the teacher's dimensions (or fewer: the label's width decides); to copy a
    ranking only, use ``MarginMSELoss``. Reimers and Gurevych 2020, arXiv:2004.09813.

    Args:
        model: the student.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (Inputs(("sentence",), "embedding", more="translation"),)

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compare every column with the labels (batch, dim)."""
        target = needed(labels, self)
        student = torch.stack([vectors[:, : target.shape[-1]] for vectors in embeddings])  # (columns, batch, dim)
        return mse_loss(student, target.to(student.dtype).expand_as(student))


class MarginMSELoss(Loss):
    """Mean of (student's margin - teacher's margin)², a margin being sim(query, positive) - sim(query, negative).

    Labels are the teacher's margins, one for each negative, or its scores, one for each text after the query. Needs no
    common scale of student and teacher, and forgives negatives that the teacher finds relevant. ``DistillKLDivLoss``
    looks at all texts of a row together. Hofstätter et al. 2020, arXiv:2010.02666.

    Args:
        model: the student.
        similarity_fct: similarity of row i and row i.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (
        Inputs(("query", "positive", "negative"), "margin", more="negative"),
        Inputs(("query", "positive", "negative"), "scores", more="negative"),
    )

    def __init__(self, model: Any, similarity_fct: Metric = pairwise_dot_score) -> None:
        super().__init__(model)
        self.similarity_fct = similarity_fct

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compare the margins of each row."""
        query, *texts = embeddings
        scores = torch.stack([self.similarity_fct(query, text) for text in texts], dim=1)  # (batch, 1 + negatives)
        return mse_loss(*margins(scores, needed(labels, self), type(self).__name__))

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return {"similarity_fct": metric_name(self.similarity_fct)}


class DistillKLDivLoss(Loss):
    """T² · KL(softmax(teacher's scores / T) ‖ softmax(student's scores / T)) over the texts of each row.

    Labels are the teacher's scores, one for each text after the query. Copies how the teacher shares out its
    preference, where ``MarginMSELoss`` copies absolute margins. Lin et al. 2020, arXiv:2010.11386.

    Args:
        model: the student.
        similarity_fct: similarity of row i and row i.
        temperature: above 1 evens the scores out.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (Inputs(("query", "positive", "negative"), "scores", more="negative"),)

    def __init__(self, model: Any, similarity_fct: Metric = pairwise_dot_score, temperature: float = 1.0) -> None:
        super().__init__(model)
        self.similarity_fct = similarity_fct
        self.temperature = temperature

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compare the two distributions of each row."""
        query, *texts = embeddings
        scores = torch.stack([self.similarity_fct(query, text) for text in texts], dim=1)  # (batch, texts)
        target = needed(labels, self).to(scores.dtype)
        if target.shape != scores.shape:
            raise ValueError(f"DistillKLDivLoss got labels {tuple(target.shape)}; expected {tuple(scores.shape)}.")
        student = log_softmax(scores / self.temperature, dim=1)
        teacher = softmax(target / self.temperature, dim=1)
        return kl_div(student, teacher, reduction="batchmean") * self.temperature**2

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return {"similarity_fct": metric_name(self.similarity_fct), "temperature": self.temperature}


def margins(scores: Tensor, labels: Tensor, loss: str) -> tuple[Tensor, Tensor]:
    """Return the margins of a student's scores (batch, texts) and of a teacher's scores or margins: (batch, texts - 1).

    Raises:
        ValueError: there are neither as many labels in a row as margins nor as many as texts; names the ``loss``.
    """
    target, texts = labels.to(scores.dtype), scores.shape[1]
    target = target[:, None] if target.ndim == 1 else target
    if target.shape[1] == texts:
        target = target[:, :1] - target[:, 1:]
    elif target.shape[1] != texts - 1:
        wanted = f"{texts - 1} margins or {texts} scores"
        raise ValueError(f"{loss} got {target.shape[1]} labels in a row for {texts} texts; give {wanted}.")
    return scores[:, :1] - scores[:, 1:], target
