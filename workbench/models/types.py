"""The closed table of block types that a model folder may name, in the spellings of every published version."""

import importlib

from workbench.errors import UnsafeModelError
from workbench.models.base import Module

__all__ = ["MODULE_TYPES", "module_class", "type_name"]

_FILES = {  # block → (our file, its file's name in versions 6 and later)
    "Asym": ("router", "router"),
    "BoW": ("bow", "bow"),
    "CLIPModel": ("clip", "clip_model"),
    "CNN": ("sequence", "cnn"),
    "Dense": ("dense", "dense"),
    "Dropout": ("dense", "dropout"),
    "LSTM": ("sequence", "lstm"),
    "LayerNorm": ("dense", "layer_norm"),
    "Normalize": ("dense", "normalize"),
    "Pooling": ("pooling", "pooling"),
    "Router": ("router", "router"),
    "StaticEmbedding": ("static", "static_embedding"),
    "Transformer": ("transformer", "transformer"),
    "WeightedLayerPooling": ("weighted_layers", "weighted_layer_pooling"),
    "WordEmbeddings": ("word_embeddings", "word_embeddings"),
    "WordWeights": ("word_embeddings", "word_weights"),
}

_LEGACY = "sentence_transformers.models"
_LATER = ("sentence_transformers.base.modules", "sentence_transformers.sentence_transformer.modules")

MODULE_TYPES: dict[str, str] = {  # the type written in a folder → the block's short name
    spelling: name
    for name, (_, file) in _FILES.items()
    for spelling in (f"{_LEGACY}.{name}", f"{_LEGACY}.{name}.{name}", *(f"{home}.{file}.{name}" for home in _LATER))
}


def module_class(type_name: str) -> type[Module]:
    """Return the block that a folder calls ``type_name``; nothing outside the table is ever imported.

    Raises:
        UnsafeModelError: the type is not in the table; the message lists the blocks there are.
    """
    if not isinstance(type_name, str) or type_name not in MODULE_TYPES:
        raise UnsafeModelError(
            f"The model folder asks for the module type {type_name!r}, which is not one of the known blocks: "
            f"{', '.join(_FILES)}. Its code was not imported."
        )
    name = MODULE_TYPES[type_name]
    block: type[Module] = getattr(importlib.import_module(f"workbench.models.{_FILES[name][0]}"), name)
    return block


def type_name(module: object) -> str:
    """Return the type to write for ``module``: the published name of a known block, else its class's own full name."""
    kind = type(module)
    if kind.__name__ in _FILES and kind.__module__ == f"workbench.models.{_FILES[kind.__name__][0]}":
        return f"{_LEGACY}.{kind.__name__}"
    return f"{kind.__module__}.{kind.__qualname__}"
