"""Panels for Jupyter over the public names of ``workbench``. Names load on first use."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from widgets._figures import cluster_order, similarity_figure
    from widgets._live import LiveCurves
    from widgets.finetune import FinetunePanel
    from widgets.heatmap import HeatmapPanel

__all__ = ["FinetunePanel", "HeatmapPanel", "LiveCurves", "cluster_order", "similarity_figure"]

_HOMES = {
    "FinetunePanel": "finetune", "HeatmapPanel": "heatmap", "LiveCurves": "_live",
    "cluster_order": "_figures", "similarity_figure": "_figures",
}  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOMES)
