"""The inputs of the explorer and their form: data, models, the map, the clusters, and the knobs of both."""

from pathlib import Path
from typing import Any

import ipywidgets as widgets
import traitlets as tr

from widgets._data_panel import DataPanel
from widgets._exploration import Exploration, is_vectors
from widgets._fields import Choice, Column, Model
from widgets._models import model_name
from widgets._parts import styled
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


class ExplorerForm(DataPanel[Exploration]):
    """A panel with the inputs of the explorer; ``ExplorerPanel`` says what they are."""

    inputs = (
        "data", "column", "colour", "model", "embeddings", "after", "linked",
        "projection", "projection_settings", "clustering", "clustering_settings", "most", "seed",
    )  # fmt: skip
    labels_in = "colour"
    form = ("data", "column", "model", "projection", "clustering", "colour")
    live = ("colour",)

    colour = Column(none="cluster").tag(label="Colour by")
    model = Model("starter").tag(label="Model")
    embeddings = tr.Any(None)
    after = tr.Any(None)
    linked = tr.Bool(True).tag(label="Two maps", options=[("share their places", True), ("side by side", False)])
    projection = Choice("umap", {"umap": "UMAP", "pca": "PCA", "tsne": "t-SNE"}).tag(label="Map")
    projection_settings = tr.Dict()
    clustering = Choice("kmeans", list(_CLUSTERS)).tag(label="Clusters")
    clustering_settings = tr.Dict()
    most = tr.Int(100_000, min=2).tag(label="Most rows", max=10**9)
    seed = tr.Int(0, min=0).tag(label="Seed", max=2**31)

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

    def _controls(self) -> dict[str, Any]:
        self._knobs = {name: styled(widgets.HBox(), "wb-form") for name in _KNOBS}
        for name in _KNOBS:
            self._turn_knobs(name)
        after = widgets.Text(description="Compare with: another model, or .npy file", continuous_update=False)
        after.observe(lambda change: self.pick("after", change["new"].strip() or None), "value")
        return {
            **{f"{name} settings": knobs for name, knobs in self._knobs.items()},
            "after": after,
            **super()._controls(),
        }
