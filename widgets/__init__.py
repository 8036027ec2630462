"""Panels for Jupyter over the public names of ``workbench``. Names load on first use."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from widgets._data import as_frame
    from widgets._figures import cluster_order, comparison_figure, similarity_figure
    from widgets._live import LiveCurves
    from widgets._map_figure import Groups, map_figure
    from widgets._mining_figure import mining_figure
    from widgets._parts import facts_html, frame_html
    from widgets._picture_figure import picture_figure
    from widgets._slope_figure import metrics_figure, slope_figure
    from widgets._tradeoff_figure import tradeoff_figure
    from widgets.encode import EncodePanel
    from widgets.explorer import Explorer, ExplorerPanel
    from widgets.finetune import FinetunePanel
    from widgets.heatmap import HeatmapPanel
    from widgets.images import ImagePanel
    from widgets.mining import MiningPanel
    from widgets.quantization import QuantizationPanel
    from widgets.search import SearchPanel

__all__ = [
    "EncodePanel", "Explorer", "ExplorerPanel", "FinetunePanel", "Groups", "HeatmapPanel", "ImagePanel", "LiveCurves",
    "MiningPanel", "QuantizationPanel", "SearchPanel", "as_frame", "cluster_order", "comparison_figure", "facts_html",
    "frame_html", "map_figure", "metrics_figure", "mining_figure", "picture_figure", "similarity_figure",
    "slope_figure", "tradeoff_figure",
]  # fmt: skip

_HOMES = {
    "EncodePanel": "encode", "Explorer": "explorer", "ExplorerPanel": "explorer", "FinetunePanel": "finetune",
    "Groups": "_map_figure", "HeatmapPanel": "heatmap", "ImagePanel": "images", "LiveCurves": "_live",
    "MiningPanel": "mining", "QuantizationPanel": "quantization", "SearchPanel": "search", "as_frame": "_data",
    "cluster_order": "_figures", "comparison_figure": "_figures", "facts_html": "_parts", "frame_html": "_parts",
    "map_figure": "_map_figure", "metrics_figure": "_slope_figure", "mining_figure": "_mining_figure",
    "picture_figure": "_picture_figure", "similarity_figure": "_figures", "slope_figure": "_slope_figure",
    "tradeoff_figure": "_tradeoff_figure",
}  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOMES)
