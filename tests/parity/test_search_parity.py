"""Semantic search and exact indexes against the reference package on the same vectors."""

import inspect

import faiss
import numpy as np
import pytest
import torch
from sentence_transformers import util as reference

from workbench import similarity
from workbench.search import ExactIndex, FaissIndex, information_retrieval, semantic_search

RNG = np.random.default_rng(11)
CORPUS = RNG.normal(size=(900, 40)).astype(np.float32)
QUERIES = RNG.normal(size=(130, 40)).astype(np.float32)
SCORES = ["cos_sim", "dot_score", "euclidean_sim", "manhattan_sim"]


def compare(found, expected):
    assert [[hit["corpus_id"] for hit in hits] for hits in found] == [
        [hit["corpus_id"] for hit in hits] for hits in expected
    ]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose([hit["score"] for hit in a], [hit["score"] for hit in b], rtol=1e-6, atol=1e-6)


def test_the_signature_is_the_reference_s():
    assert information_retrieval is semantic_search
    ours, theirs = (inspect.signature(f).parameters for f in (semantic_search, reference.semantic_search))
    assert list(ours) == list(theirs)
    for name in ("query_chunk_size", "corpus_chunk_size", "top_k"):
        assert ours[name].default == theirs[name].default


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_semantic_search_equals_the_reference(name, dtype):
    queries, corpus = QUERIES.astype(dtype), CORPUS.astype(dtype)
    expected = reference.semantic_search(queries, corpus, top_k=7, score_function=getattr(reference, name))
    for score in (getattr(similarity, name), getattr(reference, name)):  # by its metric, and as a function of one's own
        compare(semantic_search(queries, corpus, top_k=7, score_function=score), expected)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"query_chunk_size": 7, "corpus_chunk_size": 50, "top_k": 20},
        {"corpus_chunk_size": 200, "top_k": 100},
        {"top_k": 1},
        {"top_k": 5000},
    ],
    ids=str,
)
def test_chunks_and_top_k_give_what_the_reference_gives(options):
    compare(semantic_search(QUERIES, CORPUS, **options), reference.semantic_search(QUERIES, CORPUS, **options))


@pytest.mark.parametrize(
    "form", [torch.tensor, list, lambda rows: list(torch.tensor(rows))], ids=["tensor", "list", "list of tensors"]
)
def test_forms_that_the_reference_takes_give_the_same(form):
    corpus = form(CORPUS)
    compare(semantic_search(form(QUERIES), corpus), reference.semantic_search(form(QUERIES), corpus))
    compare(
        semantic_search(torch.tensor(QUERIES[0]), corpus), reference.semantic_search(torch.tensor(QUERIES[0]), corpus)
    )


def test_real_embeddings_give_the_same(minilm):
    from workbench import SentenceTransformer

    texts = [f"{who} {does} {what}" for who in ("A cat", "My aunt", "Nobody") for does in ("sees", "buys", "paints")
             for what in ("a house", "the sea", "two dogs", "bread")]  # fmt: skip
    vectors = SentenceTransformer(str(minilm), device="cpu").encode(texts)
    compare(semantic_search(vectors, vectors), reference.semantic_search(vectors, vectors))


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_exact_indexes_equal_faiss_itself_and_the_reference(metric):
    rows, queries = (side.copy() for side in (CORPUS, QUERIES))
    if metric == "cosine":
        faiss.normalize_L2(rows), faiss.normalize_L2(queries)
    own = faiss.IndexFlatL2(40) if metric == "euclidean" else faiss.IndexFlatIP(40)
    own.add(rows)
    scores, ids = own.search(queries, 10)
    scores = -np.sqrt(scores) if metric == "euclidean" else scores
    for index in (ExactIndex(metric=metric), FaissIndex(metric=metric)):
        index.add(None, CORPUS)
        hits = index.search(QUERIES)
        np.testing.assert_array_equal(hits.ids, ids)
        np.testing.assert_allclose(hits.scores, scores, rtol=1e-5, atol=1e-5)
