"""A learned average of a transformer's layers, in place of its last one (Peters et al. 2018, arXiv:1802.05365)."""

from typing import Any

import torch
from torch import Tensor, nn

from workbench.models.base import Features
from workbench.models.sequence import _TokenBlock

__all__ = ["WeightedLayerPooling"]


class WeightedLayerPooling(_TokenBlock):
    """Token embeddings as the weighted average of the layers from ``layer_start`` on.

    Args:
        word_embedding_dimension: length of the token vectors, of every layer and of the average.
        num_hidden_layers: layers of the transformer, its embedding layer not counted.
        layer_start: the first layer to use; 0 is the embedding layer.
        layer_weights: first weights: (num_hidden_layers + 1 - layer_start,); None is 1 for all.
    """

    config_keys = ("word_embedding_dimension", "layer_start", "num_hidden_layers")

    def __init__(
        self,
        word_embedding_dimension: int,
        num_hidden_layers: int = 12,
        layer_start: int = 4,
        layer_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.word_embedding_dimension = self.embeddings_dimension = word_embedding_dimension
        self.num_hidden_layers, self.layer_start = num_hidden_layers, layer_start
        weights = torch.ones(num_hidden_layers + 1 - layer_start) if layer_weights is None else layer_weights
        self.layer_weights = nn.Parameter(torch.as_tensor(weights, dtype=torch.float32))

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Average ``all_layer_embeddings``, each (rows, tokens, dimension), into ``token_embeddings``."""
        if "all_layer_embeddings" not in features:
            raise ValueError(
                "WeightedLayerPooling needs every layer of the transformer before it. "
                'Make that one with Transformer(…, config_args={"output_hidden_states": True}).'
            )
        layers = torch.stack(list(features["all_layer_embeddings"])[self.layer_start :])  # (layers, rows, tokens, dim)
        weights = self.layer_weights / self.layer_weights.sum()
        features["token_embeddings"] = torch.einsum("l,lrtd->rtd", weights, layers)
        return features
