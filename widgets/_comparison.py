"""The result of a heatmap: texts, their vectors, how alike these are, and what there is to say of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from widgets._figures import SIMILARITIES, cluster_order, comparison_figure, most_alike, similarity_figure
from widgets._theme import count, in_html, table

__all__ = ["ALL", "ORDERS", "Comparison"]

ALL = "all four"
ORDERS = {"as given": "in the order given", "by cluster": "in an order that puts similar texts side by side"}
_MEANINGS = {
    "cosine": "1: the same direction, 0: nothing in common for this model",
    "dot": "higher is more alike, and long vectors score higher; the scale fits these texts only",
    "euclidean": "0: the same vector, further below zero: less alike; the scale fits these texts only",
    "manhattan": "0: the same vector, further below zero: less alike; the scale fits these texts only",
}
_BLOCK = 10_000  # pairs of vectors that are compared at a time
_SHOWN = 5000  # letters of a text that is shown whole


@dataclass(frozen=True, eq=False)
class Comparison:
    """n texts and m documents (or none: the texts among themselves), their vectors, and how these are compared."""

    texts: list[str]
    documents: list[str] | None
    embeddings: npt.NDArray[np.float32]  # (n, dim)
    others: npt.NDArray[np.float32]  # (m, dim), the texts' own where there are no documents
    model: str
    blank: int
    cut: int
    similarity: str  # one of SIMILARITIES, or ALL
    order: str
    threshold: float | None

    @property
    def function(self) -> str:
        """The similarity that pairs are ordered by."""
        return "cosine" if self.similarity == ALL else self.similarity

    @cached_property
    def similarities(self) -> npt.NDArray[np.float32]:
        """How alike they are, in the order given: (n, m)."""
        return _similarity(self.function, self.embeddings, self.others)

    @cached_property
    def orders(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """The order of the rows and that of the columns."""
        if self.order == "as given":
            return np.arange(len(self.embeddings)), np.arange(len(self.others))
        if self.documents is None:
            return (order := cluster_order(self.similarities)), order
        rows, columns = (cluster_order(_similarity(self.function, one, one)) for one in (self.embeddings, self.others))
        return rows, columns

    def plain(self) -> npt.NDArray[np.float32]:
        """Return the similarities, in the order given."""
        return self.similarities

    def figure(self) -> go.Figure:
        """Return the heatmap, or four of them."""
        rows, columns = self.orders
        if self.similarity == ALL:
            others = None if self.documents is None else self.others
            return comparison_figure(self.embeddings, others, rows, columns)
        more: dict[str, Any] = {"documents": self.documents, "document_order": columns, "threshold": self.threshold}
        return similarity_figure(self.texts, self.similarities, self.function, rows, **more)

    def frame(self, limit: int | None = 1000) -> pd.DataFrame:
        """Return the most similar pairs, best first; with ``limit=None`` all of them that reach the threshold."""
        shape = self.similarities.shape
        first, second = np.triu_indices(shape[0], 1) if self.documents is None else np.indices(shape).reshape(2, -1)
        scores = self.similarities[first, second]
        best = np.argsort(-scores, kind="stable")
        best = best[scores[best] >= (-np.inf if self.threshold is None else self.threshold)][:limit]
        first, second = first[best], second[best]
        left, right = np.array(self.texts, dtype=object), np.array(self.documents or self.texts, dtype=object)
        names = ("no. 1", "text 1", "no. 2", "text 2")
        if self.documents is not None:
            names = ("text no.", "text", "document no.", "document")
        columns = dict(zip(names, (first + 1, left[first], second + 1, right[second]), strict=True))
        values = self.all_four(first, second) if self.similarity == ALL else {"similarity": scores[best].astype(float)}
        return pd.DataFrame({**columns, **values})

    def all_four(self, first: npt.NDArray[np.intp], second: npt.NDArray[np.intp]) -> dict[str, npt.NDArray[Any]]:
        """Return the four similarities of texts to documents, by position: name → (pairs,)."""
        from workbench.similarity import SimilarityFunction

        found: dict[str, list[npt.NDArray[Any]]] = {name: [np.zeros(0)] for name in SIMILARITIES}
        for start in range(0, len(first), _BLOCK):
            one = self.embeddings[first[start : start + _BLOCK]]
            two = self.others[second[start : start + _BLOCK]]
            for name, parts in found.items():
                parts.append(SimilarityFunction.to_similarity_pairwise_fn(name)(one, two).numpy())
        return {name: np.concatenate(parts).astype(float) for name, parts in found.items()}

    def best(self) -> tuple[int, int]:
        """Return the numbers, from 1, of the pair that is most alike."""
        first, second = most_alike(self.similarities, self.documents is None)
        return first + 1, second + 1

    def pair(self, first: int, second: int) -> str:
        """Return two texts, by number from 1, side by side with their four similarities, as HTML."""
        other = (self.documents or self.texts)[second - 1]
        four = self.all_four(np.array([first - 1]), np.array([second - 1]))
        scores = table(list(SIMILARITIES.values()), [[f"{value[0]:.4f}" for value in four.values()]])
        sides = "".join(
            f"<div dir='auto'>{in_html(text[:_SHOWN] + '…' * (len(text) > _SHOWN))}</div>"
            for text in (self.texts[first - 1], other)
        )
        return f"<div class='wb-pair'>{sides}</div>{scores}"

    def caption(self) -> str:
        """Return how to read the heatmap."""
        cut = f" {count(self.cut)} of the texts are longer than the model reads, and were cut." if self.cut else ""
        what = "document" if self.documents else "text"
        if self.similarity == ALL:
            how = (
                "Each square holds the same pairs by another similarity, light where they are alike, on its own scale."
            )
        else:
            how = (
                f"Each cell compares the text of its row with the {what} whose number stands above, by "
                f"{SIMILARITIES[self.function]} ({_MEANINGS[self.function]})."
            )
            if self.threshold is not None:
                how += f" Cells below {self.threshold:g} are left empty."
        return (
            f"{how} Texts stand {ORDERS[self.order]}. Click a cell for both texts. "
            f"The score says what the model finds alike, not whether two texts agree.{cut}"
        )

    def facts(self) -> dict[str, object]:
        """Return what was compared, and with what."""
        number, values = len(self.texts), self.similarities
        both = self.documents is not None
        others = values.sum(dtype=float) - (0 if both else values.trace(dtype=float))
        pairs = values.size - (0 if both else number)
        shown = values.size if self.threshold is None else int((values >= self.threshold).sum())
        documents = {"Documents shown": f"all {count(len(self.documents))}"} if self.documents else {}
        return {
            "Texts shown": f"all {count(number)}, {count(number - len(set(self.texts)))} of them repeated",
            **documents,
            "Left out": f"{count(self.blank)} without text",
            "Cells shown": f"{count(shown)} of {count(values.size)}",
            "Cut": f"{count(self.cut)} longer than the model reads",
            "Model": f"{self.model}, {count(self.embeddings.shape[1])} dimensions",
            "Similarity": SIMILARITIES[self.function]
            if self.similarity != ALL
            else "all four; pairs are ordered by cosine",
            "Mean of two different texts": f"{others / pairs:.4f}",
            "Order": self.order,
        }


def _similarity(function: str, one: npt.NDArray[Any], two: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    from workbench.similarity import SimilarityFunction

    return np.asarray(SimilarityFunction.to_similarity_fn(function)(one, two).numpy())
