"""Retrieve and re-rank: an index finds candidates fast, a cross-encoder puts them in order (Nogueira & Cho, 2019)."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.errors import choose
from workbench.metrics import mrr_at_k, ndcg_at_k
from workbench.protocols import Hits, Index, Scores
from workbench.search.hybrid import FUSIONS, fuse
from workbench.texts import as_texts

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Reranked", "RetrieveRerank"]

_RANK_CONSTANT = 10.0  # for "rrf": lists of some ten candidates, where 60 would make the first ranks count too little

_Judgements = Sequence[Mapping[Any, float] | Iterable[Any]]


@dataclass(frozen=True)
class Reranked:
    """What retrieve and re-rank found: the same candidates in two orders, and what each stage took."""

    queries: list[str]
    retrieved: Hits  # (queries, candidates), as the index ranked them
    reranked: Hits  # (queries, candidates), in the new order; the same object where there is no cross-encoder
    texts: dict[Any, str]  # of every candidate, by id
    seconds: dict[str, float]  # "encode", "retrieve", "re-rank"
    gains: list[dict[Any, float]] | None = None  # of the judged documents, for each query

    def __len__(self) -> int:
        return len(self.queries)

    def to_frame(self, k: int | None = None) -> "pd.DataFrame":
        """Return one row per query and document, in the new order, the first ``k`` of each query (None: all).

        ``moved`` is how many ranks a document went up. Where judgements were given, ``gain`` is the document's.
        """
        import pandas as pd

        columns = [
            "query",
            "text of query",
            "id",
            "text",
            "retrieval rank",
            "retrieval score",
            "rank",
            "score",
            "moved",
        ]
        rows = []
        for number, (query, before, after) in enumerate(zip(self.queries, self.retrieved, self.reranked, strict=True)):
            old = {name: (rank, score) for rank, (name, score) in enumerate(before, 1)}
            for rank, (name, score) in enumerate(after[:k], 1):
                was, was_score = old[name]
                rows.append((number, query, name, self.texts[name], was, was_score, rank, score, was - rank))
        frame = pd.DataFrame(rows, columns=columns)
        if self.gains is not None:
            gains = zip(frame["query"], frame["id"], strict=True)
            frame["gain"] = [self.gains[number].get(name, 0.0) for number, name in gains]
        return frame

    def joined(self, method: str = "rrf") -> "Reranked":
        """Return the same with a last order in which both stages count the same; ``fuse`` says how, by ``method``.

        Raises:
            ChoiceError: an unknown method; lists the known ones.
        """
        width = self.retrieved.ids.shape[1]
        if self.reranked is self.retrieved or not width:
            return self
        both = [self.retrieved, self.reranked]
        return replace(self, reranked=fuse(both, width, method, rank_constant=_RANK_CONSTANT))

    def metrics(self, k: int = 10) -> dict[str, dict[str, float]]:
        """Return nDCG and MRR at ``k`` of both orders, over the queries that have a relevant document.

        Raises:
            ValueError: the search was given no judgements.
        """
        if self.gains is None:
            raise ValueError("There are no judgements to measure with. Pass judgements= to run().")
        judged = [number for number, gains in enumerate(self.gains) if any(gain > 0 for gain in gains.values())]
        ideal = _filled([list(self.gains[number].values()) for number in judged])
        found: dict[str, dict[str, float]] = {}
        for stage, hits in (("retrieved", self.retrieved), ("re-ranked", self.reranked)):
            rows = [hits.ids[number, :k].tolist() for number in judged]
            ranked = _filled(
                [[self.gains[n].get(name, 0.0) for name in row] for n, row in zip(judged, rows, strict=True)]
            )
            found[stage] = {f"nDCG@{k}": ndcg_at_k(ranked, ideal, k), f"MRR@{k}": mrr_at_k(ranked, k)}
        return found


class RetrieveRerank:
    """Searches texts in two stages: the index's best ``candidates`` for each query, put in order by a cross-encoder.

    Args:
        retriever: an index that takes queries as texts and is filled with the documents: ``BM25Index``, ``DenseIndex``
            for a model and vectors, or ``HybridIndex`` of both.
        documents: the texts that were indexed: a mapping from id to text, or a list where the ids are positions.
        reranker: scores (query, text) pairs, such as a ``CrossEncoder`` of one label; None leaves the order as it is.
        fusion: how the new order comes about. None: by the re-ranker alone. A key of ``FUSIONS`` joins its scores with
            the retriever's, both counting the same (see ``Reranked.joined``); the scores are then those of the fusion.
            Two opinions are safer than one where the re-ranker is small, or was trained on other texts.

    Raises:
        ChoiceError: an unknown fusion; lists the known ones.
    """

    def __init__(
        self,
        retriever: Index,
        documents: Mapping[Any, str] | Any,
        reranker: Scores | None = None,
        *,
        fusion: str | None = None,
    ) -> None:
        if fusion is not None:
            choose("fusion", fusion, FUSIONS)
        self.retriever, self.reranker, self.fusion = retriever, reranker, fusion
        self.documents = documents if isinstance(documents, Mapping) else as_texts(documents, name="documents")[0]

    def run(self, queries: Any, candidates: int = 100, *, judgements: _Judgements | None = None) -> Reranked:
        """Search for all queries at once.

        Args:
            queries: one text, or any iterable of texts.
            candidates: documents that the retriever hands on for each query. More find more, and take longer to score.
            judgements: for each query its relevant documents: a mapping from id to gain (1 or any grade), or their ids.

        Raises:
            TextTypeError: a query is not a text; names its index and type.
            ValueError: judgements for another number of queries, a document that was not given, or a re-ranker that
                does not give one finite score for each pair.
        """
        texts, _ = as_texts(queries, name="queries")
        gains = None if judgements is None else [_graded(known) for known in judgements]
        if gains is not None and len(gains) != len(texts):
            raise ValueError(f"Got judgements for {len(gains)} queries, but {len(texts)} queries.")
        seconds: dict[str, float] = {}
        with _timed(seconds, "encode"):
            asked = getattr(self.retriever, "encode_query", list)(texts)
        with _timed(seconds, "retrieve"):
            retrieved = self.retriever.search(asked, candidates)
        with _timed(seconds, "re-rank"):
            found = {name: self._text(name) for hits in retrieved for name, _ in hits}
            reranked = retrieved if self.reranker is None else _reranked(texts, retrieved, found, self.reranker)
        result = Reranked(texts, retrieved, reranked, found, seconds, gains)
        return result if self.fusion is None else result.joined(self.fusion)

    def _text(self, name: Any) -> str:
        try:
            text: str = self.documents[name]
        except (LookupError, TypeError) as error:
            raise ValueError(
                f"The index found {name!r}, which is not among the {len(self.documents)} documents. Pass those that "
                "were indexed: a mapping from id to text, or a list where the ids are positions."
            ) from error
        return text


def _reranked(queries: list[str], hits: Hits, texts: dict[Any, str], reranker: Scores) -> Hits:
    """The same hits, ordered by the re-ranker; of equal scores, in the order they had."""
    pairs = [(query, texts[name]) for query, row in zip(queries, hits, strict=True) for name, _ in row]
    given = np.asarray(reranker.predict(pairs), dtype=np.float32)
    if given.shape != (len(pairs),) or not np.isfinite(given).all():
        raise ValueError(
            f"The re-ranker gave scores of shape {given.shape} for {len(pairs)} pairs, "
            f"{np.count_nonzero(~np.isfinite(given))} of them not finite. Use a model of one label."
        )
    scores = np.full(hits.ids.shape, -np.inf, np.float32)
    scores[np.isfinite(hits.scores)] = given
    order = np.argsort(-scores, axis=1, kind="stable")
    return Hits(np.take_along_axis(hits.ids, order, axis=1), np.take_along_axis(scores, order, axis=1))


def _filled(rows: list[list[float]]) -> npt.NDArray[np.float64]:
    """Lists of gains as one table, filled up with 0."""
    table = np.zeros((len(rows), max(map(len, rows), default=1)))
    for row, gains in zip(table, rows, strict=True):
        row[: len(gains)] = gains
    return table


def _graded(relevant: Mapping[Any, float] | Iterable[Any]) -> dict[Any, float]:
    if isinstance(relevant, str):
        raise ValueError(
            f"The judgements of a query are {relevant!r}; expected a mapping from id to gain, or a list of ids."
        )
    return dict(relevant) if isinstance(relevant, Mapping) else dict.fromkeys(relevant, 1.0)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
