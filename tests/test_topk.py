"""The kernel of search against brute force: every metric, however the corpus is cut, whatever form vectors come in."""

import gc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import ChoiceError, VectorError
from workbench.search import METRICS, Best, semantic_search, top_k
from workbench.search import topk as topk_module
from workbench.similarity import SimilarityFunction, cos_sim, dot_score

RNG = np.random.default_rng(5)
CORPUS = RNG.normal(size=(3000, 24)).astype(np.float32)
QUERIES = RNG.normal(size=(70, 24)).astype(np.float32)


def brute(queries, corpus, k, metric):
    """Scores of all pairs in float64, sorted: best first, of equal scores the smaller position first."""
    scores = SimilarityFunction.to_similarity_fn(metric)(np.asarray(queries, float), np.asarray(corpus, float)).numpy()
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), order


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("chunk", [None, 1, 7, 1000])
@pytest.mark.parametrize("k", [1, 10, 500])
def test_the_best_rows_are_those_of_brute_force_however_the_corpus_is_cut(metric, chunk, k):
    corpus = CORPUS[:600] if chunk == 1 else CORPUS
    scores, positions = top_k(QUERIES, corpus, k, metric=metric, corpus_chunk=chunk)
    expected, order = brute(QUERIES, corpus, k, metric)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
    assert (positions.numpy() == order).mean() > 0.999  # float32 may swap scores that agree in seven digits


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 200),
    queries=st.integers(0, 5),
    k=st.integers(1, 60),
    chunk=st.integers(1, 250),
    metric=st.sampled_from(METRICS),
)
def test_any_shape_gives_the_scores_of_brute_force(seed, rows, queries, k, chunk, metric):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(-2, 3, size=(n, 4)).astype(np.float32) for n in (queries, rows))  # with many ties
    scores, positions = (side.numpy() for side in top_k(a, b, k, metric=metric, corpus_chunk=chunk))
    expected, _ = brute(a, b, k, metric)
    found = min(k, rows)
    assert scores.shape == positions.shape == (queries, k)
    np.testing.assert_allclose(scores[:, :found], expected, rtol=1e-6, atol=1e-6)
    assert (scores[:, found:] == -np.inf).all()
    assert (positions[:, found:] == -1).all()
    for one, places in zip(scores, positions, strict=True):
        there = places[:found]
        assert len(set(there.tolist())) == found  # no row twice
        ties = np.diff(one[:found]) == 0
        assert (np.diff(there)[ties] > 0).all()  # of equal scores the smaller position first


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 20),
    widths=st.lists(st.integers(1, 400), min_size=1, max_size=5),
    own=st.booleans(),
)
def test_pushed_blocks_leave_the_best_of_all(seed, k, widths, own):
    rng = torch.Generator().manual_seed(seed)
    scores = torch.randint(-50, 50, (3, sum(widths)), generator=rng).float()
    best, start = Best(3, k), 0
    for block in scores.split(widths, dim=1):
        ids = torch.arange(start, start + block.shape[1]) * 10 if own else None
        best.push(block.contiguous(), start, ids=ids)
        start += block.shape[1]
    found, ids = best.ordered()
    expected = scores.sort(dim=1, descending=True).values[:, :k]
    assert found[:, : expected.shape[1]].equal(expected)
    there = ids[:, : expected.shape[1]] // (10 if own else 1)
    assert scores.gather(1, there).equal(expected)


FORMS = {
    "float64": CORPUS.astype(np.float64),
    "big-endian": CORPUS.astype(">f4"),
    "long double": CORPUS.astype(np.longdouble),
    "fortran": np.asfortranarray(CORPUS),
    "every second": np.repeat(CORPUS, 2, axis=0)[::2],
    "reversed twice": CORPUS[::-1].copy()[::-1],
    "tensor": torch.tensor(CORPUS),
    "transposed tensor": torch.tensor(CORPUS.T.copy()).T,
    "with gradients": torch.tensor(CORPUS, requires_grad=True),
    "list of arrays": list(CORPUS),
    "list of tensors": list(torch.tensor(CORPUS)),
    "lists": CORPUS.tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_vectors_gives_the_same(form):
    expected = top_k(QUERIES, CORPUS, 5)
    found = top_k(QUERIES, FORMS[form], 5)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=1e-6)
    assert found[1].equal(expected[1])


@pytest.mark.parametrize("dtype", [np.float16, "bfloat16", np.int8, np.uint16, np.uint64, np.int64, bool])
def test_other_numbers_are_computed_in_float32(dtype):
    corpus = np.abs(CORPUS * 20)
    corpus = torch.tensor(corpus).bfloat16() if dtype == "bfloat16" else corpus.astype(dtype)
    wide = corpus.float().numpy() if dtype == "bfloat16" else corpus.astype(np.float32)
    scores, _ = top_k(QUERIES, corpus, 5)
    np.testing.assert_allclose(scores, brute(QUERIES, wide, 5, "cosine")[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("metric", METRICS)
def test_a_read_only_file_is_searched_in_place(metric, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(topk_module, "MAPPED_BYTES", 10_000)  # lets pages go after every block
    np.save(tmp_path / "corpus.npy", CORPUS.astype(dtype))
    np.save(tmp_path / "queries.npy", QUERIES.astype(dtype))
    corpus, queries = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("corpus", "queries"))
    found = top_k(queries, corpus, 5, metric=metric, corpus_chunk=500)
    expected = top_k(QUERIES.astype(dtype), CORPUS.astype(dtype), 5, metric=metric)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=1e-6)
    assert (found[1] == expected[1]).float().mean() > 0.99


def test_equal_vectors_are_at_distance_zero_and_a_far_origin_costs_no_digits():
    far = CORPUS + 1000
    scores, positions = top_k(far[:50], far, 3, metric="euclidean")
    assert positions[:, 0].tolist() == list(range(50))
    assert (scores[:, 0] == 0).all()
    expected, order = brute(far[:50], far, 3, "euclidean")
    np.testing.assert_array_equal(positions, order)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_zero_and_identical_vectors():
    assert top_k(np.zeros((2, 4)), CORPUS[:9, :4], 3)[0].tolist() == [[0] * 3] * 2
    scores, positions = top_k(np.ones((2, 4)), np.ones((20_000, 4)), 50)
    np.testing.assert_allclose(scores, 1, rtol=1e-6)
    assert [len(set(row)) for row in positions.tolist()] == [50, 50]
    assert (positions.diff(dim=1) > 0).all()


def test_nothing_to_search_or_to_ask():
    scores, positions = top_k(QUERIES[:2], CORPUS[:0], 3)
    assert positions.tolist() == [[-1] * 3] * 2
    assert (scores == -torch.inf).all()
    assert top_k(QUERIES[:0], CORPUS, 3)[1].shape == (0, 3)
    assert top_k([], CORPUS, 3)[1].shape == top_k([], [], 3)[1].shape == (0, 3)
    assert top_k(QUERIES[0], CORPUS[7], 2)[1].tolist() == [[0, -1]]
    assert top_k(QUERIES[0], [], 1)[1].tolist() == [[-1]]


def test_a_function_of_ones_own_scores_pairs_and_may_leave_rows_out():
    def own(queries, rows):
        scores = queries @ rows.T
        return scores.double().masked_fill(scores < 0, -torch.inf).T.contiguous().T

    scores, positions = top_k(QUERIES, CORPUS, 2000, metric=own)
    expected, _ = brute(QUERIES, CORPUS, 2000, "dot")
    expected[expected < 0] = -np.inf
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
    assert ((positions == -1) == (scores == -torch.inf)).all()


def test_codes_are_decoded_block_by_block():
    sizes = []

    def decode(codes):
        sizes.append(len(codes))
        return codes.astype(np.float32) / 10

    codes = (CORPUS * 10).astype(np.int8)
    found = top_k(QUERIES, codes, 5, metric="dot", decode=decode, corpus_chunk=1000)
    assert sizes == [1000] * 3
    torch.testing.assert_close(found[0], top_k(QUERIES, codes / 10, 5, metric="dot")[0], rtol=1e-5, atol=1e-5)
    found = top_k(QUERIES, codes, 5, metric="euclidean", decode=decode)
    torch.testing.assert_close(found[0], top_k(QUERIES, codes / 10, 5, metric="euclidean")[0], rtol=1e-5, atol=1e-5)


def _broken(place, value):
    vectors = CORPUS.copy()
    vectors[place, 3] = value
    return vectors


@pytest.mark.parametrize("chunk", [None, 100, 100_000])
def test_no_block_of_scores_is_larger_than_its_bound(chunk):
    seen = []

    def own(queries, rows):
        seen.append((len(queries), len(rows)))
        return torch.zeros(len(queries), len(rows))

    top_k(np.zeros((3000, 2)), np.zeros((20_000, 2)), 3, metric=own, corpus_chunk=chunk)
    assert max(rows for _, rows in seen) == min(chunk or 8192, 8192)
    assert max(queries * rows for queries, rows in seen) <= 2**23
    assert sum(queries * rows for queries, rows in seen) == 3000 * 20_000


BAD = {
    "nan in the corpus": ((QUERIES, _broken(2999, np.nan), 3), VectorError, "corpus hold NaN .* 1 rows, such as 2999"),
    "inf in the queries": ((_broken(4, np.inf), CORPUS, 3), VectorError, "queries hold NaN .* such as 4"),
    "too large": ((QUERIES, [[1e300] * 24], 3), VectorError, "corpus hold NaN or infinite"),
    "dimensions": ((QUERIES, CORPUS[:, :9], 3), VectorError, "corpus have 9 dimensions; expected 24"),
    "texts": ((["a", "b"], CORPUS, 3), VectorError, "queries must hold numbers"),
    "none": ((None, CORPUS, 3), VectorError, "queries must be vectors of one length, not NoneType"),
    "ragged": (([[1, 2], [1]], CORPUS, 3), VectorError, "queries must be vectors of one length"),
    "complex": ((QUERIES, CORPUS * 1j, 3), VectorError, "corpus must hold numbers, not complex64"),
    "three axes": ((QUERIES[None], CORPUS, 3), VectorError, r"shape \(1, 70, 24\); expected \(rows, dimensions\)"),
    "k": ((QUERIES, CORPUS, 0), ValueError, "k is 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_error(case):
    given, error, message = BAD[case]
    with pytest.raises(error, match=message):
        top_k(*given, corpus_chunk=700)
    with pytest.raises(error):
        semantic_search(*given[:2], top_k=given[2])


def test_bad_options_get_one_clear_error():
    with pytest.raises(ChoiceError, match="'cosine', 'dot', 'euclidean', 'manhattan'"):
        top_k(QUERIES, CORPUS, 3, metric="hamming")
    with pytest.raises(ValueError, match="corpus_chunk is 0"):
        top_k(QUERIES, CORPUS, 3, corpus_chunk=0)
    with pytest.raises(ValueError, match=r"returned shape \(70,\); expected \(70, 3000\)"):
        top_k(QUERIES, CORPUS, 3, metric=lambda queries, rows: queries.sum(1))
    with pytest.raises(ValueError, match="query_chunk_size is 0"):
        semantic_search(QUERIES, CORPUS, query_chunk_size=0)
    with pytest.raises(ValueError, match="corpus_chunk_size is -5"):
        semantic_search(QUERIES, CORPUS, corpus_chunk_size=-5)


def test_semantic_search_gives_plain_numbers_in_lists_of_dicts():
    found = semantic_search(QUERIES[:2], CORPUS[:4], top_k=9)
    assert [len(hits) for hits in found] == [4, 4]
    assert {type(value) for hits in found for hit in hits for value in hit.values()} == {int, float}
    assert semantic_search(QUERIES[0], CORPUS, score_function=dot_score) == semantic_search(
        QUERIES[:1], CORPUS, score_function="dot"
    )
    assert semantic_search(QUERIES[:2], CORPUS[:0]) == [[], []]
    assert semantic_search(QUERIES[:0], CORPUS) == []
    odd = semantic_search(
        QUERIES[:2], CORPUS[:3], score_function=lambda a, b: torch.tensor([[1, -torch.inf, 2], [-torch.inf] * 3])
    )
    assert odd == [[{"corpus_id": 2, "score": 2.0}, {"corpus_id": 0, "score": 1.0}], []]
    assert semantic_search(QUERIES, CORPUS, score_function=cos_sim) == semantic_search(QUERIES, CORPUS)
    assert gc.isenabled()
