"""The evaluator of search: whether queries find their relevant documents in a corpus, and how far up the list."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench import metrics
from workbench.errors import ColumnsError
from workbench.evaluation.base import Measured, Samples, SentenceEvaluator, as_rows, positive_sizes
from workbench.search.topk import best_first, top_k
from workbench.similarity import SimilarityFunction, truncate_embeddings
from workbench.vectors import as_matrix

__all__ = ["InformationRetrievalEvaluator"]

_TITLES = {
    "accuracy": "Accuracy", "precision": "Precision", "recall": "Recall", "mrr": "MRR", "ndcg": "NDCG", "map": "MAP",
}  # fmt: skip
_Score = Callable[[Any, Any], Tensor]


class InformationRetrievalEvaluator(SentenceEvaluator):
    """How well queries find their relevant documents in a corpus, by exact search.

    Metrics for each score function: accuracy, precision and recall, NDCG, MRR and MAP, each at its k. NDCG at its
    largest k is the primary one, of the main function or the best. Only the best k documents of each query and one
    chunk of the corpus are held.

    Args:
        queries: texts by id. Queries without a relevant document are left out.
        corpus: texts by id.
        relevant_docs: for each query's id the ids of its relevant documents.
        corpus_chunk_size: documents encoded and held at a time.
        mrr_at_k: at which ranks to measure the reciprocal rank of the first relevant document.
        ndcg_at_k: the same for the discounted gain of all.
        accuracy_at_k: the same for whether there is one.
        precision_recall_at_k: the same for how many of those found are relevant, and of those relevant are found.
        map_at_k: the same for the mean of the precisions at relevant documents.
        show_progress_bar: see ``SentenceEvaluator``, also for the arguments up to ``truncate_dim``.
        score_functions: functions of (queries, rows) vectors by name, higher for better; None takes the model's own.
        main_score_function: the name of the function that the primary metric is of; None: the best one.
        query_prompt: put before every query; ``query_prompt_name`` names one of the model's instead.
        query_prompt_name: see there. Without either, ``encode_query`` decides.
        corpus_prompt: put before every document; ``corpus_prompt_name`` names one of the model's instead.
        corpus_prompt_name: see there. Without either, ``encode_document`` decides.
        write_predictions: also write what was found for every query, as JSON lines, into ``output_path``.

    Raises:
        ColumnsError: no query has a relevant document, or none of these is in the corpus.
        ChoiceError: an unknown score function.
        TextTypeError: a query or document is not a text.
    """

    description = "Information Retrieval"
    stem = "Information-Retrieval_evaluation"
    line_end = "\n"
    settings = ("truncate_dim", "query_prompt", "query_prompt_name", "corpus_prompt", "corpus_prompt_name")

    def __init__(
        self, queries: Mapping[Any, Any], corpus: Mapping[Any, Any], relevant_docs: Mapping[Any, Iterable[Any]],
        corpus_chunk_size: int = 50000, mrr_at_k: Sequence[int] = (10,), ndcg_at_k: Sequence[int] = (10,),
        accuracy_at_k: Sequence[int] = (1, 3, 5, 10), precision_recall_at_k: Sequence[int] = (1, 3, 5, 10),
        map_at_k: Sequence[int] = (100,), show_progress_bar: bool | None = False, batch_size: int | None = None,
        name: str = "", write_csv: bool = True, truncate_dim: int | None = None,
        score_functions: Mapping[str, _Score] | None = None,
        main_score_function: str | SimilarityFunction | None = None, query_prompt: str | None = None,
        query_prompt_name: str | None = None, corpus_prompt: str | None = None, corpus_prompt_name: str | None = None,
        write_predictions: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(name, batch_size, show_progress_bar, write_csv, truncate_dim)
        for what, table in (("queries", queries), ("corpus", corpus), ("relevant_docs", relevant_docs)):
            if not isinstance(table, Mapping) or not table:
                raise ColumnsError(f"{what} must be a filled dictionary by id, not {table!r:.100}.")
        if any(isinstance(ids, str) for ids in relevant_docs.values()):
            raise ColumnsError("relevant_docs must give a set of ids for each query, not one id.")
        self.relevant_docs = {query: set(relevant_docs[query]) for query in queries if relevant_docs.get(query)}
        self.queries_ids, self.corpus_ids = list(self.relevant_docs), list(corpus)
        self.queries = as_rows("queries", [queries[query] for query in self.queries_ids])
        self.corpus = as_rows("corpus", list(corpus.values()))
        if not self.queries:
            raise ColumnsError("No query has a relevant document: do the ids of relevant_docs stand in queries?")
        place = {document: row for row, document in enumerate(self.corpus_ids)}
        wanted = [
            row * len(place) + place[document]
            for row, query in enumerate(self.queries_ids)
            for document in self.relevant_docs[query]
            if document in place
        ]
        if not wanted:
            raise ColumnsError("No relevant document is in the corpus: are the ids of both of one type?")
        self._wanted = np.sort(np.array(wanted))  # query · corpus size + document, for each relevant pair
        self._relevant = np.array([len(self.relevant_docs[query]) for query in self.queries_ids])
        self.corpus_chunk_size = positive_sizes("corpus_chunk_size", [corpus_chunk_size])[0]
        self.mrr_at_k, self.ndcg_at_k = positive_sizes("mrr_at_k", mrr_at_k), positive_sizes("ndcg_at_k", ndcg_at_k)
        self.accuracy_at_k = positive_sizes("accuracy_at_k", accuracy_at_k)
        self.precision_recall_at_k = positive_sizes("precision_recall_at_k", precision_recall_at_k)
        self.map_at_k = positive_sizes("map_at_k", map_at_k)
        self.score_functions = dict(score_functions) if score_functions else None
        main = self.main_score_function = None if main_score_function is None else str(main_score_function)
        if main and self.score_functions is None:
            self.score_functions = {main: SimilarityFunction.to_similarity_fn(main)}
        if main and main not in (known := self.score_functions or {}):
            shown = ", ".join(known)
            raise ColumnsError(f"The main score function {main!r} is none of those to compute: {shown}. Add it.")
        self.query_prompt, self.query_prompt_name = query_prompt, query_prompt_name
        self.corpus_prompt, self.corpus_prompt_name = corpus_prompt, corpus_prompt_name
        self.write_predictions = write_predictions

    def __call__(
        self,
        model: Any,
        output_path: str | Path | None = None,
        epoch: int = -1,
        steps: int = -1,
        *,
        corpus_model: Any = None,
        query_embeddings: Any = None,
        corpus_embeddings: Any = None,
    ) -> dict[str, float]:
        """Measure a model; see ``SentenceEvaluator``.

        Args:
            model: encodes queries and, without ``corpus_model``, documents.
            output_path: see there, also for ``epoch`` and ``steps``.
            epoch: see there.
            steps: see there.
            corpus_model: encodes the documents.
            query_embeddings: vectors of the queries in ``self.queries``, in place of encoding them.
            corpus_embeddings: vectors of the corpus, in order, in place of encoding it; they may be memory-mapped.
        """
        given = {"query_embeddings": query_embeddings, "corpus_embeddings": corpus_embeddings}
        found = self.measure(model, output_path, corpus_model=corpus_model, **given)
        return self.report(model, found, output_path, epoch, steps)

    def measure(self, model: Any, output_path: str | Path | None, **given: Any) -> Measured:
        """Search with each score function, and judge what it finds."""
        rankings = self._search(model, **given)
        if self.write_predictions and output_path is not None:
            for name, (scores, ids) in rankings.items():
                file = f"{self.csv_file.removesuffix('_results.csv')}_predictions_{name}.jsonl"
                self._write_predictions(Path(output_path) / file, scores, ids)
        found = {name: self._judge(ids) for name, (_, ids) in rankings.items()}
        values = {f"{name}_{key}": value for name, one in found.items() for key, value in one.items()}
        columns = [("accuracy", k) for k in self.accuracy_at_k]
        columns += [(kind, k) for k in self.precision_recall_at_k for kind in ("precision", "recall")]
        columns += [(kind, k) for kind in ("mrr", "ndcg", "map") for k in getattr(self, f"{kind}_at_k")]
        row = {f"{name}-{_TITLES[kind]}@{k}": found[name][f"{kind}@{k}"] for name in found for kind, k in columns}
        of_queries = cache(lambda: self._of_queries({name: ids for name, (_, ids) in rankings.items()}))
        samples = Samples(len(self.queries), lambda counts: Samples.means(of_queries()).values(counts))
        return Measured(values, self.primary_of(values, list(rankings)), row, samples)

    def primary_of(self, values: Mapping[str, float], names: Sequence[str]) -> str:
        """The metric to compare models by: NDCG at its largest k, of the main score function or the best."""
        keys = [f"{name}_ndcg@{max(self.ndcg_at_k)}" for name in names]
        main = self.main_score_function
        return max(keys, key=values.__getitem__) if main is None else f"{main}_ndcg@{max(self.ndcg_at_k)}"

    def _search(
        self, model: Any, *, corpus_model: Any = None, query_embeddings: Any = None, corpus_embeddings: Any = None
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """For each score function the best documents of every query: scores and positions, (queries, k) each."""
        own = getattr(model, "similarity_fn_name", None) or "cosine"
        functions: Mapping[str, Any] = self.score_functions or {own: own}
        queries = self._given(query_embeddings, len(self.queries), "query_embeddings")
        if queries is None:
            prompts = {"prompt_name": self.query_prompt_name, "prompt": self.query_prompt}
            queries = self.embed_inputs(model, self.queries, task="query", **prompts)
        documents = self._given(corpus_embeddings, len(self.corpus), "corpus_embeddings")
        prompts = {"prompt_name": self.corpus_prompt_name, "prompt": self.corpus_prompt}
        sizes = (self.mrr_at_k, self.ndcg_at_k, self.accuracy_at_k, self.precision_recall_at_k, self.map_at_k)
        depth = min(max(map(max, sizes)), len(self.corpus))
        best: dict[str, tuple[Tensor, Tensor]] = {}
        for start in range(0, len(self.corpus), self.corpus_chunk_size):
            chunk = slice(start, start + self.corpus_chunk_size)
            if documents is not None:
                vectors = documents[chunk]
            else:
                vectors = self.embed_inputs(corpus_model or model, self.corpus[chunk], task="document", **prompts)
            for name, function in functions.items():
                scores, ids = top_k(queries, vectors, depth, metric=function, show=self.show_progress_bar)
                ids = torch.where(ids >= 0, ids + start, ids)
                if name in best:
                    pairs = zip(best[name], (scores, ids), strict=True)
                    scores, ids = (side[:, :depth] for side in best_first(*(torch.cat(pair, dim=1) for pair in pairs)))
                best[name] = scores, ids
        return best

    def _given(self, vectors: Any, rows: int, name: str) -> Any:
        if vectors is None:
            return None
        matrix = as_matrix(vectors, name=name)
        if len(matrix) != rows:
            raise ColumnsError(f"{name} have {len(matrix)} rows; this evaluator has {rows} texts there.")
        return truncate_embeddings(matrix, self.truncate_dim)

    def _judge(self, ids: Tensor, first: int = 0) -> dict[str, float]:
        """The metrics of one ranking, of all queries or of some that follow each other from ``first``."""
        found: npt.NDArray[Any] = ids.cpu().numpy()  # (queries, k) positions in the corpus, -1 for none
        pairs = np.arange(first, first + len(found))[:, None] * len(self.corpus) + found
        place = np.searchsorted(self._wanted, pairs).clip(max=len(self._wanted) - 1)
        ranked, relevant = (found >= 0) & (self._wanted[place] == pairs), self._relevant[first : first + len(found)]
        return {
            **{f"accuracy@{k}": metrics.accuracy_at_k(ranked, k) for k in self.accuracy_at_k},
            **{f"precision@{k}": metrics.precision_at_k(ranked, k) for k in self.precision_recall_at_k},
            **{f"recall@{k}": metrics.recall_at_k(ranked, relevant, k) for k in self.precision_recall_at_k},
            **{f"ndcg@{k}": metrics.ndcg_at_k(ranked, relevant, k) for k in self.ndcg_at_k},
            **{f"mrr@{k}": metrics.mrr_at_k(ranked, k) for k in self.mrr_at_k},
            **{f"map@{k}": metrics.map_at_k(ranked, relevant, k) for k in self.map_at_k},
        }

    def _of_queries(self, rankings: dict[str, Tensor]) -> dict[str, npt.NDArray[Any]]:
        """Each metric of each query by itself: (queries,)."""
        found: dict[str, npt.NDArray[Any]] = {}
        for name, ids in rankings.items():
            rows = [self._judge(ids[row : row + 1], row) for row in range(len(ids))]
            found |= {f"{name}_{key}": np.array([one[key] for one in rows]) for key in rows[0]}
        return found

    def _write_predictions(self, path: Path, scores: Tensor, ids: Tensor) -> None:
        """Write what was found, one JSON line for each query."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = zip(self.queries_ids, self.queries, scores.tolist(), ids.tolist(), strict=True)
        with path.open("w", encoding="utf-8") as file:
            for query, text, values, places in rows:
                results = [
                    {"corpus_id": self.corpus_ids[place], "score": value}
                    for value, place in zip(values, places, strict=True)
                    if place >= 0
                ]
                file.write(json.dumps({"query_id": query, "query": text, "results": results}) + "\n")
