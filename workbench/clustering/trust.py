"""How far clusters can be trusted: whether they come back on other rows, and how well they stand apart."""

import inspect
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from workbench.clustering.clusters import METHODS, Clusters, cluster
from workbench.errors import VectorError, choose
from workbench.progress import track
from workbench.vectors import as_matrix, check_finite, whole

__all__ = ["Silhouette", "silhouette", "stability"]


class Silhouette(NamedTuple):
    """How well clusters stand apart, and on how many of the rows in clusters that was measured."""

    value: float  # -1 to 1; NaN where there are not two clusters
    rows: int
    total: int


def silhouette(
    clusters: Clusters, embeddings: Any, *, max_rows: int = 5000, seed: int = 0, normalize: bool = True
) -> Silhouette:
    """Compare each row's mean distance to its own cluster with that to the nearest other one (Rousseeuw, 1987).

    1: clusters are tight and far apart; 0: they touch; below: rows sit in the wrong one. Rows in no cluster are left
    out. Above ``max_rows`` a random sample is measured, and the result says so.

    Args:
        clusters: of the rows.
        embeddings: (n, dim) vectors of the rows.
        max_rows: rows to measure at most; time grows with their square.
        seed: of the sample.
        normalize: measure by cosine distance; False: by Euclidean distance.

    Raises:
        VectorError: another number of vectors than rows, or no table of finite numbers.
    """
    from sklearn.metrics import silhouette_score

    matrix = as_matrix(embeddings)
    if len(matrix) != len(clusters.labels):
        raise VectorError(f"Got {len(matrix)} vectors for {len(clusters.labels)} rows; expected one for each.")
    inside = np.flatnonzero(clusters.labels >= 0)
    rows = inside
    if len(inside) > max_rows:
        rows = np.sort(np.random.default_rng(seed).choice(inside, max_rows, replace=False))
    labels = clusters.labels[rows]
    value = float("nan")
    if 2 <= len(np.unique(labels)) < len(rows):
        vectors = whole(matrix[rows], unit=normalize, device="cpu").numpy()
        value = float(silhouette_score(vectors, labels, metric="cosine" if normalize else "euclidean"))
    return Silhouette(value, len(rows), len(inside))


def stability(
    embeddings: Any,
    method: str = "kmeans",
    *,
    runs: int = 5,
    share: float = 0.8,
    seed: int = 0,
    show: bool | None = None,
    **settings: Any,
) -> float:
    """Cluster random parts of the rows, and return how far the runs agree on the rows they share.

    The mean adjusted Rand index over all pairs of runs (Hubert & Arabie, 1985): 1 where they agree on every pair of
    rows, 0 as if by chance. Near 0, the number or the kind of clusters does not fit the data.

    Args:
        embeddings: (n, dim) vectors.
        method: one of ``METHODS``.
        runs: how often to cluster, 2 or more.
        share: of the rows in each run, above 0 and up to 1.
        seed: of the parts, and of the runs where the method takes one.
        show: whether to show progress; see ``workbench.show_progress``.
        settings: of the method.

    Raises:
        ChoiceError: an unknown method.
        ValueError: runs or share out of their range, or settings that do not fit the rows of a part.
    """
    from sklearn.metrics import adjusted_rand_score

    if runs < 2 or not 0 < share <= 1:
        raise ValueError(f"runs is {runs} and share {share}; expected 2 runs or more, and a share above 0, up to 1.")
    seeded = "seed" in inspect.signature(choose("method", method, METHODS)).parameters
    matrix, draw = as_matrix(embeddings), np.random.default_rng(seed)
    check_finite(matrix)
    labels = np.full((runs, len(matrix)), -2)  # -2: not in this run
    with track(runs, unit="runs", desc="Clustering parts", show=show) as bar:
        for run in range(runs):
            rows = np.sort(draw.choice(len(matrix), round(share * len(matrix)), replace=False))
            own = {"seed": seed + run} if seeded else {}
            labels[run, rows] = cluster(matrix[rows], method, **settings | own).labels
            bar.update(1)
    pairs = [(a[both], b[both]) for a, b in combinations(labels, 2) if (both := (a > -2) & (b > -2)).any()]
    return float(np.mean([adjusted_rand_score(a, b) for a, b in pairs])) if pairs else float("nan")
