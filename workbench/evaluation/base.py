"""What every evaluator does: check its data, measure a model, name the numbers, and add a line to a CSV file."""

import csv
import io
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from workbench.errors import ColumnsError
from workbench.folders import replacing
from workbench.metrics import best_accuracy, best_f1
from workbench.similarity import SimilarityFunction
from workbench.texts import as_texts

__all__ = [
    "Measured", "Samples", "SentenceEvaluator", "SequentialEvaluator", "append_row", "as_labels", "as_rows",
    "at_best_thresholds", "checked_names", "positive_sizes", "same_length",
]  # fmt: skip

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Samples:
    """How metrics change when the data change: what is drawn again, and the metrics of many draws at once.

    ``values(counts)`` takes how often each draw holds each row, (draws, rows), and gives (draws,) numbers by metric.
    """

    rows: int
    values: Callable[[npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]

    @staticmethod
    def means(values: Mapping[str, npt.NDArray[Any]]) -> "Samples":
        """Return samples of metrics that are means over the rows; ``values`` gives those of each row, (rows,)."""

        def of_counts(counts: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
            drawn = np.where(counts.any(axis=1), counts.sum(axis=1), np.nan)
            return {key: counts @ one / drawn for key, one in values.items()}

        return Samples(len(next(iter(values.values()))), of_counts)


@dataclass(frozen=True)
class Measured:
    """The numbers of one evaluation, before the evaluator's name is put in front of theirs."""

    metrics: dict[str, float]
    primary: str  # the metric by which models are compared
    row: dict[str, float]  # the line of the CSV file: values by column
    samples: Samples | None = None  # for confidence intervals; made when they are asked for


class SentenceEvaluator:
    """Measures a model: ``evaluator(model)`` gives named numbers, alone or at every evaluation of a trainer.

    An evaluator of one's own defines ``measure``, or ``__call__`` itself.

    Args:
        name: put in front of every metric and into the name of the CSV file.
        batch_size: texts encoded at a time; None decides by their length.
        show_progress_bar: whether to show progress; see ``workbench.show_progress``.
        write_csv: whether to add a line to the CSV file ``csv_file`` when ``output_path`` is given.
        truncate_dim: dimensions to keep; None: the model's own setting.
    """

    description: ClassVar[str] = "Evaluation"
    stem: ClassVar[str] = ""  # what the name of the CSV file begins with
    line_end: ClassVar[str] = "\r\n"
    greater_is_better = True
    primary_metric: str | None = None  # known when the model has been measured, at the latest
    csv_file = ""
    settings: tuple[str, ...] = ("truncate_dim",)  # what a model card tells of an evaluator

    def __init__(
        self,
        name: str = "",
        batch_size: int | None = None,
        show_progress_bar: bool | None = False,
        write_csv: bool = True,
        truncate_dim: int | None = None,
    ) -> None:
        for option, value in (("batch_size", batch_size), ("truncate_dim", truncate_dim)):
            if value is not None:
                positive_sizes(option, [value])
        self.name, self.batch_size, self.show_progress_bar = name, batch_size, show_progress_bar
        self.write_csv, self.truncate_dim = write_csv, truncate_dim
        if self.stem:
            self.csv_file = f"{_joined(self.stem, name, 'results')}.csv"
            self.prefix_name_to_metrics({}, name)

    def __call__(
        self, model: Any, output_path: str | Path | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Measure a model.

        Args:
            model: the model.
            output_path: the folder of the CSV file; it is made by need.
            epoch: for the CSV file: the epoch of a training in which this happens, -1 outside of one.
            steps: the same for the step.

        Returns:
            The metrics by name; ``primary_metric`` is the name of the one to compare models by.
        """
        return self.report(model, self.measure(model, output_path), output_path, epoch, steps)

    def measure(self, model: Any, output_path: str | Path | None) -> Measured:
        """Return what ``model`` reaches; ``output_path`` is for evaluators that write more than numbers."""
        raise NotImplementedError(f"{type(self).__name__} must define measure(model, output_path) or __call__.")

    def report(
        self, model: Any, found: Measured, output_path: str | Path | None, epoch: int, steps: int
    ) -> dict[str, float]:
        """Write the line of the CSV file, tell the model's card, and return the metrics under their full names."""
        if output_path is not None and self.write_csv:
            append_row(Path(output_path) / self.csv_file, {"epoch": epoch, "steps": steps, **found.row}, self.line_end)
        self.primary_metric = found.primary
        metrics = self.prefix_name_to_metrics(found.metrics, self.name)
        self.store_metrics_in_model_card_data(model, metrics, epoch, steps)
        when = "" if epoch == -1 else f", epoch {epoch}, step {steps}"
        logger.info("%s%s: %s", self.description, when, metrics)
        return metrics

    def embed_inputs(self, model: Any, sentences: Sequence[Any], task: str = "", **options: Any) -> Any:
        """Return the vectors of texts, each distinct text encoded once; ``task`` is "query", "document" or none."""
        if self.truncate_dim is not None:
            options["truncate_dim"] = self.truncate_dim
        encode = getattr(model, f"encode_{task}", model.encode)
        how = {"batch_size": self.batch_size, "show_progress_bar": self.show_progress_bar, "convert_to_tensor": True}
        return encode(sentences, **how, **options)

    def embed_columns(self, model: Any, *columns: list[Any], **options: Any) -> list[Any]:
        """Return the vectors of each column, texts that stand in several encoded once."""
        vectors = self.embed_inputs(model, [text for column in columns for text in column], **options)
        ends = np.cumsum([len(column) for column in columns]).tolist()
        return [vectors[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def prefix_name_to_metrics(self, metrics: dict[str, float], name: str) -> dict[str, float]:
        """Return the metrics with ``name`` in front of theirs; ``primary_metric`` gets it, too."""
        if self.primary_metric and not (name and self.primary_metric.startswith(f"{name}_")):
            self.primary_metric = _joined(name, self.primary_metric)
        return {_joined(name, key): float(value) for key, value in metrics.items()}

    def store_metrics_in_model_card_data(
        self, model: Any, metrics: dict[str, float], epoch: int = 0, step: int = 0
    ) -> None:
        """Tell the model's card what was measured, if it keeps such records."""
        keep = getattr(getattr(model, "model_card_data", None), "set_evaluation_metrics", None)
        if keep is not None:
            keep(self, metrics, epoch=epoch, step=step)

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings that are not left at None, for the model card."""
        values = {name: getattr(self, name, None) for name in self.settings}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_input_examples(cls, examples: Iterable[Any], **options: Any) -> Self:
        """Make an evaluator from ``InputExample`` objects: a column of each of their texts, and their labels."""
        rows = list(examples)
        columns = [list(column) for column in zip(*(row.texts for row in rows), strict=True)]
        return cls(*cls._arguments(columns, [row.label for row in rows]), **options)

    @staticmethod
    def _arguments(columns: list[list[Any]], labels: list[Any]) -> tuple[Any, ...]:
        return (*columns, labels)


class SequentialEvaluator(SentenceEvaluator):
    """Several evaluators as one; the score to compare models by is made of their primary metrics.

    Args:
        evaluators: the evaluators. Give each a name of its own, or later ones overwrite the metrics of earlier ones.
        main_score_function: makes one score of the list of primary metrics; None takes the last.
    """

    description = "Sequential"

    def __init__(
        self,
        evaluators: Iterable[Any],
        main_score_function: Callable[[list[float]], float] | None = None,
    ) -> None:
        super().__init__()
        self.evaluators = list(evaluators)
        self.main_score_function = main_score_function
        if not self.evaluators or not all(callable(one) for one in self.evaluators):
            raise ColumnsError(f"evaluators must be a list of at least one evaluator, not {self.evaluators!r:.200}.")
        self.primary_metric = "sequential_score"

    def __call__(
        self, model: Any, output_path: str | Path | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Return the metrics of all evaluators, and ``sequential_score``."""
        metrics: dict[str, float] = {}
        scores: list[float] = []
        for evaluator in self.evaluators:
            found = evaluator(model, output_path, epoch, steps)
            if not isinstance(found, dict):
                found = {f"evaluator_{len(scores)}": found}
            if lost := sorted(metrics.keys() & found.keys()):
                logger.warning("Two evaluators both give %s; give each a name of its own.", ", ".join(lost))
            scores.append(found[getattr(evaluator, "primary_metric", None) or next(iter(found))])
            metrics |= found
        score = self.main_score_function(scores) if self.main_score_function else scores[-1]
        return {**metrics, "sequential_score": float(score)}


def _joined(*parts: str) -> str:
    return "_".join(filter(None, parts))


def at_best_thresholds(scores: Any, labels: Any, high_is_similar: bool = True) -> dict[str, float]:
    """Return accuracy and F1 at their best thresholds, and precision and recall at that of F1; see ``best_f1``."""
    accuracy, accuracy_threshold = best_accuracy(scores, labels, high_is_similar)
    f1, precision, recall, f1_threshold = best_f1(scores, labels, high_is_similar)
    return {
        "accuracy": accuracy, "accuracy_threshold": accuracy_threshold, "f1": f1, "f1_threshold": f1_threshold,
        "precision": precision, "recall": recall,
    }  # fmt: skip


def append_row(path: Path, row: dict[str, Any], line_end: str = "\r\n") -> None:
    """Add a line to a CSV file, or begin it with a header; killed meanwhile or on a full disk, it stays as it was."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=line_end)
    if not (old := path.read_bytes() if path.is_file() else b""):
        writer.writerow(row.keys())
    writer.writerow(row.values())
    with replacing(path) as fresh:
        fresh.write_bytes(old + text.getvalue().encode())


def as_rows(name: str, values: Any) -> list[Any]:
    """Return a column of texts (or images, or routed rows) as a checked list; see ``as_texts``."""
    pillow = sys.modules.get("PIL.Image")
    rows, _ = as_texts(values, accept=(dict, *([pillow.Image] if pillow else [])), name=name)
    return rows


def as_labels(name: str, values: Any, *, most: int | None = None, whole: bool = True) -> npt.NDArray[Any]:
    """Return a column of numbers, (n,): whole ones from 0 (to ``most``), or any that are finite.

    Raises:
        ColumnsError: other values; names their rows.
    """
    numbers = np.asarray(list(values) if not isinstance(values, (np.ndarray, Tensor)) else values)
    if numbers.ndim != 1 or numbers.dtype.kind not in "biuf":
        raise ColumnsError(f"{name} must be a column of numbers, not of {numbers.dtype} {numbers.shape}.")
    bad = ~np.isfinite(numbers)
    if whole:
        bad |= (numbers != np.floor(numbers)) | (numbers < 0) | (most is not None and numbers > most)
    if bad.any():
        wanted = "finite" if not whole else "whole, 0 or more" if most is None else f"whole, from 0 to {most}"
        rows = np.flatnonzero(bad)
        shown = ", ".join(f"{numbers[row]} in row {row}" for row in rows[:5])
        raise ColumnsError(f"{name} must be {wanted}; found {shown} ({len(rows)} rows).")
    return numbers.astype(np.int64) if whole else numbers.astype(np.float64)


def same_length(**columns: Any) -> None:
    """Raise ``ColumnsError`` unless all columns have the same number of rows, at least one."""
    sizes = {name: len(column) for name, column in columns.items()}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        shown = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ColumnsError(f"The columns must have the same number of rows, at least one. Found: {shown}.")


def checked_names(names: Sequence[str] | None, main: str | None = None) -> tuple[list[str], str | None]:
    """Return names of similarity functions as plain strings, and the main one; an unknown name is a ``ChoiceError``."""
    if isinstance(names, str):
        names = [names]
    found = [SimilarityFunction(name).value for name in names or ()]
    chosen = None if main is None else SimilarityFunction(main).value
    if chosen and found and chosen not in found:
        raise ColumnsError(f"The main similarity {chosen!r} is none of those to compute: {', '.join(found)}. Add it.")
    return found or ([chosen] if chosen else []), chosen


def positive_sizes(name: str, values: Sequence[int]) -> list[int]:
    """Return whole numbers from 1; anything else, or none, is a ``ValueError``."""
    sizes = list(values)
    if not sizes or not all(isinstance(size, (int, np.integer)) and size >= 1 for size in sizes):
        raise ValueError(f"{name} must hold whole numbers from 1, not {values!r:.100}.")
    return [int(size) for size in sizes]
