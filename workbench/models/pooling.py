"""Token vectors to one vector per text."""

from typing import Any

import torch
from torch import Tensor

from workbench.errors import choose
from workbench.models.base import Features, Module

__all__ = ["Pooling"]

_MODES = {  # name → the key it has in saved folders
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


class Pooling(Module):
    """One vector per text from the vectors of its tokens.

    Args:
        word_embedding_dimension: length of a token's vector.
        pooling_mode: "cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens" or "weightedmean", or several joined by
            "+" or given as a list, whose results are then concatenated. It wins over the flags that follow.
        pooling_mode_cls_token: the first token's vector.
        pooling_mode_max_tokens: the largest value in each dimension.
        pooling_mode_mean_tokens: the mean; the default.
        pooling_mode_mean_sqrt_len_tokens: the sum over the square root of the number of tokens.
        pooling_mode_weightedmean_tokens: the mean weighted by position (SGPT, arXiv:2202.08904).
        pooling_mode_lasttoken: the last token's vector (for decoder models).
        include_prompt: whether the tokens of a prompt count (INSTRUCTOR, arXiv:2212.09741, leaves them out).

    Raises:
        ChoiceError: an unknown mode; the message lists the modes.
    """

    config_keys = ("word_embedding_dimension", "pooling_mode", "include_prompt", *_MODES.values())

    def __init__(
        self,
        word_embedding_dimension: int,
        pooling_mode: str | list[str] | tuple[str, ...] | None = None,
        pooling_mode_cls_token: bool = False,
        pooling_mode_max_tokens: bool = False,
        pooling_mode_mean_tokens: bool = True,
        pooling_mode_mean_sqrt_len_tokens: bool = False,
        pooling_mode_weightedmean_tokens: bool = False,
        pooling_mode_lasttoken: bool = False,
        include_prompt: bool = True,
    ) -> None:
        super().__init__()
        simple = (pooling_mode_cls_token, pooling_mode_max_tokens, pooling_mode_mean_tokens)
        others = (pooling_mode_mean_sqrt_len_tokens, pooling_mode_weightedmean_tokens, pooling_mode_lasttoken)
        flags = dict(zip(_MODES, simple + others, strict=True))
        names = pooling_mode.lower().split("+") if isinstance(pooling_mode, str) else pooling_mode
        self._modes = [name for name in flags if flags[name]] if names is None else list(names)
        if not self._modes:
            raise ValueError(f"Pooling needs a mode. Choose one or more of: {', '.join(map(repr, _MODES))}.")
        for name in self._modes:
            choose("pooling mode", name, _MODES)
        for name, key in _MODES.items():
            setattr(self, key, name in self._modes)
        if not isinstance(word_embedding_dimension, int) or word_embedding_dimension < 1:
            raise ValueError(f"word_embedding_dimension must be 1 or more, not {word_embedding_dimension!r}.")
        self.word_embedding_dimension = word_embedding_dimension
        self.include_prompt = include_prompt
        self.pooling_output_dimension = word_embedding_dimension * len(self._modes)

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Add ``sentence_embedding`` (rows, modes x dim)."""
        tokens: Tensor = features["token_embeddings"]  # (rows, tokens, dim)
        mask: Tensor | None = features.get("attention_mask")
        if mask is None:
            mask = tokens.new_ones(tokens.shape[:-1], dtype=torch.int64)
        places = mask.cumsum(1)  # (rows, tokens); the first token of a text is at place 1, wherever its padding is
        if not self.include_prompt and "prompt_length" in features:
            mask = mask * (places > int(features["prompt_length"]))
        vectors = []
        for mode in self._modes:
            if mode == "cls":
                vectors.append(features.get("cls_token_embeddings", tokens[_rows(mask), mask.argmax(1)]))
            elif mode == "lasttoken":
                last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
                vectors.append(tokens[_rows(mask), last] * mask.any(1, keepdim=True).to(tokens.dtype))
            elif mode == "max":
                vectors.append(tokens.masked_fill(mask.unsqueeze(-1) == 0, -1e9).amax(1))
            else:
                vectors.append(_mean(mode, tokens, mask, places, features.get("token_weights_sum")))
        features["sentence_embedding"] = torch.cat(vectors, 1)
        return features

    def get_sentence_embedding_dimension(self) -> int:
        """Length of a text's vector."""
        return self.pooling_output_dimension

    def get_pooling_mode_str(self) -> str:
        """Return the modes in use, joined by "+"."""
        return "+".join(self._modes)

    def get_config_dict(self) -> dict[str, Any]:
        """The constructor's arguments; the modes as flags, and by name only where flags cannot tell their order."""
        config = {key: getattr(self, key) for key in self.config_keys if key != "pooling_mode"}
        ordered = [name for name in _MODES if name in self._modes]
        return config if self._modes == ordered else config | {"pooling_mode": self._modes}

    @classmethod
    def _rename_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        newer = {"word_embedding_dimension": config["embedding_dimension"]} if "embedding_dimension" in config else {}
        return config | newer

    def __repr__(self) -> str:
        return f"Pooling({self.get_config_dict()})"


def _mean(mode: str, tokens: Tensor, mask: Tensor, places: Tensor, weights_sum: Tensor | None) -> Tensor:
    weights = mask.to(tokens.dtype)  # (rows, tokens)
    if mode == "weightedmean":
        weights = weights * places  # the n-th token of a text weighs n
        weights_sum = None
    total = torch.einsum("btd,bt->bd", tokens, weights)  # (rows, dim)
    norm = (weights.sum(1) if weights_sum is None else weights_sum.to(tokens.dtype)).unsqueeze(-1).clamp(min=1e-9)
    return total / (norm.sqrt() if mode == "mean_sqrt_len_tokens" else norm)


def _rows(mask: Tensor) -> Tensor:
    return torch.arange(len(mask), device=mask.device)
