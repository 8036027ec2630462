"""Bag of words: one dimension per word of a vocabulary, with how often it occurs times its weight (such as its idf)."""

from collections.abc import Iterable
from typing import Any

import torch

from workbench.models.base import Features, InputModule
from workbench.models.word_tokenizers import WhitespaceTokenizer, weights_of, word_rows
from workbench.tokens import IntArray, TokenRows

__all__ = ["BoW"]


class BoW(InputModule):
    """Sentence embeddings as long as the vocabulary, without any training.

    Args:
        vocab: the words, one dimension each.
        word_weights: weight per word; a word that is not there is looked up in lower case.
        unknown_word_weight: the weight of all other words.
        cumulative_term_frequency: a word that occurs n times counts n times, else once.
    """

    config_keys = ("vocab", "word_weights", "unknown_word_weight", "cumulative_term_frequency")

    def __init__(
        self,
        vocab: Iterable[str],
        word_weights: dict[str, float] = {},  # noqa: B006 (the published signature; never changed)
        unknown_word_weight: float = 1,
        cumulative_term_frequency: bool = True,
    ) -> None:
        super().__init__()
        self.vocab, self.word_weights, self.unknown_word_weight = list(vocab), word_weights, unknown_word_weight
        self.cumulative_term_frequency = cumulative_term_frequency
        self.weights = weights_of(self.vocab, word_weights, unknown_word_weight)
        self.tokenizer = WhitespaceTokenizer(self.vocab, stop_words=())

    def token_rows(self, texts: list[Any]) -> TokenRows:
        """The numbers of the known words of each text."""
        return word_rows(self.tokenizer, texts, None)

    def collate(self, rows: TokenRows, index: IntArray) -> Features:
        """Return ``sentence_embedding``: (rows, words of the vocabulary)."""
        ids = rows.flat(index)[0].long()
        places = torch.arange(len(index)).repeat_interleave(torch.from_numpy(rows.lengths[index]))
        counts = torch.zeros(len(index), len(self.vocab))
        counts.index_put_((places, ids), torch.ones(len(ids)), accumulate=self.cumulative_term_frequency)
        return {"sentence_embedding": counts * torch.tensor(self.weights)}

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Return the features unchanged: counting words is all there is."""
        return features

    def get_sentence_embedding_dimension(self) -> int:
        """Words of the vocabulary."""
        return len(self.vocab)
