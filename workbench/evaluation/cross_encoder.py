"""Evaluators of cross-encoders: classes of pairs, agreement with given scores, and the order of documents."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench import metrics
from workbench.errors import ColumnsError
from workbench.evaluation.base import (
    Measured,
    SentenceEvaluator,
    as_labels,
    at_best_thresholds,
    positive_sizes,
    same_length,
)
from workbench.evaluation.nano_beir import DATASETS, Aggregate, read_dataset
from workbench.evaluation.reranking import as_samples, ranking_metrics
from workbench.texts import as_pairs

__all__ = [
    "CEBinaryAccuracyEvaluator", "CEBinaryClassificationEvaluator", "CECorrelationEvaluator", "CEF1Evaluator",
    "CERerankingEvaluator", "CESoftmaxAccuracyEvaluator", "CrossEncoderClassificationEvaluator",
    "CrossEncoderCorrelationEvaluator", "CrossEncoderNanoBEIREvaluator", "CrossEncoderRerankingEvaluator",
]  # fmt: skip


class _PairEvaluator(SentenceEvaluator):
    """What evaluators of scored pairs have in common."""

    settings: tuple[str, ...] = ("prompt_name",)
    sentence_pairs: list[tuple[str, str]]
    prompt_name: str | None

    def _predict(self, model: Any, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[Any]:
        """The scores of pairs: (pairs,), or (pairs, classes)."""
        how = {} if self.prompt_name is None else {"prompt_name": self.prompt_name}
        scores = model.predict(
            pairs, batch_size=self.batch_size, show_progress_bar=self.show_progress_bar, convert_to_numpy=True, **how
        )
        return np.asarray(scores)

    def _take(self, sentence_pairs: Any, **targets: npt.NDArray[Any]) -> None:
        """Keep pairs that are as many as their targets."""
        self.sentence_pairs, single = as_pairs(sentence_pairs, name="sentence_pairs")
        if single:
            raise ColumnsError("sentence_pairs must be a list of pairs, not one pair.")
        same_length(sentence_pairs=self.sentence_pairs, **targets)

    @staticmethod
    def _arguments(columns: list[list[Any]], labels: list[Any]) -> tuple[Any, ...]:
        return list(zip(*columns, strict=True)), labels


class CrossEncoderClassificationEvaluator(_PairEvaluator):
    """How often a cross-encoder gives pairs their class.

    Metrics for a model of one score: accuracy and F1 at their best thresholds, precision and recall at that of F1, and
    average precision (the primary one). For a model of several: F1 as the mean over classes (the primary one), over all
    rows at once (the same as accuracy), and over classes by their size.

    Args:
        sentence_pairs: pairs of texts.
        labels: their classes, whole numbers from 0.
        name: see ``SentenceEvaluator``, also for the other arguments.
        prompt_name: handed on to the model's ``predict``, where it knows prompts.
        batch_size: see there.
        show_progress_bar: see there.
        write_csv: see there.

    Raises:
        ColumnsError: the columns differ in length or are empty, or a label is no class.
        TextTypeError: a row is not a pair of texts.
    """

    description = "Cross Encoder Classification"
    stem = "CrossEncoderClassificationEvaluator"

    def __init__(
        self, sentence_pairs: Any, labels: Sequence[int], name: str = "", prompt_name: str | None = None,
        batch_size: int | None = None, show_progress_bar: bool | None = False, write_csv: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(name, batch_size, show_progress_bar, write_csv)
        self.labels, self.prompt_name = as_labels("labels", labels), prompt_name
        self._take(sentence_pairs, labels=self.labels)

    def measure(self, model: Any, output_path: str | Path | None) -> Measured:
        """Classify every pair."""
        scores = self._predict(model, self.sentence_pairs)
        if scores.ndim == 2:
            macro, micro, weighted = metrics.class_f1(scores.argmax(1), self.labels)
            row = {"Macro_F1": macro, "Micro_F1": micro, "Weighted_F1": weighted}
            return Measured({"f1_macro": macro, "f1_micro": micro, "f1_weighted": weighted}, "f1_macro", row)
        labels = as_labels("labels", self.labels, most=1)
        values = at_best_thresholds(scores, labels)
        values["average_precision"] = metrics.average_precision(scores, labels)
        return Measured(values, "average_precision", {key.title(): value for key, value in values.items()})


class CrossEncoderCorrelationEvaluator(_PairEvaluator):
    """How well a cross-encoder's scores agree with given ones: Pearson's and Spearman's (primary) correlation.

    Args:
        sentence_pairs: pairs of texts.
        scores: what they should be, on any scale.
        name: see ``CrossEncoderClassificationEvaluator``, also for the other arguments.
        prompt_name: see there.
        batch_size: see there.
        show_progress_bar: see there.
        write_csv: see there.

    Raises:
        ColumnsError: the columns differ in length or are empty, or a score is no finite number.
        TextTypeError: a row is not a pair of texts.
    """

    description = "Cross Encoder Correlation"
    stem = "CrossEncoderCorrelationEvaluator"
    primary_metric = "spearman"

    def __init__(
        self, sentence_pairs: Any, scores: Sequence[float], name: str = "", prompt_name: str | None = None,
        batch_size: int | None = None, show_progress_bar: bool | None = False, write_csv: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(name, batch_size, show_progress_bar, write_csv)
        self.scores, self.prompt_name = as_labels("scores", scores, whole=False), prompt_name
        self._take(sentence_pairs, scores=self.scores)

    def measure(self, model: Any, output_path: str | Path | None) -> Measured:
        """Score every pair."""
        scores = self._predict(model, self.sentence_pairs)
        if scores.ndim == 2:
            raise ColumnsError(f"This evaluator needs one score for each pair; the model gives {scores.shape[1]}.")
        found = {"pearson": metrics.pearson(scores, self.scores), "spearman": metrics.spearman(scores, self.scores)}
        return Measured(found, "spearman", {f"{key.title()}_Correlation": value for key, value in found.items()})


class CrossEncoderRerankingEvaluator(_PairEvaluator):
    """How well a cross-encoder orders the documents of each query.

    Metrics: MAP over whole rankings, MRR and NDCG (the primary one) at ``at_k``; with "documents", also those of the
    order they come in, as ``base_…``. Equal scores are one rank in NDCG and MAP.

    Args:
        samples: dictionaries with "query", "positive" (texts), and either "negative" (texts) or "documents" (what a
            first search found, best first).
        at_k: how many ranks MRR and NDCG look at.
        always_rerank_positives: score positives also where "documents" lacks them; otherwise only what it has counts.
        name: see ``CrossEncoderClassificationEvaluator``, also for the other arguments.
        prompt_name: see there.
        batch_size: see there.
        show_progress_bar: see there.
        write_csv: see there.
        mrr_at_k: the older name of ``at_k``.

    Raises:
        ColumnsError: no samples, or one of another form; names it.
        TextTypeError: a text is none.
    """

    description = "Cross Encoder Reranking"
    stem = "CrossEncoderRerankingEvaluator"
    settings = ("at_k", "always_rerank_positives", "prompt_name")

    def __init__(
        self, samples: Sequence[Mapping[str, Any]], at_k: int = 10, always_rerank_positives: bool = True,
        name: str = "", prompt_name: str | None = None, batch_size: int | None = None,
        show_progress_bar: bool | None = False, write_csv: bool = True, mrr_at_k: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, batch_size, show_progress_bar, write_csv)
        self.samples = as_samples(samples, ("documents", "negative"))
        self.at_k = positive_sizes("at_k", [mrr_at_k if mrr_at_k is not None else at_k])[0]
        self.always_rerank_positives, self.prompt_name = always_rerank_positives, prompt_name
        self.primary_metric = f"{name}{'_' * bool(name)}ndcg@{self.at_k}"
        self.csv_file = f"{self.csv_file.removesuffix('.csv')}_@{self.at_k}.csv"

    def measure(self, model: Any, output_path: str | Path | None) -> Measured:
        """Score the documents of every sample, all pairs at once."""
        labels, pairs, before = [], [], []
        for sample in self.samples:
            positive, documents = sample["positive"], sample.get("documents")
            wanted = set(positive)
            others = sample["negative"] if documents is None else [text for text in documents if text not in wanted]
            texts, relevant = positive + others, np.repeat([1, 0], [len(positive), len(others)])
            if documents is not None:
                judged = np.array([text in wanted for text in documents], dtype=np.int64)
                lost = len(positive) - int(judged.sum())  # those not found come last in the order to compare with
                order = np.concatenate([judged, np.ones(max(lost, 0) if judged.any() else 0, np.int64)])
                before.append((-np.arange(len(order)), order))
                if not self.always_rerank_positives:
                    texts, relevant = documents, judged
            labels.append(relevant)
            pairs += [(sample["query"], text) for text in texts]
        scores = np.split(self._predict(model, pairs), np.cumsum([len(one) for one in labels])[:-1])
        found = ranking_metrics(list(zip(scores, labels, strict=True)), self.at_k)
        row = {key.upper(): value for key, value in found.items()}
        if before:
            found |= {f"base_{key}": value for key, value in ranking_metrics(before, self.at_k).items()}
        return Measured(found, f"ndcg@{self.at_k}", row)


class CrossEncoderNanoBEIREvaluator(Aggregate):
    """How well a cross-encoder orders what BM25 found, on the collections of ``NanoBEIREvaluator``.

    Args:
        dataset_names: see ``NanoBEIREvaluator``.
        dataset_id: see there; a local folder also needs ``bm25`` tables with "query-id" and "corpus-ids".
        rerank_k: how many documents of BM25 to order for each query.
        at_k: see ``CrossEncoderRerankingEvaluator``.
        always_rerank_positives: see there.
        prompt_name: see there, also for the arguments up to ``write_csv``.
        batch_size: see there.
        show_progress_bar: see there.
        write_csv: see there.
        aggregate_fn: see ``NanoBEIREvaluator``.
        aggregate_key: see there.

    Raises:
        ChoiceError: an unknown collection; lists those there are.
        DataFormatError: a collection cannot be read; says where it was looked for.
    """

    description = "Cross Encoder Nano BEIR"
    settings = ("dataset_names", "dataset_id", "rerank_k", "at_k", "always_rerank_positives", "prompt_name")

    def __init__(
        self, dataset_names: Sequence[str] | None = None, dataset_id: str | Path = "sentence-transformers/NanoBEIR-en",
        rerank_k: int = 100, at_k: int = 10, always_rerank_positives: bool = True, prompt_name: str | None = None,
        batch_size: int | None = None, show_progress_bar: bool | None = False, write_csv: bool = True,
        aggregate_fn: Callable[[list[float]], float] | None = None, aggregate_key: str = "mean",
    ) -> None:  # fmt: skip
        self.rerank_k = positive_sizes("rerank_k", [rerank_k])[0]
        name = f"NanoBEIR_R{rerank_k}_{aggregate_key}"
        super().__init__(name, dataset_names, dataset_id, aggregate_fn, aggregate_key, write_csv)
        self.at_k, self.always_rerank_positives, self.prompt_name = at_k, always_rerank_positives, prompt_name
        self.primary_metric = f"{self.name}_ndcg@{at_k}"
        self.evaluators: list[CrossEncoderRerankingEvaluator] = []
        for name in self.dataset_names:
            corpus, queries, relevant, found = read_dataset(name, dataset_id, ranked=True)
            samples = [
                {
                    "query": queries[query],
                    "positive": [corpus[key] for key in sorted(relevant.get(query, ())) if key in corpus],
                    "documents": [corpus[key] for key in ids[:rerank_k] if key in corpus],
                }
                for query, ids in found.items()
                if query in queries
            ]
            title = f"{DATASETS.get(name.lower(), name)}_R{rerank_k}"
            how = (title, prompt_name, batch_size, show_progress_bar, write_csv)
            self.evaluators.append(CrossEncoderRerankingEvaluator(samples, at_k, always_rerank_positives, *how))


class CEBinaryAccuracyEvaluator(CrossEncoderClassificationEvaluator):
    """The older name of ``CrossEncoderClassificationEvaluator`` for models of one score.

    Args:
        sentence_pairs: pairs of texts.
        labels: 1 or 0.
        name: see ``SentenceEvaluator``, also for the other arguments.
        threshold: scores above it count as 1, for every metric, and accuracy is the primary one; None: the best.
        write_csv: see there.
        options: see ``CrossEncoderClassificationEvaluator``.

    Raises:
        ValueError: a threshold that is no number.
    """

    description = "Cross Encoder Binary Accuracy"
    settings = ("prompt_name", "threshold")

    def __init__(
        self, sentence_pairs: Any, labels: Sequence[int], name: str = "", threshold: float | None = None,
        write_csv: bool = True, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(sentence_pairs, labels, name, write_csv=write_csv, **options)
        number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
        if threshold is not None and not (number and np.isfinite(threshold)):
            raise ValueError(f"threshold is {threshold!r}; it must be a number, or None for the best one.")
        self.threshold = threshold

    def measure(self, model: Any, output_path: str | Path | None) -> Measured:
        """Classify every pair."""
        if self.threshold is None:
            return super().measure(model, output_path)
        scores, labels = self._predict(model, self.sentence_pairs), as_labels("labels", self.labels, most=1)
        if scores.ndim == 2:
            raise ColumnsError(f"threshold needs one score for each pair; the model gives {scores.shape[1]}.")
        from sklearn.metrics import precision_recall_fscore_support

        taken = scores > self.threshold
        precision, recall, f1, _ = precision_recall_fscore_support(labels, taken, average="binary", zero_division=0)
        values = {
            "accuracy": float((taken == labels).mean()),
            "accuracy_threshold": self.threshold,
            "f1": float(f1),
            "f1_threshold": self.threshold,
            "precision": float(precision),
            "recall": float(recall),
            "average_precision": metrics.average_precision(scores, labels),
        }
        return Measured(values, "accuracy", {key.title(): value for key, value in values.items()})


class CEBinaryClassificationEvaluator(CrossEncoderClassificationEvaluator):
    """The older name of ``CrossEncoderClassificationEvaluator`` for models of one score."""

    description = "Cross Encoder Binary Classification"


class CEF1Evaluator(CrossEncoderClassificationEvaluator):
    """The older name of ``CrossEncoderClassificationEvaluator``, for its F1."""

    description = "Cross Encoder F1"


class CESoftmaxAccuracyEvaluator(CrossEncoderClassificationEvaluator):
    """The older name of ``CrossEncoderClassificationEvaluator`` for models of several classes."""

    description = "Cross Encoder Softmax Accuracy"


class CECorrelationEvaluator(CrossEncoderCorrelationEvaluator):
    """The older name of ``CrossEncoderCorrelationEvaluator``."""


class CERerankingEvaluator(CrossEncoderRerankingEvaluator):
    """The older name of ``CrossEncoderRerankingEvaluator``."""
