"""What the store's tests run in processes of their own: small models, one of which keeps a log, and jobs."""

import os

import numpy as np
import torch

from tests.tiny import tokenizer
from workbench import SentenceTransformer
from workbench.models import StaticEmbedding
from workbench.store import EmbeddingStore

DIM = 8


def small_model(seed=0):
    """Static vectors of ``DIM`` dimensions: thousands of texts in milliseconds."""
    torch.manual_seed(seed)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer(), embedding_dim=DIM)], device="cpu")


class Logged:
    """A model that writes down how many texts it is asked for, before it answers."""

    def __init__(self, log):
        self.model, self.log = small_model(), os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def encode(self, texts):
        os.write(self.log, f"{len(texts)}\n".encode())
        return self.model.encode(texts)


def fill(path, texts, log):
    """Encode into a store in batches of 16 to 32 texts."""
    from workbench.store import embedding_store

    embedding_store._MOST = 32
    with EmbeddingStore(path) as store:
        vectors = store.encode(Logged(log), texts, fingerprint="small")
    np.save(f"{log}.npy", vectors)


def fork(path, texts):
    """Use one store object on both sides of a fork."""
    model, store = small_model(), EmbeddingStore(path)
    store.encode(model, texts[:10])
    child = os.fork()
    part = texts[: len(texts) // 2] if child else texts[len(texts) // 2 :]
    store.encode(model, part)
    if not child:
        os._exit(0)
    if os.waitpid(child, 0)[1] or len(store) != len(set(texts)):
        raise SystemExit(1)
