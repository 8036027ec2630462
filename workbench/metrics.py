"""How good scores and rankings are: arrays in, floats out.

Rankings are arrays of gains: ``ranked[q, i]`` is how relevant the document is that query q got at rank i (1 or 0, or
any graded gain; 0 also fills short lists). Beyond the last column nothing was found. Where there is nothing to measure
(no rows, no queries, a correlation with a constant) the result is NaN; where one class is missing, it is what the
definitions below leave of it: 0 for AP, F1 and Matthews without positives.

The functions named ``…_of_samples`` compute a metric for many resamplings of the rows at once: ``counts[s, i]`` is how
often sample s holds row i. They share the formula of the metric itself.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "accuracy_at_k", "average_precision", "average_precision_of_samples", "best_accuracy", "best_f1",
    "best_f1_of_samples", "class_f1", "map_at_k", "matthews", "mrr_at_k", "ndcg_at_k", "pearson", "precision_at_k",
    "ranked_gains", "recall_at_k", "spearman", "spearman_of_samples", "v_measure",
]  # fmt: skip

_Floats = npt.NDArray[Any]


def pearson(x: Any, y: Any) -> float:
    """Pearson's correlation of two (n,) arrays: 1 when one is a rising straight line of the other."""
    x, y = (column.astype(np.float64) for column in _columns(x=x, y=y))
    if len(x) < 2 or not all(np.isfinite(column).all() and column.min() < column.max() for column in (x, y)):
        return float("nan")
    return float(_correlation(x, y, np.ones(len(x))))


def spearman(x: Any, y: Any) -> float:
    """Spearman's rank correlation of two (n,) arrays: 1 when both have the same order; ties share their mean rank.

    The usual number for similarity data sets: it does not ask scores to have the scale of the labels.
    """
    x, y = _columns(x=x, y=y)
    return pearson(*(_ranks(column, np.ones(len(column))) for column in (x, y)))


def spearman_of_samples(x: Any, y: Any, counts: Any) -> _Floats:
    """Return ``spearman`` of every sample of the rows, (samples,); ``counts`` is (samples, n)."""
    x, y = _columns(x=x, y=y)
    counts = _counts(counts, len(x))
    return _correlation(_ranks(x, counts), _ranks(y, counts), counts)


def average_precision(scores: Any, labels: Any, positives: int | None = None) -> float:
    """Area under the steps of the precision-recall curve; equal scores count as one step. Free of any threshold.

    Args:
        scores: (n,) higher means more likely positive (negate distances).
        labels: (n,) 1 for positive, 0 for negative.
        positives: how many positives there are in all, where a search did not find every one; None: those in labels.
    """
    _, hits, taken = _cuts(scores, labels, high_is_similar=True)
    return float(_step_area(hits, taken, positives))


def average_precision_of_samples(scores: Any, labels: Any, counts: Any) -> _Floats:
    """Return ``average_precision`` of every sample of the rows, (samples,); ``counts`` is (samples, n)."""
    _, hits, taken = _cuts(scores, labels, high_is_similar=True, counts=counts)
    return _step_area(hits, taken)


def best_f1(
    scores: Any, labels: Any, high_is_similar: bool = True, positives: int | None = None
) -> tuple[float, float, float, float]:
    """Return the best F1 that any threshold reaches, with its precision, recall and threshold.

    Args:
        scores: (n,) similarities, or distances with ``high_is_similar=False``.
        labels: (n,) 1 for positive, 0 for negative.
        high_is_similar: whether scores at or above the threshold are positive, or those at or below it.
        positives: see ``average_precision``.
    """
    thresholds, hits, taken = _cuts(scores, labels, high_is_similar)
    if not hits[-1]:
        return (0.0, 0.0, 0.0, 0.0) if taken[-1] else (float("nan"),) * 4
    f1 = _f1(hits, taken, positives)
    best = int(f1.argmax())
    precision, recall = hits[best + 1] / taken[best + 1], hits[best + 1] / (positives or hits[-1])
    return float(f1[best]), float(precision), float(recall), float(thresholds[best + 1])


def best_f1_of_samples(scores: Any, labels: Any, counts: Any, high_is_similar: bool = True) -> _Floats:
    """Return the best F1 of every sample of the rows, (samples,), each at a threshold of its own; see ``best_f1``."""
    _, hits, taken = _cuts(scores, labels, high_is_similar, counts)
    best: _Floats = _f1(hits, taken).max(axis=-1, initial=0)
    return best


def best_accuracy(scores: Any, labels: Any, high_is_similar: bool = True) -> tuple[float, float]:
    """Return the best accuracy that any threshold reaches, and the strictest such threshold. Arguments: ``best_f1``."""
    thresholds, hits, taken = _cuts(scores, labels, high_is_similar)
    right = hits + (taken[-1] - hits[-1]) - (taken - hits)  # true positives and true negatives at each cut
    best = int(right.argmax())
    return (float(right[best] / taken[-1]), float(thresholds[best])) if taken[-1] else (float("nan"),) * 2


def matthews(scores: Any, labels: Any, threshold: float, high_is_similar: bool = True) -> float:
    """Matthews' correlation of the decisions at ``threshold`` with the labels; fair also when classes are uneven."""
    scores, labels = _scored(scores, labels)
    chosen = scores >= threshold if high_is_similar else scores <= threshold
    correlation = pearson(chosen, labels)
    return 0.0 if len(scores) and np.isnan(correlation) else correlation


def class_f1(predicted: Any, labels: Any) -> tuple[float, float, float]:
    """Return F1 of several classes: the mean over classes, over all rows at once, and over classes by their size.

    Args:
        predicted: (n,) whole numbers, the classes chosen.
        labels: (n,) the true ones. A class counts if it stands in either.
    """
    predicted, labels = (column.astype(np.int64) for column in _columns(predicted=predicted, labels=labels))
    if not len(labels):
        return (float("nan"),) * 3
    _, codes = np.unique(np.concatenate([predicted, labels]), return_inverse=True)
    predicted, labels = codes[: len(labels)], codes[len(labels) :]
    size = int(codes.max()) + 1
    right = np.bincount(labels[predicted == labels], minlength=size)
    chosen, true = (np.bincount(rows, minlength=size) for rows in (predicted, labels))
    f1 = 2 * right / (chosen + true)  # (classes,)
    return float(f1.mean()), float(right.sum() / len(labels)), float(f1 @ true / len(labels))


def v_measure(table: Any) -> Any:
    """How well clusters and true classes agree: the harmonic mean of homogeneity and completeness.

    2 I(K; C) / (H(K) + H(C)): 1 when both are the same but for their names, 0 when one tells nothing of the other.
    Rosenberg and Hirschberg, 2007.

    Args:
        table: (…, clusters, classes) how many rows are in both; a table of each sample gives a number for each.
    """
    table = np.asarray(table, dtype=np.float64)
    total = table.sum(axis=(-2, -1), keepdims=True)
    share = np.divide(table, total, out=np.zeros_like(table), where=total > 0)

    def entropy(p: _Floats, axes: tuple[int, ...]) -> _Floats:
        logs: _Floats = np.log(p, out=np.zeros_like(p), where=p > 0)
        return np.asarray(-(p * logs).sum(axis=axes))

    sides = entropy(share.sum(axis=-1), (-1,)) + entropy(share.sum(axis=-2), (-1,))  # H(K) + H(C)
    mutual = sides - entropy(share, (-2, -1))
    values = np.divide(2 * mutual, sides, out=np.ones_like(sides), where=sides > 0).clip(0, 1)
    values = np.where(total[..., 0, 0] > 0, values, np.nan)
    return float(values) if values.ndim == 0 else values


def ranked_gains(scores: Any, gains: Any, *, average_ties: bool = False) -> _Floats:
    """Return gains in the order of scores, best first; equal scores keep their order, or share their mean gain.

    Args:
        scores: (n,) higher is better.
        gains: (n,) how relevant each row is.
        average_ties: what a ranking gains that orders equal scores by chance, as ``ndcg_at_k`` is often computed.
    """
    scores, gains = _columns(scores=scores, gains=gains)
    order = np.argsort(-scores, kind="stable")
    ordered: _Floats = gains[order]
    if not average_ties:
        return ordered
    _, place, counts = np.unique(-scores[order], return_inverse=True, return_counts=True)
    shared: _Floats = np.bincount(place, ordered) / counts
    return shared[place]


def ndcg_at_k(ranked: Any, relevant: Any, k: int) -> float:
    """Mean normalised discounted cumulative gain: the sum of gain / log2(rank + 1), over that of an ideal ranking.

    Args:
        ranked: (queries, depth) gains, in the order in which the documents were ranked.
        relevant: (queries,) how many documents are relevant, each with gain 1; or (queries, m) all gains there are,
            in any order, filled up with 0. A query without any counts 0: leave it out if it should not count.
        k: how many ranks to look at.
    """
    ranked, gains = _top(ranked, k), np.asarray(relevant, dtype=float)
    ideal = np.arange(k) < gains[:, None] if gains.ndim == 1 else _top(-np.sort(-gains, axis=1), k)
    discount = 1 / np.log2(np.arange(2, k + 2))  # (k,)
    return _mean_ratio(ranked @ discount, ideal @ discount)


def map_at_k(ranked: Any, relevant: Any, k: int) -> float:
    """Mean of the precisions at the ranks of relevant documents, over min(k, relevant). Arguments: ``ndcg_at_k``."""
    hits = _top(ranked, k) > 0
    precision = hits.cumsum(axis=1) / np.arange(1, k + 1)
    return _mean_ratio((precision * hits).sum(axis=1), np.minimum(_count(relevant), k))


def recall_at_k(ranked: Any, relevant: Any, k: int) -> float:
    """Mean share of the relevant documents that are among the first k. Arguments: ``ndcg_at_k``."""
    return _mean_ratio((_top(ranked, k) > 0).sum(axis=1), _count(relevant))


def precision_at_k(ranked: Any, k: int) -> float:
    """Mean share of relevant documents among the first k ranks, empty ranks included."""
    return _mean_ratio((_top(ranked, k) > 0).sum(axis=1), k)


def accuracy_at_k(ranked: Any, k: int) -> float:
    """Share of the queries that have a relevant document among the first k."""
    return _mean_ratio((_top(ranked, k) > 0).any(axis=1), 1)


def mrr_at_k(ranked: Any, k: int) -> float:
    """Mean of 1 / rank of the first relevant document, 0 where the first k hold none."""
    hits = _top(ranked, k) > 0
    return _mean_ratio(hits.any(axis=1), 1 + hits.argmax(axis=1))


def _columns(**named: Any) -> list[_Floats]:
    """The two named columns as arrays of floats (float32 stays), checked: one length, no NaN."""
    columns = [np.asarray(values) for values in named.values()]
    columns = [column if column.dtype == np.float32 else column.astype(np.float64) for column in columns]
    if columns[0].ndim != 1 or columns[0].shape != columns[1].shape:
        shapes = [column.shape for column in columns]
        raise ValueError(f"{' and '.join(named)} have shapes {shapes}; expected two columns of one length.")
    for name, column in zip(named, columns, strict=True):
        _refuse(np.isnan(column), f"{name} must not be NaN")
    return columns


def _scored(scores: Any, labels: Any) -> list[_Floats]:
    columns = _columns(scores=scores, labels=labels)
    _refuse((columns[1] != 0) & (columns[1] != 1), "labels must be 0 or 1")
    return columns


def _refuse(bad: _Floats, rule: str) -> None:
    if bad.any():
        rows = np.unique(np.nonzero(bad)[0]).tolist()
        raise ValueError(f"{rule}; {len(rows)} rows break this, the first of them {rows[:10]}.")


def _counts(counts: Any, rows: int) -> _Floats:
    table: _Floats = np.asarray(counts, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != rows or (table < 0).any():
        raise ValueError(f"counts have shape {table.shape}; expected (samples, {rows}), 0 or more.")
    return table


def _ranks(values: _Floats, counts: _Floats) -> _Floats:
    """Rank 1 for the smallest, where row i stands counts[…, i] times; equal values share the mean of their ranks."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    new = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))  # where each distinct value begins
    if not len(values):
        return counts
    sizes = np.add.reduceat(counts[..., order], new, axis=-1)  # (…, distinct values)
    ranks = sizes.cumsum(axis=-1) - (sizes - 1) / 2
    place = np.empty(len(values), np.intp)
    place[order] = np.repeat(np.arange(len(new)), np.diff(np.append(new, len(values))))
    found: _Floats = ranks[..., place]
    return found


def _correlation(x: _Floats, y: _Floats, counts: _Floats) -> _Floats:
    """Pearson's correlation of the rows, each taken counts[…, i] times; NaN with a constant."""
    units = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for side in (x, y):
            centred = side - (counts * side).sum(axis=-1, keepdims=True) / counts.sum(axis=-1, keepdims=True)
            scaled = centred * np.sqrt(counts)
            size = np.linalg.norm(scaled, axis=-1, keepdims=True)
            least = 1e-13 * np.abs(side).max(axis=-1, keepdims=True, initial=0)  # what rounding leaves of a constant
            units.append(scaled / np.where(size > least, size, np.nan))
        return np.asarray((units[0] * units[1]).sum(axis=-1)).clip(-1, 1)


def _step_area(hits: _Floats, taken: _Floats, positives: int | None = None) -> _Floats:
    """The area under precision and recall at all cuts, (…,); NaN without rows."""
    area = (_share(hits[..., 1:], taken[..., 1:]) * np.diff(hits, axis=-1)).sum(axis=-1)
    found: _Floats = np.where(taken[..., -1] > 0, area / np.maximum(positives or hits[..., -1], 1), np.nan)
    return found


def _f1(hits: _Floats, taken: _Floats, positives: int | None = None) -> _Floats:
    """F1 at each cut, (…, cuts): 2 hits / (taken + positives), the harmonic mean of precision and recall."""
    true = np.asarray(positives or hits[..., -1:])
    return 2 * _share(hits[..., 1:], taken[..., 1:] + true)


def _share(part: _Floats, whole: _Floats) -> _Floats:
    """Part of whole, 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.broadcast_shapes(part.shape, whole.shape)), where=whole > 0)


def _cuts(scores: Any, labels: Any, high_is_similar: bool, counts: Any = None) -> tuple[_Floats, _Floats, _Floats]:
    """All ways to cut the sorted rows between different scores: thresholds, positives above, rows above; none first.

    With counts, (samples, n), positives and rows are (samples, cuts).
    """
    scores, labels = _scored(scores, labels)
    weights = np.ones(len(scores)) if counts is None else _counts(counts, len(scores))
    if not len(scores):
        nothing = np.zeros((*weights.shape[:-1], 1))
        return np.zeros(1), nothing, nothing
    sign = 1 if high_is_similar else -1
    order = np.argsort(-sign * scores, kind="stable")
    scores, weights = sign * scores[order], weights[..., order]
    positive = weights * labels[order]
    inner = np.flatnonzero(scores[1:] != scores[:-1])  # the last row above each cut
    above, below = scores[inner], scores[inner + 1]
    with np.errstate(invalid="ignore"):
        middle = (above + below) / 2
    middle = np.where(middle > below, middle, above)  # neighbours in floating point have nothing between them
    thresholds = np.concatenate([np.nextafter(scores[:1], np.inf), middle, scores[-1:]])
    above_cut = np.concatenate([inner, [len(scores) - 1]])
    hits, taken = (_from_zero(side.cumsum(axis=-1)[..., above_cut]) for side in (positive, weights))
    return sign * thresholds, hits, taken


def _from_zero(values: _Floats) -> _Floats:
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), values], axis=-1)


def _top(ranked: Any, k: int) -> _Floats:
    """The first k gains of each query, filled up with 0: (queries, k)."""
    gains = np.asarray(ranked)
    if gains.ndim != 2 or k < 1:
        raise ValueError(f"Got gains of shape {gains.shape} and k = {k}; expected (queries, depth) and k of 1 or more.")
    top = gains[:, :k].astype(np.float64)
    _refuse(np.isnan(top), "gains must not be NaN")
    return np.pad(top, [(0, 0), (0, k - top.shape[1])])


def _count(relevant: Any) -> _Floats:
    gains = np.asarray(relevant, dtype=np.float64)
    return gains if gains.ndim == 1 else (gains > 0).sum(axis=1)


def _mean_ratio(part: Any, whole: Any) -> float:
    """Mean of part / whole over the queries, 0 where the whole is 0; NaN without queries."""
    if np.ndim(whole) and len(whole) != len(part):
        raise ValueError(f"Got rankings for {len(part)} queries, but what is relevant for {len(whole)}.")
    part = part.astype(np.float64)
    ratios = np.divide(part, whole, out=np.zeros_like(part), where=np.asarray(whole) > 0)
    return float(ratios.mean()) if len(part) else float("nan")
