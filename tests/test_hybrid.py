"""Fusion against a slow computation by hand, and an index of several indexes."""

import json

import numpy as np
import pytest

from tests.tiny_index import Words, flat
from workbench.errors import ChoiceError, DataFormatError, TextTypeError, VectorError
from workbench.protocols import Hits, Index
from workbench.search.bm25 import BM25Index
from workbench.search.dense import DenseIndex
from workbench.search.exact import ExactIndex
from workbench.search.hybrid import FUSIONS, HybridIndex, fuse
from workbench.search.kinds import open_index

TEXTS = ["red fish", "blue fish", "red bird", "error E04"]


def hits(*rows, k=None):
    """Rows of (id, score) pairs, best first, filled up to k."""
    k = k or max(map(len, rows))
    strings = any(isinstance(name, str) for row in rows for name, _ in row)
    ids = [[name for name, _ in row] + [None if strings else -1] * (k - len(row)) for row in rows]
    scores = [[score for _, score in row] + [-np.inf] * (k - len(row)) for row in rows]
    return Hits(
        np.array(ids, object if strings else np.int64).reshape(len(rows), k),
        np.array(scores, np.float32).reshape(len(rows), k),
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
            rows.append(
                [(f"d{name}" if strings else name, float(score)) for name, score in zip(names, scores, strict=True)]
            )
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
    assert fuse([hits([(1, 0.9)]), hits([(3, 5.0)])], 3, "rrf", [1, 0]).ids.tolist() == [[1, -1, -1]]


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


def both(**options):
    return HybridIndex({"meaning": DenseIndex(Words(), flat()), "words": BM25Index()}, **options)


def test_a_hybrid_index_fuses_what_its_parts_find():
    index = both(depth=3)
    index.add(["a", "b", "c", "d"], TEXTS)
    assert isinstance(index, Index)
    assert len(index) == 4
    queries = ["red", "E04 fish"]
    found = [part.search(queries, 3) for part in index.parts.values()]
    expected, merged = fuse(found, 2), index.search(queries, k=2)
    assert merged.ids.tolist() == expected.ids.tolist()
    np.testing.assert_array_equal(merged.scores, expected.scores)


def test_weights_are_given_by_name():
    index = both(method="weighted", weights={"meaning": 0})
    index.add(None, TEXTS)
    assert index.search("fish", k=2).ids.tolist() == [[0, 1]]
    assert index.search("fish", k=2).scores.tolist() == [[1, 1]]


def test_each_part_may_have_rows_and_queries_of_its_own():
    mixed, plain = HybridIndex({"meaning": flat(), "words": BM25Index()}), both()
    vectors = Words().encode(TEXTS)
    mixed.add(None, {"meaning": vectors, "words": TEXTS})
    plain.add(None, iter(TEXTS))
    asked = plain.encode_query(["red bird"])
    assert asked["words"] == ["red bird"]
    for queries in (asked, {"meaning": Words().encode(["red bird"]), "words": ["red bird"]}):
        assert mixed.search(queries, 3).ids.tolist() == plain.search(["red bird"], 3).ids.tolist()


def test_a_hybrid_index_is_saved_with_its_parts_and_opened_with_its_model(tmp_path):
    index = HybridIndex(
        {"meaning": DenseIndex(Words(), ExactIndex()), "words": BM25Index()},
        method="weighted",
        weights={"words": 2},
        depth=7,
    )
    index.add(["a", "b", "c", "d"], TEXTS)
    index.save(tmp_path / "index")
    opened = HybridIndex.open(tmp_path / "index", model=Words(), meaning={"rescore": False})
    assert (opened.method, opened.weights, opened.depth, len(opened)) == ("weighted", {"words": 2}, 7, 4)
    for queries in (["red", "E04"], index.encode_query(["blue bird"])):
        found, expected = opened.search(queries, 3), index.search(queries, 3)
        assert found.ids.tolist() == expected.ids.tolist()
        np.testing.assert_array_equal(found.scores, expected.scores)
    with pytest.raises(ValueError, match=r"'meaning' searches texts by vectors\. Pass model="):
        HybridIndex.open(tmp_path / "index")
    with pytest.raises(DataFormatError, match="kind 'exact', not 'hybrid'"):
        HybridIndex.open(tmp_path / "index" / "0")


def test_open_index_makes_and_opens_a_hybrid_index(tmp_path):
    index = open_index("hybrid", tmp_path / "index", parts={"stems": BM25Index(), "words": BM25Index(None)})
    index.add(None, ["the fishes", "a bird"])
    index.save(tmp_path / "index")
    opened = open_index("hybrid", tmp_path / "index")
    assert (
        opened.search(["fish", "the"], 2).ids.tolist() == index.search(["fish", "the"], 2).ids.tolist() == [[0, -1]] * 2
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "1" / "engine.bin").write_bytes(b"?"),
        lambda folder: (folder / "0" / "index.json").unlink(),
        lambda folder: _rewritten(folder / "index.json", parts={"a": 1}),
        lambda folder: _rewritten(folder / "index.json", parts=None),
        lambda folder: _rewritten(folder / "index.json", settings={"method": "rrf", "more": 1}),
        lambda folder: _rewritten(folder / "index.json", settings={"weights": {"elsewhere": 1}}),
        lambda folder: _rewritten(folder / "index.json", kind="bm25"),
    ],
)
def test_a_damaged_folder_gets_one_clear_error(damage, tmp_path):
    index = HybridIndex({"stems": BM25Index(), "words": BM25Index(None)})
    index.add(None, ["the fishes", "a bird"])
    index.save(tmp_path / "index")
    damage(tmp_path / "index")
    with pytest.raises(DataFormatError, match="index"):
        HybridIndex.open(tmp_path / "index")


def _rewritten(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_part_without_any_rows_has_no_say_in_the_kind_of_ids():
    index = HybridIndex({"empty": BM25Index(), "words": BM25Index()})
    index.parts["words"].add(["x"], ["fish"])
    assert index.search("fish", 2).ids.tolist() == [["x", None]]


def test_one_text_is_a_row_and_a_query():
    index = both()
    index.add(None, "red fish")
    index.add(None, ["blue bird"])
    assert index.search("fish", 1).ids.tolist() == [[0]]
    assert len(index) == 2


def test_a_part_that_cannot_forget_does_not_hide_the_error():
    index = HybridIndex({"meaning": flat(), "words": BM25Index()})
    with pytest.raises(TextTypeError, match="Row 0"):
        index.add(None, {"meaning": np.eye(1), "words": [None]})


def test_where_one_part_refuses_the_others_forget_the_rows():
    index = HybridIndex({"words": BM25Index(), "meaning": flat()})
    index.add(None, {"meaning": np.eye(2, dtype=np.float32), "words": ["a fish", "a bird"]})
    with pytest.raises(VectorError):
        index.add(None, {"meaning": np.full((1, 2), np.nan), "words": ["another fish"]})
    assert [len(part) for part in index.parts.values()] == [2, 2]
    assert index.search({"meaning": np.ones((1, 2)), "words": "another"}, 3).found.tolist() == [2]


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (lambda: HybridIndex({}), ValueError, "at least one"),
        (lambda: both(method="sum"), ChoiceError, "'weighted'"),
        (lambda: both(weights={"sense": 1}), ChoiceError, "'meaning'"),
        (lambda: both().add(None, {"words": ["a"]}), ValueError, "expected them for"),
        (lambda: both().add(None, {"words": ["a"], "meaning": ["a", "b"]}), ValueError, r"\[1, 2\]"),
        (lambda: both().add(None, ["a", 3]), TextTypeError, "Row 1"),
        (lambda: both().search("a", 0), ValueError, "k is 0"),
    ],
)
def test_bad_input_to_a_hybrid_index_gets_one_clear_error(bad, error, words):
    with pytest.raises(error, match=words):
        bad()
