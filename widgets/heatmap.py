"""The similarity heatmap: how alike a model finds each two of your texts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
import traitlets as tr

from widgets._clicks import Clicks
from widgets._comparison import ALL, ORDERS, Comparison
from widgets._data import is_data
from widgets._data_panel import DataPanel, written
from widgets._fields import Choice, Model, Texts
from widgets._figures import SIMILARITIES
from widgets._models import load_model, model_name, vectors_of
from widgets._parts import styled
from widgets._theme import count
from workbench.errors import WorkbenchError

__all__ = ["HeatmapPanel"]

_MOST_TEXTS = 2000  # 4 million cells, 21 MB for the browser


class HeatmapPanel(DataPanel[Comparison]):
    """Compare up to 2,000 texts, with each other or with documents, and see the scores as cells of colours.

    Args:
        texts: a list of texts; or a DataFrame, a ``datasets.Dataset`` or the path of a CSV, TSV, JSONL or Parquet file,
            of which ``column`` is taken.
        column: the column to take; "" takes the one with the longest texts.
        documents: texts to compare with, such as pages for which the texts are queries; none: with each other.
        model: name or folder of a model, or an object with ``encode(texts)``.
        similarity: "cosine", "dot", "euclidean", "manhattan", or "all four", side by side.
        order: "as given" or "by cluster", which puts similar texts side by side.
        threshold: pairs below it are left out; None shows all.
        report: show figure and table in place of controls; None asks the environment variable ``WORKBENCH_REPORT``.

    Attributes:
        data: what ``column`` is taken from; assign something else to swap the texts.
        embeddings: (n, dim) vectors of the last run, None before.
        similarities: (n, n) scores of the last run in the order given, None before; with documents (n, m).
        pair: numbers, from 1, of the two texts that are shown side by side; a click on a cell sets it.
    """

    title = "Similarity heatmap"
    purpose = "See which of your texts a model finds alike, and how much."
    first_step = "Write or paste two or more texts above, one a line, and press Run."
    inputs = ("texts", "documents", "model", "similarity", "order", "threshold")
    live = ("similarity", "order", "threshold")
    form = ("texts", "documents", "column", "model", "similarity", "order", "threshold")
    columns = ("column", "list")  # of a report
    labels_in = "list"
    example = {  # noqa: RUF012 - the base class declares it as a class variable
        "texts": [
            "How do I reset my password?",
            "I forgot my password and cannot log in.",
            "Where can I see my invoices?",
            "Please send me the invoice for March.",
            "The app closes when I open a photo.",
            "Opening a picture crashes the app.",
        ]
    }

    texts = Texts().tag(label="Texts, one a line", rows=5)
    documents = Texts().tag(label="Compare with (empty: with each other)", rows=5)
    model = Model("starter").tag(label="Model")
    similarity = Choice("cosine", {**SIMILARITIES, ALL: "all four, side by side"}).tag(label="Similarity")
    order = Choice("as given", list(ORDERS)).tag(label="Order")
    threshold = tr.Float(None, allow_none=True)
    pair = tr.Tuple(tr.Int(), tr.Int(), default_value=(0, 0))

    def __init__(self, texts: Any = (), *, column: str = "", **inputs: Any) -> None:
        given: dict[str, Any] = {"data" if is_data(texts) else "texts": texts}
        if column:
            given["column"] = column
        super().__init__(**given, **inputs)

    @property
    def embeddings(self) -> npt.NDArray[np.float32] | None:  # noqa: D102 - the class describes it
        return None if self.result is None else self.result.embeddings

    @property
    def similarities(self) -> npt.NDArray[np.float32] | None:  # noqa: D102 - the class describes it
        return None if self.result is None else self.result.similarities

    def to_frame(self, limit: int | None = 1000) -> pd.DataFrame:
        """Return the most similar pairs, best first; with ``limit=None`` all n (n - 1) / 2 of them."""
        return self._need().frame(limit)

    # Inputs, from Python and from the form.

    @tr.observe("column")
    def _take_column(self, change: Any) -> None:
        super()._take_column(change)
        self.texts = self.texts_in_column

    def _controls(self) -> dict[str, Any]:
        self._least = widgets.FloatSlider(
            description="Hide below", min=-1, value=-1, step=0.01, continuous_update=False
        )
        self._least.observe(lambda change: self.pick("threshold", self._chosen(change["new"])), "value")
        self._numbers = [widgets.BoundedIntText(min=1, max=1), widgets.BoundedIntText(min=1, max=1)]
        for number in self._numbers:
            number.observe(lambda change: self.pick("pair", tuple(one.value for one in self._numbers)), "value")
        self._sides, self._clicks = widgets.HTML(), Clicks()
        self._clicks.observe(lambda change: self._take_click(change["new"]), "point")
        numbers = styled(widgets.HBox([*self._numbers, self._clicks]), "wb-numbers")
        self._pane = styled(widgets.VBox([numbers, self._sides]), "wb-pane")
        return {**super()._controls(), "threshold": self._least}

    def _chosen(self, value: float) -> float | None:
        """What the slider stands for: at its lower end, everything is shown."""
        return None if value <= self._least.min else value

    @tr.observe("threshold")
    def _take_threshold(self, change: Any) -> None:
        self.fill(self._least, None, self._least.min if self.threshold is None else self.threshold)

    # Two texts of the result side by side.

    def _views(self, result: Comparison) -> Sequence[go.Figure | widgets.Widget]:
        return [result.figure(), self._pane]

    @tr.observe("result")
    def _take_result(self, change: Any) -> None:
        """Fit the slider and the numbers of the pair to a new result."""
        result, shown = self.result, self.result.similarities
        with self.filling():
            with self._least.hold_trait_notifications():
                self._least.min, self._least.max = float(shown.min()), float(shown.max())
                self._least.step = (self._least.max - self._least.min) / 200 or 1.0
            self._take_threshold(None)
            for number, label, most in zip(self._numbers, ("Text", "with"), shown.shape, strict=True):
                number.description, number.max = label, most
        kept = change["old"] is not None and change["old"].texts is result.texts
        self.pair = self.pair if kept else result.best()
        self._show_pair(None)

    @tr.validate("pair")
    def _check_pair(self, proposal: Any) -> Any:
        shape, pair = self._need().similarities.shape, proposal["value"]
        if not all(1 <= number <= most for number, most in zip(pair, shape, strict=True)):
            raise WorkbenchError(f"pair is {pair}; this result has texts 1 to {shape[0]} against 1 to {shape[1]}.")
        return pair

    @tr.observe("pair")
    def _show_pair(self, change: Any) -> None:
        for number, value in zip(self._numbers, self.pair, strict=True):
            self.fill(number, None, value)
        self._sides.value = self.result.pair(*self.pair)

    def _take_click(self, place: list[int]) -> None:
        """Take row and column of a cell of the figure, as it is shown."""
        rows, columns = self.result.orders
        self.pair = (int(rows[place[0]]) + 1, int(columns[place[1]]) + 1)

    # The run.

    def _amount(self, inputs: dict[str, Any]) -> tuple[int, str]:
        amount = sum(bool(text.strip()) for text in inputs["texts"] + inputs["documents"])
        return amount, "text" if amount == 1 else "texts"

    def _compute(self, inputs: dict[str, Any]) -> Comparison:
        texts, documents = (_written(inputs[name]) for name in ("texts", "documents"))
        if len(texts) < (1 if documents else 2):
            raise WorkbenchError(
                f"There {'is only one text' if texts else 'are no texts'}. Give two or more, one a line."
            )
        for number in (len(texts), len(documents)):
            if number > _MOST_TEXTS:
                raise WorkbenchError(
                    f"There are {count(number)} texts; a heatmap shows {count(_MOST_TEXTS)} at most. "
                    f"Give fewer, for example data.sample({_MOST_TEXTS}, random_state=0)."
                )
        model = load_model(inputs["model"])
        ask, answer = ("encode_query", "encode_document") if documents else ("encode", "encode")
        embeddings = vectors_of(model, texts, ask)  # (n, dim)
        others = vectors_of(model, documents, answer) if documents else embeddings  # (m, dim)
        limit = getattr(model, "max_seq_length", None)
        cut = 0 if limit is None else int((model.token_counts(texts + documents) > limit).sum())
        blank = len(inputs["texts"]) + len(inputs["documents"]) - len(texts) - len(documents)
        view = {name: inputs[name] for name in self.live}
        about = (model_name(inputs["model"]), blank, cut)
        return _finite(Comparison(texts, documents or None, embeddings, others, *about, **view))

    def _again(self, result: Comparison, inputs: dict[str, Any]) -> Comparison:
        return _finite(replace(result, **{name: inputs[name] for name in self.live}))

    def _reported(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A table of the texts; where there are documents too, with a column that says of which list a text is."""
        rows = [{"text": text, "list": name} for name in ("texts", "documents") for text in inputs[name]]
        own = {"data": rows, "frame": pd.DataFrame(rows), "texts": [row["text"] for row in rows], "column": "text"}
        return {**inputs, **own, "list": "list" if inputs["documents"] else ""}

    def _code(self, inputs: dict[str, Any]) -> str:
        texts, documents = (_written(inputs[name]) for name in ("texts", "documents"))
        name, threshold = model_name(inputs["model"]), inputs["threshold"]
        sort, every = inputs["order"] == "by cluster", inputs["similarity"] == ALL
        function = "cosine" if every else inputs["similarity"]
        rows, columns = ("rows", "columns") if sort else ("None", "None")
        encode = ["embeddings = others = model.encode(texts)"]
        order = ["rows = columns = cluster_order(similarities)"] * sort
        if documents:
            encode = ["embeddings, others = model.encode_query(texts), model.encode_document(documents)"]
            order = [
                "rows = cluster_order(model.similarity(embeddings, embeddings).numpy())",
                "columns = cluster_order(model.similarity(others, others).numpy())",
            ] * sort
        if every:
            draw = f"comparison_figure(embeddings, {'others' if documents else 'None'}, {rows}, {columns})"
        else:
            more = f", documents=documents, document_order={columns}" if documents else ""
            more += "" if threshold is None else f", threshold={threshold!r}"
            draw = f"similarity_figure(texts, similarities, {function!r}, {rows}{more})"
        return "\n".join(
            [
                f"from widgets import {'cluster_order, ' * sort}{draw.partition('(')[0]}",
                "from workbench import SentenceTransformer",
                "",
                f"texts = {written(texts)}",
                *[f"documents = {written(documents)}"] * bool(documents),
                f"model = SentenceTransformer({name!r}, similarity_fn_name={function!r})",
                *encode,
                "similarities = model.similarity(embeddings, others).numpy()",
                *order,
                f"figure = {draw}",
                "figure.show()",
                "",
            ]
        )


def _finite(result: Comparison) -> Comparison:
    for what, table in (("text", result.similarities), ("document", result.similarities.T)):
        if not (finite := np.isfinite(table)).all():
            vectors = result.embeddings if what == "text" else result.others
            whole = np.isfinite(vectors).all(axis=1)
            row = int(np.argmin(finite.all(axis=1) if whole.all() else whole))
            raise WorkbenchError(f"The model gave {what} {row + 1} a vector that is not finite. Try another model.")
    return result


def _written(texts: list[str]) -> list[str]:
    return [text for text in texts if text.strip()]
