"""Mining: pairs of texts that say the same, in one language or across two, and where to draw the line."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import traitlets as tr

from widgets._data_panel import DataPanel
from widgets._fields import Choice, Column, Model
from widgets._mining_figure import mining_figure, taken_at
from widgets._models import load_model, model_name
from widgets._parts import button
from widgets._theme import count
from workbench.errors import WorkbenchError

__all__ = ["MiningPanel"]

_MARGINS = {  # of translated sentences: what their score is, and the least that counts where nothing else is known
    "ratio": ("cosine over that of the neighbours", 1.1),
    "distance": ("cosine less that of the neighbours", 0.1),
    "absolute": ("cosine similarity", 0.8),
}
_MOST_PAIRS = 100_000


@dataclass(frozen=True, eq=False)
class _Mined:
    """Pairs, best first, and the threshold that a pair must reach."""

    pairs: pd.DataFrame  # score, i, j, text i, text j, and "true" where it is known
    threshold: float
    best: float  # the threshold of the best F1, or a usual one
    positives: int
    texts: str
    model: str
    score: str

    @property
    def reading(self) -> dict[str, float]:
        """How many pairs are taken, and how right that is where it is known."""
        return taken_at(self.pairs["score"].to_numpy(), self.threshold, self._true(), self.positives)

    def _true(self) -> Any:
        return self.pairs["true"].to_numpy() if "true" in self.pairs else None

    def plain(self) -> pd.DataFrame:
        """Return the pairs that score ``threshold`` or more."""
        return self.frame()

    def figure(self) -> go.Figure:
        """Return how the scores spread, and what the threshold takes."""
        return mining_figure(self.pairs["score"], self.threshold, self._true(), self.positives, self.score)

    def frame(self) -> pd.DataFrame:
        """Return the pairs that score ``threshold`` or more, best first."""
        frame = self.pairs[self.pairs["score"] >= self.threshold].reset_index(drop=True)
        return frame.assign(true=["✓" if true else "✗" for true in frame["true"]]) if "true" in frame else frame

    def caption(self) -> str:
        """Return how to read the figure."""
        known = (
            "Above, the scores of true and other pairs, each in percent of their own number; below, precision (how "
            "many of the taken are right) and recall (how many of the true are taken). A threshold chosen on these "
            "labels looks better than it is on other texts."
            if "true" in self.pairs
            else "Name a column of labels under More, and precision can be read here. A high score is no proof: look "
            "at pairs near the line."
        )
        return f"The dotted line is the threshold; pairs to its right are taken. {known}"

    def facts(self) -> dict[str, object]:
        """Return what was compared, and what the threshold takes."""
        shares = {name: f"{value:.4f}" for name, value in self.reading.items() if name != "pairs"}
        return {
            "Texts": self.texts,
            "Pairs": f"{count(len(self.pairs))} scored, {count(int(self.reading['pairs']))} taken",
            "Threshold": f"{self.threshold:.4f}",
            **shares,
            "True pairs": count(self.positives) if self.positives else "not known",
            "Model": self.model,
            "Score": self.score,
        }


class MiningPanel(DataPanel[_Mined]):
    """Find paraphrases in one column, or translated sentences in two, and choose how alike is alike enough.

    Args:
        data: whatever ``DataPanel`` takes.
        report: show figure and table in place of controls; None asks the environment variable ``WORKBENCH_REPORT``.
        inputs: any of the attributes below.

    Attributes:
        column: the texts.
        partner: the column of the other side; "" looks for paraphrases within ``column``.
        labels: of paraphrases, a column with equal values where texts mean the same; "" if nobody knows.
        aligned: of translated sentences, whether those of one row belong together. Mining does not look at it.
        model: name or folder of a model, or an object with ``encode(texts)``.
        margin: of translated sentences: "ratio", "distance" or "absolute"; see ``workbench.mining``.
        threshold: the least score that counts; None takes that of the best F1, or a usual one where nothing is known.
    """

    title = "Mining"
    purpose = "Find texts that say the same, and see how many of the pairs are right."
    first_step = "Choose texts above, and press Run."
    labels_in = "labels"
    inputs = ("data", "column", "partner", "labels", "aligned", "model", "margin", "threshold")
    live = ("threshold",)
    form = ("data", "column", "labels", "model", "threshold")
    example = {"data": "paraphrases", "column": "text", "labels": "meaning"}  # noqa: RUF012 - see Panel

    partner = Column(text=True).tag(label="Translations in")
    labels = Column().tag(label="Labels of meaning")
    aligned = tr.Bool(True).tag(label="Rows", options=[("belong together", True), ("in any order", False)])
    model = Model("starter").tag(label="Model")
    margin = Choice("ratio", list(_MARGINS)).tag(label="Margin")
    threshold = tr.Float(None, allow_none=True)

    @property
    def reading(self) -> dict[str, float]:
        """The number of pairs that the threshold takes and, where labels are known, precision, recall and F1."""
        return self._need().reading

    @tr.validate("threshold")
    def _check_threshold(self, proposal: Any) -> float | None:
        value: float | None = proposal["value"]
        if value is not None and not math.isfinite(value):
            raise WorkbenchError(f"threshold is {value}; expected a finite score, or None for the best one.")
        return value

    @tr.observe("result", "threshold")
    def _move_slider(self, change: Any) -> None:
        if self.result is not None:
            value = self.result.best if self.threshold is None else self.threshold
            ends = [*self.result.pairs["score"], value]
            slider = self._fields["threshold"]
            with self.filling(), slider.hold_trait_notifications():
                slider.min, slider.max = math.floor(100 * min(ends)) / 100, math.ceil(100 * max(ends)) / 100
                slider.value = value

    def _actions(self) -> list[widgets.Widget]:
        best = button(
            "Best line", "The threshold of the best F1, or a usual one", partial(self.pick, "threshold", None)
        )
        return [best, *super()._actions()]

    def _controls(self) -> dict[str, Any]:
        line = widgets.FloatSlider(0.8, min=0, max=1, step=0.01, description="Threshold", continuous_update=False)
        line.observe(lambda change: self.pick("threshold", change["new"]), "value")
        return {**super()._controls(), "threshold": line}

    # The run.

    def _compute(self, inputs: dict[str, Any]) -> _Mined:
        from workbench.metrics import best_f1
        from workbench.mining import bitext_mining, paraphrase_mining

        frame, partner, labels = inputs["frame"], inputs["partner"], inputs["labels"]
        sides = [inputs["texts"]] + ([frame[partner].fillna("").astype(str).tolist()] if partner else [])
        rows = [[row for row, text in enumerate(side) if text.strip()] for side in sides]  # those that hold text
        texts = [[side[row] for row in kept] for side, kept in zip(sides, rows, strict=True)]
        if (fewest := min(map(len, texts))) < 2:
            raise WorkbenchError(f"Pairs need two texts or more; a column holds {fewest}. Choose another one.")
        model = load_model(inputs["model"])
        if partner:
            score, usual = _MARGINS[inputs["margin"]]
            found = bitext_mining(model, texts[0], texts[1], margin=inputs["margin"])
            found = found[["score", "source", "target"]].to_numpy()
        else:
            score, usual = "cosine similarity", 0.8
            found = np.array(paraphrase_mining(model, texts[0], max_pairs=_MOST_PAIRS)).reshape(-1, 3)
        ends = [np.array(rows[at])[found[:, place].astype(int)] for place, at in ((1, 0), (2, len(sides) - 1))]
        names = {"score": found[:, 0], "i": ends[0], "j": ends[1]}
        first, second = (np.array(side, dtype=object) for side in (sides[0], sides[-1]))
        pairs = pd.DataFrame({**names, "text i": first[ends[0]], "text j": second[ends[1]]})
        positives = 0
        if partner and inputs["aligned"]:
            gold = {(first[row], second[row]) for row in {*rows[0]} & {*rows[1]}}
            positives = len(gold)
            pairs["true"] = [pair in gold for pair in zip(pairs["text i"], pairs["text j"], strict=True)]
        elif labels and not partner:
            codes = pd.factorize(frame[labels])[0]  # -1: no label
            sizes = np.bincount(codes[rows[0]][codes[rows[0]] >= 0])
            positives = int((sizes * (sizes - 1) // 2).sum())
            pairs["true"] = (codes[ends[0]] == codes[ends[1]]) & (codes[ends[0]] >= 0)
        best = best_f1(pairs["score"], pairs["true"], positives=positives)[3] if positives else usual
        threshold = best if inputs["threshold"] is None else inputs["threshold"]
        number = " and ".join(count(len(side)) for side in texts)
        return _Mined(pairs, threshold, best, positives, number, model_name(inputs["model"]), score)

    def _again(self, result: _Mined, inputs: dict[str, Any]) -> _Mined:
        best = result.best if inputs["threshold"] is None else inputs["threshold"]
        return replace(result, threshold=best)

    def _code(self, inputs: dict[str, Any]) -> str:
        model, partner = model_name(inputs["model"]), inputs["partner"]
        line = inputs["threshold"] if inputs["threshold"] is not None else self.result and self.result.best
        mine = (
            f"others = [text for text in frame[{partner!r}].fillna('').tolist() if text.strip()]\n"
            f"pairs = bitext_mining(model, texts, others, margin={inputs['margin']!r})\n"
            if partner
            else f"found = paraphrase_mining(model, texts, max_pairs={_MOST_PAIRS})\n"
            "pairs = pd.DataFrame(found, columns=['score', 'i', 'j'])\n"
        )
        return (
            "import pandas as pd\n\nfrom widgets import as_frame, mining_figure\n"
            "from workbench import SentenceTransformer\n"
            "from workbench.mining import bitext_mining, paraphrase_mining\n\n"
            f"{self._data_code(inputs)}"
            "texts = [text for text in texts if text.strip()]\n"
            f"model = SentenceTransformer({model!r})\n{mine}"
            f"taken = pairs[pairs['score'] >= {line or 0.8!r}]\nprint(taken)\n"
            f"mining_figure(pairs['score'], {line or 0.8!r}).show()\n"
        )
