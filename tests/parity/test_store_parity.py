"""Vectors out of the store beside those that the reference package encodes, and the reference's model in the store."""

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer as Reference

from tests.tiny import SENTENCES
from workbench import SentenceTransformer
from workbench.store import EmbeddingStore

OPTIONS = [
    {},
    {"normalize_embeddings": True},
    {"prompt": "query: "},
    {"precision": "ubinary"},
    {"precision": "binary", "normalize_embeddings": True},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_the_store_gives_what_the_reference_encodes(minilm, tmp_path, options):
    theirs = Reference(str(minilm), device="cpu").encode(SENTENCES, **options)
    model = SentenceTransformer(minilm, device="cpu")
    with EmbeddingStore(tmp_path / "vectors.db") as store:
        for rows in (SENTENCES[::2], SENTENCES, SENTENCES):  # none there, half there, all there
            vectors = store.encode(model, rows, **options)
        assert store.stats()["misses"] == len(SENTENCES)
    assert (vectors.dtype, vectors.shape) == (theirs.dtype, theirs.shape)
    if "precision" in options:
        same = np.unpackbits(vectors.view(np.uint8)) == np.unpackbits(theirs.view(np.uint8))
        assert same.mean() > 0.999  # a value at zero may round to either side
    else:
        np.testing.assert_allclose(vectors, theirs, rtol=0, atol=1e-6)


def test_a_model_of_the_reference_has_a_place_in_the_store(tiny_folder, tmp_path):
    model = Reference(str(tiny_folder), device="cpu")
    expected = model.encode(SENTENCES)
    with EmbeddingStore(tmp_path / "vectors.db") as store:
        for _ in range(2):
            vectors = store.encode(model, SENTENCES, fingerprint="tiny, by the reference")
            np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-6)
        assert store.stats()["hits"] == store.stats()["misses"] == len(SENTENCES)
