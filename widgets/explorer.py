"""The explorer: your texts as a map, with clusters, search, outliers, duplicates, and rows held by a lasso."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np
import traitlets as tr

from widgets._data import same
from widgets._exploration import PARTS, Exploration, cluster_rows, gather, is_vectors, lay_out
from widgets._explorer_code import explorer_code
from widgets._live_map import LiveMap
from widgets._map_figure import Groups
from widgets._parts import styled
from widgets._pickers import DataPanel, Model, ModelPicker, model_name
from widgets._theme import count, cut, in_html, table
from workbench.errors import WorkbenchError, choose
from workbench.vectors import as_matrix

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Explorer", "ExplorerPanel"]

# What can be set of each map and each way to cluster, with its default; 0 leaves the choice to the method.
_MAPS: dict[str, dict[str, Any]] = {
    "umap": {"n_neighbors": 15, "min_dist": 0.1},
    "pca": {},
    "tsne": {"perplexity": 30.0},
}
_CLUSTERS: dict[str, dict[str, Any]] = {
    "kmeans": {"n_clusters": 8},
    "agglomerative": {"n_clusters": 8, "distance_threshold": 0.0, "linkage": "ward"},
    "communities": {"threshold": 0.75, "min_community_size": 10},
    "hdbscan": {"min_cluster_size": 10, "min_samples": 0},
}
_LINKAGES = ("ward", "average", "complete", "single")
_KNOBS = {"projection": _MAPS, "clustering": _CLUSTERS}
_LISTS = ("Selection", "Nearest", "Outliers", "Duplicates")
_LISTED, _OFFERED = 20, 60  # rows of a list, groups of the menu
_SOURCE = ("data", "column", "model", "embeddings", "after", "most", "seed")  # what vectors are made of


class ExplorerPanel(DataPanel):
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
    inputs = (
        "data", "column", "colour", "model", "embeddings", "after", "linked",
        "projection", "projection_settings", "clustering", "clustering_settings", "most", "seed",
    )  # fmt: skip
    live = ("colour",)
    columns = ("column", "colour")
    example = {"data": "questions"}  # noqa: RUF012 - the base class declares it as a class variable

    colour = tr.Unicode("")
    model = Model("starter")
    embeddings = tr.Any(None)
    after = tr.Any(None)
    linked = tr.Bool(True)
    projection = tr.Unicode("umap")
    projection_settings = tr.Dict()
    clustering = tr.Unicode("kmeans")
    clustering_settings = tr.Dict()
    most = tr.Int(100_000, min=2)
    seed = tr.Int(0, min=0)
    selected = tr.Any()

    def __init__(
        self,
        data: Any = None,
        text: str = "",
        *,
        column: str = "",
        colour: str = "",
        model: Any = "starter",
        embeddings: Any = None,
        after: Any = None,
        linked: bool = True,
        projection: str = "umap",
        projection_settings: Mapping[str, Any] | None = None,
        clustering: str = "kmeans",
        clustering_settings: Mapping[str, Any] | None = None,
        most: int = 100_000,
        seed: int = 0,
        report: bool | None = None,
    ) -> None:
        given = {"data": data} if data is not None else {}
        picked = {"column": column or text} if column or text else {}
        super().__init__(
            report=report, **given, **picked, colour=colour, model=model, embeddings=embeddings, after=after,
            linked=linked, projection=projection, projection_settings=dict(projection_settings or {}),
            clustering=clustering, clustering_settings=dict(clustering_settings or {}), most=most, seed=seed,
        )  # fmt: skip

    # What was found.

    @property
    def selection(self) -> "pd.DataFrame":
        """The rows that are selected, as ``to_frame`` has them; assign rows, or one True or False for each row."""
        places = np.searchsorted(self._need().rows, self.selected)
        frame: pd.DataFrame = self.result.frame().iloc[places]
        return frame

    @selection.setter
    def selection(self, rows: Any) -> None:
        wanted, total = np.asarray(rows), len(self._need().data)
        if wanted.dtype == bool:
            if wanted.shape != (total,):
                raise WorkbenchError(f"Got {wanted.shape} times True or False; expected one for each of {total} rows.")
            wanted = np.intersect1d(np.flatnonzero(wanted), self.result.rows)
        self.selected = wanted

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

    def neighbours(self, row: int, k: int = 10) -> "pd.DataFrame":
        """Show the k texts nearest to a row's in the space of the vectors, and return them with their similarity."""
        near = self._need().neighbours(row, k)
        own = self.result.texts[self.result.place(row)]
        return self._point_at(f"Nearest to row {row}: {own}", near)

    def find(self, query: str, k: int = 10) -> "pd.DataFrame":
        """Show the k texts nearest to a query, with rings on the map, and return them with their similarity."""
        return self._point_at(f"Nearest to “{query}”", self._need().find(query, k))

    def outliers(self, k: int = 20) -> "pd.DataFrame":
        """Return the k texts least like their 5 nearest, with the mean of these similarities."""
        frame: pd.DataFrame = self._need().outliers(k)
        return frame

    def duplicates(self, threshold: float = 0.95) -> "pd.DataFrame":
        """Return pairs of texts with a similarity of ``threshold`` or more, best first."""
        frame: pd.DataFrame = self._need().duplicates(threshold)
        return frame

    @property
    def parameters(self) -> dict[str, Any]:
        """The inputs as values that JSON can hold; vectors that were given as an object are lists of numbers."""
        values = super().parameters
        for name in ("embeddings", "after"):
            source = values[name]
            if source is not None and not isinstance(source, str):
                values[name] = as_matrix(source).tolist() if is_vectors(source) else model_name(source)
        return values

    # Inputs, from Python and from the form.

    @tr.default("selected")
    def _nothing(self) -> list[int]:
        return []

    @tr.validate("embeddings", "after")
    def _check_vectors(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        value = str(value) if isinstance(value, Path) else value
        if value is None or isinstance(value, str) or not is_vectors(value):
            if name == "embeddings" and value is not None and not is_vectors(value):
                raise WorkbenchError("embeddings are vectors or the path of an .npy file; a model goes into model=.")
            return value
        as_matrix(value, name=name)
        return value

    @tr.validate("colour")
    def _check_colour(self, proposal: Any) -> str:
        name: str = proposal["value"]
        if name:
            choose("column", name, {} if self._frame is None else dict.fromkeys(self._frame.columns))
        return name

    @tr.validate("projection", "clustering")
    def _check_method(self, proposal: Any) -> str:
        choose(proposal["trait"].name, proposal["value"], _KNOBS[proposal["trait"].name])
        return str(proposal["value"])

    @tr.validate("projection_settings", "clustering_settings")
    def _check_settings(self, proposal: Any) -> dict[str, Any]:
        """Take the settings that differ from their default, and numbers as what they are."""
        method = proposal["trait"].name.removesuffix("_settings")
        known = _KNOBS[method][getattr(self, method)]
        settings = {}
        for name, value in proposal["value"].items():
            default = choose(f"setting of {getattr(self, method)}", name, known)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if name == "linkage":
                choose("linkage", value, dict.fromkeys(_LINKAGES))
            elif not number or (isinstance(default, int) and value != int(value)):
                raise WorkbenchError(f"{name} is {value!r}; expected a {'whole ' * isinstance(default, int)}number.")
            if value != default:
                settings[name] = type(default)(value)
        return settings

    @tr.observe("projection", "clustering")
    def _take_method(self, change: Any) -> None:
        """A method brings its own settings."""
        self.set_trait(f"{change['name']}_settings", {})
        self._turn_knobs(change["name"])

    @tr.observe("projection_settings", "clustering_settings")
    def _take_settings(self, change: Any) -> None:
        self._turn_knobs(change["name"].removesuffix("_settings"))

    @tr.observe("data")
    def _take_data(self, change: Any) -> None:
        super()._take_data(change)
        columns = [] if self._frame is None else list(self._frame.columns)
        if self.colour not in columns:
            self.colour = ""
        self.fill(self._colours, [("cluster", ""), *((cut(name, 40), name) for name in columns)], self.colour)

    def _turn_knobs(self, name: str) -> None:
        """Show the settings of a method, with their values."""
        trait = f"{name}_settings"
        controls = []
        for knob, default in _KNOBS[name][getattr(self, name)].items():
            value = getattr(self, trait).get(knob, default)
            kind = {str: widgets.Dropdown, int: widgets.IntText, float: widgets.FloatText}[type(default)]
            options = {"options": _LINKAGES} if kind is widgets.Dropdown else {}
            control = kind(value=value, description=knob.replace("_", " "), **options)
            control.observe(
                lambda change, knob=knob: self.pick(trait, {**getattr(self, trait), knob: change["new"]}), "value"
            )
            controls.append(control)
        self._knobs[name].children = controls

    def _controls(self) -> tuple[list[widgets.Widget], list[widgets.Widget]]:
        (sets, columns, upload), paths = self._data_controls()
        self._models = ModelPicker(self)
        self._colours = widgets.Dropdown(description="Colour by", options=[("cluster", "")])
        maps = widgets.Dropdown(description="Map", options=[("UMAP", "umap"), ("PCA", "pca"), ("t-SNE", "tsne")])
        ways = widgets.Dropdown(description="Clusters", options=list(_CLUSTERS))
        self._knobs = {name: styled(widgets.HBox(), "wb-form") for name in _KNOBS}
        after = widgets.Text(description="Compare with: another model, or .npy file", continuous_update=False)
        pairs = widgets.Dropdown(
            description="Two maps", options=[("share their places", True), ("side by side", False)]
        )
        most = widgets.BoundedIntText(description="Most rows", min=2, max=10**9)
        seed = widgets.BoundedIntText(description="Seed", min=0, max=2**31)
        links = {"colour": self._colours, "projection": maps, "clustering": ways, "linked": pairs}
        for name, control in (links | {"most": most, "seed": seed}).items():
            tr.link((self, name), (control, "value"))
        after.observe(lambda change: self.pick("after", change["new"].strip() or None), "value")
        for name in _KNOBS:
            self._turn_knobs(name)
        self._build_tools()
        shown = [sets, columns, self._models.menu, maps, ways, self._colours]
        return shown, [*self._knobs.values(), self._models.other, after, pairs, most, seed, upload, *paths]

    # What answers to the mouse, and to the keyboard.

    def _build_tools(self) -> None:
        self._map: Any = None  # the LiveMap that is shown
        self._next: Any = None
        self._near: tuple[str, pd.DataFrame] | None = None
        self._search = widgets.Text(
            description="Search", placeholder="words, then Enter", continuous_update=False, tooltip="Rings the nearest"
        )
        self._picker = widgets.Dropdown(description="Select")
        clear = widgets.Button(description="Clear", tooltip="Select nothing, and take the rings away")
        self._lists = widgets.ToggleButtons(options=_LISTS)
        self._list = styled(widgets.HTML(), "wb-list")
        self._search.observe(lambda change: self._on_search(change["new"]), "value")
        self._picker.observe(lambda change: self._on_pick(change["new"]), "value")
        self._lists.observe(lambda change: self._write_list(), "value")
        clear.on_click(lambda button: self._on_clear())
        self._tools = styled(widgets.HBox([self._search, self._picker, clear]), "wb-form")

    def _views(self, result: Any) -> list[widgets.Widget]:
        live = LiveMap(result.figure(), self._on_held, self._on_click)
        self._next = styled(live, "wb-figure")
        return [self._tools, live, self._lists, self._list]

    @tr.observe("result")
    def _take_result(self, change: Any) -> None:
        """Show another map; what was selected stays where the rows are the same."""
        old, new = change["old"], change["new"]
        if self._map is not None:
            self._map.close()
        self._map, self._near = self._next, None
        names = [(cut(name, 44), code) for code, name in enumerate(new.groups.names[:_OFFERED])]
        none = [(f"no {new.groups.what}", -1)] if (new.groups.codes < 0).any() else []
        self.fill(self._picker, [("a group …", None), *names, *none], None)
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
        self.fill(self._picker, None, None)
        self.selected = rows or []
        self._map.keep(self.selected or None)  # also where nothing has changed, since the browser has drawn something

    def _on_click(self, row: int) -> None:
        self.neighbours(row)

    def _on_pick(self, code: int | None) -> None:
        if code is not None and not self._filling:
            self.selected = self.result.rows[self.result.groups.rows(code)]

    def _on_search(self, query: str) -> None:
        if query.strip():
            with self.refusing():
                self.find(query.strip())

    def _on_clear(self) -> None:
        self._near, self._search.value = None, ""
        self.fill(self._picker, None, None)
        self.selected = []
        self._write_list()

    def _point_at(self, title: str, near: "pd.DataFrame") -> "pd.DataFrame":
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
            frame: Any = {"row": chosen, result.groups.what: groups, "text": [result.texts[place] for place in places]}
        elif kind == "Nearest":
            said, frame = self._near or ("Click a point, or search, to see what is nearest.", {})
        elif kind == "Outliers":
            said, frame = "The texts least like their 5 nearest, by the mean of these similarities.", result.outliers()
        else:
            frame = result.duplicates()
            said = f"{count(len(frame))} pairs of texts with a similarity of 0.95 or more."
        rings = frame["row"] if kind in ("Nearest", "Outliers") and len(frame) else []
        places = np.searchsorted(result.rows, rings)
        self._map.ring(
            [made.coordinates[places] for made in result.maps.values()], [str(i + 1) for i in range(len(places))]
        )
        columns = {name: list(values)[:_LISTED] for name, values in frame.items()}
        rows = [
            [f"{value:.4f}" if isinstance(value, float) else value for value in row]
            for row in zip(*columns.values(), strict=True)
        ]
        note = f"The first {_LISTED} are shown; panel.selection has all." if len(self.selected) > _LISTED else ""
        self._list.value = f"<p class='wb-note'>{in_html(cut(said, 200))}</p>" + (
            table(list(columns), rows, note if kind == "Selection" else "") if rows else ""
        )

    # The run.

    def _show_progress(self, job: Any, bar: Any) -> None:
        super()._show_progress(job, bar)
        if self._job is job:  # several kinds of work follow one another, and some report only when they end
            self._note.value = in_html(bar.desc) + (f": {self._note.value}" if bar.done else " …")

    def _compute(self, inputs: dict[str, Any]) -> Exploration:
        old, shown = self.result, self._shown

        def kept(*names: str) -> bool:
            return old is not None and all(same(inputs[name], shown[name]) for name in names)

        # A model that is an object or a folder may have learned something since.
        models = [inputs["model"] if inputs["embeddings"] is None else "", inputs["after"] or ""]
        source = all(isinstance(model, str) and not Path(model).is_dir() for model in models) and kept(*_SOURCE)
        parts = {name: getattr(old, name) for name in PARTS} if source else gather(inputs)
        way, knobs, seed = inputs["clustering"], inputs["clustering_settings"], inputs["seed"]
        same_clusters = source and kept("clustering", "clustering_settings")
        clusters = old.clusters if same_clusters else cluster_rows(parts["vectors"][0], way, seed, knobs)
        method, settings, linked = (inputs[name] for name in ("projection", "projection_settings", "linked"))
        same_map = source and kept("projection", "projection_settings", "linked")
        maps = old.maps if same_map else lay_out(parts["vectors"], parts["names"], method, seed, linked, settings)
        topics = old.topics if same_clusters else Groups.topics(clusters, parts["texts"])
        result = Exploration(
            **parts, maps=maps, linked=linked, clusters=clusters, topics=topics, groups=topics, seed=seed
        )
        return self._again(result, inputs)

    def _again(self, result: Exploration, inputs: dict[str, Any]) -> Exploration:
        colour = inputs["colour"]
        groups = Groups.of(result.data[colour].iloc[result.rows], colour) if colour else result.topics
        return replace(result, groups=groups)

    def _code(self, inputs: dict[str, Any]) -> str:
        return explorer_code(inputs)


Explorer = ExplorerPanel
