"""Losses around a loss: vectors that may be cut short (Matryoshka), models that may be cut short (adaptive layers)."""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, softmax

from workbench.errors import choose
from workbench.losses.base import Inputs, Loss
from workbench.losses.cached import CachedLoss
from workbench.models.base import Features

__all__ = ["AdaptiveLayerLoss", "Matryoshka2dLoss", "MatryoshkaLoss"]

_WEIGHTINGS: dict[str, Callable[[int], float]] = {
    "linear": lambda layer: 1 / (1 + layer),
    "log": lambda layer: 1 / (1 + math.log(1 + layer)),
    "uniform": lambda layer: 1,
}


class MatryoshkaLoss(Loss):
    """Weighted sum of a loss over vectors cut to several lengths, so that the first dimensions say the most.

    The trained model's vectors can be truncated with little loss. Kusupati et al. 2022, arXiv:2205.13147.

    Args:
        model: the model to train.
        loss: the loss to apply, cached ones included.
        matryoshka_dims: the lengths.
        matryoshka_weights: a weight for each; 1 by default.
        n_dims_per_step: how many of the lengths to draw at random each step; -1 takes all.
    """

    def __init__(
        self,
        model: Any,
        loss: Loss,
        matryoshka_dims: Sequence[int],
        matryoshka_weights: Sequence[float] | None = None,
        n_dims_per_step: int = -1,
    ) -> None:
        super().__init__(model)
        weights = list(matryoshka_weights) if matryoshka_weights is not None else [1] * len(matryoshka_dims)
        dim = model.get_sentence_embedding_dimension()
        if not matryoshka_dims or len(weights) != len(matryoshka_dims):
            raise ValueError(f"There are {len(matryoshka_dims)} matryoshka_dims and {len(weights)} weights.")
        if min(matryoshka_dims) < 1 or (dim is not None and max(matryoshka_dims) > dim):
            raise ValueError(f"matryoshka_dims are {list(matryoshka_dims)}; each must be from 1 to the model's {dim}.")
        if not isinstance(loss, Loss):
            raise TypeError(f"loss must be a loss of workbench.losses, not {type(loss).__name__}.")
        self.loss = loss
        pairs = sorted(zip(matryoshka_dims, weights, strict=True), reverse=True)
        self.matryoshka_dims = [dim for dim, _ in pairs]
        self.matryoshka_weights = [weight for _, weight in pairs]
        self.n_dims_per_step = n_dims_per_step

    @property
    def inputs(self) -> tuple[Inputs, ...]:  # type: ignore[override]
        """Those of the loss inside."""
        return self.loss.inputs

    def forward(self, sentence_features: Iterable[Features], labels: Tensor | None = None) -> Tensor:
        """Return the loss of one batch."""
        if isinstance(self.loss, CachedLoss):
            return self.loss(sentence_features, labels, compute=self.compute)  # type: ignore[no-any-return]
        return super().forward(sentence_features, labels)

    def embed(self, sentence_features: Iterable[Features]) -> list[Tensor]:
        """Embed as the loss inside does."""
        return self.loss.embed(sentence_features)

    def truncate(self, embeddings: list[Tensor], dim: int) -> list[Tensor]:
        """Truncate as the loss inside does."""
        return self.loss.truncate(embeddings, dim)

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Add up the loss over the lengths."""
        chosen: Iterable[int] = range(len(self.matryoshka_dims))
        if 0 < self.n_dims_per_step < len(self.matryoshka_dims):
            chosen = sorted(random.sample(range(len(self.matryoshka_dims)), self.n_dims_per_step))
        terms = [
            self.matryoshka_weights[place]
            * self.loss.compute(self.truncate(embeddings, self.matryoshka_dims[place]), labels)
            for place in chosen
        ]
        return torch.stack(terms).sum()

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        names = ("matryoshka_dims", "matryoshka_weights", "n_dims_per_step")
        return {"loss": type(self.loss).__name__, **{name: getattr(self, name) for name in names}}


class AdaptiveLayerLoss(Loss):
    """A loss on the last layer, and on earlier layers drawn at random, each also drawn to the last one's vectors.

    The trained model works with its upper layers removed, for speed. One pass through the transformer serves all
    layers. Li et al. 2024, arXiv:2402.14776.

    Args:
        model: the model to train; its first block must be a ``Transformer``.
        loss: the loss to apply; not a cached one.
        n_layers_per_step: how many earlier layers to draw each step; -1 takes all.
        last_layer_weight: weight of the last layer's loss.
        prior_layers_weight: weight of the others'; an earlier layer's falls with its number.
        kl_div_weight: weight of the divergence between an earlier layer's vectors and the last one's.
        kl_temperature: their temperature; 0 leaves the divergence out.
        layer_weighting: how the weight of a layer falls with its number i from 0, the word embeddings: "linear",
            1 / (1 + i); "log", 1 / (1 + ln(1 + i)); "uniform".
    """

    def __init__(
        self,
        model: Any,
        loss: Loss,
        n_layers_per_step: int = 1,
        last_layer_weight: float = 1.0,
        prior_layers_weight: float = 1.0,
        kl_div_weight: float = 1.0,
        kl_temperature: float = 0.3,
        layer_weighting: str = "linear",
    ) -> None:
        super().__init__(model)
        self._weight = choose("layer weighting", layer_weighting, _WEIGHTINGS)
        self.layer_weighting = layer_weighting
        if isinstance(loss, CachedLoss) or not isinstance(loss, Loss):
            raise TypeError(f"loss must be one of workbench.losses that is not cached, not {type(loss).__name__}.")
        if not hasattr(model[0], "auto_model"):
            raise TypeError(f"The model begins with {type(model[0]).__name__}; only a Transformer has layers to drop.")
        self.loss = loss
        for inner in (loss, getattr(loss, "loss", loss)):
            inner.apart = True  # so that every layer's vectors stay in a column's features
        self.n_layers_per_step = n_layers_per_step
        self.last_layer_weight = last_layer_weight
        self.prior_layers_weight = prior_layers_weight
        self.kl_div_weight = kl_div_weight
        self.kl_temperature = kl_temperature

    @property
    def inputs(self) -> tuple[Inputs, ...]:  # type: ignore[override]
        """Those of the loss inside."""
        return self.loss.inputs

    def forward(self, sentence_features: Iterable[Features], labels: Tensor | None = None) -> Tensor:
        """Return the loss of one batch."""
        columns = list(sentence_features)
        block = self.model[0]
        with _hidden_states(block.auto_model.config):
            last = self.loss.embed(columns)  # leaves every layer's vectors in the features
        loss = self.last_layer_weight * self.loss.compute(last, labels)
        earlier: Sequence[int] = range(len(columns[0]["all_layer_embeddings"]) - 1)
        if 0 < self.n_layers_per_step < len(earlier):
            earlier = random.sample(earlier, self.n_layers_per_step)
        for layer in earlier:
            with _layer(block, layer):
                early = self.loss.embed(columns)
            weight = self.prior_layers_weight * self._weight(layer) / len(earlier)
            loss = loss + weight * self.loss.compute(early, labels)
            if self.kl_temperature > 0:
                count, heat = len(columns), self.kl_temperature
                wanted = softmax(torch.cat(last[:count]).detach() / heat, dim=-1)
                found = log_softmax(torch.cat(early[:count]) / heat, dim=-1)
                loss = loss + self.kl_div_weight * heat * kl_div(found, wanted, reduction="batchmean")
        return loss

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        names = ["n_layers_per_step", "last_layer_weight", "prior_layers_weight", "kl_div_weight", "kl_temperature"]
        names += ["layer_weighting"]
        return {"loss": type(self.loss).__name__, **{name: getattr(self, name) for name in names}}


class Matryoshka2dLoss(AdaptiveLayerLoss):
    """``AdaptiveLayerLoss`` around ``MatryoshkaLoss``: vectors and models that may both be cut short.

    Li et al. 2024, arXiv:2402.14776.

    Args:
        model: the model to train.
        loss: the loss to apply; not a cached one.
        matryoshka_dims: see ``MatryoshkaLoss``, as the next and ``n_dims_per_step``.
        matryoshka_weights: a weight for each length.
        n_layers_per_step: see ``AdaptiveLayerLoss``, as those after ``n_dims_per_step``.
        n_dims_per_step: how many of the lengths to draw each step.
        last_layer_weight: weight of the last layer's loss.
        prior_layers_weight: weight of the others'.
        kl_div_weight: weight of the divergence.
        kl_temperature: its temperature.
        layer_weighting: "linear", "log" or "uniform".
    """

    def __init__(
        self,
        model: Any,
        loss: Loss,
        matryoshka_dims: Sequence[int],
        matryoshka_weights: Sequence[float] | None = None,
        n_layers_per_step: int = 1,
        n_dims_per_step: int = 1,
        last_layer_weight: float = 1.0,
        prior_layers_weight: float = 1.0,
        kl_div_weight: float = 1.0,
        kl_temperature: float = 0.3,
        layer_weighting: str = "linear",
    ) -> None:
        inner = MatryoshkaLoss(model, loss, matryoshka_dims, matryoshka_weights, n_dims_per_step)
        if isinstance(loss, CachedLoss):
            raise TypeError(f"loss must be one that is not cached, not {type(loss).__name__}.")
        weights = (last_layer_weight, prior_layers_weight, kl_div_weight, kl_temperature, layer_weighting)
        super().__init__(model, inner, n_layers_per_step, *weights)

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return super().get_config_dict() | self.loss.get_config_dict()


@contextmanager
def _hidden_states(config: Any) -> Iterator[None]:
    """Have a transformers model give every layer's vectors."""
    before, config.output_hidden_states = getattr(config, "output_hidden_states", False), True
    try:
        yield
    finally:
        config.output_hidden_states = before


@contextmanager
def _layer(block: Any, layer: int) -> Iterator[None]:
    """Have a transformer answer with the vectors of one of its layers, which an earlier pass left in the features."""
    block.forward = lambda features, **_: features | {"token_embeddings": features["all_layer_embeddings"][layer]}
    try:
        yield
    finally:
        del block.forward
