"""Lexical search: BM25 over stemmed words, the baseline for vectors to beat (Robertson & Zaragoza, 2009)."""

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from workbench._optional import require
from workbench.errors import ChoiceError, DataFormatError, choose
from workbench.progress import track
from workbench.protocols import Hits
from workbench.search.ids import Ids
from workbench.search.saved import ENGINE, read_folder, write_folder
from workbench.texts import as_texts, clean, slices

__all__ = ["LANGUAGES", "METHODS", "BM25Index"]

LANGUAGES = (
    "danish", "dutch", "english", "french", "german", "italian", "norwegian", "portuguese", "russian", "spanish",
    "swedish", "turkish",
)  # fmt: skip
"""Languages that have both a list of stop words and a stemmer."""
METHODS = {
    "lucene": "idf is never below 0; what most search engines compute",
    "robertson": "the original: words in half of the texts or more count nothing",
    "atire": "log(N / df) as idf",
    "bm25l": "kinder to long texts",
    "bm25+": "a word that occurs at all counts at least delta",
}
"""Variants of the formula, as compared by Kamphuis et al., 2020."""

_Array = npt.NDArray[Any]

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
            choose("language", language, dict.fromkeys(LANGUAGES))
        choose("BM25 method", method, METHODS)
        if not (0 <= k1 < np.inf and 0 <= b <= 1 and 0 <= delta < np.inf):
            raise ValueError(
                f"k1 = {k1}, b = {b}, delta = {delta}: expected k1 and delta from 0 up, and b from 0 to 1."
            )
        self.language = language
        self._formula: dict[str, Any] = {"k1": k1, "b": b, "method": method, "delta": delta}
        self._ids = Ids()
        self._rows: list[array[int]] = []  # the words of each text, as their numbers
        self._numbers: dict[str, int] = {}  # of each word
        self._engine: Any = None  # weights of words in texts; None: there are texts that it does not know

    def add(self, ids: Sequence[Any] | None, rows: Any) -> None:
        """Add texts under ids: whole numbers or strings, each once; None numbers them on.

        Raises:
            TextTypeError: a row is not a text; names its index and type.
            TypeError, ValueError: ids of the wrong kind, repeated, or not one for each text.
        """
        texts, _ = as_texts(rows, name="rows")
        new, numbers = self._ids.check(ids, len(texts)), self._numbers
        words = [array("i", [numbers.setdefault(word, len(numbers)) for word in row]) for row in self._words(texts)]
        self._ids.append(new)
        self._rows += words
        self._engine = None

    def delete(self, ids: Any) -> None:
        """Delete texts; raises ``KeyError`` for an id that none has."""
        gone = self._ids.find(ids)
        self._ids.remove(gone, close=True)
        for place in gone[::-1]:
            del self._rows[place]
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
        places, scores = np.full((len(texts), k), -1), np.full((len(texts), k), -np.inf, np.float32)
        for query, words in enumerate(self._words(texts, "Searching")):
            known = [self._numbers[word] for word in words if word in self._numbers]
            if known and self._rows:
                found = self._found(known, k)
                places[query, : len(found[0])], scores[query, : len(found[0])] = found
        return Hits(self._ids.at(places), scores)

    def _found(self, words: list[int], k: int) -> tuple[_Array, _Array]:
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
            self._engine.index((self._rows, self._numbers), create_empty_token=False, show_progress=False)
        return self._engine

    def save(self, path: str | Path) -> None:
        """Write the index to a folder, in one step.

        Raises:
            DataFormatError: the folder holds something else than an index, which is left alone.
        """
        from safetensors.numpy import save_file

        arrays = {
            "vocabulary": np.frombuffer("\n".join(self._numbers).encode(), np.uint8),
            "words": np.concatenate([np.zeros(0, np.int32), *self._rows]),
            "counts": np.array([len(row) for row in self._rows], np.int64),
        }
        if len(arrays["words"]):
            engine = self._weighed()
            arrays |= {name: engine.scores[name] for name in _WEIGHTS}
            arrays |= {} if engine.nonoccurrence_array is None else {"absent": engine.nonoccurrence_array}
        values = {"kind": self.kind, "settings": {"language": self.language, **self._formula}, "count": len(self)}
        with write_folder(path, values, self._ids) as folder:
            save_file(arrays, folder / ENGINE)

    @classmethod
    def open(cls, path: str | Path, **options: Any) -> Self:
        """Open an index that ``save`` wrote.

        Raises:
            DataFormatError: no index of this kind, or a damaged one.
            ChoiceError: an option differs from what the index was made with.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        values, ids = read_folder(path, cls.kind)
        try:
            settings = dict(values["settings"])
            index = cls(**settings)
            index._fill(load_file(Path(path) / ENGINE))
        except (LookupError, TypeError, ValueError, OSError, SafetensorError) as error:
            raise DataFormatError(f"{path} is damaged ({error}). Make the index again.") from error
        if len(index._rows) != ids.places:
            raise DataFormatError(f"{path} has {ids.places} ids for {len(index._rows)} texts. Make the index again.")
        for name, value in options.items():
            if value != settings.get(name):
                raise ChoiceError(
                    f"{path} was made with {name}={settings.get(name)!r}, not {value!r}. Make a new index."
                )
        index._ids = ids
        return index

    def _fill(self, arrays: dict[str, _Array]) -> None:
        """Take over what was saved, once it is known to fit together."""
        flat, counts = arrays["words"], arrays["counts"]
        names = bytes(arrays["vocabulary"]).decode()
        self._numbers = {word: number for number, word in enumerate(names.split("\n") if names else [])}
        _expect(flat.dtype == np.int32 and counts.dtype == np.int64, "types")
        _expect(flat.ndim == counts.ndim == 1 and counts.min(initial=0) >= 0 and counts.sum() == len(flat), "texts")
        _expect(flat.min(initial=0) >= 0 and flat.max(initial=-1) < len(self._numbers), "words")
        ends = counts.cumsum().tolist()
        self._rows = [array("i", flat[start:end].tobytes()) for start, end in zip([0, *ends], ends, strict=False)]
        if len(flat):
            weights, absent = {name: arrays[name] for name in _WEIGHTS}, arrays.get("absent")
            data, places, starts = weights.values()
            _expect(
                starts.shape == (len(self._numbers) + 1,) and starts[0] == 0 and (np.diff(starts) >= 0).all(), "words"
            )
            _expect(data.shape == places.shape == (starts[-1],), "weights")
            _expect(places.min(initial=0) >= 0 and places.max(initial=-1) < len(counts), "texts")
            _expect(absent is None or absent.shape == (len(self._numbers),), "words")
            self._engine = require("bm25s", extra="search").BM25(**self._formula)
            self._engine.scores = {**weights, "num_docs": len(counts)}
            self._engine.nonoccurrence_array = absent

    def __len__(self) -> int:
        return len(self._ids)


def _expect(sound: bool | np.bool_, what: str) -> None:
    if not sound:
        raise ValueError(f"its {what} do not fit together")
