"""Vectors in fewer bytes: codes of one byte or one bit per dimension, and search over them in FAISS and USearch."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from workbench.quantization.codes import PRECISIONS, Quantizer, quantize_embeddings
    from workbench.quantization.engines import semantic_search_faiss, semantic_search_usearch

__all__ = ["PRECISIONS", "Quantizer", "quantize_embeddings", "semantic_search_faiss", "semantic_search_usearch"]

_HOMES = dict.fromkeys(["PRECISIONS", "Quantizer", "quantize_embeddings"], "codes") | dict.fromkeys(
    ["semantic_search_faiss", "semantic_search_usearch"], "engines"
)

__getattr__, __dir__ = lazy(__name__, _HOMES)
