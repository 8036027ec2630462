"""The explorer: your texts as a map, with clusters, search, outliers, duplicates, and rows held by a lasso."""

from dataclasses import replace
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import traitlets as tr

from widgets._data import same
from widgets._exploration import Exploration, cluster_rows, gather, lay_out, may_learn
from widgets._explorer_code import explorer_code
from widgets._explorer_form import ExplorerForm
from widgets._live_map import LiveMap, Widener
from widgets._map_figure import Groups
from widgets._parts import button, rows_html, styled
from widgets._theme import count, cut, in_html
from workbench.errors import WorkbenchError

__all__ = ["Explorer", "ExplorerPanel"]

_LISTS = ("Selection", "Nearest", "Outliers", "Duplicates")
_LISTED, _OFFERED = 20, 60  # rows of a list, groups of the menu
_NO_GROUP = -2
_SOURCE = ("data", "column", "model", "embeddings", "after", "most", "seed")  # what vectors are made of


class ExplorerPanel(ExplorerForm):
    """Lay up to 100,000 texts out on a map, and ask it: what groups there are, what is near, what stands alone.

    Args:
        data: a DataFrame, a ``datasets.Dataset``, a list of texts or records, the path of a CSV, TSV, JSONL or Parquet
            file, or the name of a bundled set.
        text: the column that holds the texts; "" takes the one with the longest. Also called ``column``.
        colour: a column to colour by; "" colours by cluster.
        model: name or folder of a model, or an object with ``encode(texts)``.
        embeddings: one vector for each row, or the path of an ``.npy`` file of them; None lets the model make them.
        after: a second model, or second embeddings, for a second map of the same rows.
        linked: whether the second map shares the places of the first, so that one sees what has moved.
        projection: "umap", "pca" or "tsne".
        projection_settings: of the map, such as ``{"n_neighbors": 30}``.
        clustering: "kmeans", "agglomerative", "communities" or "hdbscan".
        clustering_settings: of the clusters, such as ``{"n_clusters": 12}``.
        most: rows to show at most; of more, a random sample is taken.
        seed: of the sample, the map and the clusters.
        report: show figure and table in place of controls; None asks the environment variable ``WORKBENCH_REPORT``.

    Attributes:
        selected: the rows of the data that are selected, as numbers from 0; empty for none.
        selection: the same rows as a DataFrame; rows, or one True or False for each row, can be assigned.
    """

    title = "Explorer"
    purpose = "See your texts as a map: which belong together, what they are about, and which stand alone."
    first_step = "Choose data above, or pass some: Explorer(df, text='message'). Then press Run."
    example = {"data": "questions"}  # noqa: RUF012 - the base class declares it as a class variable

    selected = tr.Any()

    def __init__(self, data: Any = None, text: str = "", **inputs: Any) -> None:
        inputs = {name: value for name, value in inputs.items() if value is not None}
        super().__init__(data, **inputs | ({"column": inputs.get("column") or text} if text else {}))

    # What was found.

    @property
    def selection(self) -> pd.DataFrame:
        """The rows that are selected, as ``to_frame`` has them; assign rows, or one True or False for each row."""
        result = self._need()
        return result.frame().take(np.searchsorted(result.rows, self.selected))

    @selection.setter
    def selection(self, rows: Any) -> None:
        wanted, total = np.asarray(rows), len(self._need().data)
        if wanted.dtype == bool:
            if wanted.shape != (total,):
                raise WorkbenchError(f"Got {wanted.shape} times True or False; expected one for each of {total} rows.")
            wanted = np.intersect1d(np.flatnonzero(wanted), self.result.rows)
        self.selected = wanted

    @tr.default("selected")
    def _nothing(self) -> list[int]:
        return []

    @tr.validate("selected")
    def _check_selected(self, proposal: Any) -> list[int]:
        rows = np.asarray(proposal["value"])
        if not rows.size:
            return []
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise WorkbenchError(f"Rows are whole numbers from 0, such as [3, 5]; got {cut(repr(rows), 60)}.")
        for missing in np.setdiff1d(rows, self._need().rows)[:1]:
            self.result.place(int(missing))  # says why it cannot be selected
        return [int(row) for row in np.unique(rows)]

    def neighbours(self, row: int, k: int = 10) -> pd.DataFrame:
        """Show the k texts nearest to a row's in the space of the vectors, and return them with their similarity."""
        near = self._need().neighbours(row, k)
        own = self.result.texts[self.result.place(row)]
        return self._point_at(f"Nearest to row {row}: {own}", near)

    def find(self, query: str, k: int = 10) -> pd.DataFrame:
        """Show the k texts nearest to a query, with rings on the map, and return them with their similarity."""
        return self._point_at(f"Nearest to “{query}”", self._need().find(query, k))

    def outliers(self, k: int = 20) -> pd.DataFrame:
        """Return the k texts least like their 5 nearest, with the mean of these similarities."""
        return self._need().outliers(k)

    def duplicates(self, threshold: float = 0.95) -> pd.DataFrame:
        """Return pairs of texts with a similarity of ``threshold`` or more, best first."""
        return self._need().duplicates(threshold)

    # What answers to the mouse, and to the keyboard.

    def _controls(self) -> dict[str, Any]:
        self._map: Any = None  # the LiveMap that is shown
        self._widener = Widener()
        self._near: tuple[str, pd.DataFrame] | None = None
        self._search = widgets.Text(
            description="Search", placeholder="words, then Enter", continuous_update=False, tooltip="Rings the nearest"
        )
        self._picker = widgets.Dropdown(description="Select", options=[("a group …", _NO_GROUP)])
        clear = button("Clear", "Select nothing, and take the rings away", self._on_clear)
        self._lists = styled(widgets.ToggleButtons(options=_LISTS), "wb-lists")
        self._list = styled(widgets.HTML(), "wb-list")
        self._search.observe(lambda change: self._on_search(change["new"]), "value")
        self._picker.observe(lambda change: self._on_pick(change["new"]), "value")
        self._lists.observe(lambda change: self._write_list(), "value")
        self._tools = styled(widgets.HBox([self._search, self._picker, clear]), "wb-form")
        return super()._controls()

    def _views(self, result: Exploration) -> list[widgets.Widget]:
        live = styled(LiveMap(result.figure(), self._on_held, self.neighbours), "wb-figure")
        return [self._tools, live, self._widener, self._lists, self._list]

    @tr.observe("result")
    def _take_result(self, change: Any) -> None:
        """Show another map; what was selected stays where the rows are the same."""
        old, new = change["old"], change["new"]
        if self._map is not None:
            self._map.close()
        self._map, self._near = self._made[1], None
        names = [(cut(name, 44), code) for code, name in enumerate(new.groups.names[:_OFFERED])]
        none = [(f"no {new.groups.what}", -1)] if (new.groups.codes < 0).any() else []
        self.fill(self._picker, [("a group …", _NO_GROUP), *names, *none], _NO_GROUP)
        if old is not None and old.data is new.data and np.array_equal(old.rows, new.rows):
            self._map.keep(self.selected or None)
        else:
            self.selected = []
        self._search.value = ""
        self._write_list()

    @tr.observe("selected")
    def _take_selected(self, change: Any) -> None:
        if self._map is not None:
            self._map.keep(self.selected or None)
            self._lists.value = _LISTS[0]
            self._write_list()

    def _on_held(self, rows: list[int] | None) -> None:
        self.fill(self._picker, None, _NO_GROUP)
        self.selected = rows or []
        self._map.keep(self.selected or None)  # also where nothing has changed, since the browser has drawn something

    def _on_pick(self, code: int) -> None:
        if code != _NO_GROUP and not self._filling:
            self.selected = self.result.rows[self.result.groups.rows(code)]

    def _on_search(self, query: str) -> None:
        if query.strip():
            with self.refusing():
                self.find(query.strip())

    def _on_clear(self) -> None:
        self._near, self._search.value = None, ""
        self.fill(self._picker, None, _NO_GROUP)
        self.selected = []
        self._write_list()

    def _point_at(self, title: str, near: pd.DataFrame) -> pd.DataFrame:
        self._near = title, near
        if self.state == "error":
            self._settle()
        self._lists.value = "Nearest"
        self._write_list()
        return near

    def _write_list(self) -> None:
        """Show the list that is chosen, and rings around its texts on the map."""
        result, kind = self._need(), self._lists.value
        if kind == "Selection":
            chosen, places = self.selected[:_LISTED], np.searchsorted(result.rows, self.selected[:_LISTED])
            said = f"{count(len(self.selected))} of {count(len(result.rows))} texts selected."
            said += "" if self.selected else " Draw around points with the mouse, or pick a group above."
            groups = [result.groups.names[code] if code >= 0 else "" for code in result.groups.codes[places]]
            texts = [result.texts[place] for place in places]
            frame = pd.DataFrame({"row": chosen, result.groups.what: groups, "text": texts})
        elif kind == "Nearest":
            said, frame = self._near or ("Click a point, or search, to see what is nearest.", pd.DataFrame())
        elif kind == "Outliers":
            said, frame = "The texts least like their 5 nearest, by the mean of these similarities.", result.outliers()
        else:
            frame = result.duplicates()
            said = f"{count(len(frame))} pairs of texts with a similarity of 0.95 or more."
        ringed = kind in ("Nearest", "Outliers") and len(frame)
        places = np.searchsorted(result.rows, frame["row"] if ringed else np.array([], int))
        self._map.ring(
            [made.coordinates[places] for made in result.maps.values()], [str(i + 1) for i in range(len(places))]
        )
        more = kind == "Selection" and len(self.selected) > _LISTED
        note = f"The first {_LISTED} are shown; panel.selection has all." if more else ""
        listed = rows_html(frame.head(_LISTED), note) if len(frame) else ""
        self._list.value = f"<p class='wb-note'>{in_html(cut(said, 200))}</p>{listed}"

    # The run.

    def _show_progress(self, job: Any, bar: Any) -> None:
        super()._show_progress(job, bar)
        if self._job is job:  # several kinds of work follow one another, and some report only when they end
            self._note.value = in_html(bar.desc) + (f": {self._note.value}" if bar.done else " …")

    def _compute(self, inputs: dict[str, Any]) -> Exploration:
        old, shown = self.result, self._shown

        def kept(*names: str) -> bool:
            return old is not None and all(same(inputs[name], shown[name]) for name in names)

        models = [inputs["after"], *[inputs["model"]] * (inputs["embeddings"] is None)]
        source = kept(*_SOURCE) and not any(may_learn(model) for model in models)
        parts = vars(old) if source else gather(inputs)
        way, knobs, seed = inputs["clustering"], inputs["clustering_settings"], inputs["seed"]
        same_clusters = source and kept("clustering", "clustering_settings")
        clusters = old.clusters if same_clusters else cluster_rows(parts["vectors"][0], way, seed, knobs)
        method, settings, linked = (inputs[name] for name in ("projection", "projection_settings", "linked"))
        same_map = source and kept("projection", "projection_settings", "linked")
        maps = old.maps if same_map else lay_out(parts["vectors"], parts["names"], method, seed, linked, settings)
        topics = old.topics if same_clusters else Groups.topics(clusters, parts["texts"])
        made = {"maps": maps, "linked": linked, "clusters": clusters, "topics": topics, "groups": topics, "seed": seed}
        return self._again(Exploration(**parts | made), inputs)

    def _again(self, result: Exploration, inputs: dict[str, Any]) -> Exploration:
        colour = inputs["colour"]
        groups = Groups.of(result.data[colour].iloc[result.rows], colour) if colour else result.topics
        return replace(result, groups=groups)

    def _code(self, inputs: dict[str, Any]) -> str:
        return explorer_code(inputs, self._plain_data(inputs))


Explorer = ExplorerPanel
