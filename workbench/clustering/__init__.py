"""Clusters of vectors: ways to find them, what stands for them, and how far to trust them."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from workbench.clustering.clusters import METHODS, Clusters, agglomerative, cluster, communities, hdbscan, kmeans
    from workbench.clustering.community import community_detection
    from workbench.clustering.meaning import representatives, summary, topic_words
    from workbench.clustering.trust import Silhouette, silhouette, stability

__all__ = [
    "METHODS", "Clusters", "Silhouette", "agglomerative", "cluster", "communities", "community_detection", "hdbscan",
    "kmeans", "representatives", "silhouette", "stability", "summary", "topic_words",
]  # fmt: skip

_HOMES = {
    **dict.fromkeys(
        ["METHODS", "Clusters", "agglomerative", "cluster", "communities", "hdbscan", "kmeans"], "clusters"
    ),
    **dict.fromkeys(["representatives", "summary", "topic_words"], "meaning"),
    **dict.fromkeys(["Silhouette", "silhouette", "stability"], "trust"),
    "community_detection": "community",
}

__getattr__, __dir__ = lazy(__name__, _HOMES)
