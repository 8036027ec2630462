"""Vectors kept on disk, so that no text is encoded twice: the store, the file under it, and the key of a model."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from workbench.store.embedding_store import EmbeddingStore
    from workbench.store.fingerprint import model_fingerprint
    from workbench.store.vector_file import VectorFile

__all__ = ["EmbeddingStore", "VectorFile", "model_fingerprint"]

_HOMES = {
    "EmbeddingStore": "embedding_store", "VectorFile": "vector_file", "model_fingerprint": "fingerprint",
}  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOMES)
