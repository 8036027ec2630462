"""Search: exact and approximate indexes behind one protocol, lexical and hybrid search, retrieve and re-rank."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy
from workbench.protocols import Hits, Index

if TYPE_CHECKING:
    from workbench.search.bm25 import BM25Index
    from workbench.search.dense import DenseIndex
    from workbench.search.exact import ExactIndex
    from workbench.search.faiss import FaissIndex
    from workbench.search.hnsw import HnswIndex
    from workbench.search.hybrid import HybridIndex, fuse
    from workbench.search.index import VectorIndex
    from workbench.search.kinds import KINDS, open_index
    from workbench.search.pipeline import Reranked, RetrieveRerank
    from workbench.search.semantic import information_retrieval, semantic_search
    from workbench.search.topk import METRICS, Best, top_k
    from workbench.search.usearch import USearchIndex

__all__ = [
    "KINDS", "METRICS", "BM25Index", "Best", "DenseIndex", "ExactIndex", "FaissIndex", "Hits", "HnswIndex",
    "HybridIndex", "Index", "Reranked", "RetrieveRerank", "USearchIndex", "VectorIndex", "fuse",
    "information_retrieval", "open_index", "semantic_search", "top_k",
]  # fmt: skip

_HOMES = {
    "KINDS": "kinds",
    "METRICS": "topk",
    "BM25Index": "bm25",
    "Best": "topk",
    "DenseIndex": "dense",
    "ExactIndex": "exact",
    "FaissIndex": "faiss",
    "HnswIndex": "hnsw",
    "HybridIndex": "hybrid",
    "Reranked": "pipeline",
    "RetrieveRerank": "pipeline",
    "USearchIndex": "usearch",
    "VectorIndex": "index",
    "fuse": "hybrid",
    "information_retrieval": "semantic",
    "open_index": "kinds",
    "semantic_search": "semantic",
    "top_k": "topk",
}

__getattr__, __dir__ = lazy(__name__, _HOMES)
