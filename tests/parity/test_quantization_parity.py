"""Searching codes in FAISS and USearch against the reference package on the same vectors."""

import inspect

import numpy as np
import pytest
from sentence_transformers.util import quantization as reference

from workbench import quantization

DIM, ROWS, QUERIES = 64, 400, 9
_rng = np.random.default_rng(11)


def _unit(rows):
    vectors = _rng.normal(size=(rows, DIM)) @ np.diag(np.linspace(2, 0.2, DIM)) + np.linspace(-0.5, 0.5, DIM)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


CORPUS, ASKED = _unit(ROWS), _unit(QUERIES)
RANGES = np.stack([CORPUS.min(0), CORPUS.max(0)])
ENGINES = {
    "semantic_search_faiss": ["float32", "uint8", "ubinary"],
    "semantic_search_usearch": ["float32", "int8", "ubinary", "binary"],
}
CASES = [(name, precision) for name, precisions in ENGINES.items() for precision in precisions]


def both(name, precision, queries=ASKED, **options):
    """Our results and the reference's: (ids, scores) each, (queries, k)."""
    codes = quantization.quantize_embeddings(CORPUS, precision, ranges=RANGES)
    options = {"ranges": RANGES, "corpus_precision": precision, **options}
    sides = []
    for module in (quantization, reference):
        results, seconds = getattr(module, name)(queries, codes, **options)
        assert seconds > 0
        assert all(type(hit["corpus_id"]) is int and type(hit["score"]) is float for hits in results for hit in hits)
        sides.append(tuple(np.array([[hit[key] for hit in hits] for hits in results]) for key in results[0][0]))
    return sides


def assert_same(ours, theirs):
    (ids, scores), (other_ids, other_scores) = ours, theirs
    np.testing.assert_allclose(scores, other_scores, rtol=1e-6, atol=1e-6)
    for mine, others, values in zip(ids, other_ids, scores, strict=True):
        differ = mine != others  # rows of one score come in no promised order, and the last of them may be cut off
        assert np.isin(values[differ], [*values[:-1][np.diff(values) == 0], values[-1]]).all()


@pytest.mark.parametrize(("name", "precision"), CASES)
@pytest.mark.parametrize("rescore", [True, False])
def test_exact_search_equals_the_reference(name, precision, rescore):
    # Two kinds of candidates differ: those of uint8 on purpose, and those that USearch cuts off among equal distances,
    # by chance. With all rows as candidates the results are the same.
    chance = name == "semantic_search_usearch" and precision.endswith("binary")
    multiplier = ROWS // 10 if precision == "uint8" or chance else 2
    assert_same(*both(name, precision, rescore=rescore, rescore_multiplier=multiplier))


@pytest.mark.parametrize(("name", "precision"), CASES)
@pytest.mark.parametrize("rescore", [True, False])
def test_approximate_search_equals_the_reference_but_for_the_chance_in_its_graph(name, precision, rescore):
    (ids, scores), (other_ids, other_scores) = both(name, precision, rescore=rescore, exact=False)
    shared = [np.intersect1d(*pair, return_indices=True) for pair in zip(ids, other_ids, strict=True)]
    for (_, mine, others), row, other_row in zip(shared, scores, other_scores, strict=True):
        np.testing.assert_allclose(row[mine], other_row[others], rtol=1e-6, atol=1e-6)
    if precision != "uint8" or not rescore:
        np.testing.assert_allclose(scores.mean(), other_scores.mean(), rtol=0.05)


@pytest.mark.parametrize(("name", "precision"), [case for case in CASES if case[1] != "float32"])
def test_queries_that_are_codes_equal_the_reference(name, precision):
    queries = quantization.quantize_embeddings(ASKED, precision, ranges=RANGES)
    assert_same(*both(name, precision, queries))


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_a_corpus_smaller_than_top_k_gives_what_there_is(name, precision):
    codes = quantization.quantize_embeddings(CORPUS[:3], precision, ranges=RANGES)
    options = {"corpus_precision": precision, "ranges": RANGES, "top_k": 5}
    for queries in (ASKED, ASKED[:1]):
        results, _ = getattr(quantization, name)(queries, codes, **options)
        expected, _ = getattr(reference, name)(queries, codes, **options)
        assert [len(hits) for hits in results] == [3] * len(queries)
        for hits, others in zip(results, expected, strict=True):
            for hit, other in zip(hits, others, strict=True):
                assert hit["score"] == pytest.approx(other["score"], abs=1e-6)


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_an_index_goes_from_one_to_the_other_and_back(name, precision):
    codes = quantization.quantize_embeddings(CORPUS, precision, ranges=RANGES)
    options = {"corpus_precision": precision, "ranges": RANGES, "rescore_multiplier": ROWS // 10}
    found, _, ours = getattr(quantization, name)(ASKED, codes, output_index=True, **options)
    expected, _, theirs = getattr(reference, name)(ASKED, codes, output_index=True, **options)
    assert type(ours) is type(theirs)
    for module in (quantization, reference):
        for index, results in ((ours, found), (theirs, expected)):
            again, _ = getattr(module, name)(ASKED, corpus_index=index, **options)
            for hits, others in zip(again, results, strict=True):
                scores, other_scores = ([hit["score"] for hit in side] for side in (hits, others))
                np.testing.assert_allclose(scores, other_scores, rtol=1e-6, atol=1e-6)


def test_uint8_candidates_are_the_best_rows_where_the_reference_misses_them():
    best = np.argsort(-(ASKED @ CORPUS.T), axis=1)[:, :10]
    (ours, _), (theirs, _) = both("semantic_search_faiss", "uint8")
    recall = [np.mean([len(set(a) & set(b)) / 10 for a, b in zip(best, ids, strict=True)]) for ids in (ours, theirs)]
    assert recall[0] > 0.95
    assert recall[1] < 0.9


@pytest.mark.parametrize("name", ENGINES)
def test_the_signatures_are_the_same(name):
    ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (quantization, reference))
    assert {key: value.default for key, value in ours.items()} == {key: value.default for key, value in theirs.items()}
    assert list(ours) == list(theirs)
