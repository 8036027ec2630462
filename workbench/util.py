"""The reference's familiar helper names, handed on from the rooms where they live."""

from workbench._optional import is_training_available
from workbench.clustering import community_detection
from workbench.devices import batch_to_device
from workbench.downloads import http_get
from workbench.hub import is_sentence_transformer_model, load_dir_path, load_file_path
from workbench.mining import mine_hard_negatives, paraphrase_mining, paraphrase_mining_embeddings
from workbench.progress import LoggingHandler, disable_logging
from workbench.quantization import quantize_embeddings
from workbench.search import information_retrieval, semantic_search
from workbench.similarity import *  # noqa: F403 (all of it)

__all__ = [  # noqa: F405
    "LoggingHandler", "SimilarityFunction", "batch_to_device", "community_detection", "cos_sim", "disable_logging",
    "dot_score", "euclidean_sim", "http_get", "information_retrieval", "is_sentence_transformer_model",
    "is_training_available", "load_dir_path", "load_file_path", "manhattan_sim", "mine_hard_negatives",
    "normalize_embeddings", "pairwise_angle_sim", "pairwise_cos_sim", "pairwise_dot_score", "pairwise_euclidean_sim",
    "pairwise_manhattan_sim", "paraphrase_mining", "paraphrase_mining_embeddings", "pytorch_cos_sim",
    "quantize_embeddings", "semantic_search", "truncate_embeddings",
]  # fmt: skip
