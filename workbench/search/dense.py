"""Texts found by meaning: a model turns them into vectors, and any index of vectors finds the nearest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from workbench.protocols import Embeds, Hits, Index
from workbench.texts import as_texts

__all__ = ["DenseIndex"]


class DenseIndex:
    """An index of texts on top of an index of vectors.

    Args:
        model: encodes the texts; with ``encode_query`` and ``encode_document`` where it has them, so that its prompts
            for either side are used.
        index: finds the vectors. It may be filled already, by this model.
    """

    def __init__(self, model: Embeds, index: Index) -> None:
        self.model, self.index = model, index

    def add(self, ids: Sequence[Any] | None, rows: Any) -> None:
        """Encode texts and add them under ids: whole numbers or strings, each once; None numbers them on."""
        texts, _ = as_texts(rows, name="rows")
        self.index.add(ids, getattr(self.model, "encode_document", self.model.encode)(texts))

    def encode_query(self, queries: Any) -> Any:
        """Return (queries, dim) vectors of query texts; ``search`` takes them in place of the texts."""
        texts, _ = as_texts(queries, name="queries")
        return getattr(self.model, "encode_query", self.model.encode)(texts)

    def search(self, queries: Any, k: int = 10) -> Hits:
        """Return the k best texts for each query, which is a text or a vector that ``encode_query`` gave."""
        vectors = isinstance(queries, Tensor) or (isinstance(queries, np.ndarray) and queries.dtype.kind == "f")
        return self.index.search(queries if vectors else self.encode_query(queries), k)

    def delete(self, ids: Sequence[Any]) -> Any:
        """Forget the texts with these ids, where the index of vectors can."""
        return self.index.delete(ids)  # type: ignore[attr-defined]

    def save(self, path: str | Path) -> None:
        """Write the index of vectors to a folder; it opens with ``open_index``. The model is not part of it."""
        self.index.save(path)

    def __len__(self) -> int:
        return len(self.index)
