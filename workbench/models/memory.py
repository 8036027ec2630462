"""Words met before and their token ids: for a tokenizer that reads words one by one, looking up beats reading anew."""

import re
from itertools import chain
from threading import Lock

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from workbench.tokens import IntArray, TokenRows, pack

__all__ = ["WordMemory", "splitter"]

_REMEMBERED = 100_000  # words kept: about 15 MB


class WordMemory:
    """Tokenise texts word by word, each word once. Threads may share it; it starts anew where it grows too large.

    Args:
        tokenizer: whose tokens of a text are those of its words, cut at single spaces.
        parts: where words are cut further without changing their tokens; see ``splitter``.
    """

    def __init__(self, tokenizer: Tokenizer, parts: re.Pattern[str]) -> None:
        self._tokenizer, self._parts, self._lock = tokenizer, parts, Lock()
        self._known = _Known()

    def __len__(self) -> int:
        return len(self._known.numbers)

    def __reduce__(self) -> tuple[type["WordMemory"], tuple[Tokenizer, re.Pattern[str]]]:
        return WordMemory, (self._tokenizer, self._parts)  # a copy starts anew: a lock cannot be copied

    def rows(self, texts: list[str]) -> TokenRows:
        """The token ids of ``texts``, without special tokens."""
        known, words = self._known, " ".join(texts).split(" ") if texts else []
        numbers = list(map(known.numbers.get, words))
        if None in numbers:
            with self._lock:
                self._learn(known, {word for word, number in zip(words, numbers, strict=True) if number is None})
                if len(known.numbers) + known.letters // 100 > _REMEMBERED:
                    self._known = _Known()
            numbers = list(map(known.numbers.get, words))
        index = np.array(numbers, np.int64)
        return known.join(index, [text.count(" ") + 1 for text in texts])

    def _learn(self, known: "_Known", words: set[str]) -> None:
        """Add ``words``: their parts are tokenised, each once, and a word's ids are those of its parts end to end."""
        pieces = {word: self._parts.split(word) for word in words}
        fresh = list(set(chain.from_iterable(pieces.values())).difference(known.numbers))
        known.add(fresh, pack(self._tokenizer.encode_batch_fast(fresh, add_special_tokens=False)))
        whole = [word for word in words if word not in known.numbers]
        numbers = map(known.numbers.__getitem__, chain.from_iterable(map(pieces.__getitem__, whole)))
        known.add(whole, known.join(np.fromiter(numbers, np.int64), [len(pieces[word]) for word in whole]))


class _Known:
    """Words by number, and the token ids of each; it only grows, and its table before its numbers."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.table = TokenRows({"input_ids": np.empty(0, np.int32)}, np.zeros(1, np.int64))
        self.letters = 0

    def join(self, words: IntArray, counts: list[int]) -> TokenRows:
        """The ids of the words of these numbers, the first ``counts[0]`` of them as the first row, and so on."""
        starts = _starts(self.table.lengths[words])[_starts(counts)]
        return TokenRows({"input_ids": self.table.flat(words)[0].numpy()}, starts)

    def add(self, words: list[str], rows: TokenRows) -> None:
        old, size = self.table, len(self.table)
        ids = np.concatenate([old.columns["input_ids"], rows.columns["input_ids"]])
        self.table = TokenRows({"input_ids": ids}, np.concatenate([old.starts, old.starts[-1] + rows.starts[1:]]))
        self.numbers.update(zip(words, range(size, size + len(words)), strict=True))
        self.letters += sum(map(len, words))


def _starts(lengths: npt.ArrayLike) -> IntArray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def splitter(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    """Where words can be cut further without changing their tokens; None where tokens depend on neighbouring words."""
    added = tokenizer.get_added_tokens_decoder().values()
    kinds = [type(part).__name__ for part in (tokenizer.normalizer, tokenizer.pre_tokenizer)]
    if kinds != ["BertNormalizer", "BertPreTokenizer"] or any(
        token.normalized or " " in token.content for token in added
    ):
        return None
    special = sorted((re.escape(token.content) for token in added), key=len, reverse=True)
    return re.compile("(" + "|".join([*special, r"[!-/:-@\[-`{-~\t\n\r]"]) + ")")
