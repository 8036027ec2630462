"""Communities equal the reference package's: the same rows in the same order."""

import numpy as np
import pytest
import torch
from sentence_transformers.util import community_detection as reference

from workbench.clustering import community_detection

DRAW = np.random.default_rng(5)


def groups(rows, dim, count, noise):
    centres = DRAW.normal(size=(count, dim))
    return (centres[DRAW.integers(0, count, rows)] + noise * DRAW.normal(size=(rows, dim))).astype(np.float32)


CASES = {
    "tight groups": (groups(1500, 32, 40, 0.3), {}),
    "groups that overlap": (groups(2500, 8, 60, 0.6), {"threshold": 0.8}),
    "groups among noise": (np.concatenate([groups(600, 24, 20, 0.4), groups(900, 24, 900, 1)]), {"threshold": 0.6}),
    "one block": (groups(300, 16, 9, 0.4), {"min_community_size": 3}),
    "many blocks": (groups(700, 16, 9, 0.5), {"min_community_size": 5, "batch_size": 100}),
    "small communities": (groups(400, 16, 150, 0.2), {"min_community_size": 1}),
    "communities larger than most": (groups(1200, 16, 2, 0.3), {"min_community_size": 2}),
    "a low threshold": (groups(500, 6, 5, 1.0), {"threshold": 0.0}),
    "many duplicates": (groups(150, 8, 30, 0.3)[DRAW.integers(0, 150, 2000)], {}),
    "lists that grow": (groups(40, 8, 3, 0.4)[DRAW.integers(0, 40, 3000)], {"min_community_size": 2}),
    "all alike": (np.ones((300, 4), np.float32), {}),
    "zero vectors": (np.concatenate([np.zeros((50, 4), np.float32), groups(100, 4, 2, 0.1)]), {}),
    "a handful": (groups(9, 8, 2, 0.2)[[0, 1, 2, 3, 0, 1, 2, 3, 4]], {"min_community_size": 2}),
    "no communities": (groups(200, 64, 200, 1), {}),
    "fewer rows than a community": (groups(5, 8, 1, 0.1), {}),
    "no rows": (np.zeros((0, 8), np.float32), {}),
    "float64": (groups(800, 16, 20, 0.4).astype(np.float64), {}),
}


@pytest.mark.parametrize("what", CASES)
@pytest.mark.parametrize("form", [np.asarray, torch.tensor])
def test_the_same_communities_in_the_same_order(what, form):
    vectors, settings = CASES[what]
    assert community_detection(form(vectors), **settings) == reference(form(vectors), **settings)


def test_real_sentences_with_duplicates_give_the_same_communities_in_the_same_order(minilm):
    from workbench import SentenceTransformer

    names = ["cat", "dog", "horse", "cow", "bird", "train", "car", "ship", "plane", "bus"]
    texts = [f"The {name} is {state}." for name in names for state in ("old", "new", "here", "gone", "old", "big")]
    vectors = SentenceTransformer(minilm, device="cpu").encode(texts)
    for threshold in (0.5, 0.6, 0.7, 0.8):
        settings = {"threshold": threshold, "min_community_size": 2}
        found = community_detection(vectors, **settings)
        assert found == reference(vectors, **settings)
        assert len(found) > 2
