"""TSDAE: a decoder rebuilds a text from the vector of its damaged copy. Wang et al. 2021, arXiv:2104.06979."""

import copy
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from workbench.losses.base import Inputs, Loss, needed
from workbench.models.base import Features

__all__ = ["DenoisingAutoEncoderLoss"]


class DenoisingAutoEncoderLoss(Loss):
    """Cross-entropy of every token of a text, for a decoder that sees the tokens before it and one vector.

    The vector is that of the damaged text, so all that the decoder lacks must be in it. For texts without any pairs;
    ``DenoisingAutoEncoderDataset`` damages them. Needs a domain's texts by the ten thousand, where
    ``MultipleNegativesRankingLoss`` on given pairs needs far fewer.

    Args:
        model: the model to train; its first block must be a ``Transformer``.
        decoder_name_or_path: a transformers model to decode with; None: the encoder's own layers, with fresh layers
            that look at the vector.
        tie_encoder_decoder: train one set of weights for what encoder and decoder have in common; without it the
            decoder starts from a copy.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = (Inputs(("damaged", "original")),)

    def __init__(self, model: Any, decoder_name_or_path: str | None = None, tie_encoder_decoder: bool = True) -> None:
        super().__init__(model)
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

        if not hasattr(model[0], "auto_model"):
            raise TypeError(f"The model begins with {type(model[0]).__name__}; only a Transformer can be rebuilt from.")
        if tie_encoder_decoder and decoder_name_or_path is not None:
            raise ValueError(
                "Only the encoder's own layers can be tied: leave decoder_name_or_path out, or do not tie."
            )
        encoder, self.decoder_tokenizer = model[0].auto_model, model.tokenizer
        self.tie_encoder_decoder = tie_encoder_decoder
        name = decoder_name_or_path
        config = copy.deepcopy(encoder.config) if name is None else AutoConfig.from_pretrained(name)
        config.is_decoder, config.add_cross_attention = True, True
        if name is None:
            self.decoder: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
            self._take_over(encoder)
        else:
            self.decoder = AutoModelForCausalLM.from_pretrained(name, config=config)
            self.decoder_tokenizer = AutoTokenizer.from_pretrained(name)
        self.decoder.to(model.device)
        if self.decoder_tokenizer.pad_token is None:
            self.decoder_tokenizer.pad_token = self.decoder_tokenizer.eos_token
        self._same_tokens = name is None

    def _take_over(self, encoder: nn.Module) -> None:
        """Give the decoder the encoder's weights by name: the same parameters when tied, else copies."""
        body, known = self.decoder.base_model, dict(encoder.named_parameters())
        for name, parameter in list(body.named_parameters()):
            if name not in known or known[name].shape != parameter.shape:
                continue
            owner, _, last = name.rpartition(".")
            with torch.no_grad():
                parameter.copy_(known[name])
            if self.tie_encoder_decoder:
                setattr(body.get_submodule(owner), last, known[name])
        self.decoder.tie_weights()  # the layer that names tokens follows the word vectors

    def forward(self, sentence_features: Iterable[Features], labels: Tensor | None = None) -> Tensor:
        """Return the loss of one batch: the damaged texts and the originals."""
        damaged, original = sentence_features
        (vectors,) = self.embed([damaged])  # (batch, dim)
        target = original if self._same_tokens else self._for_decoder(original)
        ids, mask = target["input_ids"], target["attention_mask"]
        logits = self.decoder(
            input_ids=ids[:, :-1],
            attention_mask=mask[:, :-1],
            encoder_hidden_states=vectors[:, None, :],
            encoder_attention_mask=mask.new_ones(len(ids), 1),
            use_cache=False,
        ).logits  # (batch, tokens - 1, vocabulary)
        return self.compute([logits], ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100))

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compare logits (batch, tokens, vocabulary) with token ids (batch, tokens), -100 where there is no token."""
        return cross_entropy(embeddings[0].flatten(0, 1), needed(labels, self).flatten(), ignore_index=-100)

    def _for_decoder(self, features: Features) -> Features:
        """The texts as the decoder's tokenizer cuts them."""
        texts = self.model.tokenizer.batch_decode(features["input_ids"], skip_special_tokens=True)
        limit = self.model.max_seq_length
        made = self.decoder_tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        found: Features = dict(made.to(features["input_ids"].device))
        return found

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return {"tie_encoder_decoder": self.tie_encoder_decoder, "decoder": type(self.decoder).__name__}
