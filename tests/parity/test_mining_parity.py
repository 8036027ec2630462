"""Mining against the reference package on the same vectors."""

import contextlib
import io
import itertools
import random
from typing import ClassVar

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import util as reference

from workbench.mining import mine_hard_negatives, paraphrase_mining, paraphrase_mining_embeddings
from workbench.similarity import cos_sim, dot_score, euclidean_sim, pairwise_cos_sim

VECTORS = np.random.default_rng(0).normal(size=(900, 12)).astype(np.float32)


def same_pairs(found, expected):
    assert len(found) == len(expected)
    np.testing.assert_allclose([row[0] for row in found], [row[0] for row in expected], rtol=0, atol=1e-6)
    assert {(i, j) for _, i, j in found} == {(i, j) for _, i, j in expected}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 1},
        {"top_k": 3, "max_pairs": 100},
        {"max_pairs": 1},
        {"max_pairs": 200},
        {"max_pairs": 2000, "top_k": 5},
        {"max_pairs": 500, "query_chunk_size": 70, "corpus_chunk_size": 130},
        {"max_pairs": 3000, "top_k": 5000},
        {"query_chunk_size": 7, "corpus_chunk_size": 300, "max_pairs": 20},
    ],
    ids=str,
)
def test_pairs_equal_the_reference(options):
    same_pairs(
        paraphrase_mining_embeddings(VECTORS, **options),
        reference.paraphrase_mining_embeddings(torch.tensor(VECTORS), **options),
    )


@pytest.mark.parametrize(
    ("ours", "theirs"), [(cos_sim, "cos_sim"), (dot_score, "dot_score"), (euclidean_sim, "euclidean_sim")]
)
@pytest.mark.parametrize("options", [{"top_k": 4}, {"top_k": 4, "max_pairs": 300}], ids=str)
def test_pairs_by_another_score_equal_the_reference(ours, theirs, options):
    found = paraphrase_mining_embeddings(VECTORS, score_function=ours, **options)
    expected = reference.paraphrase_mining_embeddings(
        torch.tensor(VECTORS), score_function=getattr(reference, theirs), **options
    )
    assert len(found) == len(expected)
    np.testing.assert_allclose([row[0] for row in found], [row[0] for row in expected], rtol=1e-6, atol=2e-6)
    assert {(i, j) for _, i, j in found} == {(i, j) for _, i, j in expected}


def test_pairs_of_real_texts_equal_the_reference(tiny, tiny_folder):
    from sentence_transformers import SentenceTransformer

    texts = [f"the {a} {b} {c}" for a, b, c in itertools.product("abcd", "efgh", "ijkl")]
    found = paraphrase_mining(tiny, texts, top_k=3, max_pairs=40)
    expected = reference.paraphrase_mining(
        SentenceTransformer(str(tiny_folder), device="cpu"), texts, top_k=3, max_pairs=40
    )
    np.testing.assert_allclose([row[0] for row in found], [row[0] for row in expected], rtol=0, atol=2e-6)


class Given:
    """A model that knows the vector of every text, as both packages call it."""

    similarity_fn_name = "cosine"
    prompts: ClassVar = {}
    default_prompt_name = None
    device = "cpu"
    similarity = staticmethod(cos_sim)
    similarity_pairwise = staticmethod(pairwise_cos_sim)

    def __init__(self, texts):
        vectors = np.random.default_rng(3).normal(size=(len(texts), 6)).astype(np.float32)
        self.vectors = dict(zip(texts, vectors, strict=True))

    def encode(self, texts, **options):
        return np.stack([self.vectors[text] for text in texts])

    encode_query = encode_document = encode


class Judge:
    """A cross-encoder with an opinion on every pair."""

    def predict(self, pairs, convert_to_tensor=False, **options):
        scores = torch.tensor([random.Random(a + "|" + b).random() for a, b in pairs])
        return scores if convert_to_tensor else scores.numpy()


RANDOM = random.Random(5)
ANCHORS = [f"q{RANDOM.randrange(40)}" for _ in range(70)]
POSITIVES = [f"d{RANDOM.randrange(90)}" for _ in range(70)]
PAIRS = Dataset.from_dict({"question": ANCHORS, "answer": POSITIVES, "source": ["x"] * 70})
CORPUS = [f"d{RANDOM.randrange(300)}" for _ in range(250)] + ["q3", "q4"]
MODEL = Given([f"{side}{i}" for side in "qd" for i in range(300)])


def both(ours=(), **options):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        expected = reference.mine_hard_negatives(PAIRS, MODEL, **options)
    return mine_hard_negatives(PAIRS, MODEL, verbose=False, **options, **dict(ours)), expected


def same_rows(found, expected):
    assert found.column_names == expected.column_names
    assert len(found) == len(expected)
    for name in found.column_names:
        if "score" in name:
            for row, other in zip(found[name], expected[name], strict=True):
                np.testing.assert_allclose(row, other, rtol=0, atol=1e-6)
        else:
            assert found[name][:] == expected[name][:]


CONDITIONS = [
    {},
    {"num_negatives": 5, "range_min": 3},
    {"range_min": 2, "range_max": 9},
    {"max_score": 0.7},
    {"min_score": 0.8},
    {"absolute_margin": 0.1},
    {"absolute_margin": 0.0, "range_max": 200, "num_negatives": 1},
    {"relative_margin": 0.05},
    {"relative_margin": 0.2, "max_score": 0.9, "min_score": 0.1, "range_min": 1, "range_max": 60},
    {"max_score": -2.0},
    {"range_max": 5000, "num_negatives": 40},
]


@pytest.mark.parametrize("conditions", CONDITIONS, ids=str)
@pytest.mark.parametrize("output_scores", [False, True])
@pytest.mark.parametrize("output_format", ["triplet", "n-tuple", "labeled-pair", "labeled-list"])
@pytest.mark.filterwarnings("ignore:std.*degrees of freedom")  # of the reference, where nothing is left
def test_hard_negatives_equal_the_reference(conditions, output_scores, output_format):
    same_rows(*both(corpus=CORPUS, output_format=output_format, output_scores=output_scores, **conditions))


@pytest.mark.parametrize("conditions", CONDITIONS[:9], ids=str)
def test_hard_negatives_without_a_corpus_equal_the_reference(conditions):
    same_rows(*both(output_scores=True, **conditions))


@pytest.mark.parametrize("conditions", [CONDITIONS[3], *CONDITIONS[5:9]], ids=str)
def test_hard_negatives_judged_by_a_cross_encoder_equal_the_reference(conditions):
    """Without a margin or ``max_score`` the reference never asks the cross-encoder; the workbench always does."""
    same_rows(*both(corpus=CORPUS, cross_encoder=Judge(), output_scores=True, **conditions))


@pytest.mark.parametrize("conditions", [{}, {"max_score": 0.8}, {"range_max": 20, "num_negatives": 12}], ids=str)
def test_rankings_that_include_the_positives_equal_the_reference(conditions):
    same_rows(*both(corpus=CORPUS, include_positives=True, output_format="n-tuple", **conditions))


def test_named_columns_equal_the_reference():
    same_rows(*both(anchor_column_name="answer", positive_column_name="question"))


def test_candidates_from_faiss_are_the_same():
    plain = mine_hard_negatives(PAIRS, MODEL, corpus=CORPUS, verbose=False, output_scores=True)
    same_rows(
        mine_hard_negatives(PAIRS, MODEL, corpus=CORPUS, verbose=False, output_scores=True, use_faiss=True), plain
    )
