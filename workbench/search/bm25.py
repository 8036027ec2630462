"""Lexical search: BM25 over stemmed words, the baseline that dense vectors have to beat (Robertson & Zaragoza, 2009)."""

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from workbench._optional import require
from workbench.errors import DataFormatError, choose
from workbench.folders import inside, read_json, write_atomically, write_json
from workbench.progress import track
from workbench.protocols import Hits
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
_WEIGHTS = ("data", "indices", "indptr")  # of each word, the texts that have it and its weight there: a sparse matrix


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

    kind = "bm25"

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
            raise ValueError(
                f"k1 = {k1}, b = {b}, delta = {delta}: expected k1 and delta from 0 up, and b from 0 to 1."
            )
        self.language = language
        self._formula: dict[str, Any] = {"k1": k1, "b": b, "method": method, "delta": delta}
        self._rows: dict[Any, array[int]] = {}  # by id: the words of a text, as their numbers
        self._numbers: dict[str, int] = {}  # of each word
        self._engine: Any = None  # weights of words in texts; None: there are texts that it does not know

    def add(self, ids: Sequence[Any] | None, rows: Any) -> None:
        """Add texts under ids: whole numbers or strings, each once; None numbers them on.

        Raises:
            TextTypeError: a row is not a text; names its index and type.
            ValueError: another number of ids, two kinds of them, or one that is there already.
        """
        texts, _ = as_texts(rows, name="rows")
        names = self._checked(ids, len(texts))
        numbers = self._numbers
        words = [array("i", [numbers.setdefault(word, len(numbers)) for word in row]) for row in self._words(texts)]
        self._rows.update(zip(names, words, strict=True))
        self._engine = None

    def delete(self, ids: Sequence[Any]) -> int:
        """Forget the texts with these ids, those that are there, and return how many they were."""
        gone = [name for name in dict.fromkeys(ids) if name in self._rows]
        for name in gone:
            del self._rows[name]
        self._engine = None
        return len(gone)

    def search(self, queries: Any, k: int = 10) -> Hits:
        """Return the k best texts for each query: those that share words with it.

        Raises:
            TextTypeError: a query is not a text; names its index and type.
            ValueError: k is below 1.
        """
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least one text.")
        texts, _ = as_texts(queries, name="queries")
        places, scores = np.full((len(texts), k), -1), np.full((len(texts), k), -np.inf, np.float32)
        for query, words in enumerate(self._words(texts, "Searching")):
            known = [self._numbers[word] for word in words if word in self._numbers]
            if known and self._rows:
                found = self._found(known, k)
                places[query, : len(found[0])], scores[query, : len(found[0])] = found
        strings = isinstance(next(iter(self._rows), None), str)
        names = np.array([*self._rows, None if strings else -1], dtype=object if strings else np.int64)
        return Hits(names[places], scores)

    def _found(self, words: list[int], k: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Positions and scores of the k best texts that have one of the words; of equal ones, the earlier first."""
        engine = self._weighed()
        scores = engine.get_scores_from_ids(words)  # (texts,)
        absent = engine.nonoccurrence_array  # what a text without the word gets, in bm25l and bm25+
        least = 0 if absent is None else absent[words].sum()
        limit = np.partition(scores, -k)[-k] if k < len(scores) else least
        chosen = np.flatnonzero((scores > least) & (scores >= limit))
        chosen = chosen[np.argsort(-scores[chosen], kind="stable")][:k]
        return chosen, scores[chosen]

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
            self._engine.index(
                (list(self._rows.values()), self._numbers), create_empty_token=False, show_progress=False
            )
        return self._engine

    def _checked(self, ids: Sequence[Any] | None, count: int) -> list[Any]:
        """Ids for new texts, of one kind with those that are there."""
        known = next(iter(self._rows), None)
        if ids is None:
            if isinstance(known, str):
                raise ValueError("The ids of this index are strings, which cannot be numbered on. Pass ids.")
            first = max(self._rows, default=-1) + 1
            return list(range(first, first + count))
        names = [int(name) if isinstance(name, np.integer) else name for name in ids]
        kind: type = str if isinstance(names[0] if known is None and names else known, str) else int
        if wrong := [name for name in names if type(name) is not kind]:
            raise ValueError(f"The id {wrong[0]!r} is none: expected {'strings' if kind is str else 'whole numbers'}.")
        if len(names) != count:
            raise ValueError(f"Got {len(names)} ids for {count} texts; give each text one.")
        if twice := [name for name, times in Counter(names).items() if times > 1 or name in self._rows]:
            raise ValueError(f"The ids {twice[:5]} come twice, or are in the index already. Each text needs its own.")
        return names

    def save(self, path: str | Path) -> None:
        """Write the index to a folder, in one step."""
        from safetensors.numpy import save_file

        engine = self._weighed() if self._rows and self._numbers else None
        rows = list(self._rows.values())
        arrays = {
            "words": np.concatenate([np.zeros(0, np.int32), *rows]).astype(np.int32),
            "counts": np.array([len(row) for row in rows], np.int32),
            **({} if engine is None else {name: engine.scores[name] for name in _WEIGHTS}),
        }
        if engine is not None and engine.nonoccurrence_array is not None:
            arrays["absent"] = engine.nonoccurrence_array
        with write_atomically(path) as folder:
            write_json(folder / "index.json", {"kind": self.kind, "language": self.language, **self._formula})
            names = {"ids": list(self._rows), "words": list(self._numbers)}
            (folder / "names.json").write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")
            save_file(arrays, folder / "arrays.safetensors")

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a saved index.

        Raises:
            DataFormatError: the folder holds no such index, or a damaged one.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            settings = read_json(path, "index.json")
            if settings.pop("kind", None) != cls.kind:
                raise DataFormatError("it is of another kind.")
            index = cls(settings.pop("language"), **settings)
            names = json.loads(inside(path, "names.json").read_text(encoding="utf-8"))
            index._fill(names["ids"], names["words"], load_file(inside(path, "arrays.safetensors")))
        except (ValueError, TypeError, LookupError, OSError, SafetensorError, RecursionError) as error:
            raise DataFormatError(f"{path} holds no sound BM25 index: {error}") from error
        return index

    def _fill(self, ids: list[Any], words: list[str], arrays: dict[str, Any]) -> None:
        """Take over what was saved, once it is known to fit together."""
        flat, counts = arrays["words"], arrays["counts"]
        ends = np.cumsum(counts, dtype=np.int64)
        weights = {name: arrays[name] for name in _WEIGHTS if name in arrays}
        sound = (
            flat.dtype == counts.dtype == np.int32
            and flat.ndim == counts.ndim == 1
            and len(counts) == len(self._checked(ids, len(ids)))
            and counts.min(initial=0) >= 0
            and counts.sum() == len(flat)
            and flat.min(initial=0) >= 0
            and flat.max(initial=-1) < len(words) == len({*map(str, words)})
        )
        if not sound or bool(weights) != bool(len(ids) and len(words)):
            raise DataFormatError("its parts do not fit together.")
        self._numbers = {str(word): number for number, word in enumerate(words)}
        rows = (array("i", flat[end - count : end].tobytes()) for count, end in zip(counts.tolist(), ends, strict=True))
        self._rows = dict(zip(ids, rows, strict=True))
        if weights:
            data, indices, indptr = (weights[name] for name in _WEIGHTS)
            absent = arrays.get("absent")
            sound = (
                indptr.shape == (len(words) + 1,)
                and data.shape == indices.shape == (indptr[-1],)
                and indptr[0] == 0
                and (np.diff(indptr) >= 0).all()
                and (not len(indices) or 0 <= indices.min() <= indices.max() < len(ids))
                and (absent is None or absent.shape == (len(words),))
            )
            if not sound:
                raise DataFormatError("its weights do not fit its texts.")
            self._engine = require("bm25s", extra="search").BM25(**self._formula)
            self._engine.scores = {**weights, "num_docs": len(ids)}
            self._engine.nonoccurrence_array = absent

    def __len__(self) -> int:
        return len(self._rows)
