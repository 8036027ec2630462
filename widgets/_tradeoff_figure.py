"""What fewer bytes cost, as a pure function: recall by size, and recall by time."""

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from widgets._theme import CATEGORIES, INK, headline, layout

if TYPE_CHECKING:
    from workbench.search import Tradeoff

__all__ = ["tradeoff_figure"]

_SYMBOLS = {"float32": "circle", "int8": "square", "binary": "diamond", "uint8": "square", "ubinary": "diamond"}


def tradeoff_figure(tradeoff: "Tradeoff", recall: float = 0.95) -> go.Figure:
    """Draw each setting by its bytes (left) and by its time (right), with the wanted ``recall`` as a line."""
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.05)
    for place, (precision, again) in enumerate(dict.fromkeys((row.precision, row.rescore) for row in tradeoff.rows)):
        rows = [row for row in tradeoff.rows if (row.precision, row.rescore) == (precision, again)]
        colour = CATEGORIES[list(_SYMBOLS).index(precision) % 3]
        name, labelled = f"{precision}{', re-scored' if again else ''}", again or precision == "float32"
        for column, x in enumerate(([row.bytes_per_vector for row in rows], [row.milliseconds for row in rows]), 1):
            figure.add_scatter(
                x=x, y=[row.recall for row in rows], text=[f"{row.dim} dim" for row in rows], row=1, col=column,
                customdata=[[row.bytes_per_vector, row.milliseconds] for row in rows],
                hovertemplate=f"{name}, %{{text}}<br>recall %{{y:.2f}}<br>%{{customdata[0]}} bytes, "
                "%{customdata[1]:.2f} ms<extra></extra>",
                mode="markers" if column == 2 else "lines+markers+text" if labelled else "lines+markers",
                textposition="top left", textfont={"size": 12, "color": INK}, cliponaxis=False,
                marker={"size": 11, "symbol": _SYMBOLS[precision] + ("" if again else "-open"), "color": colour},
                line={"color": colour, "width": 1, "dash": "solid" if again else "dot"},
                name=name, legendgroup=str(place), showlegend=column == 1,
            )  # fmt: skip
    figure.add_hline(y=recall, line={"color": INK, "dash": "dash", "width": 1})
    sizes = sorted({row.bytes_per_vector for row in tradeoff.rows})
    ends = [float(np.log10(sizes[0] * 0.25)), float(np.log10(sizes[-1] * 1.4))]
    bytes_axis = {"type": "log", "tickvals": sizes, "ticktext": [str(size) for size in sizes], "range": ends}
    chosen = tradeoff.best(recall)
    second = ", re-scored" if chosen.rescore else ""
    share = f"{chosen.bytes_per_vector / max(sizes):.0%}" if chosen.bytes_per_vector < max(sizes) else "all"
    title = f"{chosen.recall:.0%} of the best are found in {share} of the bytes"
    how = f"{chosen.precision}, {chosen.dim} dimensions{second}: the smallest that keeps a recall of {recall:g}"
    figure.update_layout(layout(headline(title, how), 446, {"l": 64, "r": 16, "t": 100, "b": 52}, keys=58))
    figure.update_xaxes(title="bytes per vector (log scale)", **bytes_axis, col=1)
    figure.update_xaxes(title="ms per query, on one thread", rangemode="tozero", col=2)
    figure.update_yaxes(range=[0, 1.12])
    figure.update_yaxes(title=f"recall@{tradeoff.k}", col=1)
    return figure
