"""Panels for Jupyter over the public names of ``workbench``. Names load on first use."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from widgets._data import as_frame
    from widgets._figures import cluster_order, comparison_figure, similarity_figure
    from widgets._map_figure import Groups, map_figure
    from widgets.encode import EncodePanel
    from widgets.explorer import Explorer, ExplorerPanel
    from widgets.heatmap import HeatmapPanel

__all__ = [
    "EncodePanel", "Explorer", "ExplorerPanel", "Groups", "HeatmapPanel", "as_frame", "cluster_order",
    "comparison_figure", "map_figure", "similarity_figure",
]  # fmt: skip

_HOMES = {
    "EncodePanel": "encode", "HeatmapPanel": "heatmap", "as_frame": "_data", "cluster_order": "_figures",
    "comparison_figure": "_figures", "similarity_figure": "_figures",
    "Explorer": "explorer", "ExplorerPanel": "explorer", "Groups": "_map_figure", "map_figure": "_map_figure",
}  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOMES)
