"""Metrics against hand-worked examples and against scipy and scikit-learn."""

import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from workbench import metrics

RNG = np.random.default_rng(7)
SCORES = RNG.normal(size=400).astype(np.float32)
TIED = RNG.integers(0, 12, 400) / 4
LABELS = RNG.random(400) < 1 / (1 + np.exp(-SCORES - TIED + 1.5))
GAINS = RNG.integers(0, 4, (30, 12)) * (RNG.random((30, 12)) < 0.4)
IDEAL = np.concatenate([GAINS, RNG.integers(0, 4, (30, 5))], axis=1)  # the retrieved and some that were missed


@pytest.mark.parametrize("x", [SCORES, TIED, SCORES + 1e6])
def test_correlations_are_those_of_scipy(x):
    y = TIED + SCORES / 3
    assert metrics.pearson(x, y) == pytest.approx(scipy.stats.pearsonr(x.astype(float), y).statistic, abs=1e-9)
    assert metrics.spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)


def test_correlation_of_a_line_is_one():
    assert metrics.pearson([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert metrics.pearson([1, 2, 3], [-1, -2, -3]) == pytest.approx(-1)
    assert metrics.spearman([1, 2, 3, 4], [1, 10, 100, np.inf]) == pytest.approx(1)


@pytest.mark.parametrize("function", [metrics.pearson, metrics.spearman])
@pytest.mark.parametrize(("x", "y"), [([], []), ([1], [2]), ([0.1, 0.1, 0.1], [1, 2, 3]), ([1, 2], [5, 5])])
def test_a_correlation_with_a_constant_is_nan(function, x, y):
    assert math.isnan(function(x, y))


@pytest.mark.parametrize("scores", [SCORES, TIED])
def test_average_precision_is_that_of_sklearn(scores):
    found = metrics.average_precision(scores, LABELS)
    assert found == pytest.approx(sklearn.metrics.average_precision_score(LABELS, scores), abs=1e-12)


@pytest.mark.parametrize("scores", [SCORES, TIED])
@pytest.mark.parametrize("high", [True, False])
def test_the_best_thresholds_are_the_best_of_all_and_can_be_applied(scores, high):
    scores, labels = scores[:100], LABELS[:100] if high else ~LABELS[:100]

    def decide(threshold):
        return scores >= threshold if high else scores <= threshold

    every = [*np.unique(scores), scores.max() + 1, scores.min() - 1]
    f1, precision, recall, threshold = metrics.best_f1(scores, labels, high)
    assert f1 == pytest.approx(max(sklearn.metrics.f1_score(labels, decide(t), zero_division=0) for t in every))
    assert f1 == pytest.approx(sklearn.metrics.f1_score(labels, decide(threshold)))
    assert precision == pytest.approx(sklearn.metrics.precision_score(labels, decide(threshold)))
    assert recall == pytest.approx(sklearn.metrics.recall_score(labels, decide(threshold)))
    accuracy, threshold = metrics.best_accuracy(scores, labels, high)
    assert accuracy == pytest.approx(max(np.mean(labels == decide(t)) for t in every))
    assert accuracy == pytest.approx(np.mean(labels == decide(threshold)))


@pytest.mark.parametrize("threshold", [-9, 0, 0.5, 9])
@pytest.mark.parametrize("high", [True, False])
def test_matthews_is_that_of_sklearn(threshold, high):
    decided = threshold <= SCORES if high else threshold >= SCORES
    expected = sklearn.metrics.matthews_corrcoef(LABELS, decided)
    assert metrics.matthews(SCORES, LABELS, threshold, high) == pytest.approx(expected, abs=1e-12)


def test_thresholds_lie_half_way_and_equal_scores_are_never_split():
    scores, labels = [0.1, 0.2, 0.2, 0.5, 0.5, 0.9], [0, 0, 1, 0, 1, 1]
    assert metrics.best_f1(scores, labels) == pytest.approx((0.75, 0.6, 1.0, 0.15))
    assert metrics.best_accuracy(scores, labels) == pytest.approx((4 / 6, 0.7))


@pytest.mark.parametrize("pair", [(np.nextafter(1, 2, dtype=np.float32), 1), (1, -np.inf), (np.inf, -np.inf)])
def test_a_threshold_between_neighbours_still_separates_them(pair):
    scores = np.array(pair, np.float32)
    assert (scores >= np.float32(metrics.best_accuracy(scores, [1, 0])[1])).tolist() == [True, False]


def test_with_one_class_only_the_results_are_the_documented_ones():
    scores = np.array([0.3, 0.6], np.float32)
    assert metrics.best_f1(scores, [1, 1]) == pytest.approx((1, 1, 1, 0.3))
    assert metrics.best_f1(scores, [0, 0]) == (0, 0, 0, 0)
    assert metrics.average_precision(scores, [1, 1]) == 1
    assert metrics.average_precision(scores, [0, 0]) == 0
    assert metrics.matthews(scores, [1, 1], 0.5) == 0
    accuracy, threshold = metrics.best_accuracy(scores, [0, 0])
    assert accuracy == 1
    assert (scores < np.float32(threshold)).all()


def test_without_rows_everything_is_nan():
    found = [metrics.average_precision([], []), *metrics.best_f1([], []), *metrics.best_accuracy([], [])]
    assert all(math.isnan(value) for value in [*found, metrics.matthews([], [], 0)])


@pytest.mark.parametrize(
    "function", [metrics.pearson, metrics.spearman, metrics.average_precision, metrics.best_f1, metrics.best_accuracy]
)
def test_nan_is_an_error_that_names_the_rows(function):
    with pytest.raises(ValueError, match=r"NaN; 2 rows .* \[1, 3\]"):
        function([0.1, np.nan, 0.3, np.nan], [0, 1, 1, 0])


def test_labels_that_are_not_yes_or_no_are_an_error_that_names_the_rows():
    with pytest.raises(ValueError, match=r"labels must be 0 or 1; 1 rows .* \[2\]"):
        metrics.average_precision([1, 2, 3], [0, 1, 4.5])


def test_columns_of_different_length_are_an_error_with_both_shapes():
    with pytest.raises(ValueError, match=r"\(3,\), \(2,\)"):
        metrics.spearman([1, 2, 3], [1, 2])


HITS = [[1, 0, 1, 0], [0, 1, 0, 0]]  # query 0 has three relevant documents, query 1 has one
COUNTS = [3, 1]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (metrics.accuracy_at_k(HITS, 1), 1 / 2),
        (metrics.accuracy_at_k(HITS, 3), 1),
        (metrics.precision_at_k(HITS, 3), (2 / 3 + 1 / 3) / 2),
        (metrics.precision_at_k(HITS, 30), (2 / 30 + 1 / 30) / 2),
        (metrics.recall_at_k(HITS, COUNTS, 1), (1 / 3 + 0) / 2),
        (metrics.recall_at_k(HITS, COUNTS, 30), (2 / 3 + 1) / 2),
        (metrics.mrr_at_k(HITS, 1), 1 / 2),
        (metrics.mrr_at_k(HITS, 10), (1 + 1 / 2) / 2),
        (metrics.map_at_k(HITS, COUNTS, 2), (1 / 2 + 1 / 2) / 2),
        (metrics.map_at_k(HITS, COUNTS, 30), ((1 + 2 / 3) / 3 + 1 / 2) / 2),
        (metrics.ndcg_at_k(HITS, COUNTS, 2), (1 / (1 + 1 / math.log2(3)) + 1 / math.log2(3)) / 2),
        (metrics.ndcg_at_k(HITS, COUNTS, 9), (1.5 / (1.5 + 1 / math.log2(3)) + 1 / math.log2(3)) / 2),
    ],
)
def test_rankings_worked_out_by_hand(found, expected):
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 10, 50])
def test_graded_ndcg_is_that_of_sklearn(k):
    """Sklearn ranks a row's own documents: hand it the missed ones with lower scores, so that they come last."""
    falling = -np.tile(np.arange(IDEAL.shape[1]), (30, 1))
    with_missed = np.concatenate([GAINS, IDEAL[:, 12:]], axis=1)
    keep = IDEAL.any(axis=1)
    expected = sklearn.metrics.ndcg_score(with_missed[keep], falling[keep], k=k)
    assert metrics.ndcg_at_k(with_missed[keep], IDEAL[keep][:, ::-1], k) == pytest.approx(expected, abs=1e-12)


def test_counts_are_the_same_as_gains_of_one():
    hits, relevant = GAINS > 0, IDEAL > 0
    for function in (metrics.ndcg_at_k, metrics.map_at_k, metrics.recall_at_k):
        assert function(hits, relevant, 5) == pytest.approx(function(hits, relevant.sum(axis=1), 5))


def test_queries_without_results_or_without_relevant_documents_count_zero():
    assert metrics.recall_at_k([[1], [0]], [1, 0], 1) == 0.5
    assert metrics.ndcg_at_k([[1], [0]], [1, 0], 1) == 0.5
    nothing = np.zeros((3, 0))
    assert metrics.mrr_at_k(nothing, 10) == metrics.map_at_k(nothing, [1, 1, 1], 10) == 0


def test_without_queries_rankings_are_nan():
    none = np.zeros((0, 5))
    assert all(math.isnan(f(none, 5)) for f in (metrics.mrr_at_k, metrics.accuracy_at_k, metrics.precision_at_k))
    assert all(math.isnan(f(none, [], 5)) for f in (metrics.ndcg_at_k, metrics.map_at_k, metrics.recall_at_k))


def test_bad_rankings_are_errors_that_say_what_came():
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        metrics.mrr_at_k([1, 0, 0], 3)
    with pytest.raises(ValueError, match="k = 0"):
        metrics.mrr_at_k(HITS, 0)
    with pytest.raises(ValueError, match="2 queries, but what is relevant for 3"):
        metrics.recall_at_k(HITS, [1, 1, 1], 3)
    with pytest.raises(ValueError, match=r"NaN; 1 rows .* \[1\]"):
        metrics.mrr_at_k([[1, 0], [np.nan, 0]], 3)
