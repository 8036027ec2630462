"""Evaluators of pairs and triplets of texts: alike or not, how alike, which of two is nearer, which class."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench import metrics
from workbench.encoding import Precision
from workbench.errors import ColumnsError, choose
from workbench.evaluation.base import (
    Measured,
    Samples,
    SentenceEvaluator,
    as_labels,
    as_rows,
    at_best_thresholds,
    checked_names,
    same_length,
)
from workbench.quantization import PRECISIONS
from workbench.similarity import SimilarityFunction
from workbench.texts import slices

__all__ = [
    "BinaryClassificationEvaluator", "EmbeddingSimilarityEvaluator", "LabelAccuracyEvaluator", "TripletEvaluator",
]  # fmt: skip


def _scores(chosen: list[str], model: Any, a: Tensor, b: Tensor) -> dict[str, npt.NDArray[Any]]:
    """How alike row i of a and row i of b are, (n,), by each function that was chosen, else by the model's own."""
    names = chosen or [getattr(model, "similarity_fn_name", None) or "cosine"]
    return {name: SimilarityFunction.to_similarity_pairwise_fn(name)(a, b).cpu().numpy() for name in names}


def _named(found: dict[str, dict[str, float]], form: str) -> dict[str, float]:
    """The metrics of each similarity function under their names; of several functions also the largest as "max"."""
    if len(found) > 1:
        kinds = next(iter(found.values()))
        found = {**found, "max": {kind: max(one[kind] for one in found.values()) for kind in kinds}}
    return {form.format(name=name, kind=kind): one[kind] for name, one in found.items() for kind in one}


def _samples(
    scores: dict[str, npt.NDArray[Any]], targets: npt.NDArray[Any], functions: dict[str, Callable[..., Any]]
) -> Samples:
    """The samples of metrics; ``functions`` take (scores, targets, counts), by the form of the metric's name."""
    wanted = [(form.format(name=name), of, side) for name, side in scores.items() for form, of in functions.items()]
    return Samples(len(targets), lambda counts: {key: of(side, targets, counts) for key, of, side in wanted})


class BinaryClassificationEvaluator(SentenceEvaluator):
    """How well one threshold on the similarity tells pairs that mean the same from pairs that do not.

    Metrics for each similarity function: accuracy and F1 at their best thresholds, precision and recall at that of F1,
    average precision (the primary one) and Matthews' correlation. For several functions, the largest of each as "max".

    Args:
        sentences1: the first texts of the pairs.
        sentences2: the second ones.
        labels: 1 for pairs that mean the same, 0 for others.
        name: see ``SentenceEvaluator``, also for the arguments up to ``truncate_dim``.
        similarity_fn_names: "cosine", "dot", "euclidean", "manhattan"; None takes the model's own.

    Raises:
        ColumnsError: the columns differ in length or are empty, or a label is neither 0 nor 1.
        ChoiceError: an unknown similarity function.
        TextTypeError: a row is not a text.
    """

    description = "Binary Classification"
    stem = "binary_classification_evaluation"

    def __init__(
        self, sentences1: Sequence[Any], sentences2: Sequence[Any], labels: Sequence[int], name: str = "",
        batch_size: int | None = None, show_progress_bar: bool | None = False, write_csv: bool = True,
        truncate_dim: int | None = None, similarity_fn_names: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, batch_size, show_progress_bar, write_csv, truncate_dim)
        self.sentences1, self.sentences2 = as_rows("sentences1", sentences1), as_rows("sentences2", sentences2)
        self.labels = as_labels("labels", labels, most=1)
        same_length(sentences1=self.sentences1, sentences2=self.sentences2, labels=self.labels)
        self.similarity_fn_names, _ = checked_names(similarity_fn_names)

    def measure(self, model: Any, output_path: str | Path | None) -> Measured:
        """Measure each similarity function."""
        sides = self.embed_columns(model, self.sentences1, self.sentences2)
        scores = _scores(self.similarity_fn_names, model, *sides)
        found = {}
        for name, of_pairs in scores.items():
            is_distance = name in ("euclidean", "manhattan")
            judged = -of_pairs if is_distance else of_pairs  # thresholds of distances are distances
            one = found[name] = at_best_thresholds(judged, self.labels, not is_distance)
            one["ap"] = metrics.average_precision(of_pairs, self.labels)
            one["mcc"] = metrics.matthews(judged, self.labels, one["f1_threshold"], not is_distance)
        order = ("accuracy", "accuracy_threshold", "f1", "precision", "recall", "f1_threshold", "ap", "mcc")
        row = {f"{name}_{kind}": found[name][kind] for name in found for kind in order}
        functions = {"{name}_f1": metrics.best_f1_of_samples, "{name}_ap": metrics.average_precision_of_samples}
        values = _named(found, "{name}_{kind}")
        primary = [key for key in values if key.endswith("_ap")][-1]
        return Measured(values, primary, row, _samples(scores, self.labels, functions))


class EmbeddingSimilarityEvaluator(SentenceEvaluator):
    """How well similarities agree with scores that people gave: the usual number for semantic textual similarity.

    Metrics for each similarity function: Pearson's and Spearman's correlation; for several, the largest as "max".
    Spearman's, of the main function or the largest, is the primary one.

    Args:
        sentences1: the first texts of the pairs.
        sentences2: the second ones.
        scores: how alike they are, on any scale.
        batch_size: see ``SentenceEvaluator``, also for ``name``, ``show_progress_bar``, ``write_csv``,
            ``truncate_dim``.
        main_similarity: the function whose correlation is the primary metric; without ``similarity_fn_names``, the only
            one.
        similarity_fn_names: "cosine", "dot", "euclidean", "manhattan"; None takes the model's own.
        precision: compare vectors of this precision, scaled to length 1 before; None: as they are.

    Raises:
        ColumnsError: the columns differ in length or are empty, or a score is no finite number.
        ChoiceError: an unknown similarity function or precision.
        TextTypeError: a row is not a text.
    """

    description = "Semantic Similarity"
    settings = ("truncate_dim", "precision")

    def __init__(
        self, sentences1: Sequence[Any], sentences2: Sequence[Any], scores: Sequence[float],
        batch_size: int | None = None, main_similarity: str | SimilarityFunction | None = None,
        similarity_fn_names: Sequence[str] | None = None, name: str = "", show_progress_bar: bool | None = False,
        write_csv: bool = True, precision: Precision | None = None, truncate_dim: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, batch_size, show_progress_bar, write_csv, truncate_dim)
        self.sentences1, self.sentences2 = as_rows("sentences1", sentences1), as_rows("sentences2", sentences2)
        self.scores = as_labels("scores", scores, whole=False)
        same_length(sentences1=self.sentences1, sentences2=self.sentences2, scores=self.scores)
        self.similarity_fn_names, self.main_similarity = checked_names(similarity_fn_names, main_similarity)
        if precision is not None:
            choose("precision", precision, PRECISIONS)
        self.precision = precision
        self.csv_file = "_".join(["similarity_evaluation", *filter(None, [name, precision]), "results.csv"])

    def measure(self, model: Any, output_path: str | Path | None) -> Measured:
        """Measure each similarity function."""
        how = {} if self.precision is None else {"precision": self.precision, "normalize_embeddings": True}
        columns = self.embed_columns(model, self.sentences1, self.sentences2, **how)
        scores = _scores(self.similarity_fn_names, model, *(_unpacked(column, self.precision) for column in columns))
        kinds = {"pearson": metrics.pearson, "spearman": metrics.spearman}
        found = {name: {kind: of(one, self.scores) for kind, of in kinds.items()} for name, one in scores.items()}
        row = {f"{name}_{kind}": found[name][kind] for name in found for kind in kinds}
        values = _named(found, "{kind}_{name}")
        primary = f"spearman_{self.main_similarity}" if self.main_similarity else [*values][-1]
        samples = _samples(scores, self.scores, {"spearman_{name}": metrics.spearman_of_samples})
        return Measured(values, primary, row, samples)


def _unpacked(vectors: Any, precision: str | None) -> Any:
    """Bits as numbers 0 and 1, one in each column; other codes as they are."""
    if precision not in ("binary", "ubinary"):
        return vectors
    codes = vectors.cpu().numpy().astype(np.int16) + 128 * (precision == "binary")
    return torch.from_numpy(np.unpackbits(codes.astype(np.uint8), axis=1))


class TripletEvaluator(SentenceEvaluator):
    """How often an anchor is nearer to its positive than to its negative, by more than a margin.

    Metrics: the accuracy of each similarity function; for several, the largest as "max" (the primary one then).

    Args:
        anchors: the texts to start from; encoded as queries, the others as documents.
        positives: a text for each that means alike.
        negatives: a text for each that does not.
        main_similarity_function: the function whose accuracy is the primary metric; without ``similarity_fn_names``,
            the only one.
        margin: by how much the positive must be nearer: one number, or one by similarity function; None: 0.
        name: see ``SentenceEvaluator``, also for the arguments up to ``truncate_dim``.
        similarity_fn_names: "cosine", "dot", "euclidean", "manhattan"; None takes the model's own.
        main_distance_function: the older name of ``main_similarity_function``.

    Raises:
        ColumnsError: the columns differ in length or are empty, or the margin is no number.
        ChoiceError: an unknown similarity function.
        TextTypeError: a row is not a text.
    """

    description = "Triplet"
    stem = "triplet_evaluation"
    settings = ("truncate_dim", "margin")

    def __init__(
        self, anchors: Sequence[Any], positives: Sequence[Any], negatives: Sequence[Any],
        main_similarity_function: str | SimilarityFunction | None = None,
        margin: float | dict[str, float] | None = None, name: str = "", batch_size: int | None = None,
        show_progress_bar: bool | None = False, write_csv: bool = True, truncate_dim: int | None = None,
        similarity_fn_names: Sequence[str] | None = None,
        main_distance_function: str | SimilarityFunction | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, batch_size, show_progress_bar, write_csv, truncate_dim)
        self.anchors, self.positives = as_rows("anchors", anchors), as_rows("positives", positives)
        self.negatives = as_rows("negatives", negatives)
        same_length(anchors=self.anchors, positives=self.positives, negatives=self.negatives)
        main = main_similarity_function or main_distance_function
        self.similarity_fn_names, self.main_similarity_function = checked_names(similarity_fn_names, main)
        given = margin if isinstance(margin, dict) else dict.fromkeys(SimilarityFunction.possible_values(), margin)
        checked_names(list(given))
        if not all(value is None or isinstance(value, (int, float)) for value in given.values()):
            raise ColumnsError(f"margin must be a number, or one by similarity function, not {margin!r:.100}.")
        self.margin = None if margin is None else {key: value or 0 for key, value in given.items()}

    @staticmethod
    def _arguments(columns: list[list[Any]], labels: list[Any]) -> tuple[Any, ...]:
        return tuple(columns)

    def measure(self, model: Any, output_path: str | Path | None) -> Measured:
        """Measure each similarity function."""
        anchors = self.embed_inputs(model, self.anchors, task="query")
        positives, negatives = self.embed_columns(model, self.positives, self.negatives, task="document")
        near, far = (_scores(self.similarity_fn_names, model, anchors, others) for others in (positives, negatives))
        margin = self.margin or dict.fromkeys(near, 0)
        found = {name: {"accuracy": float(np.mean(near[name] > far[name] + margin.get(name, 0)))} for name in near}
        row = {f"accuracy_{name}": found[name]["accuracy"] for name in found}
        values, main = _named(found, "{name}_{kind}"), self.main_similarity_function
        return Measured(values, f"{main}_accuracy" if main else [*values][-1], row)


class LabelAccuracyEvaluator(SentenceEvaluator):
    """How often the classifier of a ``SoftmaxLoss`` finds the class of a pair.

    Args:
        dataloader: a ``DataLoader`` of examples with ``texts`` (two) and ``label``, or a list of them.
        name: see ``SentenceEvaluator``.
        softmax_model: the loss that holds the classifier: anything whose ``logits`` takes two tables of vectors.
        write_csv: see ``SentenceEvaluator``.

    Raises:
        ColumnsError: no examples, or no classifier.
    """

    description = "Label Accuracy"
    stem = "accuracy_evaluation"
    primary_metric = "accuracy"

    def __init__(self, dataloader: Any, name: str = "", softmax_model: Any = None, write_csv: bool = True) -> None:
        super().__init__(name, write_csv=write_csv)
        self.dataloader, self.softmax_model = dataloader, softmax_model
        if not callable(getattr(softmax_model, "logits", None)):
            raise ColumnsError(f"softmax_model must be a SoftmaxLoss, not {type(softmax_model).__name__}.")
        self._examples = getattr(dataloader, "dataset", dataloader)
        same_length(examples=self._examples)

    def measure(self, model: Any, output_path: str | Path | None) -> Measured:
        """Classify every pair."""
        right = 0
        for examples in slices((self._examples[row] for row in range(len(self._examples))), 2**14):
            columns = [list(column) for column in zip(*(one.texts for one in examples), strict=True)]
            with torch.no_grad():
                chosen = self.softmax_model.logits(self.embed_columns(model, *columns, prompt="")).argmax(dim=1)
            right += int((chosen.cpu().numpy() == as_labels("labels", [one.label for one in examples])).sum())
        values = {"accuracy": right / len(self._examples)}
        return Measured(values, "accuracy", values)
