"""The evaluator of clusters: whether texts of one class come to lie in one cluster."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench import metrics
from workbench.clustering import kmeans
from workbench.errors import ColumnsError
from workbench.evaluation.base import Measured, Samples, SentenceEvaluator, as_rows, same_length

__all__ = ["ClusteringEvaluator"]


class ClusteringEvaluator(SentenceEvaluator):
    """How well k-means, told the number of classes only, finds the classes of texts.

    Metric: ``v_measure``, see ``workbench.metrics.v_measure``. Its samples draw rows anew within the clusters found
    once, so that an interval speaks of the texts and not of k-means.

    Args:
        sentences: the texts.
        labels: the class of each, of any type that can be a key.
        seed: of k-means.
        name: see ``SentenceEvaluator``, also for the other arguments.
        batch_size: see there.
        show_progress_bar: see there.
        write_csv: see there.
        truncate_dim: see there.

    Raises:
        ColumnsError: the columns differ in length, or there are fewer than two classes.
        TextTypeError: a row is not a text.
    """

    description = "Clustering"
    stem = "clustering_evaluation"
    primary_metric = "v_measure"

    def __init__(
        self, sentences: Sequence[Any], labels: Sequence[Any], seed: int = 0, name: str = "",
        batch_size: int | None = None, show_progress_bar: bool | None = False, write_csv: bool = True,
        truncate_dim: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, batch_size, show_progress_bar, write_csv, truncate_dim)
        self.sentences, self.seed = as_rows("sentences", sentences), seed
        same_length(sentences=self.sentences, labels=labels)
        numbers: dict[Any, int] = {}
        self.labels = np.array([numbers.setdefault(label, len(numbers)) for label in labels])
        if len(numbers) < 2:
            raise ColumnsError(f"labels hold one class only, {next(iter(numbers))!r:.100}. Two are needed at least.")

    def measure(self, model: Any, output_path: str | Path | None) -> Measured:
        """Cluster the vectors, and compare the clusters with the classes."""
        classes = int(self.labels.max()) + 1
        vectors = self.embed_inputs(model, self.sentences)
        found = kmeans(vectors.cpu().numpy(), classes, seed=self.seed, show=self.show_progress_bar).labels
        cells = found * classes + self.labels  # (rows,) the cell of the table of clusters and classes

        def table(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
            size = classes * classes
            places = np.arange(len(counts))[:, None] * size + cells
            filled = np.bincount(places.ravel(), counts.ravel(), len(counts) * size)
            return filled.reshape(len(counts), classes, classes)

        value = float(metrics.v_measure(table(np.ones((1, len(cells)))))[0])
        samples = Samples(len(cells), lambda counts: {"v_measure": metrics.v_measure(table(counts))})
        return Measured({"v_measure": value}, "v_measure", {"v_measure": value}, samples)
