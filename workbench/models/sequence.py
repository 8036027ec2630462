"""Blocks over the token embeddings of a text: CNN, LSTM, and an average of layers. A pooling block comes after them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from workbench.models.base import Features, Module

__all__ = ["CNN", "LSTM", "WeightedLayerPooling"]


class _TokenBlock(Module):
    """A block that reads ``token_embeddings`` and writes them anew, ``embeddings_dimension`` numbers each."""

    embeddings_dimension: int

    def get_word_embedding_dimension(self) -> int:
        """Length of the vectors this block gives for each token."""
        return self.embeddings_dimension

    @classmethod
    def _rename_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Later versions leave out the ``word_`` of ``word_embedding_dimension``."""
        later = {key.replace("word_", ""): key for key in cls.config_keys}
        return {later.get(key, key): value for key, value in config.items()}


class CNN(_TokenBlock):
    """Convolutions over neighbouring tokens, their outputs laid side by side (Kim 2014, arXiv:1408.5882).

    Padded places count as zeros, so a text gives the same vectors whatever it is batched with.

    Args:
        in_word_embedding_dimension: length of the token vectors that come in.
        out_channels: numbers per kernel; the output has ``out_channels * len(kernel_sizes)``.
        kernel_sizes: tokens that each kernel spans; odd sizes keep one vector per token.
        stride_sizes: tokens that each kernel moves by; None is 1 for all.
    """

    config_file = "cnn_config.json"
    config_keys = ("in_word_embedding_dimension", "out_channels", "kernel_sizes", "stride_sizes")

    def __init__(
        self,
        in_word_embedding_dimension: int,
        out_channels: int = 256,
        kernel_sizes: list[int] = [1, 3, 5],  # noqa: B006 (the published signature; never changed)
        stride_sizes: list[int] | None = None,
    ) -> None:
        super().__init__()
        self.in_word_embedding_dimension, self.out_channels = in_word_embedding_dimension, out_channels
        self.kernel_sizes, self.stride_sizes = list(kernel_sizes), list(stride_sizes or [1] * len(kernel_sizes))
        self.embeddings_dimension = out_channels * len(kernel_sizes)
        self.convs = nn.ModuleList(
            nn.Conv1d(in_word_embedding_dimension, out_channels, size, stride, padding=(size - 1) // 2)
            for size, stride in zip(self.kernel_sizes, self.stride_sizes, strict=True)
        )

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Map ``token_embeddings`` (rows, tokens, in) to (rows, tokens, out_channels * kernels)."""
        tokens = features["token_embeddings"] * features["attention_mask"].unsqueeze(-1)
        tokens = tokens.transpose(1, 2)  # (rows, in, tokens)
        features["token_embeddings"] = torch.cat([conv(tokens) for conv in self.convs], 1).transpose(1, 2)
        return features


class LSTM(_TokenBlock):
    """A long short-term memory over the tokens, in both directions by default (Conneau et al. 2017, arXiv:1705.02364).

    Args:
        word_embedding_dimension: length of the token vectors that come in.
        hidden_dim: numbers that go out, twice as many where ``bidirectional``.
        num_layers: layers on top of each other, with ``dropout`` between them while training.
    """

    config_file = "lstm_config.json"
    config_keys = ("word_embedding_dimension", "hidden_dim", "num_layers", "dropout", "bidirectional")

    def __init__(
        self,
        word_embedding_dimension: int,
        hidden_dim: int,
        num_layers: int = 1,
        dropout: float = 0,
        bidirectional: bool = True,
    ) -> None:
        super().__init__()
        self.word_embedding_dimension, self.hidden_dim = word_embedding_dimension, hidden_dim
        self.num_layers, self.dropout, self.bidirectional = num_layers, dropout, bidirectional
        self.embeddings_dimension = hidden_dim * (2 if bidirectional else 1)
        options = {"dropout": dropout, "bidirectional": bidirectional, "batch_first": True}
        self.encoder = nn.LSTM(word_embedding_dimension, hidden_dim, num_layers, **options)

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Map ``token_embeddings`` (rows, tokens, in) to (rows, tokens, out); padded places give zeros."""
        tokens = features["token_embeddings"]
        lengths = features["attention_mask"].sum(1).clamp(min=1).cpu()  # (rows,)
        packed = pack_padded_sequence(tokens, lengths, batch_first=True, enforce_sorted=False)
        hidden = self.encoder(packed)[0]
        features["token_embeddings"] = pad_packed_sequence(hidden, batch_first=True, total_length=tokens.shape[1])[0]
        return features


class WeightedLayerPooling(_TokenBlock):
    """Token embeddings as a learned average of the transformer's layers (Peters et al. 2018, arXiv:1802.05365).

    Args:
        word_embedding_dimension: length of the token vectors, of every layer and of the average.
        num_hidden_layers: layers of the transformer, its embedding layer not counted.
        layer_start: the first layer to use, of those up to the last; 0 is the embedding layer.
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
            raise ValueError('WeightedLayerPooling needs a Transformer(…, config_args={"output_hidden_states": True}).')
        layers = torch.stack(list(features["all_layer_embeddings"])[self.layer_start :])  # (layers, rows, tokens, dim)
        weights = self.layer_weights / self.layer_weights.sum()
        features["token_embeddings"] = torch.einsum("l,lrtd->rtd", weights, layers)
        return features
