"""The reference's familiar helper names, handed on from the rooms where they live."""

from workbench.devices import batch_to_device
from workbench.hub import is_sentence_transformer_model, load_dir_path, load_file_path
from workbench.quantization import quantize_embeddings
from workbench.similarity import *  # noqa: F403 (all of it)

__all__ = [  # noqa: F405
    "SimilarityFunction", "batch_to_device", "cos_sim", "dot_score", "euclidean_sim", "is_sentence_transformer_model",
    "load_dir_path", "load_file_path", "manhattan_sim", "normalize_embeddings", "pairwise_angle_sim",
    "pairwise_cos_sim", "pairwise_dot_score", "pairwise_euclidean_sim", "pairwise_manhattan_sim", "pytorch_cos_sim",
    "quantize_embeddings", "truncate_embeddings",
]  # fmt: skip
