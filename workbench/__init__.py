"""Sentence Workbench: sentence embeddings, cross-encoders and everything around them. Names load on first use."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

__version__ = "0.1.0"

if TYPE_CHECKING:
    from workbench.cross_encoder import CrossEncoder
    from workbench.model_card import SentenceTransformerModelCardData
    from workbench.progress import show_progress
    from workbench.quantization import quantize_embeddings
    from workbench.sentence_transformer import SentenceTransformer
    from workbench.similarity import SimilarityFunction

__all__ = [
    "CrossEncoder", "SentenceTransformer", "SentenceTransformerModelCardData", "SimilarityFunction",
    "quantize_embeddings", "show_progress",
]  # fmt: skip

_HOMES = dict.fromkeys(["errors", "metrics", "models", "progress", "quantization", "similarity", "util"], "") | {
    "CrossEncoder": "cross_encoder", "SentenceTransformer": "sentence_transformer",
    "SentenceTransformerModelCardData": "model_card", "SimilarityFunction": "similarity",
    "quantize_embeddings": "quantization", "show_progress": "progress",
}  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOMES)
