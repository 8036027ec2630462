"""Panels for Jupyter over the public names of ``workbench``. Names load on first use."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from widgets._data import as_frame
    from widgets._figures import cluster_order, comparison_figure, similarity_figure
    from widgets._live import LiveCurves
    from widgets.encode import EncodePanel
    from widgets.finetune import FinetunePanel
    from widgets.heatmap import HeatmapPanel

__all__ = [
    "EncodePanel", "FinetunePanel", "HeatmapPanel", "LiveCurves", "as_frame", "cluster_order", "comparison_figure",
    "similarity_figure",
]  # fmt: skip

_HOMES = {
    "EncodePanel": "encode", "FinetunePanel": "finetune", "HeatmapPanel": "heatmap", "LiveCurves": "_live",
    "as_frame": "_data", "cluster_order": "_figures", "comparison_figure": "_figures",
    "similarity_figure": "_figures",
}  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOMES)
