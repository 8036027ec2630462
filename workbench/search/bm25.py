"""Lexical search: BM25 over stemmed words, the baseline that dense vectors have to beat (Robertson & Zaragoza, 2009)."""

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from workbench._optional import require
from workbench.errors import DataFormatError, ModelFormatError, choose
from workbench.folders import inside, read_json, write_atomically, write_json
from workbench.progress import track
from workbench.protocols import Hits
from workbench.search.topk import Best
from workbench.texts import as_texts, clean, slices

__all__ = ["LANGUAGES", "METHODS", "BM25Index"]

LANGUAGES = dict.fromkeys(
    "danish dutch english french german italian norwegian portuguese russian spanish swedish turkish".split()
)
"""Languages that have both a list of stop words and a stemmer."""
METHODS = {
    "lucene": "idf is never below 0; what most search engines compute",
    "robertson": "the original: words in half of the texts or more count nothing",
    "atire": "log(N / df) as idf",
    "bm25l": "kinder to long texts",
    "bm25+": "a word that occurs at all counts at least delta",
}
"""Variants of the formula, as compared by Kamphuis et al., 2020."""

_SLICE = 2**12  # texts cut into words at a time
_CONFIG, _WORDS, _ARRAYS = "bm25.json", "words.txt", "bm25.safetensors"


class BM25Index:
    """Finds texts that share words with a query, rare words first: strong on names, numbers and codes.

    It knows no synonyms; ``HybridIndex`` joins it with vectors, which do. Words are runs of two letters or digits or
    more, in lower case, without the language's stop words, cut to their stem. A text without any word of the query is
    not found. Languages written without spaces need their words separated first.

    Args:
        language: one of ``LANGUAGES``, or None to keep every word as it is.
        k1: how much a repeated word adds: 0 nothing, higher more.
        b: how much long texts are held back: 0 not at all, 1 in full proportion.
        method: one of ``METHODS``.
        delta: what "bm25l" and "bm25+" add.

    Raises:
        ChoiceError: unknown language or method; lists the known ones.
        ValueError: k1, b or delta out of range.
    """

    def __init__(
        self,
        language: str | None = "english",
        *,
        k1: float = 1.5,
        b: float = 0.75,
        method: str = "lucene",
        delta: float = 0.5,
    ) -> None:
        if language is not None:
            choose("language", language, LANGUAGES)
        choose("BM25 method", method, METHODS)
        if not (0 <= k1 < np.inf and 0 <= b <= 1 and 0 <= delta < np.inf):
            raise ValueError(f"k1 = {k1}, b = {b}, delta = {delta}: expected k1 and delta from 0 up, and b from 0 to 1.")
        self.language = language
        self._formula: dict[str, Any] = {"k1": k1, "b": b, "method": method, "delta": delta}
        self._ids: list[Any] = []
        self._rows: list[array[int]] = []  # the words of each text, as their numbers
        self._numbers: dict[str, int] = {}  # of each word
        self._engine: Any = None  # weights of words in texts; None: there are texts that it does not know

    def add(self, ids: Sequence[Any] | None, rows: Any) -> None:
        """Add texts under ids: whole numbers or strings, each once; None numbers them on.

        Raises:
            TextTypeError: a row is not a text; names its index and type.
            ValueError: ids of the wrong number, or one that is there already.
        """
        texts, _ = as_texts(rows, name="rows")
        new = _checked(ids, len(texts), self._ids)
        numbers = self._numbers
        words = [array("i", [numbers.setdefault(word, len(numbers)) for word in row]) for row in self._words(texts)]
        self._ids += new
        self._rows += words
        self._engine = None

    def delete(self, ids: Sequence[Any]) -> None:
        """Forget the texts with these ids; ``ValueError`` for one that is not there."""
        gone = set(ids)
        if missing := gone - set(self._ids):
            raise ValueError(f"The index has no ids {sorted(missing, key=str)[:5]}; nothing was deleted.")
        kept = [place for place, name in enumerate(self._ids) if name not in gone]
        self._ids, self._rows = [self._ids[place] for place in kept], [self._rows[place] for place in kept]
        self._engine = None

    def search(self, queries: Any, k: int = 10) -> Hits:
        """Return the k best texts for each query: those that share words with it.

        Raises:
            TextTypeError: a query is not a text; names its index and type.
            ValueError: k is below 1.
        """
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least one text.")
        texts, _ = as_texts(queries, name="queries")
        best = Best(len(texts), k)
        for place, words in enumerate(self._words(texts, "Searching")):
            known = [self._numbers[word] for word in words if word in self._numbers]
            if known and self._rows:
                engine = self._weighed()
                scores = engine.get_scores_from_ids(known)  # (texts,)
                absent = engine.nonoccurrence_array  # what a text without the word gets, in bm25l and bm25+
                scores[scores <= (0 if absent is None else absent[known].sum())] = -np.inf
                best.push(torch.from_numpy(scores)[None], rows=slice(place, place + 1))
        found, places = best.ordered()
        return Hits(_named(self._ids, places.numpy()), found.numpy())

    def _words(self, texts: list[str], desc: str = "Indexing") -> Iterator[list[str]]:
        """The stems of each text, in order."""
        tokenize = require("bm25s", extra="search").tokenize
        stemmer = self.language and require("Stemmer", extra="search").Stemmer(self.language)
        with track(len(texts), unit="texts", desc=desc) as bar:
            for part in slices(texts, _SLICE):
                yield from tokenize(
                    clean(part), stopwords=self.language, stemmer=stemmer, return_ids=False, show_progress=False
                )
                bar.update(len(part))

    def _weighed(self) -> Any:
        """The engine with the weight of every word in every text; the weights depend on all texts, so all are new."""
        if self._engine is None:
            self._engine = require("bm25s", extra="search").BM25(**self._formula)
            self._engine.index((self._rows, self._numbers), create_empty_token=False, show_progress=False)
        return self._engine

    def save(self, path: str | Path) -> None:
        """Write the index to a folder, in one step."""
        from safetensors.numpy import save_file

        engine, words = self._weighed(), list(self._numbers)
        arrays = {"words": np.array([*itertools.chain(*self._rows)], np.int32), "counts": np.array([*map(len, self._rows)])}
        with write_atomically(path) as folder:
            pass

    def __len__(self) -> int:
        return len(self._ids)


def _checked(ids: Sequence[Any] | None, count: int, known: list[Any]) -> list[Any]:
    return list(range(len(known), len(known) + count)) if ids is None else list(ids)


def _named(ids: list[Any], places: Any) -> Any:
    strings = bool(ids) and isinstance(ids[0], str)
    table = np.array([*ids, None if strings else -1], dtype=object if strings else np.int64)
    return table[places]
