"""Losses that need no pairs: contrastive tension between two copies of a model, and denoising (TSDAE)."""

import copy
import math
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from workbench.losses.base import Inputs, Loss, Metric, metric_name, needed
from workbench.models.base import Features
from workbench.similarity import cos_sim, pairwise_dot_score

__all__ = ["ContrastiveTensionLoss", "ContrastiveTensionLossInBatchNegatives"]


class ContrastiveTensionLoss(Loss):
    """Sum of the binary cross-entropy of <f(a), g(b)>: 1 where a and b are the same text, 0 where they are not.

    f is a copy of the model, g the model that is kept; both are trained. ``ContrastiveTensionDataLoader`` makes the
    pairs. Carlsson et al. 2021, openreview.net/forum?id=Ov_sMNau-PF.

    Args:
        model: the model to train.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (Inputs(("sentence1", "sentence2"), "binary"),)

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.other = copy.deepcopy(model)

    def embed(self, sentence_features: Iterable[Features]) -> list[Tensor]:
        """Embed the first column with the copy, the last (which may be the same) with the model."""
        columns = list(sentence_features)
        return [self.other(dict(columns[0]))["sentence_embedding"], self.model(columns[-1])["sentence_embedding"]]

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Classify each pair by its dot product."""
        scores = pairwise_dot_score(*embeddings)
        return binary_cross_entropy_with_logits(scores, needed(labels, self).view(-1).to(scores.dtype), reduction="sum")


class ContrastiveTensionLossInBatchNegatives(ContrastiveTensionLoss):
    """Contrastive tension in which each text must find itself among those of the batch, in both directions.

    Trains faster than ``ContrastiveTensionLoss`` and needs no made pairs: one column of texts, or two that hold the
    same. The scale is learned.

    Args:
        model: the model to train.
        scale: the inverse temperature to begin with.
        similarity_fct: similarity of every row with every row.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (Inputs(("sentence",)), Inputs(("sentence1", "sentence2")))

    def __init__(self, model: Any, scale: float = 20.0, similarity_fct: Metric = cos_sim) -> None:
        super().__init__(model)
        self.similarity_fct = similarity_fct
        self.logit_scale = nn.Parameter(torch.tensor(math.log(scale), device=model.device))

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Rank the batch for every text of either column; labels are not used."""
        scores = self.similarity_fct(*embeddings) * self.logit_scale.exp()
        own = torch.arange(len(scores), device=scores.device)
        return (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return {"scale": self.logit_scale.exp().item(), "similarity_fct": metric_name(self.similarity_fct)}
