"""The inputs of the explorer and their form: data, models, the map, the clusters, and the knobs of both."""

from pathlib import Path
from typing import Any

import ipywidgets as widgets
import traitlets as tr

from widgets._exploration import is_vectors
from widgets._parts import styled
from widgets._pickers import DataPanel, Model, ModelPicker, model_name
from widgets._theme import cut
from workbench.errors import WorkbenchError, choose
from workbench.vectors import as_matrix

__all__ = ["ExplorerForm"]

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


class ExplorerForm(DataPanel):
    """A panel with the inputs of the explorer; ``ExplorerPanel`` says what they are."""

    inputs = (
        "data", "column", "colour", "model", "embeddings", "after", "linked",
        "projection", "projection_settings", "clustering", "clustering_settings", "most", "seed",
    )  # fmt: skip
    labels_in = "colour"
    live = ("colour",)
    columns = ("column", "colour")

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

    @property
    def parameters(self) -> dict[str, Any]:
        """The inputs as values that JSON can hold; vectors that were given as an object are lists of numbers."""
        values = super().parameters
        for name in ("embeddings", "after"):
            source = values[name]
            if source is not None and not isinstance(source, str):
                values[name] = as_matrix(source).tolist() if is_vectors(source) else model_name(source)
        return values

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
        self.link(colour=self._colours, projection=maps, clustering=ways, linked=pairs, most=most, seed=seed)
        after.observe(lambda change: self.pick("after", change["new"].strip() or None), "value")
        for name in _KNOBS:
            self._turn_knobs(name)
        shown = [sets, columns, self._models.menu, maps, ways, self._colours]
        return shown, [*self._knobs.values(), self._models.other, after, pairs, most, seed, upload, *paths]
