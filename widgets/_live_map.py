"""A map that answers: rows held by a lasso, the row clicked on, rows kept in colour, and rings around some of them."""

from collections.abc import Callable, Sequence
from typing import Any

import anywidget
import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import traitlets as tr

__all__ = ["LiveMap", "Widener"]

_RING = "#d1242f"


class Widener(anywidget.AnyWidget):
    """Lets figures beside it follow the width of the page; a live one is drawn before it knows how wide it may be."""

    _esm = """
    export default { render({ el }) {
        const observer = new ResizeObserver(() => window.dispatchEvent(new Event("resize")));
        observer.observe(el);
        return () => observer.disconnect();
    } };
    """


class LiveMap(go.FigureWidget):
    """A figure of ``map_figure`` that passes on what the mouse picked, as the numbers of the points' ``customdata``.

    Args:
        figure: one map, or two of the same rows.
        held: is given the rows inside a lasso or a box, in the order of their numbers; None when it is taken away.
        clicked: is given the row of a point.
    """

    def __init__(
        self, figure: go.Figure, held: Callable[[list[int] | None], None], clicked: Callable[[int], Any]
    ) -> None:
        sides = dict.fromkeys((trace.xaxis, trace.yaxis) for trace in figure.data)
        kind = type(figure.data[0])  # what is drawn by WebGL lies above all that is not
        rings = [
            kind(
                x=[], y=[], xaxis=x, yaxis=y, mode="markers", hoverinfo="skip", showlegend=False,
                marker={"symbol": "circle-open", "size": 15, "color": _RING, "line": {"width": 2}},
                unselected_marker_opacity=1,
            )
            for x, y in sides
        ]  # fmt: skip
        super().__init__([*figure.data, *rings], figure.layout)
        self._held, self._rings, self._names = held, self.data[-len(rings) :], self.layout.annotations
        self._rows = [np.asarray(trace.customdata, np.int64) for trace in figure.data]
        self._inside: list[npt.NDArray[np.int64]] = []
        self.update_layout(dragmode="lasso", modebar_remove=["zoomin", "zoomout", "autoscale", "sendcharttocloud"])
        self._config = {"displaylogo": False, "responsive": True}
        for rows, trace in zip(self._rows, self.data, strict=False):
            trace.on_selection(lambda trace, points, selector, rows=rows: self._inside.append(rows[points.point_inds]))
            trace.on_click(lambda trace, points, state, rows=rows: _each(clicked, rows[points.point_inds]))
        # An event reaches every trace in turn; at the last one, which is a ring's, all is known.
        self.data[-1].on_selection(lambda trace, points, selector: self._pass_on(selector))
        self.data[-1].on_deselect(lambda trace, points: held(None))

    def keep(self, rows: Sequence[int] | None) -> None:
        """Keep these rows in colour and turn the others grey; None: all in colour. Lasso and box are taken away."""
        chosen = None if rows is None else np.asarray(rows, np.int64)
        inside = [None if chosen is None else np.flatnonzero(np.isin(own, chosen)).astype("i4") for own in self._rows]
        inside += [None] * len(self._rings)
        for properties, kept in zip(self._data, inside, strict=True):
            properties["selectedpoints"] = kept
        self._send_relayout_msg({"selections": []})
        self._colour()

    def _colour(self) -> None:
        """Send what is kept in colour; plotly would leave out what it takes to be there already."""
        kept = [properties["selectedpoints"] for properties in self._data]
        self._send_restyle_msg({"selectedpoints": kept}, list(range(len(kept))))

    def ring(self, places: Sequence[npt.NDArray[np.float32]], labels: Sequence[str]) -> None:
        """Draw rings, with a label beside each, at (k, 2) places of each map."""
        beside: list[dict[str, Any]] = []  # as annotations, since WebGL writes under its points
        with self.batch_update():
            for ring, points in zip(self._rings, places, strict=True):
                ring.x, ring.y = points[:, 0], points[:, 1]
                beside += [
                    {
                        "x": float(x), "y": float(y), "xref": ring.xaxis or "x", "yref": ring.yaxis or "y",
                        "text": f"<b>{label}</b>", "xshift": 15, "yshift": 8, "showarrow": False, "name": "label",
                        "font": {"size": 13, "color": _RING}, "bgcolor": "rgba(255,255,255,0.82)", "borderpad": 0,
                    }
                    for label, (x, y) in zip(labels, points, strict=True)
                ]  # fmt: skip
            self.layout.annotations = (*self._names, *beside)

    def _pass_on(self, selector: Any) -> None:
        inside, self._inside = self._inside, []
        if selector is None:  # the browser has taken a lasso away, and then turned everything grey
            self._colour()
        else:
            self._held(np.unique(np.concatenate(inside)).tolist())

    @tr.observe("_js2py_pointsCallback")
    def _handler_js2py_pointsCallback(self, change: Any) -> None:  # noqa: N802 - plotly's name for it
        """Answer an event of the browser without telling it of each trace what it has just told itself."""
        with self.batch_update():
            super()._handler_js2py_pointsCallback(change)
            for edits in self._batch_trace_edits.values():
                edits.pop("selectedpoints", None)


def _each(function: Callable[[int], Any], rows: npt.NDArray[np.int64]) -> None:
    for row in rows[:1].tolist():  # points that lie over each other are one click
        function(row)
