"""Semantic search over codes in FAISS and in USearch, with the familiar arguments and results."""

import logging
import time
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workbench._optional import require
from workbench.errors import VectorError, choose
from workbench.progress import track
from workbench.quantization.codes import PRECISIONS, Quantizer
from workbench.search.coded import rescore as score_again
from workbench.vectors import BLOCK_BYTES, as_matrix, float_rows

__all__ = ["semantic_search_faiss", "semantic_search_usearch"]

_logger = logging.getLogger(__name__)

_Array = npt.NDArray[Any]

_LINKS = 16  # of each row to others in the graph of FAISS


def semantic_search_faiss(
    query_embeddings: Any,
    corpus_embeddings: Any = None,
    corpus_index: Any = None,
    corpus_precision: str = "float32",
    top_k: int = 10,
    ranges: Any = None,
    calibration_embeddings: Any = None,
    rescore: bool = True,
    rescore_multiplier: int = 2,
    exact: bool = True,
    output_index: bool = False,
) -> tuple[Any, ...]:
    """Find the best rows of a corpus in FAISS, which needs ``pip install 'sentence-workbench[search]'``.

    Bits are the reason to use it: ``ubinary`` takes a 32nd of the memory. FAISS's flat index holds ``uint8`` codes as
    floats, so they save memory only on disk; ``workbench.search.open_index`` and USearch keep bytes as bytes.

    Args:
        query_embeddings: (q, dim) float vectors; or codes, which are compared as they are and never re-scored.
        corpus_embeddings: (n, dim) vectors, or the codes that ``quantize_embeddings`` made of them.
        corpus_index: an index that an earlier call gave, in place of ``corpus_embeddings``.
        corpus_precision: float32, uint8 or ubinary.
        top_k: how many rows to find for each query.
        ranges: (2, dim) the ranges that the corpus was quantized with (uint8).
        calibration_embeddings: the vectors whose ranges they were, in place of ``ranges``. Without either, the ranges
            of the queries are taken, which is wrong unless the corpus was quantized with those.
        rescore: whether to look for ``top_k * rescore_multiplier`` codes and order these by the float query.
        rescore_multiplier: more finds more of what the codes missed, and takes longer.
        exact: whether to compare every row, or to walk a graph (HNSW) that may miss some.
        output_index: whether to return the index too.

    Returns:
        For each query a list of {"corpus_id", "score"}, best first; the seconds that searching took; and the index if
        asked for. Scores after re-scoring are dot products with the decoded codes (for bits: the sum of the query's
        dimensions whose bit is set). Otherwise they are the engine's own: dot products, or for bits the number that
        differ, where less is better.

        One result is better than the familiar one: with ``rescore``, ``uint8`` candidates are chosen by the float
        query. A product of two unsigned codes mostly says how large their numbers are, and can miss three in ten of
        the best rows.

    Raises:
        DependencyError: FAISS is not installed.
        ChoiceError: a precision that this engine does not have.
        VectorError: both of ``corpus_embeddings`` and ``corpus_index`` or neither, dimensions or ranges that do not
            fit, NaN or infinite values, or a corpus that is not in ``corpus_precision``.
        ValueError: ``top_k`` or ``rescore_multiplier`` below 1.
    """
    return _search(
        _Faiss(), query_embeddings, corpus_embeddings, corpus_index, corpus_precision, top_k, ranges,
        calibration_embeddings, rescore, rescore_multiplier, exact, output_index,
    )  # fmt: skip


def semantic_search_usearch(
    query_embeddings: Any,
    corpus_embeddings: Any = None,
    corpus_index: Any = None,
    corpus_precision: str = "float32",
    top_k: int = 10,
    ranges: Any = None,
    calibration_embeddings: Any = None,
    rescore: bool = True,
    rescore_multiplier: int = 2,
    exact: bool = True,
    output_index: bool = False,
) -> tuple[Any, ...]:
    """Find the best rows of a corpus in USearch, which holds bytes as bytes and bits as bits.

    Arguments, results and errors are those of ``semantic_search_faiss``, with these differences: ``corpus_precision``
    is float32, int8, binary or ubinary; and the scores of the engine itself are distances, where less is better: 1 -
    cosine for float32, the negated product of two codes for int8, the number of bits that differ. ``int8`` candidates
    are chosen by such products, which misses one in ten of the best: give ``rescore_multiplier=4`` or more.
    """
    return _search(
        _Usearch(), query_embeddings, corpus_embeddings, corpus_index, corpus_precision, top_k, ranges,
        calibration_embeddings, rescore, rescore_multiplier, exact, output_index,
    )  # fmt: skip


class _Engine(Protocol):
    """What a library does with float32 vectors, bytes, or bits, which are unsigned here."""

    name: str
    precisions: tuple[str, ...]

    def build(self, precision: str, width: int, exact: bool) -> Any:
        """Return an empty index of codes of ``width`` numbers."""

    def add(self, index: Any, codes: _Array) -> None:
        """Add codes as the next rows."""

    def size(self, index: Any) -> tuple[int, int]:
        """Return how many rows there are, and how many numbers or bits each has."""

    def search(self, index: Any, queries: _Array, k: int, exact: bool) -> tuple[_Array, _Array]:
        """Return scores and ids, (q, k) each; -1 where nothing was found."""

    def fetch(self, index: Any, ids: _Array) -> _Array:
        """Return the codes of (m,) ids."""


class _Faiss:
    name: str = "FAISS"
    precisions: tuple[str, ...] = ("float32", "uint8", "ubinary")

    def __init__(self) -> None:
        self.faiss = require("faiss", extra="search")

    def build(self, precision: str, width: int, exact: bool) -> Any:
        if precision == "ubinary":
            return self.faiss.IndexBinaryFlat(8 * width) if exact else self.faiss.IndexBinaryHNSW(8 * width, _LINKS)
        inner = self.faiss.METRIC_INNER_PRODUCT
        return self.faiss.IndexFlatIP(width) if exact else self.faiss.IndexHNSWFlat(width, _LINKS, inner)

    def add(self, index: Any, codes: _Array) -> None:
        index.add(self._numbers(index, codes))

    def size(self, index: Any) -> tuple[int, int]:
        return index.ntotal, index.d

    def search(self, index: Any, queries: _Array, k: int, exact: bool) -> tuple[_Array, _Array]:
        scores, ids = index.search(self._numbers(index, queries), k)
        return scores, ids

    def fetch(self, index: Any, ids: _Array) -> _Array:
        some, places = np.unique(ids, return_inverse=True)
        return np.stack([index.reconstruct(one) for one in some.tolist()])[places]

    def _numbers(self, index: Any, codes: _Array) -> _Array:
        """Bits as they are; bytes as the floats that a flat index holds."""
        binary = isinstance(index, self.faiss.IndexBinary)
        return np.ascontiguousarray(codes, np.uint8 if binary else np.float32)


class _Usearch:
    name: str = "USearch"
    precisions: tuple[str, ...] = ("float32", "int8", "ubinary", "binary")

    def __init__(self) -> None:
        self.usearch = require("usearch.index", extra="search")

    def build(self, precision: str, width: int, exact: bool) -> Any:
        if precision.endswith("binary"):
            return self.usearch.Index(ndim=8 * width, metric="hamming", dtype="b1")
        metric, dtype = ("cos", "f32") if precision == "float32" else ("ip", "i8")
        return self.usearch.Index(ndim=width, metric=metric, dtype=dtype)

    def add(self, index: Any, codes: _Array) -> None:
        index.add(np.arange(len(index), len(index) + len(codes)), codes)

    def size(self, index: Any) -> tuple[int, int]:
        return len(index), index.ndim

    def search(self, index: Any, queries: _Array, k: int, exact: bool) -> tuple[_Array, _Array]:
        found = index.search(queries, k, exact=exact)
        scores, ids = np.atleast_2d(found.distances), np.atleast_2d(found.keys).astype(np.int64)
        counts = np.asarray(getattr(found, "counts", ids.shape[1])).reshape(-1, 1)  # one query alone has no counts
        return scores, np.where(np.arange(ids.shape[1]) < counts, ids, -1)

    def fetch(self, index: Any, ids: _Array) -> _Array:
        return np.asarray(index.get(ids))


def _search(
    engine: _Engine, queries: Any, corpus: Any, index: Any, precision: str, top_k: int, ranges: Any, calibration: Any,
    rescore: bool, multiplier: int, exact: bool, output_index: bool,
) -> tuple[Any, ...]:  # fmt: skip
    choose(f"precision for {engine.name}", precision, dict.fromkeys(engine.precisions))
    if (corpus is None) == (index is None):
        raise VectorError("Pass one of corpus_embeddings and corpus_index: vectors, or the index of an earlier call.")
    for name, value in (("top_k", top_k), ("rescore_multiplier", multiplier)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1.")
    queries = as_matrix(queries, name="query_embeddings")
    index = _build(engine, as_matrix(corpus, name="corpus_embeddings"), precision, exact) if index is None else index
    rows, size = engine.size(index)
    quantizer = None  # of codes, which stay as they are
    if precision == "float32" or _is_float(queries):
        queries = float_rows(queries, 0, len(queries), name="query_embeddings").cpu().numpy()
        quantizer = _quantizer(precision, queries, ranges, calibration)
    if quantizer is not None and rescore and precision == "uint8":
        # Products of unsigned codes say more of how large these are than of how alike, so these queries stay floats.
        codes = queries * quantizer.steps
    else:
        codes = _of_precision(quantizer.encode(queries) if quantizer else queries, precision, "query_embeddings")
        codes = _bits(codes, precision)
    if (width := codes.shape[1] * (8 if "binary" in precision else 1)) != size:
        raise VectorError(f"query_embeddings have {queries.shape[1]} dimensions, which makes {width}, not {size}.")

    start = time.perf_counter()
    again = quantizer is not None and rescore and precision != "float32"
    k = min(top_k * multiplier if again else top_k, rows)
    scores, ids = engine.search(index, codes, k, exact) if k and len(codes) else np.zeros((2, len(codes), 0))
    if quantizer is not None and again and k:
        scores, ids = score_again(queries, ids, lambda some: _decode(quantizer, engine.fetch(index, some)), top_k)
    seconds = time.perf_counter() - start
    results = [
        [{"corpus_id": one, "score": float(score)} for one, score in zip(*pair, strict=True) if one >= 0]
        for pair in zip(ids.tolist(), scores.tolist(), strict=True)
    ]
    return (results, seconds, index) if output_index else (results, seconds)


def _build(engine: _Engine, corpus: Any, precision: str, exact: bool) -> Any:
    """An index of the corpus, added block by block."""
    index = engine.build(precision, corpus.shape[1], exact)
    size = max(1, BLOCK_BYTES // (4 * max(1, corpus.shape[1])))
    with track(len(corpus), unit="rows", desc="Indexing") as bar:
        for start in range(0, len(corpus), size):
            if precision == "float32":
                part = float_rows(corpus, start, start + size, name="corpus_embeddings", first=start).cpu().numpy()
            else:
                part = _bits(_of_precision(corpus[start : start + size], precision, "corpus_embeddings"), precision)
            engine.add(index, part)
            bar.update(len(part))
    return index


def _quantizer(precision: str, queries: _Array, ranges: Any, calibration: Any) -> Quantizer:
    """How float queries become codes of the corpus's kind."""
    if "int" not in precision or ranges is not None:
        return Quantizer(precision, queries.shape[1], ranges if "int" in precision else None)
    if calibration is None:
        _logger.warning("%s queries are quantized by their own ranges: pass those of the corpus.", precision)
    return Quantizer.fit(precision, queries if calibration is None else calibration)


def _decode(quantizer: Quantizer, codes: _Array) -> _Array:
    """What candidates are scored by: each bit as 0 or 1, each byte as the lower end of its step."""
    if quantizer.ranges is None:
        return np.unpackbits(codes, axis=1, count=quantizer.dim)
    lowest = np.float32(-128 if quantizer.precision == "int8" else 0)
    values: _Array = quantizer.ranges[0] + (codes - lowest) * quantizer.steps
    return values


def _of_precision(codes: Any, precision: str, name: str) -> _Array:
    """Codes as an array, checked to be of the type that the precision has."""
    array = np.ascontiguousarray(codes.cpu() if hasattr(codes, "cpu") else codes)
    if array.dtype != (kind := np.dtype(PRECISIONS[precision])):
        raise VectorError(
            f"{name} are {array.dtype}, where {precision!r} is {kind}. "
            f"quantize_embeddings(..., precision={precision!r}) makes such codes."
        )
    return array


def _bits(codes: _Array, precision: str) -> _Array:
    """Codes whose bits, if it is bits, are unsigned."""
    return codes.view(np.uint8) ^ 0x80 if precision == "binary" else codes


def _is_float(matrix: Any) -> bool:
    return bool(matrix.is_floating_point() if hasattr(matrix, "is_floating_point") else matrix.dtype.kind == "f")
