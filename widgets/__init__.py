"""Panels for Jupyter over the public names of ``workbench``. Names load on first use."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from widgets.heatmap import HeatmapPanel

__all__ = ["HeatmapPanel"]

__getattr__, __dir__ = lazy(__name__, {"HeatmapPanel": "heatmap"})
