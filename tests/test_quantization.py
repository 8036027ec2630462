"""Quantization against its definition, and the inputs it takes and refuses."""

import logging

import numpy as np
import pytest
import torch

from workbench.errors import ChoiceError, VectorError
from workbench.quantization import PRECISIONS, quantize_embeddings

VECTORS = np.random.default_rng(3).normal(size=(200, 12)).astype(np.float32)
RANGES = np.stack([VECTORS.min(axis=0), VECTORS.max(axis=0)])


def test_bytes_give_the_value_back_to_one_step():
    codes = quantize_embeddings(VECTORS, "uint8")
    step = (RANGES[1] - RANGES[0]) / 255
    assert codes.dtype == np.uint8
    assert np.abs(codes * step + RANGES[0] - VECTORS).max() <= step.max() * 1.001
    assert (quantize_embeddings(VECTORS, "int8").astype(int) == codes.astype(int) - 128).all()


def test_bits_are_the_signs_with_the_first_dimension_in_the_highest_bit():
    bits = quantize_embeddings(VECTORS, "ubinary")
    assert bits.shape == (200, 2)
    assert (np.unpackbits(bits, axis=1)[:, :12] == (VECTORS > 0)).all()
    assert (quantize_embeddings(VECTORS, "binary").astype(int) == bits.astype(int) - 128).all()


def test_float32_is_left_as_it_is():
    assert quantize_embeddings(VECTORS, "float32") is VECTORS
    assert quantize_embeddings(VECTORS.astype(np.float16), "float32").dtype == np.float32


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "form",
    [torch.tensor(VECTORS), torch.tensor(VECTORS, requires_grad=True), list(torch.tensor(VECTORS)), list(VECTORS)],
)
def test_tensors_and_lists_give_the_same_as_arrays(precision, form):
    found = quantize_embeddings(form, precision)
    assert found.dtype == PRECISIONS[precision]
    assert (found == quantize_embeddings(VECTORS, precision)).all()


def test_bfloat16_tensors_and_plain_lists_are_taken():
    assert quantize_embeddings(torch.ones(2, 8).bfloat16(), "ubinary").tolist() == [[255], [255]]
    assert quantize_embeddings([[1.0, -1.0]], "ubinary").tolist() == [[128]]


def test_values_outside_the_ranges_are_clipped():
    found = quantize_embeddings([[-9.0, 9.0, 0.0]], "uint8", ranges=[[-1, -1, -1], [1, 1, 1]])
    assert found.tolist() == [[0, 255, 127]]


def test_calibration_vectors_set_the_ranges():
    few = quantize_embeddings(VECTORS[:3], "int8", calibration_embeddings=VECTORS)
    assert (few == quantize_embeddings(VECTORS, "int8")[:3]).all()
    assert (few[0] == quantize_embeddings(VECTORS[0], "int8", calibration_embeddings=VECTORS)).all()
    assert (few == quantize_embeddings(VECTORS[:3], "int8", ranges=RANGES)).all()


def test_a_constant_dimension_does_not_divide_by_zero():
    assert (quantize_embeddings(np.ones((200, 4), np.float32), "int8") == -128).all()


def test_few_vectors_to_calibrate_on_are_logged(caplog):
    with caplog.at_level(logging.WARNING):
        quantize_embeddings(VECTORS[:5], "int8")
    assert "only 5 vectors" in caplog.text


def test_matrices_of_different_lengths_give_a_list():
    parts = [VECTORS[:3], torch.tensor(VECTORS[3:5])]
    found = quantize_embeddings(parts, "int8", ranges=RANGES)
    assert [part.shape for part in found] == [(3, 12), (2, 12)]
    assert (np.concatenate(found) == quantize_embeddings(VECTORS[:5], "int8", ranges=RANGES)).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_vectors_stay_no_vectors(precision):
    assert len(quantize_embeddings([], precision)) == 0
    found = quantize_embeddings(VECTORS[:0], precision)
    assert found.shape == (0, 2 if "binary" in precision else 12)
    assert found.dtype == PRECISIONS[precision]


def test_one_vector_alone_has_no_ranges():
    with pytest.raises(ValueError, match="pass ranges or calibration_embeddings"):
        quantize_embeddings(VECTORS[0], "int8")


@pytest.mark.parametrize("precision", ["int16", "", None])
def test_an_unknown_precision_lists_the_known_ones(precision):
    with pytest.raises(ChoiceError, match="'float32', 'int8', 'uint8', 'binary', 'ubinary'"):
        quantize_embeddings([], precision)


@pytest.mark.parametrize("precision", ["int8", "ubinary"])
def test_what_cannot_be_quantized_is_refused(precision):
    broken = VECTORS.copy()
    broken[[4, 7], 2] = np.nan
    with pytest.raises(ValueError, match=r"rows \[4, 7\]"):
        quantize_embeddings(broken, precision)
    with pytest.raises(VectorError, match="int8: already quantized"):
        quantize_embeddings(quantize_embeddings(VECTORS, "binary"), precision)


def test_ranges_of_a_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\); expected \(2, 12\)"):
        quantize_embeddings(VECTORS, "int8", ranges=np.zeros((2, 3)))
