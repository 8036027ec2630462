"""Similarity functions against closed forms, and every form of input they take."""

import numpy as np
import pytest
import torch

from workbench import similarity as sim
from workbench.errors import ChoiceError
from workbench.similarity import SimilarityFunction

MATRIX = [sim.cos_sim, sim.dot_score, sim.euclidean_sim, sim.manhattan_sim]
PAIRED = [
    sim.pairwise_cos_sim,
    sim.pairwise_dot_score,
    sim.pairwise_euclidean_sim,
    sim.pairwise_manhattan_sim,
    sim.pairwise_angle_sim,
]
A, B = np.random.default_rng(0).normal(size=(2, 5, 6)).astype(np.float32)

CLOSED_FORMS = {
    sim.cos_sim: lambda a, b: (a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1),
    sim.dot_score: lambda a, b: a @ b.T,
    sim.euclidean_sim: lambda a, b: -np.sqrt(((a[:, None] - b) ** 2).sum(-1)),
    sim.manhattan_sim: lambda a, b: -np.abs(a[:, None] - b).sum(-1),
}


def expected(function, a, b):
    return CLOSED_FORMS[function](np.asarray(a, np.float64), np.asarray(b, np.float64))


@pytest.mark.parametrize("function", MATRIX)
def test_each_function_is_its_textbook_formula(function):
    np.testing.assert_allclose(function(A, B), expected(function, A, B), atol=1e-6)


@pytest.mark.parametrize(("matrix", "paired"), list(zip(MATRIX, PAIRED[:4], strict=True)))
def test_the_pairwise_form_is_the_diagonal(matrix, paired):
    np.testing.assert_allclose(paired(A, B), np.diag(matrix(A, B)), atol=1e-6)


def test_angle_similarity_is_the_real_plus_the_imaginary_part_of_a_complex_product():
    unit = [side.astype(np.float64) / np.linalg.norm(side, axis=1, keepdims=True) for side in (A, B)]
    inner = [
        sum(complex(x[i], x[i + 3]) * complex(y[i], -y[i + 3]) for i in range(3)) for x, y in zip(*unit, strict=True)
    ]
    np.testing.assert_allclose(sim.pairwise_angle_sim(A, B), [abs(z.real + z.imag) for z in inner], atol=1e-6)


def test_angle_similarity_pads_an_odd_dimension_with_a_zero():
    padded = [np.pad(side[:, :5], ((0, 0), (0, 1))) for side in (A, B)]
    np.testing.assert_allclose(sim.pairwise_angle_sim(A[:, :5], B[:, :5]), sim.pairwise_angle_sim(*padded), atol=1e-7)


WHOLE = (A * 20).round()
FORMS = {
    "array": WHOLE,
    "array of whole numbers": WHOLE.astype(np.int8),
    "half precision array": WHOLE.astype(np.float16),
    "double precision array": WHOLE.astype(np.float64),
    "not contiguous": np.asfortranarray(WHOLE),
    "negative stride": WHOLE[::-1].copy()[::-1],
    "read only": np.frombuffer(WHOLE.tobytes(), np.float32).reshape(WHOLE.shape),
    "list of lists": WHOLE.tolist(),
    "list of lists of whole numbers": WHOLE.astype(int).tolist(),
    "list of arrays": list(WHOLE),
    "list of tensors": [torch.tensor(row) for row in WHOLE],
    "array of objects": np.array([list(map(float, row)) for row in WHOLE], dtype=object),
    "tensor": torch.tensor(WHOLE),
    "half precision tensor": torch.tensor(WHOLE).half(),
    "bfloat16 tensor": torch.tensor(WHOLE).bfloat16(),
    "tensor of whole numbers": torch.tensor(WHOLE).int(),
}


@pytest.mark.parametrize("function", MATRIX)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_input_gives_the_same_scores(function, form):
    scores = function(FORMS[form], B)
    assert isinstance(scores, torch.Tensor)
    assert scores.dtype == (torch.float64 if "double" in form else torch.float32)
    np.testing.assert_allclose(scores, expected(function, WHOLE, B), rtol=1e-6, atol=1e-5)


def test_half_precision_is_computed_in_float32():
    many = torch.full((1, 4096), 0.1, dtype=torch.bfloat16)
    assert sim.dot_score(many, many).item() == pytest.approx(4096 * float(many[0, 0]) ** 2, rel=1e-5)


@pytest.mark.parametrize("function", MATRIX)
def test_a_single_vector_is_a_matrix_of_one_row(function):
    assert function(A[0], B).shape == (1, 5)
    np.testing.assert_allclose(function(A[0].tolist(), B[1].tolist()), expected(function, A[:1], B[1:2]), atol=1e-6)


@pytest.mark.parametrize("function", PAIRED)
def test_one_vector_pairs_with_every_row(function):
    np.testing.assert_allclose(function(A[0], B), function(np.repeat(A[:1], 5, axis=0), B), atol=1e-6)
    assert function(A[0], B[0]).shape == ()


@pytest.mark.parametrize("function", [*MATRIX, *PAIRED])
def test_zero_vectors_give_zero_and_finite_gradients(function):
    zeros = torch.zeros(2, 4, requires_grad=True)
    scores = function(zeros, torch.zeros(2, 4))
    scores.sum().backward()
    assert scores.abs().max() == 0
    assert zeros.grad is not None
    assert zeros.grad.isfinite().all()


@pytest.mark.parametrize("function", [*MATRIX, *PAIRED])
def test_gradients_are_those_of_the_formula(function):
    a, b = (torch.tensor(side, dtype=torch.float64, requires_grad=True) for side in (A, B))
    assert torch.autograd.gradcheck(function, (a, b))


@pytest.mark.parametrize("function", [*MATRIX, *PAIRED])
def test_different_dimensions_are_an_error_with_both_shapes(function):
    with pytest.raises(ValueError, match=r"\(5, 6\).*\(5, 4\)"):
        function(A, B[:, :4])


@pytest.mark.parametrize("function", PAIRED)
def test_pairs_need_equally_many_rows(function):
    with pytest.raises(ValueError, match=r"\(5, 6\).*\(3, 6\)"):
        function(A, B[:3])


@pytest.mark.parametrize("function", MATRIX)
def test_no_rows_give_no_scores(function):
    assert function(A[:0], B).shape == (0, 5)
    assert function([], []).shape == (0, 0)


@pytest.mark.parametrize("function", [*MATRIX, *PAIRED])
def test_a_cube_is_refused(function):
    with pytest.raises(ValueError, match=r"\(2, 3, 6\)"):
        function(np.zeros((2, 3, 6)), B)


def test_equal_vectors_far_from_the_origin_have_distance_zero():
    far = A + 1000
    assert sim.euclidean_sim(np.repeat(far, 20, axis=0), far).max(dim=1).values.abs().max() == 0


def test_manhattan_needs_no_cube_of_differences():
    """The (1500, 1500, 512) cube would be 4.6 GB; the scores are 9 MB."""
    torch.manual_seed(0)
    many = torch.randn(1500, 512)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        sim.manhattan_sim(many, many)
    assert max(event.self_cpu_memory_usage for event in profile.events()) < 20e6


def test_normalised_rows_have_length_one_and_keep_their_precision():
    vectors = sim.normalize_embeddings(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
    assert sim.normalize_embeddings(torch.tensor([300.0, 400.0]).half()).dtype == torch.float16
    assert sim.normalize_embeddings(np.array([3, 4])).tolist() == pytest.approx([0.6, 0.8])


def test_truncation_keeps_the_first_dimensions():
    assert sim.truncate_embeddings(A, 2).tolist() == A[:, :2].tolist()
    assert sim.truncate_embeddings(torch.tensor(A[0]), 2).tolist() == A[0, :2].tolist()
    assert sim.truncate_embeddings(A, None).shape == sim.truncate_embeddings(A, 99).shape == A.shape
    with pytest.raises(ValueError, match="at least 1"):
        sim.truncate_embeddings(A, 0)


def test_similarity_names_are_plain_strings():
    assert SimilarityFunction.COSINE == "cosine"
    assert SimilarityFunction("dot") is SimilarityFunction.DOT is SimilarityFunction.DOT_PRODUCT
    assert f"{SimilarityFunction.EUCLIDEAN}" == "euclidean"
    assert SimilarityFunction.possible_values() == ["cosine", "dot", "euclidean", "manhattan"]


@pytest.mark.parametrize(("name", "matrix", "paired"), list(zip(SimilarityFunction, MATRIX, PAIRED[:4], strict=True)))
def test_names_lead_to_functions(name, matrix, paired):
    assert SimilarityFunction.to_similarity_fn(str(name)) is matrix
    assert SimilarityFunction.to_similarity_pairwise_fn(name) is paired


@pytest.mark.parametrize("name", ["cosin", "", None, 3])
def test_an_unknown_similarity_lists_the_known_ones(name):
    with pytest.raises(ChoiceError, match="'cosine', 'dot', 'euclidean', 'manhattan'"):
        SimilarityFunction.to_similarity_fn(name)
