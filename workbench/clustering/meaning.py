"""What a cluster is about: its words by class-based TF-IDF, and the texts nearest to its centre."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize as scale

from workbench.clustering.clusters import Clusters
from workbench.errors import VectorError
from workbench.vectors import as_matrix, blocks

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["representatives", "summary", "topic_words"]


def topic_words(
    clusters: Clusters, texts: Any, k: int = 10, *, stop_words: Any = "english", **vectorizer: Any
) -> list[list[tuple[str, float]]]:
    """Find the words that set each cluster apart: often in it, seldom in the others (class-based TF-IDF).

    The weight of word x in cluster c is the share of x among the words of c, times log(1 + A / f), where f counts x in
    all clusters and A is the mean number of words in a cluster. Grootendorst, 2022 (arXiv:2203.05794). Rows in no
    cluster do not count.

    Args:
        clusters: of the rows.
        texts: one for each row.
        k: how many words to return for each cluster.
        stop_words: words to leave out: "english" (scikit-learn's list), a list of your own, or None.
        vectorizer: further settings of scikit-learn's ``CountVectorizer``, such as ``ngram_range=(1, 2)``.

    Returns:
        For each cluster its (word, weight) pairs, the heaviest first; of equal ones in the order of the alphabet.

    Raises:
        ValueError: another number of texts than rows.
        TextTypeError: a row is not a text; names its index and type.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    rows = clusters.texts(texts)
    documents = ["\n".join(rows[row] for row in members) for members in clusters]
    counter = CountVectorizer(stop_words=stop_words, **vectorizer)
    tokens = counter.build_analyzer()
    if not any(tokens(document) for document in documents):
        return [[] for _ in documents]
    counts = counter.fit_transform(documents).tocsr()  # (clusters, words)
    words = counter.get_feature_names_out()
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    rarity = np.log1p(lengths.mean() / np.asarray(counts.sum(axis=0)).ravel())
    found = []
    for number, length in enumerate(lengths):
        line = slice(counts.indptr[number], counts.indptr[number + 1])
        columns, weights = counts.indices[line], counts.data[line] / max(length, 1)
        weights = weights * rarity[columns]
        best = np.lexsort((columns, -weights))[:k]
        found.append([(str(words[columns[i]]), float(weights[i])) for i in best])
    return found


def representatives(
    clusters: Clusters, embeddings: Any, k: int = 3, *, normalize: bool = True
) -> list[npt.NDArray[np.int64]]:
    """Find the rows that stand for each cluster: the k nearest to its centre, the mean of its vectors, nearest first.

    Args:
        clusters: of the rows.
        embeddings: (n, dim) vectors of the rows.
        k: how many rows to return for each cluster.
        normalize: scale vectors to length 1 first, as the ways to cluster do.

    Raises:
        VectorError: another number of vectors than rows, or no table of finite numbers.
    """
    matrix = as_matrix(embeddings)
    if len(matrix) != len(clusters.labels):
        raise VectorError(f"Got {len(matrix)} vectors for {len(clusters.labels)} rows; expected one for each.")
    labels = torch.from_numpy(clusters.labels) + 1  # the first line gathers the outliers
    centres = torch.zeros(len(clusters) + 1, matrix.shape[1], dtype=torch.float64)
    distances = np.empty(len(matrix), np.float32)
    for start, rows in blocks(matrix, device="cpu"):
        centres.index_add_(0, labels[start : start + len(rows)], (scale(rows) if normalize else rows).double())
    centres /= torch.bincount(labels, minlength=len(centres))[:, None].clamp(min=1)
    for start, rows in blocks(matrix, device="cpu"):
        offsets = (scale(rows) if normalize else rows) - centres[labels[start : start + len(rows)]]
        distances[start : start + len(rows)] = offsets.square().sum(1).numpy()
    return [rows[np.argsort(distances[rows], kind="stable")[:k]] for rows in clusters]


def summary(clusters: Clusters, texts: Any, embeddings: Any, *, words: int = 5, examples: int = 3) -> "pd.DataFrame":
    """Return a table with one line per cluster: its number, size, topic words, and the texts nearest to its centre.

    Raises as ``topic_words`` and ``representatives`` do.
    """
    import pandas as pd

    rows = clusters.texts(texts)
    return pd.DataFrame(
        {
            "cluster": range(len(clusters)),
            "size": clusters.sizes,
            "words": [", ".join(word for word, _ in best) for best in topic_words(clusters, rows, words)],
            "examples": [[rows[i] for i in best] for best in representatives(clusters, embeddings, examples)],
        }
    )
