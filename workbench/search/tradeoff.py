"""What fewer bytes cost: size, recall and latency of one's own vectors, by precision, re-scoring and dimensions."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from workbench.devices import one_thread
from workbench.errors import VectorError, choose
from workbench.progress import listen, track
from workbench.quantization.codes import PRECISIONS, Quantizer
from workbench.search.coded import hamming_top_k, rescore
from workbench.search.topk import top_k
from workbench.vectors import as_matrix, float_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Setting", "Tradeoff", "quantization_tradeoff"]

_Array = npt.NDArray[Any]
_Search = Callable[[_Array], tuple[_Array, _Array]]

_SAMPLE_BYTES = 2**27  # of float32 vectors searched
_SAMPLE_QUERIES = 1_000
_TIMED = 20  # queries, one at a time
_REPEATS = 3
_METRICS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"cosine": normalize, "dot": torch.Tensor.contiguous}


@dataclass(frozen=True)
class Setting:
    """One way to keep vectors, and what it costs."""

    precision: str
    dim: int
    rescore: bool
    bytes_per_vector: int
    bytes: int  # of all vectors
    recall: float  # the share of the k best rows, by whole float32 vectors, that are found
    milliseconds: float  # for one query at a time on one thread, median


@dataclass(frozen=True)
class Tradeoff:
    """Sizes, recalls and latencies measured on the same vectors and queries."""

    rows: tuple[Setting, ...]
    k: int
    metric: str
    rescore_multiplier: int
    vectors: int  # in the corpus, for which ``bytes`` are given
    searched: int  # of these, drawn at random: what ``recall`` and ``milliseconds`` were measured on
    queries: int

    def best(self, recall: float = 0.95) -> Setting:
        """Return the setting of the fewest bytes that keeps this recall; of equally small ones the simpler one.

        Raises:
            ValueError: none keeps it; says what the best one keeps.
        """
        kept = [row for row in self.rows if row.recall >= recall]
        if not kept:
            top = max(self.rows, key=lambda row: row.recall)
            raise ValueError(f"No setting keeps {recall}: {top.precision} with {top.dim} dimensions {top.recall:.3f}.")
        return min(kept, key=lambda row: row.bytes_per_vector)

    def to_frame(self) -> "pd.DataFrame":
        """Return the settings as a table, the largest first."""
        import pandas as pd

        table = pd.DataFrame([asdict(row) for row in self.rows])
        return table.rename(columns={"recall": f"recall@{self.k}", "milliseconds": "ms per query"})

    @property
    def notes(self) -> list[str]:
        """What a reader of the numbers should know."""
        notes = [f"recall@{self.k}: the share of the {self.k} best rows that are found, by float32 and all dimensions."]
        if self.searched < self.vectors:
            notes.append(
                f"Measured on {self.searched:,} of {self.vectors:,} vectors, drawn at random: among all of them recall "
                "is lower, and latency grows with their number."
            )
        if len({row.dim for row in self.rows}) > 1:
            notes.append(
                "Fewer dimensions are the first ones of each vector. Only a model trained for it (Matryoshka) puts "
                "the most into those; for any other, a random choice may do as well. Recall says what yours keeps."
            )
        notes.append(
            "Latency is that of exact search in this library, every row looked at. It compares settings; a search "
            "engine with arithmetic for bytes is faster at int8."
        )
        return notes


def quantization_tradeoff(
    queries: Any,
    corpus: Any,
    *,
    precisions: Sequence[str] = ("float32", "int8", "binary"),
    dims: Sequence[int] | None = None,
    k: int = 10,
    metric: str = "cosine",
    rescore_multiplier: int = 4,
    sample: int | None = None,
    seed: int = 0,
    show: bool | None = None,
) -> Tradeoff:
    """Measure what one's own vectors lose in fewer bytes, and what they save.

    Codes are compared with the codes of queries; with re-scoring, the best ``k * rescore_multiplier`` of them are then
    ordered by the float32 query. At most 128 MB of vectors and a thousand queries are searched, drawn at random.

    Args:
        queries: (q, dim) vectors of real questions, not rows of the corpus: those would find themselves.
        corpus: (n, dim) vectors; a memory-mapped file stays on disk.
        precisions: keys of ``workbench.quantization.PRECISIONS``; int8 and uint8 keep the same, as do the two binaries.
        dims: how many of the first dimensions to keep; None: all of them, a half and a quarter.
        k: how many rows a search should find.
        metric: "cosine" (vectors are scaled to length 1, after dimensions are dropped and before they are quantized),
            or "dot" (they are taken as they are).
        rescore_multiplier: how many candidates re-scoring takes for each row to find.
        sample: how many rows of the corpus to search; None: as many as fit.
        seed: for the rows that are drawn.
        show: whether to show progress; see ``workbench.show_progress``.

    Raises:
        ChoiceError: an unknown precision or metric.
        VectorError: no rows, NaN or infinite values, different dimensions, or more ``dims`` than there are.
        ValueError: ``k``, ``rescore_multiplier`` or ``sample`` below 1.
    """
    for name, value in (("k", k), ("rescore_multiplier", rescore_multiplier), ("sample", sample or 1)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1.")
    for precision in precisions:
        choose("precision", precision, PRECISIONS)
    scale = choose("metric", metric, _METRICS)
    corpus = as_matrix(corpus, name="corpus")
    total, dim = corpus.shape
    queries = as_matrix(queries, name="queries", dim=dim if len(corpus) else None)
    if not total or not len(queries):
        raise VectorError(f"There are {total} vectors and {len(queries)} queries; give at least one of each.")
    dims = _grid(dim) if dims is None else sorted({int(size) for size in dims}, reverse=True)
    if not dims or dims[0] > dim or dims[-1] < 1:
        raise VectorError(f"dims are {list(dims)}; expected numbers from 1 to {dim}, what the vectors have.")

    corpus = _drawn(corpus, sample or max(1_000, _SAMPLE_BYTES // (4 * dim)), seed, "corpus")
    queries = _drawn(queries, _SAMPLE_QUERIES, seed, "queries")
    whole = scale(queries).numpy(), scale(corpus).numpy()
    rows = []
    steps = {name: [False] if name == "float32" else [False, True] for name in precisions}  # re-score or not
    total_steps = len(dims) * sum(map(len, steps.values()))
    with track(total_steps, unit="settings", desc="Measuring", show=show) as bar, listen(lambda _: bar.update(0)):
        best = min(k, len(corpus))
        scores, _ = rescore(whole[0], top_k(*whole, best, metric="dot")[1].numpy(), whole[1].__getitem__, best)
        for size in dims:
            asked, kept = (scale(side[:, :size]).numpy() for side in (queries, corpus))
            for precision, ways in steps.items():
                quantizer = Quantizer.fit(precision, kept)
                codes = quantizer.encode(kept)
                for again in ways:
                    search = _search(quantizer, codes, best, rescore_multiplier if again else 0)
                    recall = _recall(search(asked)[1], whole, scores[:, -1:])
                    width = quantizer.bytes_per_vector
                    rows.append(Setting(precision, size, again, width, width * total, recall, _latency(search, asked)))
                    bar.update(1)
    return Tradeoff(tuple(rows), k, metric, rescore_multiplier, total, len(corpus), len(queries))


def _grid(dim: int) -> list[int]:
    """All dimensions, a half and a quarter, in whole bytes of bits."""
    return [dim, *(size for part in (2, 4) if 8 <= (size := dim // part // 8 * 8) < dim)]


def _drawn(matrix: Any, most: int, seed: int, name: str) -> torch.Tensor:
    """Rows as a float32 tensor on the cpu: all of them, or as many as allowed, in the order they had."""
    if len(matrix) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(len(matrix), most, replace=False))
        matrix = matrix[torch.from_numpy(chosen) if isinstance(matrix, torch.Tensor) else chosen]
        name = f"rows drawn from the {name}"
    return float_rows(matrix, 0, len(matrix), device="cpu", name=name)


def _search(quantizer: Quantizer, codes: _Array, k: int, multiplier: int) -> _Search:
    """How vectors of one setting are searched: (q, dim) queries to scores and positions, (q, k)."""
    candidates = k * (multiplier or 1)

    def first(queries: _Array) -> tuple[_Array, _Array]:
        if quantizer.precision.endswith("binary"):
            return hamming_top_k(quantizer.encode(queries), codes, candidates)
        if quantizer.ranges is not None:  # the codes of the queries, in the proportions of each dimension's steps
            queries = quantizer.decode(quantizer.encode(queries)) * quantizer.steps
        scores, ids = top_k(queries, codes, candidates, metric="dot")
        return scores.numpy(), ids.numpy()

    def second(queries: _Array) -> tuple[_Array, _Array]:
        return rescore(queries, first(queries)[1], lambda ids: quantizer.decode(codes[ids]), k)

    return second if multiplier else first


def _recall(ids: _Array, whole: tuple[_Array, _Array], worst: _Array) -> float:
    """The share of rows found that are as good as the worst of the best; so equal rows may stand for each other."""
    scores, _ = rescore(whole[0], ids, whole[1].__getitem__, ids.shape[1])
    return float((scores >= worst - 1e-9).mean())


def _latency(search: _Search, queries: _Array) -> float:
    """Milliseconds for one query, on one thread."""
    seconds = []
    with one_thread():
        for turn in range(1 + _REPEATS):  # the first only warms up
            for place in range(min(_TIMED, len(queries))):
                start = time.perf_counter()
                search(queries[place : place + 1])
                seconds += [time.perf_counter() - start] if turn else []
    return 1000 * statistics.median(seconds)
