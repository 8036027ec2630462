"""Blocks over whole words: classic vectors (GloVe, word2vec, fastText), weights per word, and bags of words."""

import gzip
import logging
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from workbench.errors import ModelFormatError, ModelNotFoundError
from workbench.folders import WEIGHTS, inside, load_state, read_json
from workbench.models.base import Features, InputModule, Module
from workbench.models.types import trusted
from workbench.models.word_tokenizers import TOKENIZERS, WhitespaceTokenizer, WordTokenizer
from workbench.tokens import IntArray, TokenRows

__all__ = ["BoW", "WordEmbeddings", "WordWeights"]

logger = logging.getLogger(__name__)


class _WordBlock(InputModule):
    """A first block that reads the numbers of the known words from ``tokenizer``, a ``WordTokenizer``."""

    def token_rows(self, texts: list[Any]) -> TokenRows:
        """The numbers of the known words of each text."""
        rows = [self.tokenizer.tokenize(text) for text in texts]
        kept = [row[: self.max_seq_length] for row in rows]
        starts = np.cumsum([0, *map(len, kept)])
        cut = np.array([len(row) > len(part) for row, part in zip(rows, kept, strict=True)], bool)
        return TokenRows({"input_ids": np.fromiter(chain.from_iterable(kept), np.int32, starts[-1])}, starts, cut)

    def token_counts(self, texts: list[str]) -> IntArray:
        """Known words per text before anything is cut."""
        return np.array([len(self.tokenizer.tokenize(text)) for text in texts], np.int64)


class WordEmbeddings(_WordBlock):
    """One vector per word, whatever stands around it; a pooling block makes one of them.

    Args:
        tokenizer: a ``WordTokenizer`` whose numbers are rows of the table.
        embedding_weights: the table, (words, dimension), as an array, a tensor or lists; row 0 fills padded places.
        update_embeddings: train the table too.
        max_seq_length: words kept of each text.
    """

    config_file = "wordembedding_config.json"
    config_keys = ("tokenizer_class", "update_embeddings", "max_seq_length")

    def __init__(
        self,
        tokenizer: WordTokenizer,
        embedding_weights: Any,
        update_embeddings: bool = False,
        max_seq_length: int | None = 1000000,
    ) -> None:
        super().__init__()
        table = torch.as_tensor(embedding_weights, dtype=torch.float32)
        self.tokenizer, self.embeddings_dimension = tokenizer, table.shape[1]
        self.update_embeddings, self.max_seq_length = update_embeddings, max_seq_length
        self.emb_layer = nn.Embedding(len(table), table.shape[1], _weight=table.clone())
        self.emb_layer.weight.requires_grad_(update_embeddings)

    def collate(self, rows: TokenRows, index: IntArray) -> Features:
        """Return one padded batch: ``input_ids``, ``attention_mask`` (rows, words) and ``sentence_lengths`` (rows,)."""
        batch = rows.padded(index, {"input_ids": 0})
        if not batch["input_ids"].shape[1]:  # no known word in any text; the blocks after this one need a place
            batch = {name: torch.zeros(len(index), 1, dtype=torch.long) for name in batch}
        return {**batch, "sentence_lengths": batch["attention_mask"].sum(1)}

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Look up ``token_embeddings``: (rows, words, dimension)."""
        features["token_embeddings"] = self.emb_layer(features["input_ids"])
        return features

    def get_word_embedding_dimension(self) -> int:
        """Length of a word's vector."""
        return self.embeddings_dimension

    @property
    def tokenizer_class(self) -> str:
        """The full name of the tokenizer's class, as folders write it."""
        kind = type(self.tokenizer)
        return next((name for name in TOKENIZERS if TOKENIZERS[name] is kind), f"{kind.__module__}.{kind.__qualname__}")

    def save(self, output_path: str | Path, safe_serialization: bool = True) -> None:
        """Write configuration, table and tokenizer to the folder ``output_path``."""
        super().save(output_path, safe_serialization)
        self.tokenizer.save(str(output_path))

    @classmethod
    def load(cls, input_path: str | Path) -> Self:
        """Make the block that was saved in the folder ``input_path``.

        Raises:
            UnsafeModelError: the tokenizer is not one of this library's; its code is not imported.
            ModelFormatError: files are missing, damaged, or do not fit each other.
        """
        config = read_json(input_path, cls.config_file)
        tokenizer = trusted("tokenizer", config.get("tokenizer_class"), TOKENIZERS).load(str(input_path))
        table, words = load_state(input_path).get("emb_layer.weight"), len(list(tokenizer.get_vocab()))
        if table is None or table.ndim != 2 or len(table) < words:
            shape = "is missing" if table is None else f"has shape {tuple(table.shape)}"
            raise ModelFormatError(f"{input_path}: 'emb_layer.weight' {shape}; expected ({words}, dimension).")
        return cls(tokenizer, table, **{key: config[key] for key in cls.config_keys[1:] if key in config})

    @classmethod
    def from_text_file(
        cls,
        embeddings_file_path: str | Path,
        update_embeddings: bool = False,
        item_separator: str = " ",
        tokenizer: WordTokenizer | None = None,
        max_vocab_size: int | None = None,
    ) -> Self:
        """Read a file (``.gz`` too) of one word and its numbers a line; row 0 of the table becomes padding.

        word2vec's first line (two counts) is passed over, and so are lines with another count of numbers than the rest.
        ``tokenizer`` (None: a new ``WhitespaceTokenizer``) takes the first ``max_vocab_size`` words as its vocabulary.

        Raises:
            ModelNotFoundError: there is no such file.
            ModelFormatError: the file holds no word vectors.
        """
        path = Path(embeddings_file_path)
        if not path.is_file():
            raise ModelNotFoundError(f"There is no file {path}. Download the word vectors first and give their path.")
        words, skipped = ["PADDING_TOKEN"], 0
        vectors: list[Any] = []
        try:
            with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf8") as lines:
                for line in lines:
                    word, *numbers = line.rstrip().split(item_separator)
                    if len(numbers) == len(vectors[0]) if vectors else len(numbers) > 1:
                        vectors.append(np.array(numbers, np.float32))
                        words.append(word)
                    else:
                        skipped += bool(vectors)
                    if len(vectors) == max_vocab_size:
                        break
        except (ValueError, OSError, EOFError) as error:
            raise ModelFormatError(f"{path}: after {words[-1]!r} comes no word with its numbers: {error}") from error
        if not vectors:
            raise ModelFormatError(f"{path} has no line of a word and its numbers, separated by {item_separator!r}.")
        if skipped:
            logger.warning("%s: %d lines with another count of numbers were left out.", path, skipped)
        tokenizer = WhitespaceTokenizer() if tokenizer is None else tokenizer
        tokenizer.set_vocab(words)
        return cls(tokenizer, np.stack([np.zeros_like(vectors[0]), *vectors]), update_embeddings)


class WordWeights(Module):
    """Multiply every word's vector by a weight, such as its inverse document frequency, before they are averaged.

    Args:
        vocab: the words, in the order of the first block's tokenizer.
        word_weights: weight per word; a word that is not there is looked up in lower case.
        unknown_word_weight: the weight of all other words.
    """

    config_keys = ("vocab", "word_weights", "unknown_word_weight")

    def __init__(self, vocab: Iterable[str], word_weights: dict[str, float], unknown_word_weight: float = 1) -> None:
        super().__init__()
        self.vocab, self.word_weights, self.unknown_word_weight = list(vocab), word_weights, unknown_word_weight
        weights = torch.tensor(_weights(self.vocab, word_weights, unknown_word_weight)).unsqueeze(1)
        self.emb_layer = nn.Embedding(len(self.vocab), 1, _weight=weights)

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Scale ``token_embeddings`` and give ``token_weights_sum`` (rows,), by which mean pooling then divides."""
        weights = self.emb_layer(features["input_ids"]).squeeze(-1) * features["attention_mask"]  # (rows, words)
        features["token_embeddings"] = features["token_embeddings"] * weights.unsqueeze(-1)
        features["token_weights_sum"] = weights.sum(1)
        return features

    def load_weights(self, folder: str | Path) -> None:
        """Read trained weights where the folder has them; earlier versions keep the configuration only."""
        if any(inside(folder, name).is_file() for name in WEIGHTS):
            super().load_weights(folder)


class BoW(_WordBlock):
    """Bag of words: one dimension per word, with how often it occurs times its weight, such as its idf. No training.

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
        self.weights = _weights(self.vocab, word_weights, unknown_word_weight)
        self.tokenizer = WhitespaceTokenizer(self.vocab, stop_words=())

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


def _weights(vocab: list[str], word_weights: dict[str, float], unknown: float) -> list[float]:
    """The weight of each word: its own, else that of its lower case, else ``unknown``."""
    known = dict(word_weights)
    return [float(known.get(word, known.get(str.lower(word), unknown))) for word in vocab]
