"""Four ways to put vectors into clusters, one front door to them, and the result they share."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize as scale

from workbench.clustering.community import community_detection
from workbench.errors import choose
from workbench.progress import track
from workbench.texts import as_texts
from workbench.vectors import as_matrix, blocks, check_finite, whole

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["METHODS", "Clusters", "agglomerative", "cluster", "communities", "hdbscan", "kmeans"]

_Rows = npt.NDArray[np.int64]

_SCORES = 2**22  # distances in one block: 16 MB
_SAMPLE = 20_000  # rows on which k-means finds its centres; above, mini-batches of all rows refine them
_BATCH = 4096  # rows in a mini-batch
_PAIRS = 5000  # rows whose distances HDBSCAN may hold all at once (0.4 GB), which is 10 times faster in many dimensions


@dataclass(frozen=True, eq=False)
class Clusters:
    """Which cluster each row is in. Clusters are numbered by size, the largest first; of equal ones the earlier."""

    labels: _Rows  # (n,): the number of the cluster, -1 for rows in none
    method: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, labels: Any, method: str = "", **settings: Any) -> "Clusters":
        """Number clusters by size, whatever whole numbers they were called by; any below 0 means no cluster.

        Raises:
            ValueError: labels are not one whole number for each row.
        """
        labels = np.asarray(labels)
        if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
            raise ValueError(f"labels are {labels.dtype}, {labels.shape}; expected one whole number for each row.")
        labels = labels.astype(np.int64)
        names, first, counts = np.unique(labels, return_index=True, return_counts=True)
        order = np.lexsort((first, -counts))
        order = order[names[order] >= 0]
        numbers = np.full(len(names), -1)
        numbers[order] = np.arange(len(order))
        return cls(numbers[np.searchsorted(names, labels)], method, settings)

    def __len__(self) -> int:
        """How many clusters there are."""
        return int(self.labels.max(initial=-1)) + 1

    def __iter__(self) -> Iterator[_Rows]:
        """Yield the rows of each cluster."""
        order = np.argsort(self.labels, kind="stable")
        yield from np.split(order[self.outliers :], np.cumsum(self.sizes)[:-1]) if len(self) else ()

    @property
    def sizes(self) -> _Rows:
        """How many rows each cluster has: (clusters,)."""
        return np.bincount(self.labels[self.labels >= 0], minlength=len(self))

    @property
    def outliers(self) -> int:
        """How many rows are in no cluster."""
        return int((self.labels < 0).sum())

    def to_frame(self, texts: Any = None) -> "pd.DataFrame":
        """Return a table with one line per row: ``cluster``, and ``text`` where texts are given."""
        import pandas as pd

        columns = {"cluster": self.labels} | ({} if texts is None else {"text": self.texts(texts)})
        return pd.DataFrame(columns)

    def texts(self, texts: Any) -> list[str]:
        """Return texts as a list, checked to be one for each row."""
        rows, _ = as_texts(texts, name="texts")
        if len(rows) != len(self.labels):
            raise ValueError(f"Got {len(rows)} texts for {len(self.labels)} rows; expected one for each.")
        return rows


def cluster(embeddings: Any, method: str = "kmeans", **settings: Any) -> Clusters:
    """Put rows into clusters by one of ``METHODS``, whose functions say when to choose each and what they take.

    Vectors are scaled to length 1, so that clusters follow the cosine; ``normalize=False`` takes them as they are.

    Raises:
        ChoiceError: an unknown method; lists the known ones.
        VectorError: no table of finite numbers; names the rows.
        ValueError: a setting that does not fit the rows.
    """
    function: Callable[..., Clusters] = choose("method", method, METHODS)
    return function(embeddings, **settings)


def kmeans(
    embeddings: Any, n_clusters: int = 8, *, seed: int = 0, normalize: bool = True, show: bool | None = None
) -> Clusters:
    """Split rows into a known number of round clusters; every row gets one. Fast, and fit for millions of rows.

    Above 20,000 rows, centres found on a random sample are refined by mini-batches of all rows (Sculley, 2010), and
    ``settings["sampled"]`` says how many rows the sample had; memory stays bounded, and files mapped into memory are
    read in parts. Fewer clusters come back where there are fewer different rows.

    Args:
        embeddings: (n, dim) vectors.
        n_clusters: how many clusters to find, at most n.
        seed: of the sample and of the starting points.
        normalize: scale vectors to length 1 first.
        show: whether to show progress; see ``workbench.show_progress``.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    matrix = as_matrix(embeddings)
    settings = {"n_clusters": n_clusters, "seed": seed, "normalize": normalize}
    if not len(matrix):
        return Clusters.of([], "kmeans", **settings)
    if not 1 <= n_clusters <= len(matrix):
        raise ValueError(f"n_clusters is {n_clusters}; expected 1 to {len(matrix)}, the number of rows.")
    check_finite(matrix)
    order = np.random.default_rng(seed).permutation(len(matrix))
    sampled = min(len(matrix), max(_SAMPLE, 10 * n_clusters))
    large = sampled < len(matrix)
    labels = np.empty(len(matrix), np.int64)
    with track(len(matrix) * (1 + large), unit="rows", desc="Clustering", show=show) as bar, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than clusters: said above
        sample = matrix[np.sort(order[:sampled])] if large else matrix
        centres = KMeans(n_clusters, n_init=3, random_state=seed).fit(_floats(sample, normalize)).cluster_centers_
        if large:
            model = MiniBatchKMeans(n_clusters, init=centres, n_init=1, random_state=seed)
            for start in range(0, len(matrix), _BATCH):
                batch = order[start : start + _BATCH]
                model.partial_fit(_floats(matrix[np.sort(batch)], normalize))
                bar.update(len(batch))
            centres, settings["sampled"] = model.cluster_centers_, sampled
        means = torch.from_numpy(centres)
        for start, rows in blocks(matrix, max(1, _SCORES // max(n_clusters, matrix.shape[1])), device="cpu"):
            near = torch.addmm(means.square().sum(1) / -2, scale(rows) if normalize else rows, means.T)
            labels[start : start + len(rows)] = near.argmax(1).numpy()
            bar.update(len(rows))
    return Clusters.of(labels, "kmeans", **settings)


def agglomerative(
    embeddings: Any,
    n_clusters: int | None = None,
    distance_threshold: float | None = None,
    *,
    linkage: str = "ward",
    normalize: bool = True,
    max_rows: int = 10_000,
) -> Clusters:
    """Join the nearest clusters again and again, until a number of them is left or none are near enough.

    Choose it for some thousands of rows whose number of clusters is not known. Memory grows with the square of the
    rows: 0.8 GB for 10,000 of them, so more are refused.

    Args:
        embeddings: (n, dim) vectors.
        n_clusters: how many clusters to leave; or
        distance_threshold: the Euclidean distance from which on clusters stay apart. Of vectors of length 1 it is
            sqrt(2 - 2 cosine), so 1.0 means a cosine of 0.5 where ``linkage`` is not "ward".
        linkage: the distance of clusters: "ward", "average", "complete" or "single".
        normalize: scale vectors to length 1 first.
        max_rows: refuse more rows than this.

    Raises:
        ValueError: not exactly one of the two limits is given; more rows than ``max_rows``.
    """
    from sklearn.cluster import AgglomerativeClustering

    matrix = as_matrix(embeddings)
    rule = choose("linkage", linkage, {name: name for name in ("ward", "average", "complete", "single")})
    if (n_clusters is None) == (distance_threshold is None):
        raise ValueError("Give one of n_clusters and distance_threshold.")
    if n_clusters is not None and not 1 <= n_clusters <= max(1, len(matrix)):
        raise ValueError(f"n_clusters is {n_clusters}; expected 1 to {len(matrix)}, the number of rows.")
    if len(matrix) > max_rows:
        raise ValueError(
            f"Agglomerative clustering of {len(matrix):,} rows takes {8e-9 * len(matrix) ** 2:,.1f} GB, more than "
            f"{max_rows:,} rows do. Use 'kmeans' or 'communities', cluster a sample, or raise max_rows."
        )
    vectors = _floats(matrix, normalize)
    model = AgglomerativeClustering(n_clusters, linkage=rule, distance_threshold=distance_threshold)
    labels = model.fit_predict(vectors) if len(matrix) > 1 else np.zeros(len(matrix), np.int64)
    given = {"n_clusters": n_clusters} if n_clusters is not None else {"distance_threshold": distance_threshold}
    return Clusters.of(labels, "agglomerative", **given, linkage=linkage, normalize=normalize)


def hdbscan(
    embeddings: Any, min_cluster_size: int = 10, min_samples: int | None = None, *, normalize: bool = True
) -> Clusters:
    """Find regions that are denser than their surroundings, of any shape; rows between them are outliers (-1).

    Density says little in hundreds of dimensions, and 20,000 rows take minutes there: better give it the coordinates
    of ``project(embeddings, dim=5)``, with ``normalize=False``. Campello, Moulavi & Sander, 2013.

    Args:
        embeddings: (n, dim) vectors.
        min_cluster_size: rows that make a cluster, 2 or more.
        min_samples: rows that make a place dense; higher gives more outliers. None: as ``min_cluster_size``.
        normalize: scale vectors to length 1 first.
    """
    from sklearn.cluster import HDBSCAN

    vectors = _floats(as_matrix(embeddings), normalize)
    settings = {"min_cluster_size": min_cluster_size, "min_samples": min_samples, "normalize": normalize}
    if min_cluster_size < 2 or (min_samples is not None and min_samples < 1):
        raise ValueError(f"Got {settings}; expected min_cluster_size of 2 or more, and min_samples of 1 or more.")
    if len(vectors) < max(min_cluster_size, min_samples or 0):
        return Clusters.of(np.full(len(vectors), -1), "hdbscan", **settings)
    algorithm = "brute" if len(vectors) <= _PAIRS else "kd_tree"
    model = HDBSCAN(min_cluster_size, min_samples, algorithm=algorithm, copy=False)
    return Clusters.of(model.fit_predict(vectors), "hdbscan", **settings)


def communities(
    embeddings: Any,
    threshold: float = 0.75,
    min_community_size: int = 10,
    batch_size: int = 1024,
    *,
    show: bool | None = None,
) -> Clusters:
    """``community_detection`` as ``Clusters``: groups of rows around one that is near them all; the rest outliers.

    Choose it to find groups of near duplicates among many rows that are mostly alone.
    """
    matrix = as_matrix(embeddings)
    labels = np.full(len(matrix), -1)
    for number, rows in enumerate(community_detection(matrix, threshold, min_community_size, batch_size, show)):
        labels[rows] = number
    return Clusters.of(labels, "communities", threshold=threshold, min_community_size=min_community_size)


METHODS: dict[str, Callable[..., Clusters]] = {
    "kmeans": kmeans,
    "agglomerative": agglomerative,
    "communities": communities,
    "hdbscan": hdbscan,
}
"""The ways to cluster that ``cluster`` knows."""


def _floats(matrix: Any, unit: bool) -> npt.NDArray[np.float32]:
    return whole(matrix, unit=unit, device="cpu").numpy()
