"""Fusion against a slow computation by hand, and an index of several indexes."""

import numpy as np
import pytest

from workbench.errors import ChoiceError
from workbench.protocols import Hits
from workbench.search.hybrid import FUSIONS, fuse


def hits(*rows, k=None):
    """Rows of (id, score) pairs, best first, filled up to k."""
    k = k or max(map(len, rows))
    strings = any(isinstance(name, str) for row in rows for name, _ in row)
    ids = [[name for name, _ in row] + [None if strings else -1] * (k - len(row)) for row in rows]
    scores = [[score for _, score in row] + [-np.inf] * (k - len(row)) for row in rows]
    return Hits(
        np.array(ids, object if strings else np.int64).reshape(len(rows), k), np.array(scores, np.float32).reshape(len(rows), k)
    )


def by_hand(lists, k, method, weights, constant):
    """Fusion with dicts, one query after the other."""
    merged = []
    for rows in zip(*lists, strict=True):
        points = {}
        for weight, row in zip(weights, rows, strict=True):
            scores = [score for _, score in row]
            for rank, (name, score) in enumerate(row, 1):
                spread = max(scores) - min(scores)
                scaled = (score - min(scores)) / spread if spread else 1.0
                points[name] = points.get(name, 0) + weight * (1 / (constant + rank) if method == "rrf" else scaled)
        scale = sum(weights) if method == "weighted" else 1
        merged.append(sorted(((name, total / scale) for name, total in points.items()), key=lambda pair: -pair[1])[:k])
    return merged


@pytest.mark.parametrize("method", FUSIONS)
@pytest.mark.parametrize("strings", [False, True])
def test_fusion_is_what_a_loop_over_dicts_gives(method, strings):
    rng = np.random.default_rng(1)
    lists = []
    for depth in (8, 5, 12):
        rows = []
        for _ in range(20):
            found = int(rng.integers(0, depth + 1))
            names = rng.permutation(30)[:found].tolist()
            scores = -np.sort(-rng.normal(size=found).astype(np.float32))
            rows.append([(f"d{name}" if strings else name, float(score)) for name, score in zip(names, scores, strict=True)])
        lists.append(hits(*rows, k=depth))
    weights = [1.0, 0.5, 2.0]
    merged = fuse(lists, 6, method, weights, 10)
    assert merged.ids.shape == merged.scores.shape == (20, 6)
    for row, expected in zip(merged, by_hand(lists, 6, method, weights, 10), strict=True):
        assert [name for name, _ in row] == [name for name, _ in expected]
        np.testing.assert_allclose([score for _, score in row], [score for _, score in expected], atol=1e-6)


def test_reciprocal_ranks_as_in_the_paper():
    merged = fuse([hits([(7, 0.9), (8, 0.1)]), hits([(8, 12.0), (9, 3.0)])], k=4)
    assert merged.ids.tolist() == [[8, 7, 9, -1]]
    np.testing.assert_allclose(merged.scores[0, :3], [1 / 61 + 1 / 62, 1 / 61, 1 / 62], rtol=1e-6)
    assert merged.scores[0, 3] == -np.inf


def test_of_equal_scores_the_earlier_list_comes_first():
    first, second = hits([("a", 2.0), ("b", 1.0)]), hits([("c", 9.0), ("d", 8.0)])
    assert fuse([first, second], 4).ids.tolist() == [["a", "c", "b", "d"]]
    assert fuse([second, first], 4).ids.tolist() == [["c", "a", "d", "b"]]


def test_a_weight_of_nothing_leaves_the_other_list():
    merged = fuse([hits([(1, 0.9), (2, 0.5), (3, 0.1)]), hits([(3, 5.0), (2, 1.0)])], 3, "weighted", [1, 0])
    assert merged.ids.tolist() == [[1, 2, 3]]
    np.testing.assert_allclose(merged.scores, [[1, 0.5, 0]], atol=1e-6)


def test_equal_scores_count_in_full():
    assert fuse([hits([(1, 0.3), (2, 0.3)])], 2, "weighted").scores.tolist() == [[1, 1]]


def test_nothing_found_stays_nothing():
    nothing = hits([], [], k=3)
    for method in FUSIONS:
        merged = fuse([nothing, nothing], 2, method)
        assert merged.ids.tolist() == [[-1, -1]] * 2
        assert fuse([nothing, hits([(4, 1.0)], [])], 2, method).ids.tolist() == [[4, -1], [-1, -1]]
    assert fuse([Hits(np.empty((0, 3), np.int64), np.empty((0, 3), np.float32))], 2).ids.shape == (0, 2)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"hits_list": []}, ValueError, "hits for"),
        ({"hits_list": [hits([(1, 1.0)]), hits([(1, 1.0)], [(1, 1.0)])]}, ValueError, r"\[1, 2\] queries"),
        ({"hits_list": [hits([(1, 1.0)]), hits([("a", 1.0)])]}, ValueError, "strings"),
        ({"method": "best"}, ChoiceError, "'rrf'"),
        ({"weights": [1.0, 2.0]}, ValueError, "expected 1 numbers"),
        ({"weights": [-1.0]}, ValueError, "from 0 up"),
        ({"weights": [0.0]}, ValueError, "not all of them 0"),
        ({"weights": [float("nan")]}, ValueError, "nan"),
        ({"k": 0}, ValueError, "k is 0"),
        ({"rank_constant": -1}, ValueError, "rank_constant -1"),
    ],
)
def test_bad_input_to_fuse_gets_one_clear_error(options, error, words):
    with pytest.raises(error, match=words):
        fuse(**{"hits_list": [hits([(1, 1.0)])], **options})
