"""Translated sentences found by margin: Artetxe & Schwenk, 2019 (arXiv:1811.01136).

A cosine alone favours sentences that are close to everything. The margin compares it with what the two sentences reach
with their k nearest neighbours on the other side.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import choose
from workbench.mining.neighbours import nearest
from workbench.protocols import Embeds
from workbench.texts import as_texts
from workbench.vectors import as_matrix

__all__ = ["MARGINS", "RETRIEVAL", "BitextScore", "bitext_mining", "mine_bitext", "score_bitext"]

_Array = npt.NDArray[Any]
_Pairs = tuple[_Array, _Array, _Array]  # scores, sources, targets

MARGINS: dict[str, Callable[[_Array, _Array], _Array]] = {
    "ratio": lambda cosine, around: np.divide(cosine, around, out=np.zeros_like(cosine), where=around > 0),
    "distance": lambda cosine, around: cosine - around,
    "absolute": lambda cosine, around: cosine,
}
"""What the cosine of a pair is compared with: the mean cosine ``around`` its two sentences, or nothing."""


def mine_bitext(
    source_embeddings: Any,
    target_embeddings: Any,
    k: int = 4,
    margin: str = "ratio",
    retrieval: str = "max",
    threshold: float | None = None,
    backend: str = "exact",
    *,
    show_progress_bar: bool | None = None,
) -> list[tuple[float, int, int]]:
    """Find rows of two sets that say the same in two languages.

    With x and y of length 1, and NN(x) the k nearest targets of x: around(x, y) = Σ x·z / 2k over z in NN(x) plus
    Σ y·z / 2k over z in NN(y); score(x, y) = margin(x·y, around(x, y)).

    Args:
        source_embeddings: (n, dim) vectors of a model that puts translations close together.
        target_embeddings: (m, dim) vectors of the same model.
        k: neighbours of each row that the margin looks at, and candidates of each row.
        margin: a key of ``MARGINS``: "ratio" is best as a rule (0 where no cosine around a pair is above 0);
            "distance" is close to it; "absolute" is the plain cosine.
        retrieval: a key of ``RETRIEVAL``: "max" takes the best pairs of both directions, each row once; "intersection"
            what both directions agree on (most precise); "forward" the best target of every source, "backward" the
            best source of every target.
        threshold: the least score to return; None: all. Choose it on pairs you know with ``score_bitext``.
        backend: who finds the neighbours, "exact" or "faiss"; they are the same.
        show_progress_bar: whether to show progress; see ``workbench.show_progress``.

    Returns:
        (score, source, target), best first, of equal scores the smaller positions first.

    Raises:
        VectorError: the two sides differ in dimensions, or hold NaN or infinite values; names the rows.
        ChoiceError: an unknown margin, retrieval or backend.
        ValueError: k is below 1.
    """
    compare, retrieve = choose("margin", margin, MARGINS), choose("retrieval", retrieval, RETRIEVAL)
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1.")
    source = as_matrix(source_embeddings, name="source_embeddings")
    target = as_matrix(target_embeddings, name="target_embeddings", dim=source.shape[1] if len(source) else None)
    if not len(source) or not len(target):
        return []
    there, targets = nearest(source, target, min(k, len(target)), backend=backend, show=show_progress_bar)
    back, sources = nearest(target, source, min(k, len(source)), backend=backend, show=show_progress_bar)
    around_source, around_target = there.mean(axis=1), back.mean(axis=1)  # (n,), (m,)
    forward = compare(there, (around_source[:, None] + around_target[targets]) / 2)  # (n, k)
    backward = compare(back, (around_target[:, None] + around_source[sources]) / 2)  # (m, k)
    rows = np.arange(len(source)), np.arange(len(target))
    first = forward.argmax(axis=1), backward.argmax(axis=1)
    scores, left, right = retrieve(
        (forward[rows[0], first[0]], rows[0], targets[rows[0], first[0]]),
        (backward[rows[1], first[1]], sources[rows[1], first[1]], rows[1]),
    )
    order = np.lexsort((right, left, -scores))
    order = order[: len(order) if threshold is None else int((scores >= threshold).sum())]
    columns = scores[order].tolist(), left[order].tolist(), right[order].tolist()
    return list(zip(*columns, strict=True))


def _agreed(forward: _Pairs, backward: _Pairs) -> _Pairs:
    scores, sources, targets = forward
    mutual = backward[1][targets] == sources  # the best source of my best target is me
    return scores[mutual], sources[mutual], targets[mutual]


def _best_once(forward: _Pairs, backward: _Pairs) -> _Pairs:
    """The pairs of both directions from the best down, each sentence used once."""
    scores, sources, targets = (np.concatenate(sides) for sides in zip(forward, backward, strict=True))
    kept, seen_sources, seen_targets = [], set(), set()
    for place in np.lexsort((targets, sources, -scores)).tolist():
        source, target = int(sources[place]), int(targets[place])
        if source not in seen_sources and target not in seen_targets:
            seen_sources.add(source)
            seen_targets.add(target)
            kept.append(place)
    return scores[kept], sources[kept], targets[kept]


RETRIEVAL: dict[str, Callable[[_Pairs, _Pairs], _Pairs]] = {
    "forward": lambda forward, backward: forward,
    "backward": lambda forward, backward: backward,
    "intersection": _agreed,
    "max": _best_once,
}
"""Which pairs are taken of those that each side finds best."""


def bitext_mining(
    model: Embeds,
    source_sentences: Any,
    target_sentences: Any,
    k: int = 4,
    margin: str = "ratio",
    retrieval: str = "max",
    threshold: float | None = None,
    backend: str = "exact",
    *,
    batch_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> Any:
    """Find translated sentences among texts: ``mine_bitext`` of their vectors, joined with the texts.

    Repeated texts count once, as their first row. Returns a pandas DataFrame with a row for each pair, best first:
    ``score``, ``source`` and ``target`` (positions), ``source_text`` and ``target_text``.

    Raises:
        TextTypeError: a row is not text; names its index and type.
    """
    given = (
        as_texts(source_sentences, name="source_sentences")[0],
        as_texts(target_sentences, name="target_sentences")[0],
    )
    sides = [list(dict.fromkeys(texts)) for texts in given]
    source, target = (model.encode(side, batch_size=batch_size, show_progress_bar=show_progress_bar) for side in sides)
    found = mine_bitext(source, target, k, margin, retrieval, threshold, backend, show_progress_bar=show_progress_bar)
    import pandas as pd

    table = pd.DataFrame(found, columns=["score", "source", "target"])
    for name, texts, side in zip(("source", "target"), given, sides, strict=True):
        first = {text: row for row, text in reversed(list(enumerate(texts)))}
        words = [side[place] for place in table[name]]
        table[f"{name}_text"], table[name] = words, [first[text] for text in words]
    return table


@dataclass(frozen=True)
class BitextScore:
    """How well mined pairs agree with those that are known, at the threshold with the best F1."""

    f1: float
    precision: float
    recall: float
    threshold: float


def score_bitext(
    found: Sequence[tuple[float, int, int]], gold: Iterable[tuple[int, int]], threshold: float | None = None
) -> BitextScore:
    """Compare mined pairs with known ones, as the BUCC shared task does.

    Args:
        found: (score, source, target) rows of ``mine_bitext``.
        gold: all true (source, target) pairs.
        threshold: the least score that counts as found; None: the one with the best F1, which is to be chosen on other
            data than what is reported.

    Raises:
        ValueError: there are no known pairs.
    """
    known = {(int(source), int(target)) for source, target in gold}
    if not known:
        raise ValueError("gold holds no pairs; precision and recall need the true ones.")
    scores = np.array([row[0] for row in found], np.float64)
    true = np.array([(row[1], row[2]) in known for row in found], bool)
    if threshold is None:
        order = np.argsort(-scores, kind="stable")
        f1 = 2 * true[order].cumsum() / (np.arange(1, len(order) + 1) + len(known))
        f1[:-1][scores[order][1:] == scores[order][:-1]] = 0  # equal scores are taken together
        threshold = float(scores[order][f1.argmax()]) if len(order) else np.inf
    taken = scores >= threshold
    hits = int((taken & true).sum())
    precision, recall = hits / max(int(taken.sum()), 1), hits / len(known)
    both = 2 * precision * recall / (precision + recall) if hits else 0.0
    return BitextScore(both, precision, recall, threshold)
