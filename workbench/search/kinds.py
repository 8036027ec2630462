"""The kinds of index there are, and the one way to make or open any of them."""

import importlib
from pathlib import Path
from typing import Any

from workbench.errors import choose
from workbench.protocols import Index
from workbench.search.saved import is_index

__all__ = ["KINDS", "open_index"]

KINDS = {
    "exact": ("workbench.search.exact", "ExactIndex"),
    "faiss": ("workbench.search.faiss", "FaissIndex"),
    "usearch": ("workbench.search.usearch", "USearchIndex"),
    "hnsw": ("workbench.search.hnsw", "HnswIndex"),
    "elasticsearch": ("workbench.search.elasticsearch", "ElasticsearchIndex"),
    "milvus": ("workbench.search.milvus", "MilvusIndex"),
    "bm25": ("workbench.search.bm25", "BM25Index"),
    "hybrid": ("workbench.search.hybrid", "HybridIndex"),
}
"""Where each kind's class lives."""

_SERVERS = ("elasticsearch", "milvus")  # these keep their rows themselves


def open_index(kind: str, path_or_url: str | Path | None = None, **options: Any) -> Index:
    """Make a new index, or open the one that was saved at a path.

    Args:
        kind: a key of ``KINDS``.
        path_or_url: a folder that ``save`` wrote: it is opened; where there is none yet, the index is new and
            ``save(path)`` writes it. For elasticsearch and milvus where the server or its file is.
        options: of the class; see there.

    Raises:
        ChoiceError: an unknown kind, or an option that differs from the saved index's.
        DataFormatError: the folder holds something else, or an index of another kind.
    """
    module, name = choose("kind of index", kind, KINDS)
    cls = getattr(importlib.import_module(module), name)
    if path_or_url is not None and _is_saved(kind, path_or_url):
        index: Index = cls.open(path_or_url, **options)
    elif kind in _SERVERS and path_or_url is not None:
        index = cls(path_or_url, **options)
    else:
        index = cls(**options)
    return index


def _is_saved(kind: str, path: str | Path) -> bool:
    """Whether ``save`` wrote the folder; a server's address or file is none."""
    return (Path(path) / "index.json").is_file() if kind in _SERVERS else is_index(path)
