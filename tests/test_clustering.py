"""Clusters on data whose clusters are known, topic words against the written-out formula, and bad input."""

import numpy as np
import pytest
import torch

from workbench import progress
from workbench.clustering import (
    METHODS,
    Clusters,
    cluster,
    community_detection,
    representatives,
    silhouette,
    stability,
    summary,
    topic_words,
)
from workbench.clustering import clusters as clusters_module
from workbench.errors import Cancelled, ChoiceError, TextTypeError, VectorError

SIZES = (40, 25, 15)
TRUTH = np.repeat([0, 1, 2], SIZES)
SETTINGS = {
    "kmeans": {"n_clusters": 3},
    "agglomerative": {"n_clusters": 3},
    "communities": {"threshold": 0.9},
    "hdbscan": {"min_cluster_size": 8},
}


def blobs(noise=0.02, seed=0):
    """Three tight groups of 40, 25 and 15 rows around orthogonal directions of 12 dimensions, of uneven lengths."""
    draw = np.random.default_rng(seed)
    rows = np.eye(12)[TRUTH] + noise * draw.normal(size=(len(TRUTH), 12))
    return (rows * draw.uniform(0.5, 20, size=(len(TRUTH), 1))).astype(np.float32)


def brute_force(vectors, threshold, least):
    """Community detection as its description says it, one row at a time over the whole matrix of cosines."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = unit @ unit.T
    taken, found = set(), []
    for centre in sorted(range(len(scores)), key=lambda row: (-(scores[row] >= threshold).sum(), row)):
        near = [row for row in np.flatnonzero(scores[centre] >= threshold) if row not in taken]
        if centre not in taken and len(near) >= least:
            near.sort(key=lambda row: (row != centre, -scores[centre, row], row))
            found.append([int(row) for row in near])
            taken |= set(near)
    return sorted(found, key=len, reverse=True)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_finds_the_groups_that_are_there_numbered_by_size(method):
    found = cluster(blobs(), method, **SETTINGS[method])
    np.testing.assert_array_equal(found.labels, TRUTH)
    assert (found.method, len(found), tuple(found.sizes), found.outliers) == (method, 3, SIZES, 0)
    assert found.settings.items() >= SETTINGS[method].items()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "form",
    [
        torch.tensor,
        list,
        lambda rows: rows.astype(np.float64)[:, ::-1],
        lambda rows: (rows * 100).astype(np.int32),
        lambda rows: list(torch.tensor(rows)),
        lambda rows: torch.tensor(rows, requires_grad=True),
    ],
)
def test_each_method_takes_every_form_of_vectors(method, form):
    np.testing.assert_array_equal(cluster(form(blobs()), method, **SETTINGS[method]).labels, TRUTH)


@pytest.mark.parametrize("method", METHODS)
def test_small_and_degenerate_inputs_give_clusters_and_no_warning(method):
    settings = SETTINGS[method] | ({"n_clusters": 1} if "n_clusters" in SETTINGS[method] else {})
    assert len(cluster(np.zeros((0, 12)), method, **settings).labels) == 0
    for rows in (1, 2, 3):
        assert cluster(blobs()[:rows], method, **settings).labels.shape == (rows,)
    same = cluster(np.tile(blobs()[:1], (30, 1)), method, **SETTINGS[method])
    assert len(same) <= 3
    assert len(cluster(np.zeros((30, 12)), method, **SETTINGS[method]).labels) == 30


def test_agglomerative_stops_at_a_distance():
    assert len(cluster(blobs(), "agglomerative", distance_threshold=1.0, linkage="average")) == 3
    assert len(cluster(blobs(), "agglomerative", distance_threshold=1.5, linkage="average")) == 1


def test_lengths_count_only_where_vectors_are_not_normalized():
    rows = np.array([[1, 0], [1, 0.1], [50, 0], [50, 5]], np.float32)
    assert list(cluster(rows, n_clusters=2, normalize=False).labels) == [0, 0, 1, 1]
    assert list(cluster(rows, n_clusters=2).labels) == [0, 1, 0, 1]


def test_large_k_means_goes_through_batches_and_says_so(monkeypatch):
    monkeypatch.setattr(clusters_module, "_SAMPLE", 30)
    monkeypatch.setattr(clusters_module, "_BATCH", 16)
    found = cluster(blobs(), n_clusters=3)
    np.testing.assert_array_equal(found.labels, TRUTH)
    assert found.settings["sampled"] == 30
    with pytest.raises(VectorError, match="2 rows, such as 3, 7"):
        cluster(NAN, n_clusters=3)
    assert "sampled" not in cluster(blobs()[:30], n_clusters=1).settings


def test_hdbscan_finds_the_same_with_and_without_all_distances_in_memory(monkeypatch):
    rows = np.concatenate([blobs(), np.random.default_rng(3).normal(size=(40, 12))])
    whole = cluster(rows, "hdbscan", min_cluster_size=8)
    monkeypatch.setattr(clusters_module, "_PAIRS", 10)
    np.testing.assert_array_equal(cluster(rows, "hdbscan", min_cluster_size=8).labels, whole.labels)
    assert whole.outliers > 10


def test_clusters_are_a_table_with_or_without_texts():
    found = Clusters.of([7, -5, 7, 2], "mine", k=2)
    assert list(found.to_frame().columns) == ["cluster"]
    frame = found.to_frame(f"text {i}" for i in range(4))
    assert frame.to_dict("list") == {
        "cluster": [0, -1, 0, 1],
        "text": ["text 0", "text 1", "text 2", "text 3"],
    }
    assert [rows.tolist() for rows in found] == [[0, 2], [3]]
    assert (found.outliers, found.settings) == (1, {"k": 2})
    assert list(Clusters.of([])) == list(Clusters.of([-1, -1])) == []


def test_communities_are_those_of_brute_force():
    draw = np.random.default_rng(1)
    vectors = draw.normal(size=(60, 8))[draw.integers(0, 60, 300)] + 0.4 * draw.normal(size=(300, 8))
    for threshold, least in ((0.6, 3), (0.8, 5), (0.9, 2), (0.75, 1)):
        expected = brute_force(vectors.astype(np.float32), threshold, least)
        assert community_detection(vectors, threshold, least, batch_size=64) == expected
        assert len(expected) > 3


def test_all_rows_alike_are_one_community_found_without_the_matrix_of_scores():
    rows = np.ones((20_000, 8), np.float32)
    (found,) = community_detection(rows)
    assert found[0] == 0
    assert sorted(found) == list(range(20_000))


def test_community_detection_can_be_cancelled():
    def stop(bar):
        raise Cancelled

    with progress.listen(stop), pytest.raises(Cancelled):
        community_detection(blobs())


DOCUMENTS = ["red apple pie", "green apple", "fast red car", "slow car car", "nothing here"]
TWO = Clusters.of([0, 0, 1, 1, -1])


def test_topic_words_are_the_formula_of_class_based_tf_idf():
    first, second = topic_words(TWO, DOCUMENTS, k=20, stop_words=None)
    # Six words in the second cluster, five in the first: 5.5 on average; apple twice, red once in each.
    assert dict(first) == pytest.approx(
        {
            "apple": 2 / 5 * np.log(1 + 5.5 / 2),
            "red": 1 / 5 * np.log(1 + 5.5 / 2),
            "pie": 1 / 5 * np.log(1 + 5.5),
            "green": 1 / 5 * np.log(1 + 5.5),
        }
    )
    assert [word for word, _ in second] == ["car", "fast", "slow", "red"]
    assert topic_words(TWO, DOCUMENTS, k=1) == [first[:1], [("car", pytest.approx(3 / 6 * np.log(1 + 5.5 / 3)))]]


def test_clusters_of_stop_words_have_no_topic_words():
    assert topic_words(TWO, ["the", "of", "and", "a", "is"]) == [[], []]
    assert topic_words(TWO, ["", "", "car", "", ""]) == [[], [("car", pytest.approx(np.log(1.5)))]]
    assert topic_words(Clusters.of([]), []) == []


def test_representatives_are_the_rows_nearest_to_the_mean():
    rows = np.array([[1, 0.3], [1, 0], [1, -0.2], [0, 1], [0.1, 1], [0.3, 1], [-1, -1]], np.float32)
    first, second = representatives(Clusters.of([0, 0, 0, 1, 1, 1, -1]), rows, k=2)
    assert (first.tolist(), second.tolist()) == ([1, 2], [4, 3])


def test_the_summary_shows_words_and_examples_of_each_cluster():
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0, 1], [1, 1]])
    table = summary(TWO, DOCUMENTS, vectors, words=2, examples=1)
    assert table.to_dict("list") == {
        "cluster": [0, 1],
        "size": [2, 2],
        "words": ["apple, green", "car, fast"],
        "examples": [["red apple pie"], ["fast red car"]],
    }


def test_the_silhouette_is_its_formula_and_says_what_was_sampled():
    rows = np.array([[0.0], [1.0], [5.0], [7.0], [9.0]])
    found = silhouette(Clusters.of([0, 0, 1, 1, -1]), rows, normalize=False)
    expected = np.mean([1 - 1 / 6, 1 - 1 / 5, 1 - 2 / 4.5, 1 - 2 / 6.5])
    assert found == (pytest.approx(expected), 4, 4)
    value, measured, total = silhouette(Clusters.of(TRUTH), blobs(), max_rows=50)
    assert value > 0.9
    assert (measured, total) == (50, 80)
    assert np.isnan(silhouette(Clusters.of([0] * 80), blobs()).value)
    assert np.isnan(silhouette(Clusters.of([0, 1]), blobs()[:2]).value)


def test_stability_is_high_where_clusters_are_there_and_low_where_none_are():
    assert stability(blobs(), n_clusters=3) == pytest.approx(1)
    assert stability(np.random.default_rng(0).normal(size=(80, 12)), n_clusters=7) < 0.5
    assert stability(blobs(), "communities", threshold=0.9, runs=3, min_community_size=5) == pytest.approx(1)


NAN = blobs()
NAN[[3, 7]] = np.nan

BAD = {
    "an unknown method": (lambda: cluster(blobs(), "k-means"), ChoiceError, "'kmeans', 'agglomerative'"),
    "more clusters than rows": (lambda: cluster(blobs()[:2], n_clusters=3), ValueError, "3; expected 1 to 2"),
    "no cluster": (lambda: cluster(blobs(), n_clusters=0), ValueError, "0; expected 1 to 80"),
    "no limit": (lambda: cluster(blobs(), "agglomerative"), ValueError, "Give one of"),
    "two limits": (
        lambda: cluster(blobs(), "agglomerative", n_clusters=2, distance_threshold=1),
        ValueError,
        "Give one of",
    ),
    "too many agglomerative": (
        lambda: cluster(blobs(), "agglomerative", n_clusters=90),
        ValueError,
        "90; expected 1 to 80",
    ),
    "too many rows": (
        lambda: cluster(blobs(), "agglomerative", n_clusters=2, max_rows=50),
        ValueError,
        "80 rows takes .* GB",
    ),
    "an unknown linkage": (
        lambda: cluster(blobs(), "agglomerative", linkage="x"),
        ChoiceError,
        "'ward', 'average'",
    ),
    "a negative threshold": (
        lambda: cluster(blobs(), "agglomerative", distance_threshold=-1),
        ValueError,
        "distance_threshold",
    ),
    "HDBSCAN of single rows": (
        lambda: cluster(blobs(), "hdbscan", min_cluster_size=1),
        ValueError,
        "min_cluster_size of 2",
    ),
    "communities of none": (lambda: community_detection(blobs(), min_community_size=0), ValueError, "expected 1"),
    "an empty block": (lambda: community_detection(blobs(), batch_size=0), ValueError, "batch_size 0"),
    "words, not vectors": (lambda: community_detection(["a", "b"]), VectorError, "must hold numbers"),
    "three axes": (lambda: cluster(np.zeros((2, 3, 4))), VectorError, r"shape \(2, 3, 4\)"),
    "ragged rows": (lambda: cluster([[1.0, 2], [1.0]]), VectorError, "of one length"),
    "too few texts": (lambda: TWO.to_frame(["a"]), ValueError, "1 texts for 5 rows"),
    "a text that is none": (lambda: topic_words(TWO, ["a", "b", None, "c", "d"]), TextTypeError, "Row 2 is None"),
    "too few vectors": (lambda: representatives(TWO, blobs()), VectorError, "80 vectors for 5 rows"),
    "too few vectors to measure": (lambda: silhouette(TWO, blobs()), VectorError, "80 vectors for 5 rows"),
    "NaN rows in parts": (lambda: stability(NAN, n_clusters=3), VectorError, "2 rows, such as 3, 7"),
    "one run": (lambda: stability(blobs(), runs=1), ValueError, "runs is 1"),
    "no share": (lambda: stability(blobs(), share=0), ValueError, "share 0"),
    "labels of words": (lambda: Clusters.of(["a"]), ValueError, "one whole number"),
} | {
    f"NaN rows, {method}": (
        lambda method=method: cluster(NAN, method, **SETTINGS[method]),
        VectorError,
        "2 rows, such as 3, 7",
    )
    for method in METHODS
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_gets_one_clear_error(what):
    call, error, message = BAD[what]
    with pytest.raises(error, match=message):
        call()
