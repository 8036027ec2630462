"""Panels for Jupyter over the public names of ``workbench``. Names load on first use."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from widgets._figures import cluster_order, similarity_figure
    from widgets._slope_figure import metrics_figure, slope_figure
    from widgets.heatmap import HeatmapPanel
    from widgets.search import SearchPanel

__all__ = ["HeatmapPanel", "SearchPanel", "cluster_order", "metrics_figure", "similarity_figure", "slope_figure"]

_HOMES = {
    **dict.fromkeys(["cluster_order", "similarity_figure"], "_figures"),
    **dict.fromkeys(["metrics_figure", "slope_figure"], "_slope_figure"),
    "HeatmapPanel": "heatmap",
    "SearchPanel": "search",
}

__getattr__, __dir__ = lazy(__name__, _HOMES)
