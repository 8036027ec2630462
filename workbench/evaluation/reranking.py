"""The evaluator of re-ranking: whether relevant documents of a query are put before its other ones."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from workbench import metrics
from workbench.errors import ColumnsError
from workbench.evaluation.base import Measured, SentenceEvaluator, as_rows, positive_sizes
from workbench.similarity import cos_sim
from workbench.texts import slices, unique

__all__ = ["RerankingEvaluator", "as_samples", "ranking_metrics"]

_Ranking = tuple[npt.NDArray[Any], npt.NDArray[Any]]  # scores and labels of one query's documents: (n,) each


class RerankingEvaluator(SentenceEvaluator):
    """How well similarities order the documents of each query; ``InformationRetrievalEvaluator`` searches a corpus.

    Metrics: MAP over whole rankings, MRR and NDCG (the primary one) at ``at_k``. In NDCG and MAP equal scores are one
    rank. Samples without positive or without negative documents are left out.

    Args:
        samples: dictionaries with "query" (a text), "positive" and "negative" (lists of texts).
        at_k: how many ranks MRR and NDCG look at.
        name: see ``SentenceEvaluator``, also for the other arguments not named here.
        write_csv: see there.
        similarity_fct: (1, dim), (documents, dim) → (1, documents) scores, higher for better.
        batch_size: see there.
        show_progress_bar: see there.
        use_batched_encoding: encode all samples at once; otherwise one by one, which holds fewer vectors.
        truncate_dim: see there.
        mrr_at_k: the older name of ``at_k``.

    Raises:
        ColumnsError: no samples, or one of another form; names it.
        TextTypeError: a text is none.
    """

    description = "Reranking"
    settings = ("at_k", "truncate_dim")

    def __init__(
        self, samples: Sequence[Mapping[str, Any]], at_k: int = 10, name: str = "", write_csv: bool = True,
        similarity_fct: Callable[[Tensor, Tensor], Tensor] = cos_sim, batch_size: int | None = None,
        show_progress_bar: bool | None = False, use_batched_encoding: bool = True, truncate_dim: int | None = None,
        mrr_at_k: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, batch_size, show_progress_bar, write_csv, truncate_dim)
        self.samples = [one for one in as_samples(samples, ("negative",)) if one["positive"] and one["negative"]]
        if not self.samples:
            raise ColumnsError("No sample has both positive and negative documents.")
        self.at_k = positive_sizes("at_k", [mrr_at_k if mrr_at_k is not None else at_k])[0]
        self.similarity_fct, self.use_batched_encoding = similarity_fct, use_batched_encoding
        self.primary_metric = f"{name}{'_' * bool(name)}ndcg@{self.at_k}"
        self.csv_file = f"RerankingEvaluator{'_' * bool(name)}{name}_results_@{self.at_k}.csv"

    def measure(self, model: Any, output_path: str | Path | None) -> Measured:
        """Order the documents of every sample."""
        rankings: list[_Ranking] = []
        for part in slices(self.samples, len(self.samples) if self.use_batched_encoding else 1):
            queries = self.embed_inputs(model, [one["query"] for one in part], task="query")
            texts = [text for one in part for text in one["positive"] + one["negative"]]
            first, twin = unique(texts)
            documents, start = self.embed_inputs(model, [texts[row] for row in first], task="document"), 0
            for query, one in zip(queries, part, strict=True):
                labels = np.repeat([1, 0], [len(one["positive"]), len(one["negative"])])
                rows = documents[twin[start : start + len(labels)]]
                scores = self.similarity_fct(query[None], rows).flatten()  # (documents,)
                rankings.append((scores.float().cpu().numpy(), labels))
                start += len(labels)
        found = ranking_metrics(rankings, self.at_k)
        return Measured(found, f"ndcg@{self.at_k}", {key.upper(): value for key, value in found.items()})


def as_samples(samples: Sequence[Mapping[str, Any]], others: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return samples, checked: a "query", the list "positive" and one of the lists ``others``.

    Raises:
        ColumnsError: no samples, or one of another form; names it.
    """
    wanted = f"'query', 'positive' and {' or '.join(map(repr, others))}"
    checked: list[dict[str, Any]] = []
    for number, sample in enumerate(samples.values() if isinstance(samples, Mapping) else samples):
        kind = next((key for key in others if isinstance(sample, Mapping) and sample.get(key) is not None), None)
        if kind is None or "query" not in sample or "positive" not in sample:
            keys = sorted(map(str, sample)) if isinstance(sample, Mapping) else type(sample).__name__
            raise ColumnsError(f"Sample {number} has {keys}; it needs {wanted}.")
        lists = {key: sample[key] for key in ("positive", kind)}
        if wrong := [key for key, texts in lists.items() if isinstance(texts, (str, Mapping))]:
            raise ColumnsError(f"Sample {number}: {wrong[0]!r} must be a list of texts, not one.")
        (query,) = as_rows(f"sample {number}, query", [sample["query"]])
        texts = {key: as_rows(f"sample {number}, {key}", texts) for key, texts in lists.items()}
        checked.append({"query": query, **texts})
    if not checked:
        raise ColumnsError(f"samples is empty; give at least one dictionary with {wanted}.")
    return checked


def ranking_metrics(rankings: Sequence[_Ranking], at_k: int) -> dict[str, float]:
    """Return MAP, MRR and NDCG of the scored documents of each query; a query without any relevant one counts 0.

    Args:
        rankings: (scores, labels) of each query's documents.
        at_k: how many ranks MRR and NDCG look at.
    """
    exact, tied = np.zeros((2, len(rankings), at_k))  # gains by rank
    precisions = np.zeros(len(rankings))
    for row, (scores, labels) in enumerate(rankings):
        for table, average in ((exact, False), (tied, True)):
            gains = metrics.ranked_gains(scores, labels, average_ties=average)[:at_k]
            table[row, : len(gains)] = gains
        precisions[row] = metrics.average_precision(scores, labels) if len(labels) else 0
    relevant = np.array([labels.sum() for _, labels in rankings])
    return {
        "map": float(precisions.mean()),
        f"mrr@{at_k}": metrics.mrr_at_k(exact, at_k),
        f"ndcg@{at_k}": metrics.ndcg_at_k(tied, relevant, at_k),
    }
