"""Texts to token ids, unpadded: tokenise once, then cut batches of any shape. Safe to use from many threads."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from workbench.texts import clean

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["IntArray", "TokenRows", "Tokenized", "Tokens", "pack"]

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TokenRows:
    """Rows of token ids of different lengths, laid end to end: row i is ``ids[starts[i]:starts[i + 1]]``."""

    columns: dict[str, npt.NDArray[np.int32]]  # "input_ids" and, where the model has them, "token_type_ids"
    starts: IntArray  # (rows + 1,)
    cut: npt.NDArray[np.bool_] | None = None  # which rows were longer than the maximum; None: none was

    @property
    def lengths(self) -> IntArray:
        """Tokens per row, special tokens included: (rows,)."""
        return np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def padded(self, rows: IntArray, fill: dict[str, int], *, left: bool = False) -> dict[str, torch.Tensor]:
        """Return the given rows as (rows, longest) tensors, with an ``attention_mask`` that is 1 on tokens."""
        lengths = self.lengths[rows]
        width = int(lengths.max(initial=0))
        place = np.arange(width)[None, :]  # (1, longest)
        mask = place >= width - lengths[:, None] if left else place < lengths[:, None]  # (rows, longest)
        source = (self.starts[:-1][rows][:, None] + place - ((width - lengths[:, None]) if left else 0))[mask]
        batch = {}
        for name, flat in self.columns.items():
            block = np.full(mask.shape, fill[name], np.int64)
            block[mask] = flat[source]
            batch[name] = torch.from_numpy(block)
        batch["attention_mask"] = torch.from_numpy(mask.astype(np.int64))
        return batch

    def flat(self, rows: IntArray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the ids of the given rows end to end, and where each row starts (an ``EmbeddingBag``'s input)."""
        lengths = self.lengths[rows]
        ends = np.cumsum(lengths)
        starts = ends - lengths
        ids = self.columns["input_ids"]
        if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            part = ids[self.starts[rows[0]] : self.starts[rows[-1] + 1]]
        else:
            part = ids[np.repeat(self.starts[:-1][rows] - starts, lengths) + np.arange(lengths.sum())]
        return torch.from_numpy(part), torch.from_numpy(starts)


class Tokens:
    """A tokenizer made safe: its truncation and padding are set on private copies, never changed while in use.

    Args:
        tokenizer: a transformers tokenizer, with a Rust backend or without one; or a part of it that can tell the
            whole, ``as_transformers``.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._lock = Lock()
        self._copies: dict[int, Tokenizer] = {}  # by size of the vocabulary, which grows when tokens are added

    def whole(self) -> Any:
        """The transformers tokenizer, made now if only its part was needed so far."""
        with self._lock:
            if hasattr(self.tokenizer, "as_transformers"):
                self.tokenizer, self._copies = self.tokenizer.as_transformers(), {}
            return self.tokenizer

    def rows(self, texts: Sequence[str] | Sequence[tuple[str, str]], max_length: int | None) -> TokenRows:
        """Tokenise texts or pairs of texts, cutting each row to ``max_length`` tokens, special tokens included."""
        names = [name for name in self.tokenizer.model_input_names if name in ("input_ids", "token_type_ids")]
        if getattr(self.tokenizer, "backend_tokenizer", None) is None:
            return self._slow_rows(texts, max_length, names)
        encodings: list[Any] = self._copy().encode_batch(_cleaned(texts))
        if max_length is None:
            return pack(encodings, names)
        cut = np.fromiter(map(len, encodings), np.int64, len(encodings)) > max_length
        for row in np.flatnonzero(cut):
            encodings[row] = _shortened(encodings[row], max_length, self.tokenizer.truncation_side)
        return pack(encodings, names, cut)

    def counts(self, texts: Sequence[str] | Sequence[tuple[str, str]]) -> IntArray:
        """Tokens per text, special tokens included, before anything is cut: (texts,)."""
        return self.rows(texts, None).lengths

    def _copy(self) -> "Tokenizer":
        tokenizer, key = self.tokenizer, len(self.tokenizer)
        with self._lock:
            if key not in self._copies:
                from tokenizers import Tokenizer

                copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
                copy.no_padding()
                copy.no_truncation()
                self._copies[key] = copy
            return self._copies[key]

    def _slow_rows(self, texts: Sequence[Any], max_length: int | None, names: list[str]) -> TokenRows:
        """The same with a tokenizer written in Python, which is used by one thread at a time."""
        texts = _cleaned(texts)
        columns = list(zip(*texts, strict=True)) if texts and isinstance(texts[0], tuple) else [texts]
        with self._lock:
            whole = self.tokenizer(*map(list, columns), truncation=False, verbose=False)["input_ids"]
            batch = self.tokenizer(*map(list, columns), truncation=max_length is not None, max_length=max_length)
        cut = np.array([len(row) < len(text) for row, text in zip(batch["input_ids"], whole, strict=True)], bool)
        lengths = [len(row) for row in batch["input_ids"]]
        flat = {name: np.fromiter(chain.from_iterable(batch[name]), np.int32) for name in names if name in batch}
        return TokenRows(flat, np.cumsum([0, *lengths]), cut)

    def __getstate__(self) -> dict[str, Any]:
        return {"tokenizer": self.tokenizer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["tokenizer"])  # type: ignore[misc]


class Tokenized:
    """What turns texts into tokens with a transformers tokenizer."""

    _tokens: Tokens

    @property
    def tokenizer(self) -> Any:
        """The transformers tokenizer."""
        return self._tokens.whole()

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self._tokens = Tokens(tokenizer)

    @property
    def tokenizer_part(self) -> Any:
        """The part of the tokenizer that gives the tokens, without making the whole of it."""
        return self._tokens.tokenizer


def pack(encodings: "Sequence[Encoding | _Cut]", names: Sequence[str] = ("input_ids",), cut: Any = None) -> TokenRows:
    """Lay the encodings of a Rust tokenizer end to end."""
    attribute = {"input_ids": "ids", "token_type_ids": "type_ids"}
    rows = {name: [getattr(encoding, attribute[name]) for encoding in encodings] for name in names}
    lengths = np.fromiter(map(len, rows["input_ids"]), np.int64, len(encodings))
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    flat = {name: np.fromiter(chain.from_iterable(row), np.int32, int(starts[-1])) for name, row in rows.items()}
    return TokenRows(flat, starts, cut)


@dataclass(frozen=True)
class _Cut:
    """What is left of an encoding."""

    ids: list[int]
    type_ids: list[int]


def _shortened(encoding: Any, max_length: int, side: str) -> _Cut:
    """Cut an encoding to a length, of a pair the longer text first; special tokens stay.

    The same tokens as the tokenizer's own truncation, which of a pair of long texts also makes every combination of
    their leftovers: time and memory grow with the product of the two lengths.
    """
    sequence = np.array([-1 if number is None else number for number in encoding.sequence_ids])
    keep = sequence < 0  # special tokens
    texts = [np.flatnonzero(sequence == number) for number in (0, 1)]
    room = max(0, max_length - int(keep.sum()))
    shorter = min(len(texts[0]), len(texts[1]), room // 2)
    sizes = (shorter, room - shorter) if len(texts[0]) <= len(texts[1]) else (room - shorter, shorter)
    for places, size in zip(texts, sizes, strict=True):
        keep[places[len(places) - size :] if side == "left" else places[:size]] = True
    return _Cut(np.array(encoding.ids)[keep].tolist(), np.array(encoding.type_ids)[keep].tolist())


def _cleaned(texts: Sequence[Any]) -> list[Any]:
    if texts and isinstance(texts[0], tuple):
        sides = [clean(list(side)) for side in zip(*texts, strict=True)]
        return list(zip(*sides, strict=True))
    return clean(list(texts))
