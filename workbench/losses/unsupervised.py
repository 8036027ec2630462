"""Losses that need no pairs: contrastive tension between two copies of a model, and denoising (TSDAE)."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from workbench.losses.base import Inputs, Loss, Metric, metric_name, needed
from workbench.models.base import Features
from workbench.readers import InputExample
from workbench.similarity import cos_sim, pairwise_dot_score

__all__ = ["ContrastiveTensionDataLoader", "ContrastiveTensionLoss", "ContrastiveTensionLossInBatchNegatives"]


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


class ContrastiveTensionDataLoader:
    """Batches of pairs for ``ContrastiveTensionLoss``: of every ``pos_neg_ratio``, the first is a text with itself.

    The others are two different rows, labelled 0. No row comes twice in a pass; each pass has an order of its own.

    Args:
        sentences: the texts.
        batch_size: pairs in a batch; a multiple of ``pos_neg_ratio``.
        pos_neg_ratio: one pair in so many is positive.
        seed: decides the order.
    """

    def __init__(self, sentences: Sequence[str], batch_size: int, pos_neg_ratio: int = 8, *, seed: int = 0) -> None:
        if pos_neg_ratio < 1 or batch_size < 1 or batch_size % pos_neg_ratio:
            raise ValueError(f"batch_size is {batch_size}; it must be a multiple of pos_neg_ratio, {pos_neg_ratio}.")
        self.sentences = sentences
        self.batch_size = batch_size
        self.pos_neg_ratio = pos_neg_ratio
        self.collate_fn: Callable[[list[InputExample]], Any] | None = None
        self._rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[Any]:
        order = iter(self._rng.permutation(len(self.sentences)))
        for _ in range(len(self)):
            batch = []
            for number in range(self.batch_size):
                first = self.sentences[next(order)]
                same = number % self.pos_neg_ratio == 0
                batch.append(
                    InputExample(texts=[first, first if same else self.sentences[next(order)]], label=int(same))
                )
            yield self.collate_fn(batch) if self.collate_fn else batch

    def __len__(self) -> int:
        return len(self.sentences) // (2 * self.batch_size - self.batch_size // self.pos_neg_ratio)
