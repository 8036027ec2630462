"""Losses of cross-encoders on lists: a query, its documents, and how relevant each is."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, softmax

from workbench.errors import choose
from workbench.losses.base import Inputs, needed
from workbench.losses.cross_encoder import PairLoss

__all__ = [
    "LambdaLoss", "LambdaRankScheme", "ListMLELoss", "ListNetLoss", "ListwiseLoss", "NDCGLoss1Scheme",
    "NDCGLoss2PPScheme", "NDCGLoss2Scheme", "NoWeightingScheme", "PListMLELambdaWeight", "PListMLELoss", "RankNetLoss",
]  # fmt: skip

_LOGS: dict[str, Callable[[Tensor], Tensor]] = {"natural": torch.log, "binary": torch.log2}


class ListwiseLoss(PairLoss):
    """What listwise losses share: scores and grades as (queries, documents), with a mask where lists are shorter.

    Args:
        model: the model to train.
        activation_fn: applied to the logits; None: nothing.
        mini_batch_size: pairs that the model runs on at a time; None: as many as there are queries; 0: all.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (Inputs(("query", "documents"), "grades"),)

    def __init__(self, model: Any, activation_fn: nn.Module | None = None, mini_batch_size: int | None = None) -> None:
        super().__init__(model, activation_fn)
        self.mini_batch_size = mini_batch_size

    def forward(self, sentence_features: Iterable[Any], labels: Any = None) -> Tensor:
        """Return the loss of one batch: a column of queries, and one of lists of documents."""
        queries, documents = sentence_features
        grades = [torch.as_tensor(line) for line in needed(labels, self)]
        sizes = [len(line) for line in documents]
        if len(queries) != len(sizes) or [len(line) for line in grades] != sizes:
            raise ValueError(
                f"{type(self).__name__} got {len(queries)} queries with {sizes} documents and "
                f"{[len(line) for line in grades]} labels; give each document of each query one label."
            )
        pairs = [(query, text) for query, line in zip(queries, documents, strict=True) for text in line]
        size = len(queries) if self.mini_batch_size is None else self.mini_batch_size
        size = size if size > 0 else len(pairs)
        flat = torch.cat([self.scores(pairs[start : start + size]) for start in range(0, len(pairs), size)])
        real = torch.arange(max(sizes), device=flat.device) < torch.tensor(sizes, device=flat.device)[:, None]
        scores = flat.new_zeros(real.shape).masked_scatter(real, flat)
        wanted = flat.new_zeros(real.shape).masked_scatter(real, torch.cat(grades).to(flat))
        return self.compute([scores, real], wanted)

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return super().get_config_dict() | {"mini_batch_size": self.mini_batch_size}


class ListNetLoss(ListwiseLoss):
    """Cross-entropy of softmax(scores) against softmax(grades) of each list. Cao et al. 2007.

    Looks at the whole distribution; ``LambdaLoss`` weighs the top of the list more.
    """

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compare scores and labels, (queries, documents), where the mask is true."""
        scores, real = embeddings
        wanted = softmax(needed(labels, self).masked_fill(~real, -torch.inf), dim=1)
        found = log_softmax(scores.masked_fill(~real, -torch.inf), dim=1).masked_fill(~real, 0)
        return -(wanted * found).sum(dim=1).mean()


class ListMLELoss(ListwiseLoss):
    """Negative log-likelihood of the right order, in which each document must win over those after it.

    Xia et al. 2008. ``PListMLELoss`` weighs the first places more.

    Args:
        model: the model to train.
        activation_fn: applied to the logits; None: nothing.
        mini_batch_size: see ``ListwiseLoss``.
        respect_input_order: the documents of each list are in the right order as they come; else labels decide.
    """

    def __init__(
        self,
        model: Any,
        activation_fn: nn.Module | None = None,
        mini_batch_size: int | None = None,
        respect_input_order: bool = True,
    ) -> None:
        super().__init__(model, activation_fn, mini_batch_size)
        self.respect_input_order = respect_input_order

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compare scores and labels, (queries, documents), where the mask is true."""
        scores, real = embeddings
        if not self.respect_input_order:
            order = needed(labels, self).masked_fill(~real, -torch.inf).argsort(dim=1, descending=True, stable=True)
            scores = scores.gather(1, order)  # padding stays last
        scores = scores.masked_fill(~real, -torch.inf)
        rest = scores.flip(1).logcumsumexp(1).flip(1)  # log-sum of each document and those after it
        terms = torch.where(real, rest - scores, 0.0)
        return self.weigh(terms, real)

    def weigh(self, terms: Tensor, real: Tensor) -> Tensor:
        """Add up the terms (queries, documents) of each list, and take the mean over lists."""
        return terms.sum(dim=1).mean()

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return super().get_config_dict() | {"respect_input_order": self.respect_input_order}


class PListMLELambdaWeight(nn.Module):
    """What each place of a list counts in ``PListMLELoss``.

    Args:
        rank_discount_fn: from the mask of real documents (queries, documents) to weights of the same shape, scaled to
            sum 1 over all places, such as ``lambda mask: mask / mask.cumsum(1)``; None: 2^(documents - rank) - 1.
    """

    def __init__(self, rank_discount_fn: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.rank_discount_fn = rank_discount_fn

    def forward(self, mask: Tensor) -> Tensor:
        """Return the weights (queries, documents) of the places where the mask is true."""
        if self.rank_discount_fn is not None:
            return self.rank_discount_fn(mask).expand(mask.shape)
        ranks = torch.arange(1, mask.shape[1] + 1, device=mask.device)
        return (torch.pow(2.0, mask.sum(dim=1, keepdim=True) - ranks) - 1) * mask


_BY_PLACE = PListMLELambdaWeight()


class PListMLELoss(ListMLELoss):
    """``ListMLELoss`` with a weight for each place, so that mistakes at the top count most. Lan et al. 2014.

    Args:
        model: the model to train.
        lambda_weight: what each place counts; None: all the same.
        activation_fn: applied to the logits; None: nothing.
        mini_batch_size: see ``ListwiseLoss``.
        respect_input_order: the documents of each list are in the right order as they come; else labels decide.
    """

    def __init__(
        self,
        model: Any,
        lambda_weight: PListMLELambdaWeight | None = _BY_PLACE,
        activation_fn: nn.Module | None = None,
        mini_batch_size: int | None = None,
        respect_input_order: bool = True,
    ) -> None:
        super().__init__(model, activation_fn, mini_batch_size, respect_input_order)
        self.lambda_weight = lambda_weight

    def weigh(self, terms: Tensor, real: Tensor) -> Tensor:
        """Add up the weighted terms (queries, documents) of each list, and take the mean over lists."""
        if self.lambda_weight is None:
            return super().weigh(terms, real)
        weights = self.lambda_weight(real)
        return super().weigh(terms * weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-10), real)


class NoWeightingScheme(nn.Module):
    """Every pair of documents counts the same: RankNet."""

    graded: ClassVar[bool] = True  # whether only pairs of different grades count

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """Return the weights of pairs, (queries, documents, documents) or what broadcasts to it.

        Args:
            gain: (queries, documents) gains over the ideal list's, in the order of the scores.
            discount: (documents,) log2(1 + rank).
            true_sorted: (queries, documents) grades in the order of the scores.
        """
        return gain.new_ones(1)


class NDCGLoss1Scheme(NoWeightingScheme):
    """A pair counts by the discounted gain of its first document."""

    graded: ClassVar[bool] = False

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """Return the weights of pairs; see ``NoWeightingScheme``."""
        return (gain / discount)[:, :, None]


class NDCGLoss2Scheme(NoWeightingScheme):
    """A pair counts by the difference of its gains, and by how much a place is worth at the distance of their ranks."""

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """Return the weights of pairs; see ``NoWeightingScheme``."""
        ranks = torch.arange(1, len(discount) + 1, device=discount.device)
        apart = (ranks[:, None] - ranks[None, :]).abs()  # (documents, documents)
        at = 1 / discount
        worth = (at[apart.clamp(min=1) - 1] - at[apart.clamp(max=len(at) - 1)]).abs().masked_fill(apart == 0, 0)
        return worth * (gain[:, :, None] - gain[:, None, :]).abs()


class LambdaRankScheme(NoWeightingScheme):
    """A pair counts by how much nDCG changes when its documents change places. Burges et al. 2006."""

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """Return the weights of pairs; see ``NoWeightingScheme``."""
        at = 1 / discount
        return (at[:, None] - at[None, :]).abs() * (gain[:, :, None] - gain[:, None, :]).abs()


class NDCGLoss2PPScheme(NoWeightingScheme):
    """``mu`` times ``NDCGLoss2Scheme`` plus ``LambdaRankScheme``: a tighter bound on nDCG than either.

    Args:
        mu: the weight of the first.
    """

    def __init__(self, mu: float = 10.0) -> None:
        super().__init__()
        self.mu = mu
        self.ndcg_loss2 = NDCGLoss2Scheme()
        self.lambda_rank = LambdaRankScheme()

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """Return the weights of pairs; see ``NoWeightingScheme``."""
        given = gain, discount, true_sorted
        weights: Tensor = self.mu * self.ndcg_loss2(*given) + self.lambda_rank(*given)
        return weights


class LambdaLoss(ListwiseLoss):
    """-mean of w(i, j) · log sigmoid(sigma (s(i) - s(j))) over pairs in which i has the higher grade, w by a scheme.

    With the scheme of nDCG, mistakes at the top count most; the strongest of the listwise losses in general. Wang et
    al. 2018, "The LambdaLoss Framework for Ranking Metric Optimization".

    Args:
        model: the model to train.
        weighting_scheme: what each pair counts; ``NDCGLoss2PPScheme`` by default.
        k: only pairs with a document among the first k by score count; None: all.
        sigma: how steep the sigmoid is.
        eps: smallest probability.
        reduction_log: "binary" or "natural" logarithm.
        activation_fn: applied to the logits; None: nothing.
        mini_batch_size: see ``ListwiseLoss``.
    """

    def __init__(
        self,
        model: Any,
        weighting_scheme: NoWeightingScheme | None = None,
        k: int | None = None,
        sigma: float = 1.0,
        eps: float = 1e-10,
        reduction_log: Literal["natural", "binary"] = "binary",
        activation_fn: nn.Module | None = None,
        mini_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, activation_fn, mini_batch_size)
        self._log = choose("reduction_log", reduction_log, _LOGS)
        self.weighting_scheme = weighting_scheme or NDCGLoss2PPScheme()
        self.k = k
        self.sigma = sigma
        self.eps = eps
        self.reduction_log = reduction_log

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compare scores and labels, (queries, documents), where the mask is true."""
        scores, real = embeddings
        scores, order = scores.masked_fill(~real, -torch.inf).sort(dim=1, descending=True, stable=True)
        real = real.gather(1, order)
        true = needed(labels, self).gather(1, order).clamp(min=0)  # grades, in the order of the scores
        ideal = needed(labels, self).masked_fill(~embeddings[1], -torch.inf).sort(dim=1, descending=True).values
        ranks = torch.arange(1, scores.shape[1] + 1, device=scores.device)
        discount = torch.log2(1 + ranks.to(scores.dtype))
        best = ((2.0 ** ideal.clamp(min=0) - 1) / discount)[:, : self.k].sum(dim=1, keepdim=True).clamp(min=self.eps)
        gain = torch.where(real, 2.0**true - 1, 0.0) / best
        counted = real[:, :, None] & real[:, None, :]  # (queries, documents, documents)
        if self.weighting_scheme.graded:
            counted &= true[:, :, None] > true[:, None, :]
        if self.k is not None:
            counted &= (ranks[:, None] <= self.k) | (ranks[None, :] <= self.k)
        weights = self.weighting_scheme(gain, discount, true)
        finite = scores.masked_fill(~real, 0)
        gaps = finite[:, :, None] - finite[:, None, :]
        chance = (self.sigma * gaps).sigmoid().clamp(min=self.eps) ** weights
        terms = self._log(chance.clamp(min=self.eps)).masked_fill(~counted, 0)
        return -terms.sum() / counted.sum()

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        names = ["k", "sigma", "eps", "reduction_log"]
        own = {
            "weighting_scheme": type(self.weighting_scheme).__name__,
            **{name: getattr(self, name) for name in names},
        }
        return own | super().get_config_dict()


class RankNetLoss(LambdaLoss):
    """``LambdaLoss`` in which all pairs count the same. Burges et al. 2005.

    Args:
        model: the model to train.
        k: see ``LambdaLoss``, as the rest.
        sigma: how steep the sigmoid is.
        eps: smallest probability.
        reduction_log: "binary" or "natural" logarithm.
        activation_fn: applied to the logits; None: nothing.
        mini_batch_size: see ``ListwiseLoss``.
    """

    def __init__(
        self,
        model: Any,
        k: int | None = None,
        sigma: float = 1.0,
        eps: float = 1e-10,
        reduction_log: Literal["natural", "binary"] = "binary",
        activation_fn: nn.Module | None = None,
        mini_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, NoWeightingScheme(), k, sigma, eps, reduction_log, activation_fn, mini_batch_size)
