"""The similarity heatmap: how alike a model finds each two of your texts."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np
import numpy.typing as npt
import traitlets as tr

from widgets._data import is_data
from widgets._figures import SIMILARITIES, cluster_order, similarity_figure
from widgets._pickers import DataPanel, Model, ModelPicker, load_model, model_name
from widgets._theme import count
from workbench.errors import TruncationWarning, WorkbenchError, choose
from workbench.texts import as_texts, clean

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

__all__ = ["HeatmapPanel"]

_MOST_TEXTS = 2000  # 4 million cells, 21 MB for the browser
_ORDERS = {"as given": "in the order given", "by cluster": "in an order that puts similar texts side by side"}
_MEANINGS = {
    "cosine": "1: the same direction, 0: nothing in common for this model",
    "dot": "higher is more alike, and long vectors score higher; the scale fits these texts only",
    "euclidean": "0: the same vector, further below zero: less alike; the scale fits these texts only",
    "manhattan": "0: the same vector, further below zero: less alike; the scale fits these texts only",
}


@dataclass(frozen=True, eq=False)
class _Comparison:
    """n texts, the vectors that a model gave them, and how alike these are."""

    texts: list[str]
    blank: int
    model: str
    function: str
    arrangement: str
    embeddings: npt.NDArray[np.float32]  # (n, dim)
    similarities: npt.NDArray[np.float32]  # (n, n), in the order given
    order: npt.NDArray[np.intp]  # (n,)
    cut: int = 0

    def plain(self) -> npt.NDArray[np.float32]:
        """Return the (n, n) similarities, in the order given."""
        return self.similarities

    def figure(self) -> "go.Figure":
        """Return the heatmap."""
        return similarity_figure(self.texts, self.similarities, self.function, self.order)

    def frame(self, limit: int | None = 1000) -> "pd.DataFrame":
        """Return the most similar pairs, best first; with ``limit=None`` all n (n - 1) / 2 of them."""
        import pandas as pd

        first, second = np.triu_indices(len(self.texts), 1)
        scores = self.similarities[first, second]
        best = np.argsort(-scores, kind="stable")[:limit]
        first, second, texts = first[best], second[best], np.array(self.texts, dtype=object)
        numbers = {"no. 1": first + 1, "text 1": texts[first], "no. 2": second + 1, "text 2": texts[second]}
        return pd.DataFrame({**numbers, "similarity": scores[best].astype(float)})

    def caption(self) -> str:
        """Return how to read the heatmap."""
        cut = f" {count(self.cut)} of the texts are longer than the model reads, and were cut." if self.cut else ""
        return (
            f"Each cell compares the text of its row with the text whose number stands above, by "
            f"{SIMILARITIES[self.function]} ({_MEANINGS[self.function]}). Texts stand {_ORDERS[self.arrangement]}. "
            f"Hover over a cell for both. The score says what the model finds alike, not whether two texts agree.{cut}"
        )

    def facts(self) -> dict[str, object]:
        """Return what was compared, and with what."""
        import workbench

        number = len(self.texts)
        others = self.similarities.sum(dtype=float) - self.similarities.trace(dtype=float)
        return {
            "Texts shown": f"all {count(number)}, {count(number - len(set(self.texts)))} of them repeated",
            "Left out": f"{count(self.blank)} without text",
            "Cut": f"{count(self.cut)} longer than the model reads",
            "Model": f"{self.model}, {count(self.embeddings.shape[1])} dimensions",
            "Similarity": SIMILARITIES[self.function],
            "Mean of two different texts": f"{others / (number * (number - 1)):.4f}",
            "Order": self.arrangement,
            "Made with": f"sentence-workbench {workbench.__version__}",
        }


class HeatmapPanel(DataPanel):
    """Compare up to 2,000 texts, each with each, and see the scores as a square of colours.

    Args:
        texts: a list of texts; or a DataFrame, a ``datasets.Dataset`` or the path of a CSV, TSV, JSONL or Parquet file,
            of which ``column`` is taken.
        column: the column to take; "" takes the first that holds text.
        model: name or folder of a model, or an object with ``encode(texts)``.
        similarity: "cosine", "dot", "euclidean" or "manhattan".
        order: "as given" or "by cluster", which puts similar texts side by side.
        report: show figure and table in place of controls; None asks the environment variable ``WORKBENCH_REPORT``.

    Attributes:
        data: what ``column`` is taken from; assign something else to swap the texts.
        embeddings: (n, dim) vectors of the last run, None before.
        similarities: (n, n) scores of the last run in the order given, None before.
    """

    title = "Similarity heatmap"
    purpose = "See which of your texts a model finds alike, and how much."
    first_step = "Write or paste two or more texts above, one a line, and press Run."
    inputs = ("texts", "model", "similarity", "order")
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

    texts = tr.Any()
    model = Model("starter")
    similarity = tr.Unicode("cosine")
    order = tr.Unicode("as given")

    def __init__(
        self,
        texts: Any = (),
        *,
        column: str = "",
        model: Any = "starter",
        similarity: str = "cosine",
        order: str = "as given",
        report: bool | None = None,
    ) -> None:
        given = {"data": texts} if is_data(texts) else {"texts": texts}
        picked = {"column": column} if column else {}
        super().__init__(report=report, model=model, similarity=similarity, order=order, **given, **picked)

    @property
    def embeddings(self) -> npt.NDArray[np.float32] | None:  # noqa: D102 - the class describes it
        return None if self.result is None else self.result.embeddings

    @property
    def similarities(self) -> npt.NDArray[np.float32] | None:  # noqa: D102 - the class describes it
        return None if self.result is None else self.result.similarities

    def to_frame(self, limit: int | None = 1000) -> "pd.DataFrame":
        """Return the most similar pairs, best first; with ``limit=None`` all n (n - 1) / 2 of them."""
        frame: pd.DataFrame = self._need().frame(limit)
        return frame

    # Inputs, from Python and from the form.

    @tr.default("texts")
    def _no_texts(self) -> list[str]:
        return []

    @tr.validate("texts")
    def _check_texts(self, proposal: Any) -> list[str]:
        return clean(as_texts(proposal["value"], name="texts")[0])

    @tr.validate("similarity", "order")
    def _check_choice(self, proposal: Any) -> Any:
        name, known = proposal["trait"].name, {"similarity": SIMILARITIES, "order": _ORDERS}
        choose(name, proposal["value"], known[name])
        return proposal["value"]

    @tr.observe("column")
    def _take_column(self, change: Any) -> None:
        super()._take_column(change)
        self.texts = self.texts_in_column

    @tr.observe("texts")
    def _write_area(self, change: Any) -> None:
        written = [" ".join(text.splitlines()) for text in self.texts[:_MOST_TEXTS]]
        if _lines(self._area.value) != _lines("\n".join(written)):
            self.fill(self._area, None, "\n".join(written))

    def _controls(self) -> tuple[list[widgets.Widget], list[widgets.Widget]]:
        self._area = widgets.Textarea(description="Texts, one a line", rows=5, continuous_update=False)
        functions = widgets.Dropdown(description="Similarity", options=[(v, k) for k, v in SIMILARITIES.items()])
        orders = widgets.Dropdown(description="Order", options=list(_ORDERS))
        tr.link((self, "similarity"), (functions, "value"))
        tr.link((self, "order"), (orders, "value"))
        self._area.observe(lambda change: self.pick("texts", _lines(change["new"])), "value")
        self._models = ModelPicker(self)
        (sets, columns, upload), path = self._data_controls()
        return [self._area, columns, self._models.menu, functions, orders], [self._models.other, sets, upload, *path]

    # The run.

    def _amount(self, inputs: dict[str, Any]) -> tuple[int, str]:
        amount = sum(bool(text) and not text.isspace() for text in inputs["texts"])
        return amount, "text" if amount == 1 else "texts"

    def _compute(self, inputs: dict[str, Any]) -> _Comparison:
        from workbench.similarity import SimilarityFunction

        texts, function = [text for text in inputs["texts"] if text.strip()], inputs["similarity"]
        if len(texts) < 2:
            raise WorkbenchError(
                f"There {'is only one text' if texts else 'are no texts'}. Give two or more, one a line."
            )
        if len(texts) > _MOST_TEXTS:
            raise WorkbenchError(
                f"There are {count(len(texts))} texts; a heatmap shows {count(_MOST_TEXTS)} at most. "
                f"Give fewer, for example data.sample({_MOST_TEXTS}, random_state=0)."
            )
        name, model = model_name(inputs["model"]), load_model(inputs["model"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)  # the caption says it
            embeddings = np.asarray(model.encode(texts), dtype=np.float32)  # (n, dim)
        limit = getattr(model, "max_seq_length", None)
        cut = 0 if limit is None else int((model.token_counts(texts) > limit).sum())
        similarities = SimilarityFunction.to_similarity_fn(function)(embeddings, embeddings).numpy()
        if not (finite := np.isfinite(similarities).all(axis=1)).all():
            row = int(np.argmin(np.isfinite(embeddings).all(axis=1))) if not finite.any() else int(np.argmin(finite))
            raise WorkbenchError(f"The model gave text {row + 1} a vector that is not finite. Try another model.")
        order = cluster_order(similarities) if inputs["order"] == "by cluster" else np.arange(len(texts))
        blank = len(inputs["texts"]) - len(texts)
        return _Comparison(texts, blank, name, function, inputs["order"], embeddings, similarities, order, cut)

    def _code(self, inputs: dict[str, Any]) -> str:
        texts = "".join(f"    {text!r},\n" for text in inputs["texts"] if text.strip())
        name, function, sort = model_name(inputs["model"]), inputs["similarity"], inputs["order"] == "by cluster"
        return (
            f"from widgets import {'cluster_order, ' if sort else ''}similarity_figure\n"
            f"from workbench import SentenceTransformer\n\n"
            f"texts = [\n{texts}]\n"
            f"model = SentenceTransformer({name!r}, similarity_fn_name={function!r})\n"
            f"embeddings = model.encode(texts)\n"
            f"similarities = model.similarity(embeddings, embeddings).numpy()\n"
            f"{'order = cluster_order(similarities)' if sort else 'order = None'}\n"
            f"figure = similarity_figure(texts, similarities, {function!r}, order)\n"
            f"figure.show()\n"
        )


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
