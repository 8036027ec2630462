"""Similarity and quantization against the reference package on the same vectors."""

import numpy as np
import pytest
import torch
from sentence_transformers import util as reference
from sentence_transformers.util import quantize_embeddings as reference_quantize

from workbench import util
from workbench.quantization import PRECISIONS, quantize_embeddings

A, B = np.random.default_rng(1).normal(size=(2, 20, 33)).astype(np.float32)
MATRIX = ["cos_sim", "pytorch_cos_sim", "dot_score", "euclidean_sim", "manhattan_sim"]
PAIRED = [f"pairwise_{name}" for name in ("cos_sim", "dot_score", "euclidean_sim", "manhattan_sim", "angle_sim")]


@pytest.mark.parametrize("name", [*MATRIX, *PAIRED])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_scores_equal_the_reference(name, dtype):
    a, b = torch.tensor(A).to(dtype), torch.tensor(B).to(dtype)
    torch.testing.assert_close(getattr(util, name)(a, b), getattr(reference, name)(a, b), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [*MATRIX, *PAIRED[:4]])
def test_single_vectors_equal_the_reference(name):
    found, expected = getattr(util, name)(A[0], B[0]), getattr(reference, name)(A[0], B[0])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_names_mean_the_same_functions(name):
    for get in ("to_similarity_fn", "to_similarity_pairwise_fn"):
        found = getattr(util.SimilarityFunction, get)(name)
        assert found.__name__ == getattr(reference.SimilarityFunction, get)(name).__name__


@pytest.mark.parametrize("name", [name for name in util.__all__ if name != "SimilarityFunction"])
def test_every_helper_exists_in_the_reference(name):
    assert callable(getattr(reference, name))


def test_normalised_and_truncated_vectors_equal_the_reference():
    a = torch.tensor(A)
    torch.testing.assert_close(util.normalize_embeddings(a), reference.normalize_embeddings(a), rtol=0, atol=1e-7)
    assert util.truncate_embeddings(a, 8).equal(reference.truncate_embeddings(a, 8))


def test_batches_move_as_in_the_reference():
    batch = {"ids": torch.ones(2), "text": "x", "inner": {"mask": torch.zeros(1)}}
    found, expected = (room.batch_to_device(batch, torch.device("meta")) for room in (util, reference))
    assert found["ids"].device == expected["ids"].device == found["inner"]["mask"].device
    assert found["text"] == "x"


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_quantized_vectors_equal_the_reference(precision, dtype):
    vectors = np.random.default_rng(2).normal(size=(150, 33)).astype(dtype)
    for options in ({}, {"calibration_embeddings": vectors[:120]}, {"ranges": np.stack([-np.ones(33), np.ones(33)])}):
        found = quantize_embeddings(vectors, precision, **options)
        expected = reference_quantize(vectors, precision, **options)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
