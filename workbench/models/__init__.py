"""The building blocks of a SentenceTransformer, by the names their users know. Names load on first use."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from workbench.models.base import InputModule, Module
    from workbench.models.clip import CLIPModel
    from workbench.models.dense import Dense, Dropout, LayerNorm, Normalize
    from workbench.models.pooling import Pooling
    from workbench.models.router import Asym, Router
    from workbench.models.sequence import CNN, LSTM, WeightedLayerPooling
    from workbench.models.static import StaticEmbedding
    from workbench.models.transformer import Transformer
    from workbench.models.word_tokenizers import PhraseTokenizer, WhitespaceTokenizer, WordTokenizer
    from workbench.models.words import BoW, WordEmbeddings, WordWeights

# fmt: off
__all__ = [
    "CNN", "LSTM", "Asym", "BoW", "CLIPModel", "Dense", "Dropout", "InputModule", "LayerNorm", "Module", "Normalize",
    "PhraseTokenizer", "Pooling", "Router", "StaticEmbedding", "Transformer", "WeightedLayerPooling",
    "WhitespaceTokenizer", "WordEmbeddings", "WordTokenizer", "WordWeights",
]
# fmt: on

_HOMES = {
    **dict.fromkeys(["InputModule", "Module"], "base"),
    "CLIPModel": "clip",
    **dict.fromkeys(["Dense", "Dropout", "LayerNorm", "Normalize"], "dense"),
    "Pooling": "pooling",
    **dict.fromkeys(["Asym", "Router"], "router"),
    **dict.fromkeys(["CNN", "LSTM", "WeightedLayerPooling"], "sequence"),
    "StaticEmbedding": "static",
    "Transformer": "transformer",
    **dict.fromkeys(["PhraseTokenizer", "WhitespaceTokenizer", "WordTokenizer"], "word_tokenizers"),
    **dict.fromkeys(["BoW", "WordEmbeddings", "WordWeights"], "words"),
}

__getattr__, __dir__ = lazy(__name__, _HOMES)
