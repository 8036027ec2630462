"""Losses with in-batch negatives: each anchor must pick its own positive among those of the whole batch."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, relu

from workbench.devices import batch_to_device
from workbench.errors import choose
from workbench.losses.base import Inputs, Loss, Metric, metric_name
from workbench.losses.gradcache import cached
from workbench.models.base import Features
from workbench.processes import gather
from workbench.similarity import cos_sim, pairwise_cos_sim

__all__ = [
    "GISTEmbedLoss", "MegaBatchMarginLoss", "MultipleNegativesRankingLoss", "MultipleNegativesSymmetricRankingLoss",
]  # fmt: skip

_MARGINS: dict[str, Callable[[Tensor, float], Tensor]] = {  # how similar a negative may be, given the positive
    "absolute": lambda positive, margin: positive - margin,
    "relative": lambda positive, margin: positive * (1 - margin),
}


class MultipleNegativesRankingLoss(Loss):
    """Cross-entropy of picking the own positive among all positives (and negatives) of the batch; InfoNCE.

    loss = mean over i of -log softmax(scale · sim(anchor(i), candidates))(i). The first choice for pairs without
    labels; larger batches are better (``CachedMultipleNegativesRankingLoss`` makes them fit), and texts that occur
    twice in a batch are false negatives (sampler ``no_duplicates``). Henderson et al. 2017, arXiv:1705.00652; van den
    Oord et al. 2018, arXiv:1807.03748.

    Args:
        model: the model to train.
        scale: the inverse temperature; 20 suits cosines, 1 dot products.
        similarity_fct: similarity of every row with every row.
        gather_across_devices: take candidates from all processes.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (Inputs(("anchor", "positive"), more="negative"),)

    def __init__(
        self, model: Any, scale: float = 20.0, similarity_fct: Metric = cos_sim, gather_across_devices: bool = False
    ) -> None:
        super().__init__(model)
        self.scale = scale
        self.similarity_fct = similarity_fct
        self.gather_across_devices = gather_across_devices

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Rank the candidates for every anchor; labels are not used."""
        columns, first = gather(embeddings[1:], self.gather_across_devices)
        return self.picked(embeddings[0], torch.cat(columns), first)

    def picked(self, anchors: Tensor, candidates: Tensor, first: int, reduction: str = "mean") -> Tensor:
        """Return the cross-entropy of picking candidate ``first + i`` for anchor i among all candidates."""
        scores = self.similarity_fct(anchors, candidates) * self.scale  # (anchors, candidates)
        own = torch.arange(first, first + len(anchors), device=scores.device)
        return cross_entropy(scores, own, reduction=reduction)

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        how = {"scale": self.scale, "similarity_fct": metric_name(self.similarity_fct)}
        return how | {"gather_across_devices": self.gather_across_devices}


class MultipleNegativesSymmetricRankingLoss(MultipleNegativesRankingLoss):
    """The mean of ``MultipleNegativesRankingLoss`` and of its mirror: each positive must also pick its anchor.

    For search in both directions, such as question → answer and answer → question.
    """

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Rank positives for anchors, and anchors for positives; labels are not used."""
        forward = super().compute(embeddings, labels)
        anchors, first = gather(embeddings[:1], self.gather_across_devices)
        return (forward + self.picked(embeddings[1], anchors[0], first)) / 2


class GISTEmbedLoss(Loss):
    """``MultipleNegativesRankingLoss`` without the candidates that a guide model finds too close to be negatives.

    Anchors among each other and positives among each other are candidates too. A candidate is left out when the
    guide's similarity exceeds that of the anchor and its positive (less a margin). For data with many paraphrases,
    where in-batch negatives are often false. Solatorio 2024, arXiv:2402.16829.

    Args:
        model: the model to train.
        guide: the model that judges; it is not trained.
        temperature: similarities are divided by it.
        margin_strategy: "absolute" or "relative": what is subtracted from the positive's similarity.
        margin: how much.
        contrast_anchors: whether other anchors are candidates.
        contrast_positives: whether positives are compared among each other.
        gather_across_devices: take candidates from all processes.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = MultipleNegativesRankingLoss.inputs

    def __init__(
        self,
        model: Any,
        guide: Any,
        temperature: float = 0.01,
        margin_strategy: Literal["absolute", "relative"] = "absolute",
        margin: float = 0.0,
        contrast_anchors: bool = True,
        contrast_positives: bool = True,
        gather_across_devices: bool = False,
    ) -> None:
        super().__init__(model)
        self._bound = choose("margin strategy", margin_strategy, _MARGINS)
        if getattr(guide, "tokenizer", None) is None:
            raise TypeError(f"guide must be a SentenceTransformer, not {type(guide).__name__}.")
        self._guide = (guide,)  # in a tuple, so that it is no part of this module: not trained, not saved
        self.temperature = temperature
        self.margin_strategy = margin_strategy
        self.margin = margin
        self.contrast_anchors = contrast_anchors
        self.contrast_positives = contrast_positives
        self.gather_across_devices = gather_across_devices
        self._same_tokens = _vocabulary(model) == _vocabulary(guide)

    @property
    def guide(self) -> Any:
        """The model that judges."""
        return self._guide[0]

    def embed(self, sentence_features: Iterable[Features]) -> list[Tensor]:
        """Return the vectors of each column by the model, then those by the guide."""
        columns = list(sentence_features)
        self.guide.eval()
        with torch.no_grad():
            guided = [self.guide(self._for_guide(features))["sentence_embedding"] for features in columns]
        return super().embed(columns) + guided

    def truncate(self, embeddings: list[Tensor], dim: int) -> list[Tensor]:
        """Cut the model's vectors, not the guide's."""
        half = len(embeddings) // 2
        return super().truncate(embeddings[:half], dim) + embeddings[half:]

    def _for_guide(self, features: Features) -> Features:
        """The batch as the guide reads it: the same tokens where both have one vocabulary, else its own."""
        if self._same_tokens:
            return dict(features)
        rows = features["input_ids"]
        if "offsets" in features:
            rows = torch.tensor_split(rows.cpu(), features["offsets"].cpu()[1:])
        texts = [self.model.tokenizer.decode(row.tolist(), skip_special_tokens=True) for row in rows]
        return batch_to_device(self.guide.tokenize(texts), self.guide.device)

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Rank the candidates that the guide leaves for every anchor; labels are not used."""
        return self.picked(embeddings, *gather(embeddings, self.gather_across_devices))

    def picked(self, embeddings: list[Tensor], every: list[Tensor], first: int, reduction: str = "mean") -> Tensor:
        """Return the cross-entropy of picking candidate ``first + i`` for row i among those that the guide leaves."""
        half = len(embeddings) // 2
        model, guide = embeddings[:half], embeddings[half:]
        bound = self._bound(pairwise_cos_sim(guide[0], guide[1]), self.margin)[:, None]  # (batch, 1)
        own = torch.arange(first, first + len(bound), device=bound.device)

        def scores(row: int, column: int) -> Tensor:
            similar = cos_sim(model[row], every[column]) / self.temperature  # (batch, candidates)
            too_close = cos_sim(guide[row], every[half + column]) > bound
            if row != column == 1:
                too_close = too_close.scatter(1, own[:, None], False)  # the positive itself is no false negative
            return similar.masked_fill(too_close, -torch.inf)

        parts = [scores(0, 1)]
        parts += [scores(0, 0)] if self.contrast_anchors else []
        parts += [scores(1, 1)] if self.contrast_positives else []
        parts += [scores(0, column) for column in range(2, half)]
        return cross_entropy(torch.cat(parts, dim=1), own, reduction=reduction)

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        names = ["temperature", "margin_strategy", "margin", "contrast_anchors", "contrast_positives"]
        names += ["gather_across_devices"]
        return {"guide": type(self.guide).__name__, **{name: getattr(self, name) for name in names}}


def _vocabulary(model: Any) -> tuple[dict[str, int], int | None]:
    """What must be equal for two models to read one batch of tokens."""
    return model.tokenizer.get_vocab(), model.max_seq_length


class MegaBatchMarginLoss(Loss):
    """Mean of max(0, m⁺ - cos(a, p)) + max(0, cos(a, n) - m⁻), n the positive nearest to a among the others.

    Finds one hard negative in a large batch (500 rows and more), where ``MultipleNegativesRankingLoss`` uses all.
    Wieting and Gimpel 2018, arXiv:1711.05732.

    Args:
        model: the model to train.
        positive_margin: cosine from which a pair is close enough.
        negative_margin: cosine up to which a negative is far enough.
        use_mini_batched_version: embed the batch in parts, for less memory and the same gradient.
        mini_batch_size: rows in a part.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (Inputs(("anchor", "positive")),)

    def __init__(
        self,
        model: Any,
        positive_margin: float = 0.8,
        negative_margin: float = 0.3,
        use_mini_batched_version: bool = True,
        mini_batch_size: int = 50,
    ) -> None:
        super().__init__(model)
        self.positive_margin = positive_margin
        self.negative_margin = negative_margin
        self.use_mini_batched_version = use_mini_batched_version
        self.mini_batch_size = mini_batch_size

    def forward(self, sentence_features: Iterable[Features], labels: Tensor | None = None) -> Tensor:
        """Return the loss of one batch."""
        if not self.use_mini_batched_version:
            return super().forward(sentence_features, labels)
        return cached(self.embed, sentence_features, partial(self.compute, labels=labels), rows=self.mini_batch_size)

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Find the hard negative of each anchor and compare; labels are not used."""
        scores = cos_sim(*embeddings)  # (batch, batch)
        positive = scores.diagonal()
        negative = scores.masked_fill(torch.eye(len(scores), dtype=torch.bool, device=scores.device), -1).amax(dim=1)
        return (relu(self.positive_margin - positive) + relu(negative - self.negative_margin)).mean()

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return {"positive_margin": self.positive_margin, "negative_margin": self.negative_margin}
