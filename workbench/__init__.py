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
    from workbench.datasets import ParallelSentencesDataset, SentencesDataset, as_dataset
    from workbench.mining import mine_hard_negatives
    from workbench.model_card import SentenceTransformerModelCardData
    from workbench.progress import LoggingHandler, show_progress
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
    "LoggingHandler", "ParallelSentencesDataset", "SentenceTransformer", "SentenceTransformerModelCardData",
    "SentenceTransformerTrainer", "SentenceTransformerTrainingArguments", "SentencesDataset", "SimilarityFunction",
    "as_dataset", "export_dynamic_quantized_onnx_model", "export_optimized_onnx_model",
    "export_static_quantized_openvino_model", "mine_hard_negatives", "open_index", "quantize_embeddings",
    "show_progress",
]  # fmt: skip

_ROOMS = [
    "backends", "clustering", "datasets", "distributed", "errors", "evaluation", "images", "losses", "metrics",
    "mining", "models", "progress", "projection", "quantization", "readers", "recipes", "sampler", "scorecard",
    "search", "similarity", "similarity_functions", "store", "trainer", "training", "training_args", "util",
]  # fmt: skip
_HOMES = dict.fromkeys(_ROOMS, "") | {
    "CrossEncoder": "cross_encoder", "EmbeddingStore": "store", "SentenceTransformer": "sentence_transformer",
    "SentenceTransformerModelCardData": "model_card", "SimilarityFunction": "similarity",
    "CrossEncoderTrainer": "training", "CrossEncoderTrainingArguments": "training",
    "SentenceTransformerTrainer": "training", "SentenceTransformerTrainingArguments": "training",
    "InputExample": "readers", "as_dataset": "datasets", "open_index": "search", "mine_hard_negatives": "mining",
    "ParallelSentencesDataset": "datasets", "SentencesDataset": "datasets", "LoggingHandler": "progress",
    "quantize_embeddings": "quantization", "show_progress": "progress",
    "export_dynamic_quantized_onnx_model": "backends", "export_optimized_onnx_model": "backends",
    "export_static_quantized_openvino_model": "backends",
}  # fmt: skip
_METHODS = {"CrossEncoder.fit": "training.legacy.fit_pairs", "SentenceTransformer.fit": "training.legacy.fit"}

__getattr__, __dir__ = lazy(__name__, _HOMES, _METHODS)
