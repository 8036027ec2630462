"""The true all-MiniLM-L6-v2 gives the published similarities, and the reference's vectors on 500 real texts."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer as Reference

from tests.tiny import real_texts
from workbench import SentenceTransformer
from workbench.errors import TruncationWarning

QUICKSTART = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
PRECISIONS = ["float32", "int8", "uint8", "binary", "ubinary"]


def remember(transformer):
    """Keep what the transformers model answers to each batch, so that every option can be tested on all 500 texts.

    Options such as ``truncate_dim`` or ``precision`` send the same batches through it; only prompts change them.
    """
    answers, run = {}, transformer.forward

    def forward(input_ids, *args, **kwargs):
        key = (tuple(input_ids.shape), input_ids.numpy().tobytes())
        if key not in answers:
            answers[key] = run(input_ids, *args, **kwargs)
        return answers[key]

    transformer.forward = forward


@pytest.fixture(scope="module")
def texts():
    return real_texts(500)


@pytest.fixture(scope="module")
def ours(minilm):
    model = SentenceTransformer(minilm, device="cpu", prompts={"search": "search_query: "})
    remember(model[0].auto_model)
    return model


@pytest.fixture(scope="module")
def theirs(minilm):
    model = Reference(str(minilm), device="cpu", prompts={"search": "search_query: "})
    remember(model[0].auto_model)
    return model


@pytest.fixture(scope="module")
def expected(theirs, texts):
    return theirs.encode(texts)  # (500, 384)


@pytest.fixture(scope="module")
def counts(theirs, texts):
    return np.array([len(row) for row in theirs.tokenizer(texts, truncation=False, verbose=False)["input_ids"]])


@pytest.fixture
def encode(ours, texts, counts):
    """Encode the 500 texts; some are longer than the model's 256 tokens."""
    message = f"{(counts > 256).sum()} of 500 texts were longer than 256 tokens"

    def run(**options):
        with pytest.warns(TruncationWarning, match=message):
            return ours.encode(texts, **options)

    return run


def test_the_quickstart_similarities_are_the_published_ones(ours):
    scores = ours.similarity(*[ours.encode(QUICKSTART)] * 2)
    assert [round(float(scores[pair]), 4) for pair in ((0, 1), (0, 2), (1, 2))] == [0.6660, 0.1046, 0.1411]


def test_500_real_texts_give_the_vectors_of_the_reference(encode, expected):
    vectors = encode()
    assert vectors.shape == (500, 384)
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-6)


def test_token_counts_equal_the_reference_and_are_those_of_real_texts(ours, texts, counts):
    assert ours.token_counts(texts).tolist() == counts.tolist()
    assert counts.min() < 8 < 20 < np.median(counts) < 40
    assert 5 < (counts > 256).sum() < 50


def test_normalized_vectors_equal_the_reference(encode, theirs, texts):
    expected = theirs.encode(texts, normalize_embeddings=True, truncate_dim=100)
    np.testing.assert_allclose(encode(normalize_embeddings=True, truncate_dim=100), expected, rtol=0, atol=1e-6)


def test_truncated_vectors_equal_the_reference(encode, theirs, texts):
    expected = theirs.encode(texts, truncate_dim=100)
    np.testing.assert_allclose(encode(truncate_dim=100), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_equals_the_reference(encode, expected, theirs, texts, precision):
    found, wanted = encode(precision=precision), theirs.encode(texts, precision=precision)
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    if precision == "float32":
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    elif precision in ("binary", "ubinary"):
        bits, wanted_bits = (np.unpackbits(codes.view(np.uint8), axis=1) for codes in (found, wanted))
        assert np.abs(expected[bits != wanted_bits]).max(initial=0) < 1e-6  # only a value at 0 may get another sign
    else:
        # Vectors that differ by 1e-7 may fall on two sides of the edge between two steps: one step apart, and rarely.
        steps = np.abs(found.astype(int) - wanted.astype(int))
        assert steps.max() <= 1
        assert (steps > 0).mean() < 1e-3


def test_tensors_equal_the_reference(encode, expected):
    tensor, rows = encode(convert_to_tensor=True), encode(convert_to_numpy=False)
    assert isinstance(rows, list)
    assert isinstance(rows[0], torch.Tensor)
    for found in (tensor, torch.stack(rows)):
        torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-6)


def test_one_string_equals_the_reference(ours, theirs, expected, texts):
    found = ours.encode(texts[1])
    assert found.shape == (384,)
    np.testing.assert_allclose(found, theirs.encode(texts[1]), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found, expected[1], rtol=0, atol=1e-6)


def test_token_embeddings_equal_the_reference(encode, theirs, texts):
    found, wanted = encode(output_value="token_embeddings"), theirs.encode(texts, output_value="token_embeddings")
    assert len(found) == len(wanted) == 500
    # Token vectors are not normalized: their numbers reach 6 and more, so 1e-6 is meant relative to their size.
    size = max(float(tokens.abs().max()) for tokens in wanted)
    for ours, reference in zip(found, wanted, strict=True):
        assert ours.shape == reference.shape
        torch.testing.assert_close(ours, reference.to(ours.device), rtol=0, atol=1e-6 * size)


def test_everything_the_model_gives_equals_the_reference(encode, theirs, texts):
    found, wanted = encode(output_value=None), theirs.encode(texts, output_value=None)
    for ours, reference in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours["sentence_embedding"], reference["sentence_embedding"], rtol=0, atol=1e-6)
        real, real_there = ours["attention_mask"].bool(), reference["attention_mask"].bool()
        assert ours["input_ids"][real].equal(reference["input_ids"][real_there])


def test_prompts_give_the_vectors_of_the_reference(ours, theirs, texts):
    with pytest.warns(TruncationWarning):
        named, given = ours.encode(texts, prompt_name="search"), ours.encode(texts, prompt="search_query: ")
    np.testing.assert_allclose(named, theirs.encode(texts, prompt_name="search"), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(named, given)
