"""A model that counts words, and the smallest index of vectors: for tests of what stands on top of them."""

import numpy as np

from workbench.protocols import Hits
from workbench.search.topk import top_k
from workbench.vectors import as_matrix, float_rows


class Words:
    """Embeds a text as how often each of some words comes in it."""

    vocabulary = ("red", "blue", "fish", "bird", "error")

    def encode(self, sentences, **options):
        return np.array([[text.count(word) + 0.01 for word in self.vocabulary] for text in sentences], np.float32)


class flat:  # noqa: N801
    """Vectors compared one by one."""

    def __init__(self):
        self.ids, self.rows = [], []

    def add(self, ids, rows):
        rows = as_matrix(rows)
        self.rows += float_rows(rows, 0, len(rows)).tolist()
        self.ids += list(range(len(self.ids), len(self.rows)) if ids is None else ids)

    def search(self, queries, k=10):
        scores, places = top_k(queries, np.array(self.rows, np.float32), k)
        strings = any(isinstance(name, str) for name in self.ids)
        names = np.array([*self.ids, None if strings else -1], object if strings else np.int64)
        return Hits(names[places.numpy()], scores.numpy())

    def save(self, path):
        raise NotImplementedError

    def __len__(self):
        return len(self.ids)
