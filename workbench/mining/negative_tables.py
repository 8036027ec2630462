"""What mining has found, arranged as the tables that losses take, and its statistics."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

__all__ = ["OUTPUT_FORMATS", "Mined", "MiningStatistics"]

_Array = npt.NDArray[Any]
_Table = dict[str, list[Any]]


@dataclass(frozen=True)
class Mined:
    """Queries with their positives and the negatives that were chosen."""

    names: tuple[str, str]  # of the columns of anchors and positives
    queries: list[str]
    documents: list[str]
    owners: _Array  # (pairs,) the query of each pair, rising
    positives: _Array  # (pairs,) its document
    positive_scores: _Array  # (pairs,)
    negatives: _Array  # (queries, negatives) documents, best first; -1 where there are fewer
    negative_scores: _Array  # (queries, negatives); -inf where there are fewer

    def columns(self, owners: _Array, documents: _Array) -> _Table:
        """Return the first two columns of a table: the texts of queries and of documents."""
        return {self.names[0]: _pick(self.queries, owners), self.names[1]: _pick(self.documents, documents)}


def _triplets(mined: Mined, scores: bool) -> tuple[_Table, int]:
    negatives = mined.negatives[mined.owners]  # (pairs, negatives)
    pair, place = np.nonzero(negatives >= 0)
    table = mined.columns(mined.owners[pair], mined.positives[pair])
    table["negative"] = _pick(mined.documents, negatives[pair, place])
    if scores:
        both = mined.positive_scores[pair], mined.negative_scores[mined.owners[pair], place]
        table["scores"] = np.stack(both, axis=1).tolist()
    return table, negatives.size


def _tuples(mined: Mined, scores: bool) -> tuple[_Table, int]:
    full = mined.negatives.min(axis=1)[mined.owners] >= 0  # (pairs,)
    owners = mined.owners[full]
    table = mined.columns(owners, mined.positives[full])
    for place, column in enumerate(mined.negatives[owners].T, 1):
        table[f"negative_{place}"] = _pick(mined.documents, column)
    if scores:
        table["scores"] = np.column_stack([mined.positive_scores[full], mined.negative_scores[owners]]).tolist()
    return table, len(full)


def _labeled_pairs(mined: Mined, scores: bool) -> tuple[_Table, int]:
    row, place = np.nonzero(mined.negatives >= 0)
    owners = np.concatenate([mined.owners, row])
    order = np.argsort(owners, kind="stable")  # each query's positives, then its negatives
    documents = np.concatenate([mined.positives, mined.negatives[row, place]])
    values = np.concatenate([mined.positive_scores, mined.negative_scores[row, place]])
    labels = np.repeat([1, 0], [len(mined.owners), len(row)])
    last = {"score": values[order].tolist()} if scores else {"label": labels[order].tolist()}
    return mined.columns(owners[order], documents[order]) | last, len(mined.owners) + mined.negatives.size


def _labeled_lists(mined: Mined, scores: bool) -> tuple[_Table, int]:
    found = mined.negatives >= 0
    counts = found.sum(axis=1)
    some = counts[mined.owners] > 0  # (pairs,)
    owners, positives = mined.owners[some], mined.positives[some]
    lists = [
        [mined.documents[positive], *_pick(mined.documents, mined.negatives[owner][found[owner]])]
        for owner, positive in zip(owners, positives, strict=True)
    ]
    table: _Table = {mined.names[0]: _pick(mined.queries, owners), mined.names[1]: lists}
    if scores:
        table["scores"] = [
            [float(score), *mined.negative_scores[owner][found[owner]].tolist()]
            for owner, score in zip(owners, mined.positive_scores[some], strict=True)
        ]
    else:
        table["labels"] = [[1, *[0] * count] for count in counts[owners].tolist()]
    return table, len(mined.owners)


OUTPUT_FORMATS: dict[str, Callable[[Mined, bool], tuple[_Table, int]]] = {
    "triplet": _triplets,
    "n-tuple": _tuples,
    "labeled-pair": _labeled_pairs,
    "labeled-list": _labeled_lists,
}
"""The tables there are; each is made with or without scores, and says how many rows it could have had."""


@dataclass(frozen=True)
class MiningStatistics:
    """What mining found and dropped; ``print`` shows it as a table."""

    scores: dict[str, dict[str, float]]  # "positive", "negative", "difference" → count, mean, std, min, ..., max
    queries: int
    candidates: int  # proposed, positives not counted
    dropped: dict[str, int]  # condition → candidates that it was the first to drop
    missing: int  # rows that the result could have had, but for too few negatives

    @classmethod
    def of(cls, mined: Mined, candidates: int, dropped: dict[str, int], missing: int) -> Self:
        """Describe the scores of pairs, of chosen negatives, and how far these stay below the positives."""
        chosen = mined.negative_scores[mined.owners]  # (pairs, negatives)
        difference = (mined.positive_scores[:, None] - chosen)[np.isfinite(chosen)]
        negative = mined.negative_scores[np.isfinite(mined.negative_scores)]
        columns = {"positive": mined.positive_scores, "negative": negative, "difference": difference}
        scores = {name: _describe(values) for name, values in columns.items()}
        return cls(scores, len(mined.queries), candidates, dropped, missing)

    def to_frame(self) -> Any:
        """Return the scores as a pandas DataFrame: a row for each number, a column for each kind of pair."""
        import pandas as pd

        return pd.DataFrame(self.scores)

    def __str__(self) -> str:
        names = list(self.scores)
        lines = ["".join(f"{cell:>14}" for cell in ("", *names))]
        for row in self.scores[names[0]]:
            cells = (self.scores[name][row] for name in names)
            lines.append(
                f"{row:>14}" + "".join(f"{cell:>14,}" if row == "count" else f"{cell:>14.4f}" for cell in cells)
            )
        for name, count in self.dropped.items():
            lines.append(f"{name} dropped {count:,} of {self.candidates:,} candidates of {self.queries:,} queries.")
        if self.missing:
            hint = "Raise range_max" + (" or loosen a condition." if self.dropped else ", or give a larger corpus.")
            lines.append(f"{self.missing:,} rows are missing for want of negatives. {hint}")
        return "\n".join(lines)


def _describe(values: _Array) -> dict[str, float]:
    values = values.astype(np.float64)
    quantiles = dict(zip(("min", "25%", "50%", "75%", "max"), (0, 0.25, 0.5, 0.75, 1), strict=True))
    numbers = {"count": len(values), "mean": float("nan"), "std": float("nan")} | dict.fromkeys(quantiles, float("nan"))
    if len(values):
        numbers |= {"mean": float(values.mean())}
        numbers |= {name: float(np.quantile(values, share)) for name, share in quantiles.items()}
    if len(values) > 1:
        numbers["std"] = float(values.std(ddof=1))
    return numbers


def _pick(texts: list[str], places: _Array) -> list[str]:
    return [texts[place] for place in places.tolist()]
