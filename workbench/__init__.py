"""Sentence Workbench: sentence embeddings, cross-encoders and everything around them. Names load on first use."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

__version__ = "0.1.0"

if TYPE_CHECKING:
    from workbench.backends import (
        export_dynamic_quantized_onnx_model,
        export_optimized_onnx_model,
        export_static_quantized_openvino_model,
    )
    from workbench.cross_encoder import CrossEncoder
    from workbench.datasets import as_dataset
    from workbench.model_card import SentenceTransformerModelCardData
    from workbench.progress import show_progress
    from workbench.quantization import quantize_embeddings
    from workbench.readers import InputExample
    from workbench.search import open_index
    from workbench.sentence_transformer import SentenceTransformer
    from workbench.similarity import SimilarityFunction
    from workbench.store import EmbeddingStore
    from workbench.training import (
        CrossEncoderTrainer,
        CrossEncoderTrainingArguments,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )

__all__ = [
    "CrossEncoder", "CrossEncoderTrainer", "CrossEncoderTrainingArguments", "EmbeddingStore", "InputExample",
    "SentenceTransformer", "SentenceTransformerModelCardData", "SentenceTransformerTrainer",
    "SentenceTransformerTrainingArguments", "SimilarityFunction", "as_dataset",
    "export_dynamic_quantized_onnx_model", "export_optimized_onnx_model", "export_static_quantized_openvino_model",
    "open_index", "quantize_embeddings", "show_progress",
]  # fmt: skip

_ROOMS = [
    "backends", "clustering", "datasets", "distributed", "errors", "evaluation", "images", "losses", "metrics",
    "mining", "models", "progress", "projection", "quantization", "readers", "recipes", "scorecard", "search",
    "similarity", "store", "training", "util",
]  # fmt: skip
_HOMES = dict.fromkeys(_ROOMS, "") | {
    "CrossEncoder": "cross_encoder", "EmbeddingStore": "store", "SentenceTransformer": "sentence_transformer",
    "SentenceTransformerModelCardData": "model_card", "SimilarityFunction": "similarity",
    "CrossEncoderTrainer": "training", "CrossEncoderTrainingArguments": "training",
    "SentenceTransformerTrainer": "training", "SentenceTransformerTrainingArguments": "training",
    "InputExample": "readers", "as_dataset": "datasets", "open_index": "search",
    "quantize_embeddings": "quantization", "show_progress": "progress",
    "export_dynamic_quantized_onnx_model": "backends", "export_optimized_onnx_model": "backends",
    "export_static_quantized_openvino_model": "backends",
}  # fmt: skip
_METHODS = {"CrossEncoder.fit": "training.legacy.fit_pairs", "SentenceTransformer.fit": "training.legacy.fit"}

__getattr__, __dir__ = lazy(__name__, _HOMES, _METHODS)
