"""The closed table of block types that a model folder may name, in the spellings of every published version."""

from collections.abc import Mapping
from typing import TypeVar

from workbench import models
from workbench.errors import UnsafeModelError
from workbench.models.base import Module

__all__ = ["MODULE_TYPES", "module_class", "trusted", "type_name"]

_T = TypeVar("_T")
_LEGACY = "sentence_transformers.models"
_LATER = ("sentence_transformers.base.modules", "sentence_transformers.sentence_transformer.modules")
_PLACES = """
    router.Asym bow.BoW clip_model.CLIPModel cnn.CNN dense.Dense dropout.Dropout lstm.LSTM layer_norm.LayerNorm
    normalize.Normalize pooling.Pooling router.Router static_embedding.StaticEmbedding transformer.Transformer
    weighted_layer_pooling.WeightedLayerPooling word_embeddings.WordEmbeddings word_weights.WordWeights
"""  # file.Block, as in versions 6 and later

MODULE_TYPES: dict[str, str] = {  # the type written in a folder → the block's short name
    spelling: name
    for file, name in (place.split(".") for place in _PLACES.split())
    for spelling in (f"{_LEGACY}.{name}", f"{_LEGACY}.{name}.{name}", *(f"{home}.{file}.{name}" for home in _LATER))
}


def trusted(what: str, name: object, table: Mapping[str, _T]) -> _T:
    """Return ``table[name]``, where ``name`` is the ``what`` that a folder asks for; nothing else is ever imported.

    Raises:
        UnsafeModelError: the name is not in the table; the message lists the choices.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    known = ", ".join(dict.fromkeys(choice.rpartition(".")[2] for choice in table))
    raise UnsafeModelError(f"The model folder asks for the {what} {name!r}. Its code was not imported; known: {known}.")


def module_class(type_name: str) -> type[Module]:
    """Return the block that a folder calls ``type_name``; raises ``UnsafeModelError`` as ``trusted`` does."""
    block: type[Module] = getattr(models, trusted("module type", type_name, MODULE_TYPES))
    return block


def type_name(module: object) -> str:
    """Return the type to write for ``module``: the published name of a known block, else its class's own full name."""
    kind = type(module)
    published = f"{_LEGACY}.{kind.__name__}"
    known = published in MODULE_TYPES and getattr(models, kind.__name__) is kind
    return published if known else f"{kind.__module__}.{kind.__qualname__}"
