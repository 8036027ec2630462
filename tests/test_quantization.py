"""Quantization against its definition, and the inputs it takes and refuses."""

import json
import logging
import sys

import numpy as np
import pytest
import torch

from workbench.errors import ChoiceError, DataFormatError, DependencyError, VectorError, WorkbenchError
from workbench.progress import listen
from workbench.quantization import (
    PRECISIONS,
    Quantizer,
    quantize_embeddings,
    semantic_search_faiss,
    semantic_search_usearch,
)

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


BYTES = ["int8", "uint8"]
EVERY = list(PRECISIONS)


@pytest.mark.parametrize("precision", EVERY)
def test_a_quantizer_gives_the_codes_of_quantize_embeddings_for_every_later_batch(precision):
    quantizer = Quantizer.fit(precision, VECTORS)
    for part in (VECTORS, VECTORS[:3], torch.tensor(VECTORS[5:9])):
        codes = quantizer.encode(part)
        assert codes.dtype == PRECISIONS[precision]
        assert codes.nbytes == len(part) * quantizer.bytes_per_vector
        assert (codes == quantize_embeddings(part, precision, RANGES)).all()
    assert quantizer.encode(VECTORS[:0]).shape == (0, quantizer.width)


@pytest.mark.parametrize("precision", BYTES)
def test_a_decoded_byte_is_no_further_off_than_half_a_step_the_largest_value_included(precision):
    quantizer = Quantizer.fit(precision, VECTORS)
    decoded = quantizer.decode(quantizer.encode(VECTORS))
    assert (np.abs(decoded - VECTORS) <= quantizer.steps / 2 * 1.001).all()
    assert (quantizer.decode(quantizer.encode(VECTORS * 9)) <= RANGES[1]).all(), "the highest code is no step"


def test_a_decoded_bit_is_a_sign_of_a_unit_vector():
    quantizer = Quantizer.fit("binary", VECTORS)
    found = quantizer.decode(quantizer.encode(VECTORS))
    np.testing.assert_allclose(found, np.where(VECTORS > 0, 1, -1) / 12**0.5, rtol=1e-6)
    assert (found == Quantizer.fit("ubinary", VECTORS).decode(quantize_embeddings(VECTORS, "ubinary"))).all()


def test_a_zero_vector_has_no_bits_set_and_reads_as_negative_throughout():
    quantizer = Quantizer("ubinary", 12)
    assert quantizer.encode(np.zeros((1, 12))).tolist() == [[0, 0]]
    assert (quantizer.decode(np.zeros((1, 2), np.uint8)) < 0).all()


@pytest.mark.parametrize("precision", BYTES)
def test_steps_order_codes_as_their_vectors(precision):
    quantizer = Quantizer.fit(precision, VECTORS)
    codes = quantizer.encode(VECTORS)
    left = (VECTORS[:4] * quantizer.steps) @ codes.T.astype(np.float64)
    right = VECTORS[:4] @ quantizer.decode(codes).T
    shift = left - right
    assert np.ptp(shift, axis=1).max() <= np.abs(VECTORS).max() * quantizer.steps.sum(), "but for the highest codes"


def test_all_equal_vectors_come_back_as_they_were():
    same = np.full((150, 4), 0.25, np.float32)
    for precision in BYTES:
        quantizer = Quantizer.fit(precision, same)
        assert (quantizer.decode(quantizer.encode(same)) == same).all()


def test_ranges_are_taken_from_a_file_or_a_stream_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.quantization.codes.BLOCK_BYTES", 4 * 12 * 7)  # seven rows
    file = np.lib.format.open_memmap(tmp_path / "vectors.npy", "w+", np.float32, VECTORS.shape)
    file[:] = VECTORS
    for vectors in (file, iter([VECTORS[:90], torch.tensor(VECTORS[90:])]), iter(VECTORS), VECTORS[:, ::-1][:, ::-1]):
        assert (Quantizer.fit("int8", vectors).ranges == RANGES).all()


def test_a_row_that_is_not_finite_is_named_by_its_number_in_the_whole_stream(monkeypatch):
    monkeypatch.setattr("workbench.quantization.codes.BLOCK_BYTES", 4 * 12 * 7)
    broken = VECTORS.copy()
    broken[101, 3] = np.inf
    for vectors in (broken, iter([broken[:40], broken[40:]])):
        with pytest.raises(VectorError, match=r"1 rows, such as 101\."):
            Quantizer.fit("int8", vectors)
    with pytest.raises(VectorError, match=r"1 rows, such as 101\."):
        Quantizer.fit("binary", VECTORS).encode(broken)


@pytest.mark.parametrize("precision", EVERY)
def test_a_quantizer_survives_json(precision):
    quantizer = Quantizer.fit(precision, VECTORS)
    again = Quantizer.from_dict(json.loads(json.dumps(quantizer.to_dict())))
    assert (again.encode(VECTORS) == quantizer.encode(VECTORS)).all()
    codes = quantizer.encode(VECTORS)
    assert (again.decode(codes) == quantizer.decode(codes)).all()


GOOD = {"precision": "int8", "dim": 2, "ranges": [[0.0, 0.0], [1.0, 1.0]]}


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        "int8",
        {},
        {"precision": "int8", "dim": 2},
        GOOD | {"precision": "int7"},
        GOOD | {"precision": ["int8"]},
        GOOD | {"precision": "binary"},
        GOOD | {"ranges": None},
        GOOD | {"dim": 3},
        GOOD | {"dim": 0},
        GOOD | {"dim": -2},
        GOOD | {"dim": True},
        GOOD | {"dim": "2"},
        GOOD | {"dim": 2.0},
        GOOD | {"precision": "binary", "ranges": None, "dim": 10**30},
        GOOD | {"ranges": [[0.0, 0.0]]},
        GOOD | {"ranges": [[0.0], [1.0, 1.0]]},
        GOOD | {"ranges": [["0", "0"], ["1", "1"]]},
        GOOD | {"ranges": [[None, 0.0], [1.0, 1.0]]},
        GOOD | {"ranges": [[float("nan"), 0.0], [1.0, 1.0]]},
        GOOD | {"ranges": [[0.0, 0.0], [1.0, float("inf")]]},
        GOOD | {"ranges": [[0.0, 0.0], [1.0, 1e300]]},
        GOOD | {"ranges": [[0.0, 0.0], [1.0, 10**400]]},
        GOOD | {"ranges": [[-3e38, 0.0], [3e38, 1.0]]},
        GOOD | {"ranges": [[1.0, 1.0], [0.0, 2.0]]},
        GOOD | {"ranges": [[True, False], [True, True]]},
        GOOD | {"ranges": "0011"},
        GOOD | {"ranges": {"low": [0, 0], "high": [1, 1]}},
    ],
)
def test_a_damaged_quantizer_is_refused(values):
    with pytest.raises(DataFormatError, match="Fit a new one"):
        Quantizer.from_dict(values)


@pytest.mark.parametrize(
    ("do", "message"),
    [
        (lambda: Quantizer.fit("int9", VECTORS), "Unknown precision 'int9'"),
        (lambda: Quantizer.fit("int8", VECTORS[:0]), "no vectors to take ranges from"),
        (lambda: Quantizer.fit("int8", iter([])), "no vectors to take ranges from"),
        (lambda: Quantizer.fit("int8", VECTORS.astype(np.int32)), "int32: already quantized"),
        (lambda: Quantizer.fit("binary", torch.ones(3, 8, dtype=torch.int64)), "int64: already quantized"),
        (lambda: Quantizer.fit("int8", iter([VECTORS, VECTORS[:, :5]])), "5 dimensions; expected 12"),
        (lambda: Quantizer("int8", 12), "'int8' has no ranges"),
        (lambda: Quantizer("binary", 12, RANGES), "'binary' takes no ranges"),
        (lambda: Quantizer("int8", 11, RANGES), r"shape \(2, 12\); expected \(2, 11\)"),
        (lambda: Quantizer("binary", 12).steps, "'binary' has no steps"),
        (lambda: Quantizer("binary", 12).encode(VECTORS[:, :5]), "5 dimensions; expected 12"),
        (lambda: Quantizer("float32", 12).encode(VECTORS > 0), "bool: already quantized"),
        (lambda: Quantizer("binary", 12).decode(np.zeros((1, 3), np.int8)), "3 dimensions; expected 2"),
        (lambda: Quantizer("binary", 12).decode(np.zeros((1, 2), np.uint8)), "uint8; codes of 'binary' are int8"),
        (lambda: Quantizer("uint8", 12, RANGES).decode(VECTORS), "float32; codes of 'uint8' are uint8"),
        (lambda: quantize_embeddings(VECTORS, "int8", ranges=RANGES * np.nan), "finite numbers"),
        (lambda: quantize_embeddings(VECTORS, "int8", ranges=RANGES[::-1]), "the first row nowhere above"),
    ],
)
def test_what_a_quantizer_cannot_use_is_refused(do, message):
    with pytest.raises(WorkbenchError, match=message):
        do()


ENGINES = {semantic_search_faiss: "uint8", semantic_search_usearch: "int8"}


@pytest.mark.parametrize("search", ENGINES)
def test_engines_find_what_brute_force_finds_and_score_it_by_decoded_codes(search):
    rng = np.random.default_rng(9)
    corpus, queries = rng.normal(size=(300, 32)).astype(np.float32), rng.normal(size=(5, 32)).astype(np.float32)
    quantizer = Quantizer.fit(ENGINES[search], corpus)
    results, _, index = search(
        queries, quantizer.encode(corpus), corpus_precision=quantizer.precision, ranges=quantizer.ranges,
        rescore_multiplier=8, output_index=True,
    )  # fmt: skip
    scores = queries @ (quantizer.decode(quantizer.encode(corpus)) - quantizer.steps / 2).T
    best = np.argsort(-scores, axis=1)[:, :10]
    assert [[hit["corpus_id"] for hit in hits] for hits in results] == best.tolist()
    found = [[hit["score"] for hit in hits] for hits in results]
    np.testing.assert_allclose(found, np.take_along_axis(scores, best, axis=1), atol=0.05)
    options = {"corpus_precision": quantizer.precision, "calibration_embeddings": corpus, "rescore_multiplier": 8}
    assert search(torch.tensor(queries), corpus_index=index, **options)[0] == results


def test_uint8_candidates_are_found_without_looking_at_many():
    rng = np.random.default_rng(10)
    corpus = rng.normal(size=(300, 32)).astype(np.float32)
    quantizer = Quantizer.fit("uint8", corpus)
    results, _ = semantic_search_faiss(
        corpus[:20], quantizer.encode(corpus), corpus_precision="uint8", ranges=quantizer.ranges, rescore_multiplier=1
    )
    assert [hits[0]["corpus_id"] for hits in results] == list(range(20))


@pytest.mark.parametrize("search", ENGINES)
def test_engines_take_a_file_block_by_block_and_lists_and_nothing(search, tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.quantization.engines.BLOCK_BYTES", 4 * 12 * 7)
    file = np.lib.format.open_memmap(tmp_path / "vectors.npy", "w+", np.float32, VECTORS.shape)
    file[:] = VECTORS
    seen = []
    with listen(lambda bar: seen.append((bar.desc, bar.done))):
        results, _ = search(file[:3], file)
    assert [hits[0]["corpus_id"] for hits in results if search is semantic_search_usearch] in ([], [0, 1, 2])
    assert seen[-1] == ("Indexing", 200)
    assert search(VECTORS[:3].tolist(), list(VECTORS))[0] == results
    assert search(VECTORS[:0], VECTORS)[0] == []
    assert search(VECTORS[:2], VECTORS[:0])[0] == [[], []]


@pytest.mark.parametrize("search", ENGINES)
def test_ranges_of_the_queries_themselves_are_logged(search, caplog):
    precision = ENGINES[search]
    with caplog.at_level(logging.WARNING):
        search(VECTORS, quantize_embeddings(VECTORS, precision), corpus_precision=precision)
    assert "pass those of the corpus" in caplog.text


CODES = quantize_embeddings(VECTORS, "ubinary")


@pytest.mark.parametrize("search", ENGINES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Pass one of corpus_embeddings and corpus_index"),
        ({"corpus_embeddings": VECTORS, "corpus_index": 1}, "Pass one of corpus_embeddings and corpus_index"),
        ({"corpus_embeddings": VECTORS, "corpus_precision": "int4"}, "Unknown precision for .* 'int4'.*'ubinary'"),
        ({"corpus_embeddings": VECTORS[:, :8]}, "query_embeddings have 12 dimensions"),
        ({"corpus_embeddings": CODES[:, :1], "corpus_precision": "ubinary"}, "12 dimensions, which makes 16, not 8"),
        ({"corpus_embeddings": VECTORS, "corpus_precision": "ubinary"}, "float32, where 'ubinary' is uint8"),
        ({"corpus_embeddings": VECTORS * np.nan}, "corpus_embeddings hold NaN or infinite values in 200 rows"),
        ({"corpus_embeddings": VECTORS, "query_embeddings": VECTORS * np.inf}, "query_embeddings hold NaN"),
        ({"corpus_embeddings": CODES, "query_embeddings": CODES.astype(int), "corpus_precision": "ubinary"}, "int64"),
        ({"corpus_embeddings": VECTORS[None]}, r"\(1, 200, 12\)"),
    ],
)
def test_what_engines_cannot_search_is_refused(search, options, message):
    with pytest.raises(WorkbenchError, match=message):
        search(**{"query_embeddings": VECTORS[:2]} | options)


@pytest.mark.parametrize("search", ENGINES)
@pytest.mark.parametrize("name", ["top_k", "rescore_multiplier"])
def test_engines_refuse_to_find_nothing(search, name):
    with pytest.raises(ValueError, match=f"{name} is 0; it must be at least 1"):
        search(VECTORS[:2], VECTORS, **{name: 0})


def test_a_missing_engine_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(DependencyError, match=r"sentence-workbench\[search\]"):
        semantic_search_faiss(VECTORS[:2], VECTORS)
