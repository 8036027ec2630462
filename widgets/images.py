"""Pictures searched by words: a query, and the thumbnails of what a model of pictures and texts puts nearest to it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go
import traitlets as tr

from widgets._data import bundled_sets
from widgets._data_panel import DataPanel
from widgets._fields import Column, Model
from widgets._models import model_name, vectors_of
from widgets._parts import styled
from widgets._picture_figure import picture_figure, picture_grid, thumbnail
from widgets._theme import count, cut
from workbench.errors import WorkbenchError
from workbench.images import open_image

__all__ = ["ImagePanel"]


@dataclass(frozen=True, eq=False)
class _Seen:
    """The pictures that a query found."""

    query: str
    hits: list[tuple[int, float]]  # rows and cosines, best first
    files: list[str]  # of all pictures
    captions: list[str]  # of all pictures; their files where there are none
    thumbnails: list[str]  # of the hits
    model: str
    vectors: Any  # of all pictures

    def plain(self) -> list[dict[str, Any]]:
        """Return row, file and score of each hit, best first."""
        return [{"row": row, "file": self.files[row], "score": score} for row, score in self.hits]

    def _columns(self) -> tuple[list[str], list[float], list[str]]:
        return self.thumbnails, [score for _, score in self.hits], [self.captions[row] for row, _ in self.hits]

    def grid(self) -> str:
        """Return the thumbnails as HTML."""
        return picture_grid(*self._columns())

    def figure(self) -> go.Figure:
        """Return the thumbnails as a figure."""
        return picture_figure(*self._columns(), f"Nearest to “{cut(self.query, 60)}”")

    def frame(self) -> pd.DataFrame:
        """Return a row for each hit: rank, score, caption, file."""
        _, scores, captions = self._columns()
        files = [self.files[row] for row, _ in self.hits]
        ranks = range(1, len(files) + 1)
        return pd.DataFrame({"rank": ranks, "score": scores, "caption": captions, "file": files})

    def caption(self) -> str:
        """Return how to read the grid."""
        return (
            f"The {len(self.hits)} of {count(len(self.files))} pictures nearest to the query, best first, with "
            "their cosines. The model saw the pictures alone: captions are only shown. Something is always nearest, "
            "so compare the scores with those of a query that fits nothing."
        )

    def facts(self) -> dict[str, object]:
        """Return what was searched with what."""
        return {
            "Pictures": count(len(self.files)),
            "Model": self.model,
            "Dimensions": self.vectors.shape[1],
        }


class ImagePanel(DataPanel[_Seen]):
    """Find pictures by words, with a model that puts both into one space.

    Args:
        data: a table with a column of files of pictures; whatever else ``DataPanel`` takes, such as a list of files.
        report: show figure and table in place of controls; None asks the environment variable ``WORKBENCH_REPORT``.
        inputs: any of the attributes below.

    Attributes:
        column: the files. A relative one lies beside the table's own file, or else in the current folder.
        caption: the column of captions, which are shown and never searched; "" shows the files' names.
        model: name or folder of a model of pictures and texts, or an object with ``encode``.
        query: what to look for.
        top: how many pictures to show.
    """

    title = "Search pictures by words"
    reports = False  # a report is on texts
    purpose = "A picture and a text that describes it have vectors that are close to each other."
    first_step = "Choose a table with files of pictures, name a model such as clip-ViT-B-32, and press Run."
    inputs = ("data", "column", "caption", "model", "query", "top")
    live = ("query", "top")
    form = ("query", "model", "data", "column")
    unit = "picture"
    example = {"data": "captions", "column": "file", "caption": "caption"}  # noqa: RUF012 - the base class declares it

    caption = Column(text=True).tag(label="Captions")
    model = Model("clip-ViT-B-32")
    query = tr.Unicode("a red car").tag(label="Query")
    top = tr.Int(6, min=1, max=24).tag(label="Pictures")

    @tr.validate("query")
    def _check_query(self, proposal: Any) -> str:
        if not (query := str(proposal["value"]).strip()):
            raise WorkbenchError("The query is empty. Write what to look for, such as “a red car”.")
        return query

    @tr.observe("model")
    def _name_model(self, change: Any) -> None:
        self.fill(self._fields["model"], None, model_name(self.model))

    def _controls(self) -> dict[str, Any]:
        self._grid = styled(widgets.HTML(), "wb-grid")
        model = widgets.Text(self.model, description="Model: name or folder", continuous_update=False)
        model.observe(lambda change: self.pick("model", change["new"].strip()), "value")
        return {**super()._controls(), "model": model}

    def _compute(self, inputs: dict[str, Any]) -> _Seen:
        if not (files := _files(inputs)):
            raise WorkbenchError("There are no pictures yet. Choose a table that has a column with their files.")
        return self._find(inputs, files, vectors_of(inputs["model"], files))

    def _again(self, result: _Seen, inputs: dict[str, Any]) -> _Seen:
        return self._find(inputs, _files(inputs), result.vectors)

    def _find(self, inputs: dict[str, Any], files: list[Path], vectors: Any) -> _Seen:
        from workbench.search import semantic_search

        found = semantic_search(vectors_of(inputs["model"], inputs["query"]), vectors, top_k=inputs["top"])[0]
        hits = [(int(one["corpus_id"]), float(one["score"])) for one in found]
        frame, names = inputs["frame"], [str(file) for file in inputs["texts"]]
        captions = frame[inputs["caption"]].fillna("").astype(str).tolist() if inputs["caption"] else names
        small = [thumbnail(open_image(files[row])) for row, _ in hits]
        return _Seen(inputs["query"], hits, names, captions, small, model_name(inputs["model"]), vectors)

    def _views(self, result: _Seen) -> list[widgets.Widget]:
        return [self._grid]

    @tr.observe("result")
    def _take_result(self, change: Any) -> None:
        self._grid.value = self.result.grid()

    def _code(self, inputs: dict[str, Any]) -> str:
        return (
            "from pathlib import Path\n\nfrom widgets import as_frame\nfrom workbench import SentenceTransformer\n"
            "from workbench.search import semantic_search\n\n"
            f"{self._data_code(inputs) or 'texts = []'}\n"
            f"files = [Path({str(_folder(inputs['data']))!r}, name) for name in texts]\n"
            f"model = SentenceTransformer({model_name(inputs['model'])!r})\n"
            f"query, vectors = model.encode({inputs['query']!r}), model.encode(files)\n"
            f"hits = semantic_search(query, vectors, top_k={inputs['top']})[0]\n"
            "for hit in hits:\n    print(f\"{hit['score']:.4f}  {texts[hit['corpus_id']]}\")\n"
        )


def _folder(data: Any) -> Path:
    """Where the relative files of a table lie."""
    if isinstance(data, str) and not Path(data).suffix:
        data = bundled_sets().get(data, "")
    return Path(data).parent if isinstance(data, (str, Path)) else Path()


def _files(inputs: dict[str, Any]) -> list[Path]:
    folder = _folder(inputs["data"])
    return [folder / str(name) for name in inputs["texts"]]
