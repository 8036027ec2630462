"""Losses of cross-encoders on pairs: scores against labels, margins against a teacher's, one positive among many."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from workbench.devices import batch_to_device
from workbench.losses.base import Inputs, Loss, needed
from workbench.losses.distillation import margins
from workbench.losses.gradcache import cached

__all__ = [
    "BinaryCrossEntropyLoss", "CachedMultipleNegativesRankingLoss", "CrossEntropyLoss", "MSELoss", "MarginMSELoss",
    "MultipleNegativesRankingLoss", "PairLoss",
]  # fmt: skip

_Pairs = Sequence[tuple[str, str]]


class PairLoss(Loss):
    """What the losses of a ``CrossEncoder`` share: columns of texts become pairs, and pairs become logits.

    Args:
        model: the ``CrossEncoder`` to train.
        activation_fn: from logits to what is compared; None: nothing.
    """

    def __init__(self, model: Any, activation_fn: nn.Module | None = None) -> None:
        super().__init__(model)
        if not hasattr(model, "num_labels"):
            raise TypeError(f"model must be a CrossEncoder, not {type(model).__name__}.")
        labels, single = model.num_labels, type(self).single
        if single and labels != 1:
            raise ValueError(f"{type(self).__name__} needs a model of one label; this one has {labels}.")
        self.activation_fn = activation_fn or nn.Identity()

    single: ClassVar[bool] = True  # whether the model must give one score for each pair

    def logits(self, pairs: _Pairs) -> Tensor:
        """Return what the model gives for pairs of texts, with its gradient: (pairs, labels)."""
        plain = getattr(self.model, "module", self.model)  # of what wraps it for several processes
        logits: Tensor = self.model(batch_to_device(plain.features(pairs), plain.device))
        return logits

    def scores(self, pairs: _Pairs) -> Tensor:
        """Return one activated score for each pair: (pairs,)."""
        scores: Tensor = self.activation_fn(self.logits(pairs))[:, 0]
        return scores

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return {"activation_fn": type(self.activation_fn).__name__}


class _LabelledPairs(PairLoss):
    """A loss of (pairs, labels) outputs and labels."""

    def forward(self, sentence_features: Iterable[Any], labels: Tensor | None = None) -> Tensor:
        """Return the loss of one batch: two columns of texts."""
        first, second = sentence_features
        return self.compute([self.activation_fn(self.logits(list(zip(first, second, strict=True))))], labels)


class BinaryCrossEntropyLoss(_LabelledPairs):
    """Binary cross-entropy of one logit for each pair; the usual loss of re-rankers.

    Labels may be shares between 0 and 1. Nogueira and Cho 2019, arXiv:1901.04085.

    Args:
        model: the model to train.
        activation_fn: applied before the sigmoid that the loss itself has.
        pos_weight: what a positive counts, such as the number of negatives to each positive.
        options: further arguments of ``torch.nn.BCEWithLogitsLoss``.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (
        Inputs(("sentence1", "sentence2"), "binary"),
        Inputs(("sentence1", "sentence2"), "score"),
    )

    def __init__(
        self, model: Any, activation_fn: nn.Module | None = None, pos_weight: Tensor | None = None, **options: Any
    ) -> None:
        super().__init__(model, activation_fn)
        self.loss_fct = nn.BCEWithLogitsLoss(pos_weight=pos_weight, **options)

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compare the scores (pairs, 1) with the labels."""
        scores = embeddings[0][:, 0]
        loss: Tensor = self.loss_fct(scores, needed(labels, self).view(-1).to(scores.dtype))
        return loss


class CrossEntropyLoss(_LabelledPairs):
    """Cross-entropy of a logit for each class, as in NLI.

    Args:
        model: the model to train, of as many labels as there are classes.
        activation_fn: applied before the softmax that the loss itself has.
        options: further arguments of ``torch.nn.CrossEntropyLoss``.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (Inputs(("sentence1", "sentence2"), "class"),)
    single: ClassVar[bool] = False

    def __init__(self, model: Any, activation_fn: nn.Module | None = None, **options: Any) -> None:
        super().__init__(model, activation_fn)
        self.loss_fct = nn.CrossEntropyLoss(**options)

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compare the logits (pairs, classes) with the labels."""
        loss: Tensor = self.loss_fct(embeddings[0], needed(labels, self).view(-1).long())
        return loss


class MSELoss(_LabelledPairs):
    """Mean squared difference between the scores and a teacher's.

    Copies a scale; ``MarginMSELoss`` copies differences only. Hofstätter et al. 2020, arXiv:2010.02666.

    Args:
        model: the student.
        activation_fn: applied to the logits.
        options: further arguments of ``torch.nn.MSELoss``.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (Inputs(("sentence1", "sentence2"), "score"),)

    def __init__(self, model: Any, activation_fn: nn.Module | None = None, **options: Any) -> None:
        super().__init__(model, activation_fn)
        self.loss_fct = nn.MSELoss(**options)

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compare the scores (pairs, 1) with the labels."""
        scores = embeddings[0][:, 0]
        loss: Tensor = self.loss_fct(scores, needed(labels, self).view(-1).to(scores.dtype))
        return loss


class MarginMSELoss(PairLoss):
    """Mean of (student's margin - teacher's margin)², a margin being score(query, positive) - score(query, negative).

    Labels are the teacher's margins, one for each negative, or its scores, one for each text after the query.
    Hofstätter et al. 2020, arXiv:2010.02666.

    Args:
        model: the student.
        activation_fn: applied to the logits.
        options: further arguments of ``torch.nn.MSELoss``.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (
        Inputs(("query", "positive", "negative"), "margin", more="negative"),
        Inputs(("query", "positive", "negative"), "scores", more="negative"),
    )

    def __init__(self, model: Any, activation_fn: nn.Module | None = None, **options: Any) -> None:
        super().__init__(model, activation_fn)
        self.loss_fct = nn.MSELoss(**options)

    def forward(self, sentence_features: Iterable[Any], labels: Tensor | None = None) -> Tensor:
        """Return the loss of one batch: a column of queries, then one for each text."""
        queries, *texts = sentence_features
        scores = self.scores([pair for text in texts for pair in zip(queries, text, strict=True)])
        return self.compute([scores.view(len(texts), -1).T], labels)

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compare the margins of scores (queries, texts) with the labels."""
        found, wanted = margins(embeddings[0], needed(labels, self), type(self).__name__)
        loss: Tensor = self.loss_fct(found, wanted)
        return loss


class MultipleNegativesRankingLoss(PairLoss):
    """Cross-entropy of picking the positive among its own negatives and texts of other rows of the batch.

    Every candidate is a pair to run the model on, so only some are drawn, by torch's random numbers. van den Oord et
    al. 2018, arXiv:1807.03748.

    Args:
        model: the model to train.
        num_negatives: how many texts of other rows each query meets; None: all.
        scale: activated scores are multiplied by it.
        activation_fn: applied to the logits; the sigmoid by default.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (Inputs(("anchor", "positive"), more="negative"),)

    def __init__(
        self,
        model: Any,
        num_negatives: int | None = 4,
        scale: float = 10.0,
        activation_fn: nn.Module | None = None,
    ) -> None:
        super().__init__(model, activation_fn or nn.Sigmoid())
        self.num_negatives = num_negatives
        self.scale = scale

    def forward(self, sentence_features: Iterable[Any], labels: Tensor | None = None) -> Tensor:
        """Return the loss of one batch; labels are not used."""
        pairs, shape = self.candidates(list(sentence_features))
        return self.compute([self.scores(pairs).view(shape)], None)

    def candidates(self, columns: list[list[str]]) -> tuple[_Pairs, tuple[int, int]]:
        """Return the pairs to score, query by query, the positive first, and their shape (queries, candidates)."""
        queries, *texts = columns
        rows, every = len(queries), [text for column in texts for text in column]
        pairs: list[tuple[str, str]] = []
        for row, query in enumerate(queries):
            others = torch.tensor([place for place in range(len(every)) if place % rows != row], dtype=torch.long)
            if self.num_negatives is not None:
                others = others[torch.randperm(len(others))[: self.num_negatives]]
            own = [column[row] for column in texts]
            pairs += [(query, text) for text in (*own, *(every[place] for place in others.tolist()))]
        return pairs, (rows, len(pairs) // rows)

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Pick the first of each row of scores (queries, candidates); labels are not used."""
        scores = embeddings[0] * self.scale
        return cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long, device=scores.device))

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return super().get_config_dict() | {"num_negatives": self.num_negatives, "scale": self.scale}


class CachedMultipleNegativesRankingLoss(MultipleNegativesRankingLoss):
    """``MultipleNegativesRankingLoss`` with large batches in the memory of ``mini_batch_size`` pairs (GradCache).

    Args:
        model: the model to train.
        num_negatives: how many texts of other rows each query meets; None: all.
        scale: activated scores are multiplied by it.
        activation_fn: applied to the logits; the sigmoid by default.
        mini_batch_size: pairs scored at a time.
        show_progress_bar: whether to show progress within a batch.
    """

    def __init__(
        self,
        model: Any,
        num_negatives: int | None = 4,
        scale: float = 10.0,
        activation_fn: nn.Module | None = None,
        mini_batch_size: int = 32,
        show_progress_bar: bool = False,
    ) -> None:
        super().__init__(model, num_negatives, scale, activation_fn)
        self.mini_batch_size = mini_batch_size
        self.show_progress_bar = show_progress_bar

    def forward(self, sentence_features: Iterable[Any], labels: Tensor | None = None) -> Tensor:
        """Return the loss of one batch; labels are not used."""
        pairs, shape = self.candidates(list(sentence_features))
        plain = getattr(self.model, "module", self.model)
        features = batch_to_device(plain.features(pairs), plain.device)
        return cached(
            self._embed, [features], partial(self._of_flat, shape), rows=self.mini_batch_size,
            show=self.show_progress_bar,
        )  # fmt: skip

    def _embed(self, columns: list[Any]) -> list[Tensor]:
        return [self.activation_fn(self.model(features))[:, 0] for features in columns]

    def _of_flat(self, shape: tuple[int, int], embeddings: list[Tensor]) -> Tensor:
        return self.compute([embeddings[0].view(shape)], None)
