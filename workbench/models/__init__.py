"""The building blocks of a SentenceTransformer, by the names their users know. Names load on first use."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from workbench.models.base import InputModule, Module
    from workbench.models.bow import BoW
    from workbench.models.clip import CLIPModel
    from workbench.models.dense import Dense, Dropout, LayerNorm, Normalize
    from workbench.models.pooling import Pooling
    from workbench.models.router import Asym, Router
    from workbench.models.sequence import CNN, LSTM
    from workbench.models.static import StaticEmbedding
    from workbench.models.transformer import Transformer
    from workbench.models.weighted_layers import WeightedLayerPooling
    from workbench.models.word_embeddings import WordEmbeddings, WordWeights
    from workbench.models.word_tokenizers import PhraseTokenizer, WhitespaceTokenizer, WordTokenizer

_HOMES = {
    "Asym": "router",
    "BoW": "bow",
    "CLIPModel": "clip",
    "CNN": "sequence",
    "Dense": "dense",
    "Dropout": "dense",
    "InputModule": "base",
    "LSTM": "sequence",
    "LayerNorm": "dense",
    "Module": "base",
    "Normalize": "dense",
    "PhraseTokenizer": "word_tokenizers",
    "Pooling": "pooling",
    "Router": "router",
    "StaticEmbedding": "static",
    "Transformer": "transformer",
    "WeightedLayerPooling": "weighted_layers",
    "WhitespaceTokenizer": "word_tokenizers",
    "WordEmbeddings": "word_embeddings",
    "WordTokenizer": "word_tokenizers",
    "WordWeights": "word_embeddings",
}

__all__ = [
    "CNN",
    "LSTM",
    "Asym",
    "BoW",
    "CLIPModel",
    "Dense",
    "Dropout",
    "InputModule",
    "LayerNorm",
    "Module",
    "Normalize",
    "PhraseTokenizer",
    "Pooling",
    "Router",
    "StaticEmbedding",
    "Transformer",
    "WeightedLayerPooling",
    "WhitespaceTokenizer",
    "WordEmbeddings",
    "WordTokenizer",
    "WordWeights",
]

__getattr__, __dir__ = lazy(__name__, _HOMES)
