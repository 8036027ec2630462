"""Search: exact and approximate indexes behind one protocol, lexical and hybrid search, retrieve and re-rank."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy
from workbench.protocols import Hits, Index

if TYPE_CHECKING:
    from workbench.search.bm25 import BM25Index
    from workbench.search.coded import hamming_top_k, rescore
    from workbench.search.dense import DenseIndex
    from workbench.search.elasticsearch import ElasticsearchIndex
    from workbench.search.exact import ExactIndex
    from workbench.search.faiss import FaissIndex
    from workbench.search.hnsw import HnswIndex
    from workbench.search.hybrid import HybridIndex, fuse
    from workbench.search.index import VectorIndex
    from workbench.search.kinds import KINDS, open_index
    from workbench.search.milvus import MilvusIndex
    from workbench.search.pipeline import Reranked, RetrieveRerank
    from workbench.search.semantic import information_retrieval, semantic_search
    from workbench.search.topk import METRICS, Best, top_k
    from workbench.search.tradeoff import Setting, Tradeoff, quantization_tradeoff
    from workbench.search.usearch import USearchIndex

__all__ = [
    "KINDS", "METRICS", "BM25Index", "Best", "DenseIndex", "ElasticsearchIndex", "ExactIndex", "FaissIndex", "Hits",
    "HnswIndex", "HybridIndex", "Index", "MilvusIndex", "Reranked", "RetrieveRerank", "Setting", "Tradeoff",
    "USearchIndex", "VectorIndex", "fuse", "hamming_top_k", "information_retrieval", "open_index",
    "quantization_tradeoff", "rescore", "semantic_search", "top_k",
]  # fmt: skip

_HOMES = {
    **dict.fromkeys(["KINDS", "open_index"], "kinds"),
    **dict.fromkeys(["METRICS", "Best", "top_k"], "topk"),
    **dict.fromkeys(["HybridIndex", "fuse"], "hybrid"),
    **dict.fromkeys(["Reranked", "RetrieveRerank"], "pipeline"),
    **dict.fromkeys(["Setting", "Tradeoff", "quantization_tradeoff"], "tradeoff"),
    **dict.fromkeys(["hamming_top_k", "rescore"], "coded"),
    **dict.fromkeys(["information_retrieval", "semantic_search"], "semantic"),
    "BM25Index": "bm25",
    "DenseIndex": "dense",
    "ElasticsearchIndex": "elasticsearch",
    "ExactIndex": "exact",
    "FaissIndex": "faiss",
    "HnswIndex": "hnsw",
    "MilvusIndex": "milvus",
    "USearchIndex": "usearch",
    "VectorIndex": "index",
}

__getattr__, __dir__ = lazy(__name__, _HOMES)
