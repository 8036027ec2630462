"""Quantization: what fewer bytes per vector cost in right results and save in time, on one's own texts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import traitlets as tr

from widgets._data_panel import DataPanel, written
from widgets._fields import Model, Texts
from widgets._models import model_name, vectors_of
from widgets._theme import count
from widgets._tradeoff_figure import tradeoff_figure
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.search import Setting, Tradeoff

__all__ = ["QuantizationPanel"]

_HELD = 100  # texts that ask, where there are no queries
_FEWEST = 20  # texts


@dataclass(frozen=True, eq=False)
class _Measured:
    """Settings of a model's vectors, measured, and the recall that is wanted."""

    tradeoff: "Tradeoff"
    recall: float
    model: str
    held: int  # texts that asked instead of queries

    def plain(self) -> "Tradeoff":
        """Return the settings with their sizes, recalls and latencies."""
        return self.tradeoff

    def figure(self) -> go.Figure:
        """Return recall by bytes and by time."""
        return tradeoff_figure(self.tradeoff, self.recall)

    def frame(self) -> pd.DataFrame:
        """Return a row for each setting, with a ✓ where it keeps the wanted recall, and ★ at the smallest of those."""
        best = self.tradeoff.best(self.recall)
        kept = ["★ smallest" if row == best else "✓" * (row.recall >= self.recall) for row in self.tradeoff.rows]
        names = {"bytes_per_vector": "bytes per vector", "rescore": "re-scored"}
        frame = self.tradeoff.to_frame().rename(columns=names)
        frame["re-scored"] = frame["re-scored"].map({True: "yes", False: "no"})
        frame.insert(0, f"keeps {self.recall:g}", kept)
        return frame

    def caption(self) -> str:
        """Return how to read the figure."""
        held = f" {self.held} of the texts were held back to ask, for want of real queries." if self.held else ""
        return (
            "Further left is smaller or quicker, further up is better; the dashed line is the recall that is wanted. "
            f"Filled symbols were scored again by the whole query, open ones not.{held} {self.tradeoff.notes[0]}"
        )

    def facts(self) -> dict[str, object]:
        """Return what was measured, and what to bear in mind."""
        made, best = self.tradeoff, self.tradeoff.best(self.recall)
        return {
            "Vectors": f"{count(made.vectors)}, {count(made.searched)} of them searched",
            "Queries": f"{count(made.queries)}{', held back from the texts (seed 0)' if self.held else ''}",
            "Model": self.model,
            f"Smallest that keeps {self.recall:g}": f"{best.precision}, {best.dim} dimensions, "
            f"{'re-scored' if best.rescore else 'not re-scored'}: {count(best.bytes_per_vector)} bytes per vector",
            **{f"Note {place}": note for place, note in enumerate(made.notes, 1)},
        }


class QuantizationPanel(DataPanel[_Measured]):
    """Measure bytes, recall and latency of float32, int8 and binary vectors, whole and shortened, on your own texts.

    Args:
        data: whatever ``DataPanel`` takes.
        report: show figure and table in place of controls; None asks the environment variable ``WORKBENCH_REPORT``.
        inputs: any of the attributes below.

    Attributes:
        column: the texts that are searched.
        model: name or folder of a model, or an object with ``encode(texts)``.
        queries: what is asked; without any, some of the texts are held back to ask.
        k: how many results a search should find.
        recall: the share of the best results that must still be found.
        rescore_multiplier: candidates for each result, where candidates are scored again.
    """

    title = "Vectors in fewer bytes"
    purpose = "See what smaller vectors cost in right results, and save in memory and time."
    first_step = "Choose texts above, and press Run."
    inputs = ("data", "column", "model", "queries", "k", "recall", "rescore_multiplier")
    form = ("data", "column", "model", "k", "recall")
    live = ("recall",)
    example = {"data": "faq", "column": "answer"}  # noqa: RUF012 - the base class declares it as a class variable

    model = Model("starter").tag(label="Model")
    queries = Texts().tag(label="Queries, one a line", rows=3)
    k = tr.Int(10, min=1, max=1000).tag(label="Results (k)")
    recall = tr.Float(0.95, min=0.0, max=1.0).tag(label="Wanted recall", kind=widgets.FloatSlider, step=0.01)
    rescore_multiplier = tr.Int(4, min=1, max=100).tag(label="Candidates for each, re-scored")
    _kept: tuple[Any, Any] = (None, None)  # what was encoded, and its vectors

    @property
    def best(self) -> "Setting":
        """The smallest setting of the last run that keeps the wanted recall."""
        return self._need().tradeoff.best(self.recall)

    def _compute(self, inputs: dict[str, Any]) -> _Measured:
        from workbench.search import quantization_tradeoff

        texts, queries = _sides(inputs)
        held = 0 if inputs["queries"] else len(queries)
        asked = (texts, queries, inputs["model"])
        if self._kept[0] != asked:
            sides = {"encode_document": texts, "encode_query": queries}
            corpus, query = (vectors_of(inputs["model"], side, how) for how, side in sides.items())
            self._kept = (asked, (query, corpus))
        vectors = self._kept[1]
        tradeoff = quantization_tradeoff(*vectors, k=inputs["k"], rescore_multiplier=inputs["rescore_multiplier"])
        return _Measured(tradeoff, inputs["recall"], model_name(inputs["model"]), held)

    def _again(self, result: _Measured, inputs: dict[str, Any]) -> _Measured:
        return _Measured(result.tradeoff, inputs["recall"], result.model, result.held)

    def _code(self, inputs: dict[str, Any]) -> str:
        held = (
            "texts = [text for text in texts if text.strip()]\n"
            f"held = np.random.default_rng(0).choice(len(texts), min({_HELD}, len(texts) // 5), replace=False)\n"
            "queries = [text for row, text in enumerate(texts) if row in held]\n"
            "texts = [text for row, text in enumerate(texts) if row not in held]\n"
        )
        given = f"queries = {written(inputs['queries'])}\n" if inputs["queries"] else ""
        return (
            "import numpy as np\n\nfrom widgets import as_frame, tradeoff_figure\n"
            "from workbench import SentenceTransformer\nfrom workbench.search import quantization_tradeoff\n\n"
            f"{self._data_code(inputs)}{given or held}"
            f"model = SentenceTransformer({model_name(inputs['model'])!r})\n"
            "vectors = model.encode_query(queries), model.encode_document([text for text in texts if text.strip()])\n"
            f"tradeoff = quantization_tradeoff(\n    *vectors, k={inputs['k']}, "
            f"rescore_multiplier={inputs['rescore_multiplier']}\n)\n"
            f"print(tradeoff.to_frame())\nprint(tradeoff.best({inputs['recall']}))\n"
            f"tradeoff_figure(tradeoff, {inputs['recall']}).show()\n"
        )


def _sides(inputs: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The texts that are searched, and those that ask."""
    texts, queries = [text for text in inputs["texts"] if text.strip()], inputs["queries"]
    if len(texts) < _FEWEST:
        raise WorkbenchError(
            f"Recall needs {_FEWEST} texts or more to mean anything; this column holds {len(texts)}. Choose more data."
        )
    if queries:
        return texts, queries
    held = set(np.random.default_rng(0).choice(len(texts), min(_HELD, len(texts) // 5), replace=False).tolist())
    sides = ([text for row, text in enumerate(texts) if (row in held) == side] for side in (False, True))
    return tuple(sides)  # type: ignore[return-value]
