"""Figures as pure functions: numbers in, a plain plotly figure out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgets._theme import DIVERGING, SEQUENTIAL, cut, in_figure, ink_on, layout, wrap
from workbench.errors import choose

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["SIMILARITIES", "cluster_order", "similarity_figure"]

_Matrix = npt.NDArray[np.floating[Any]]

SIMILARITIES = {
    "cosine": "cosine similarity",
    "dot": "dot product",
    "euclidean": "negative Euclidean distance",
    "manhattan": "negative Manhattan distance",
}
_WRITTEN = 12  # up to so many texts, the value stands in each cell
_SIDE = 460  # pixels of the square of cells


def cluster_order(similarities: _Matrix) -> npt.NDArray[np.intp]:
    """Return an order of the rows of an (n, n) similarity matrix that puts similar ones side by side.

    The order is that of the leaves of a tree of average linkage; up to 200 rows its branches are turned so that
    neighbours fit best (Bar-Joseph et al., 2001).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    apart = similarities.max() - (similarities + similarities.T) / 2
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), "average", optimal_ordering=len(apart) <= 200)
    return np.asarray(leaves_list(tree), dtype=np.intp)


def similarity_figure(
    texts: Sequence[str], similarities: _Matrix, function: str = "cosine", order: npt.NDArray[np.intp] | None = None
) -> "go.Figure":
    """Draw the (n, n) similarities of n texts as a square of colours, with rows and columns in ``order``.

    Cosine has the same scale in every figure, so that two can be compared: 0 to 1, or -1 to 1 where a value is below
    -0.1. The scale of the other functions fits the values. Texts are cut and escaped.
    """
    import plotly.graph_objects as go
    from plotly.colors import sample_colorscale

    measure, number = choose("similarity function", function, SIMILARITIES), len(texts)
    order = np.arange(number) if order is None else order
    values = np.asarray(similarities, dtype=np.float32)[np.ix_(order, order)]  # (n, n)
    low, high, ticks = _scale(values, function)
    digits = 2 if max(-low, high) < 10 else 1 if max(-low, high) < 1000 else 0
    colours = DIVERGING if low == -high else SEQUENTIAL
    height = min(80 * number, _SIDE) + 140
    # A category's name is the text that its row shows on hover, so that n texts travel to the browser and not n².
    names = [f"<b>{row + 1}</b>  {'<br>'.join(map(in_figure, wrap(texts[row])))}" for row in order]
    gap = 1 if number <= 60 else 0
    legend = go.heatmap.ColorBar(
        orientation="h", thickness=10, lenmode="pixels", len=360, outlinewidth=0,
        xref="container", x=0, xanchor="left", xpad=40, yref="container", y=1 - 62 / height, yanchor="top", ypad=0,
        tickvals=list(ticks), ticktext=list(ticks.values()), tickfont_size=12,
    )  # fmt: skip
    heatmap = go.Heatmap(
        z=values, x=names, y=names, zmin=low, zmax=high, colorscale=colours, colorbar=legend,
        xgap=gap, ygap=gap,
        hovertemplate=f"%{{y}}<br>%{{x}}<br><b>{measure} %{{z:.{digits}f}}</b><extra></extra>",
    )  # fmt: skip
    figure = go.Figure(heatmap)
    if number <= _WRITTEN:
        cells = values.ravel()
        shades = sample_colorscale(colours, np.clip((cells - low) / (high - low), 0, 1))
        grid = np.array(names, dtype=object)
        figure.add_scatter(
            x=np.tile(grid, number), y=np.repeat(grid, number), mode="text", hoverinfo="skip",
            text=[_number(float(value), digits) for value in cells],
            textfont={"size": 13, "color": [ink_on(shade) for shade in shades]},
        )  # fmt: skip
    axis = {"type": "category", "constrain": "domain", "showgrid": False, "ticks": "", "tickfont": {"size": 12}}
    rows, columns = _spread(number, 26), _spread(number, 345 // (10 + 7 * len(str(number))))
    labels = [f"\u2068{in_figure(cut(texts[order[place]]))}\u2069  <b>{order[place] + 1}</b>" for place in rows]
    # Plotly measures the labels by drawing everything twice: worth it for few cells, a second lost for 4 million.
    left = 10 if (measured := number <= 100) else 300
    figure.update_layout(
        layout(_finding(texts, similarities, digits), height, {"l": left, "r": 10, "t": 128, "b": 12, "pad": 4}),
        xaxis={**axis, "side": "top", "constraintoward": "left", "tickangle": 0},
        yaxis={**axis, "autorange": "reversed", "constraintoward": "top", "scaleanchor": "x", "automargin": measured},
    )
    figure.update_xaxes(
        tickvals=[names[place] for place in columns], ticktext=[f"<b>{order[place] + 1}</b>" for place in columns]
    )
    figure.update_yaxes(tickvals=[names[place] for place in rows], ticktext=labels)
    return figure


def _finding(texts: Sequence[str], similarities: _Matrix, digits: int) -> str:
    """The title: which two texts are most alike."""
    apart = np.where(np.tri(len(texts), dtype=bool), -np.inf, similarities)
    first, second = (int(place) for place in np.unravel_index(np.argmax(apart), apart.shape))
    pair = " and ".join(f"“\u2068{in_figure(cut(texts[place], 36))}\u2069”" for place in (first, second))
    finding = f"Texts {first + 1} and {second + 1} are most alike, at {_number(apart[first, second], digits)}"
    return f"<b>{finding}</b><br><span style='font-size:13px'>{pair}</span>"


def _scale(values: _Matrix, function: str) -> tuple[float, float, dict[float, str]]:
    """The lowest and the highest value that have a colour, and what to write beside them."""
    measure, lowest, highest = SIMILARITIES[function], float(values.min()), float(values.max())
    if function in ("euclidean", "manhattan"):
        end = _round_up(-lowest)
        return -end, 0.0, {-end: f"\u2212{end:g} far apart", -end / 2: measure, 0.0: "0 same"}
    end = 1.0 if function == "cosine" else _round_up(max(highest, -lowest))
    top = f"{end:g} same" if function == "cosine" else f"{end:g}"
    if lowest > -0.1 * end:  # models give values just below zero for unrelated texts: no reason for another scale
        return 0.0, end, {0.0: "≤ 0 unrelated" if lowest < 0 else "0 unrelated", end / 2: measure, end: top}
    return -end, end, {-end: f"\u2212{end:g} opposite", 0.0: f"0 · {measure}", end: top}


def _round_up(value: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(max(value, 1e-6)))
    return float(next(power * step for step in (1, 2, 2.5, 5, 10) if power * step >= value * (1 - 1e-6)))


def _spread(number: int, most: int) -> range:
    """Every k-th of ``number`` places, at most ``most`` of them."""
    return range(0, number, -(-number // most))


def _number(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "\u2212")
