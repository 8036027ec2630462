"""Models by name or loaded: which are at hand, what is known of them, and each of them loaded once for all panels."""

import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import TruncationWarning

__all__ = ["known_models", "load_model", "load_reranker", "model_facts", "model_name", "model_prompts", "vectors_of"]


def known_models(kind: str = "bi-encoder", *, everywhere: bool = False) -> list[tuple[str, str]]:
    """Return (label, name) of the known models that are on this machine; ``everywhere`` adds those to be fetched."""
    from workbench import hub, registry

    bundled, found = hub.bundled(), []
    for row in registry.MODELS.values():
        if row.kind == kind and ((here := hub.available(row.name)) or everywhere):
            note = " (bundled)" if row.name in bundled else "" if here else f" (download, {row.size_mb:.0f} MB)"
            found.append((row.name.rpartition("/")[2] + note, row.name))
    return found


def model_facts(model: Any) -> str:
    """Return what is known of a model, by name or loaded, in one line: dimensions, length, size, languages, licence."""
    from workbench import hub, registry

    row = registry.facts(model) if isinstance(model, str) else None
    if row is None:
        return (
            "no facts are known of this model" if isinstance(model, str) else f"an object of type {model_name(model)}"
        )
    length = "any length" if row.max_seq_length is None else f"{row.max_seq_length} tokens"
    where = "on this machine" if hub.available(row.name) else "not on this machine: downloaded when it runs"
    parts = [f"{row.dimensions} dimensions" if row.dimensions else "", length, f"{row.size_mb:g} MB", row.languages]
    return " · ".join(filter(None, [*parts, row.license or "licence unknown", row.note, where]))


def model_prompts(model: Any) -> dict[str, str]:
    """Return the prompts that a model brings, or that are published for it, by name, without loading its weights."""
    from workbench import hub, persist, registry

    if not isinstance(model, str):
        return dict(getattr(model, "prompts", {}))
    row = registry.facts(model)
    known = {"query": row.query_prompt, "document": row.document_prompt} if row else {}
    found = {name: text for name, text in known.items() if text}
    return (
        found | persist.read_config(hub.resolve(model, local_files_only=True)).prompts
        if hub.available(model)
        else found
    )


def model_name(model: Any) -> str:
    """Return the name of a model, also of an object that loading this name makes again, or else its type."""
    return model if isinstance(model, str) else getattr(model, "loaded_from", None) or type(model).__name__


def load_model(model: Any) -> Any:
    """Return a bi-encoder by name or folder, loaded once for all panels; an object is returned as it is."""
    return _load("SentenceTransformer", model)


def load_reranker(model: Any) -> Any:
    """Return a cross-encoder by name or folder, loaded once for all panels; an object is returned as it is."""
    return _load("CrossEncoder", model)


def vectors_of(model: Any, texts: Any, side: str = "encode", **options: Any) -> npt.NDArray[np.float32]:
    """Return (n, dim) vectors of n texts by a model, by name or loaded; a panel says itself what did not fit into it.

    Args:
        model: a name, a folder or an object.
        texts: what to encode.
        side: "encode_query" or "encode_document", where the model has such sides.
        options: of its ``encode``.
    """
    model = load_model(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        return np.asarray(getattr(model, side, model.encode)(texts, **options), dtype=np.float32)


def _load(kind: str, model: Any) -> Any:
    if not isinstance(model, str):
        return model
    # A folder is read again each time, since it may have changed.
    return _load_once.__wrapped__(kind, model) if Path(model).is_dir() else _load_once(kind, model)


@lru_cache(maxsize=4)
def _load_once(kind: str, name: str) -> Any:
    import workbench

    return getattr(workbench, kind)(name)
