"""What a search panel found: passages in two orders, and how good these are."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go

from widgets._slope_figure import slope_figure
from widgets._theme import count

if TYPE_CHECKING:
    from workbench.search import Reranked

__all__ = ["Found", "K", "Pipeline", "query_words"]

K = 10  # of nDCG@10 and MRR@10


@dataclass(frozen=True, eq=False)
class Pipeline:
    """What one retriever and re-ranker made of a query, and of all judged ones."""

    name: str
    found: "Reranked"
    metrics: dict[str, dict[str, float]]  # by stage; empty without judgements

    def order(self) -> list[str]:
        """The ids, best first."""
        return [name for name, _ in next(iter(self.found.reranked))]

    def times(self) -> str:
        """What each stage took for the query."""
        return ", ".join(f"{stage} {1000 * taken:,.0f} ms" for stage, taken in self.found.seconds.items())


@dataclass(frozen=True, eq=False)
class Found:
    """One query, searched by one pipeline, or by two to compare."""

    query: str
    words: list[str]
    pipelines: tuple[Pipeline, ...]
    top: int
    texts: dict[str, str]
    gains: dict[str, float]
    documents: int
    blank: int
    judged: int

    def plain(self) -> "Reranked":
        """Return what the first pipeline found; the second is ``panel.other``."""
        return self.pipelines[0].found

    def figure(self) -> go.Figure:
        """Return the slope chart: retrieved against re-ranked, or the final order of one pipeline against the other."""
        last, found = self.pipelines[-1], self.pipelines[-1].found
        two = len(self.pipelines) == 2
        before = self.pipelines[0].order() if two else [name for name, _ in next(iter(found.retrieved))]
        names = (f"A · {self.pipelines[0].name}", f"B · {last.name}") if two else ("retrieved", "re-ranked")
        return slope_figure(
            self.texts,
            before,
            last.order(),
            self.top,
            scores=dict(next(iter(found.reranked))),
            judged=[name for name, gain in self.gains.items() if gain > 0],
            names=names,
        )

    def measured(self) -> dict[str, dict[str, float]]:
        """Return nDCG and MRR over the judged queries: pipeline and stage → metric → value."""
        letters = "AB" if len(self.pipelines) == 2 else [""]
        return {
            f"{letter} {one.name}, {stage}".strip(): values
            for letter, one in zip(letters, self.pipelines, strict=True)
            for stage, values in one.metrics.items()
        }

    def frame(self) -> pd.DataFrame:
        """Return the passages in their new order: ranks, scores, gains, and the rank in the other pipeline."""
        frame = self.plain().to_frame().drop(columns=["query", "text of query"])
        frame = frame[["rank", "text", "score", "retrieval rank", "retrieval score", "moved", "id"]]
        if self.gains:
            frame.insert(2, "judged", [f"★ {gain:g}" if (gain := self.gains.get(name)) else "" for name in frame["id"]])
        if len(self.pipelines) == 2:
            ranks = {name: str(rank) for rank, name in enumerate(self.pipelines[1].order(), 1)}
            frame.insert(1, "rank in B", [ranks.get(name, "not found") for name in frame["id"]])
        return frame

    def caption(self) -> str:
        """Return how to read the chart, what the pipelines score, and how long they took."""
        scored = ""
        if self.judged:
            values = [[f"{stage[f'nDCG@{K}']:.2f}" for stage in one.metrics.values()] for one in self.pipelines]
            each = ", ".join(f"{one.name} {' → '.join(row)}" for one, row in zip(self.pipelines, values, strict=True))
            scored = f" nDCG@{K} (how well the top ten are ordered, 1 is perfect) over {self.judged} queries: {each}."
        lines = "two pipelines" if len(self.pipelines) == 2 else "two stages"
        return (
            f"Lines join the ranks of a passage in the {lines}; ▲ and ▼ say by how many it moved, gold ★ marks judged "
            f"answers.{scored} Scores of two stages have different scales: compare ranks. "
            f"This query took: {self.pipelines[0].times()}."
        )

    def facts(self) -> dict[str, object]:
        """Return what was searched, how, how long it took, and how good it is."""
        found: dict[str, object] = {
            "Passages searched": f"{count(self.documents)}, {count(self.blank)} more without text left out",
            "Passages shown": f"those among the first {self.top} of either order, of {len(self.texts)} found",
            "Model": " against ".join(one.name for one in self.pipelines),
            "Judged queries": count(self.judged) if self.judged else "none on these passages: quality is not measured",
        }
        for one in self.pipelines:
            found[f"Time of {one.name}"] = one.times()
        for name, values in self.measured().items():
            found[f"Quality of {name}"] = " · ".join(f"{metric} {value:.4f}" for metric, value in values.items())
        return found


def query_words(query: str, language: str) -> list[str]:
    """Return the words of a query that a table marks: not those that nearly every text holds."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    words = list(dict.fromkeys(re.findall(r"\w+", query.casefold())))
    rare = [word for word in words if word not in ENGLISH_STOP_WORDS and len(word) > 1]
    return (rare if language == "english" else [word for word in words if len(word) > 3]) or words
