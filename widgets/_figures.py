"""Figures as pure functions: numbers in, a plain plotly figure out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from widgets._theme import DIVERGING, SEQUENTIAL, cut, headline, in_figure, ink_on, layout, wrap
from workbench.errors import choose

__all__ = ["SIMILARITIES", "cluster_order", "comparison_figure", "most_alike", "similarity_figure"]

_Matrix = npt.NDArray[np.floating[Any]]
_Order = npt.NDArray[np.intp]

SIMILARITIES = {
    "cosine": "cosine similarity",
    "dot": "dot product",
    "euclidean": "negative Euclidean distance",
    "manhattan": "negative Manhattan distance",
}
_WRITTEN = 12  # up to so many texts, the value stands in each cell
_LEADING = 20  # most similar pairs on which the four similarities may agree
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
    texts: Sequence[str],
    similarities: _Matrix,
    function: str = "cosine",
    order: _Order | None = None,
    *,
    documents: Sequence[str] | None = None,
    document_order: _Order | None = None,
    threshold: float | None = None,
) -> go.Figure:
    """Draw the (n, m) similarities of n texts to m documents, or to each other, as cells of colours.

    Cosine has the same scale in every figure, so that two can be compared: 0 to 1, or -1 to 1 where a value is below
    -0.1. The scale of the other functions fits the values. Texts are cut and escaped.

    Args:
        texts: n texts, one for each row.
        similarities: (n, m), in the order of the texts and documents.
        function: what they were made with: "cosine", "dot", "euclidean" or "manhattan".
        order: (n,) the texts in the order of the rows; None: as given.
        documents: m texts, one for each column; None: the texts themselves.
        document_order: (m,) likewise for the columns; without documents, they have the order of the rows.
        threshold: cells below it stay empty.
    """
    measure, number = choose("similarity function", function, SIMILARITIES), len(texts)
    across = texts if documents is None else documents
    order = np.arange(number) if order is None else order
    if documents is None:
        document_order = order
    elif document_order is None:
        document_order = np.arange(len(across))
    values = np.asarray(similarities, dtype=np.float32)[np.ix_(order, document_order)]  # (n, m)
    low, high, ticks = _scale(values, function)
    digits = 2 if max(-low, high) < 10 else 1 if max(-low, high) < 1000 else 0
    colours = DIVERGING if low == -high else SEQUENTIAL
    height = min(80 * number, _SIDE) + 140
    # A category's name is the text that its row shows on hover, so that n texts travel to the browser and not n².
    down, right = _names(texts, order), _names(across, document_order)
    shown = values if threshold is None else np.where(values < threshold, np.float32(np.nan), values)
    gap = 1 if max(values.shape) <= 60 else 0
    legend = go.heatmap.ColorBar(
        orientation="h", thickness=10, lenmode="pixels", len=360, outlinewidth=0,
        xref="container", x=0, xanchor="left", xpad=40, yref="container", y=1 - 62 / height, yanchor="top", ypad=0,
        tickvals=list(ticks), ticktext=list(ticks.values()), tickfont_size=12, ticklabeloverflow="allow",
    )  # fmt: skip
    heatmap = go.Heatmap(
        z=shown, x=right, y=down, zmin=low, zmax=high, colorscale=colours, colorbar=legend,
        xgap=gap, ygap=gap, hoverongaps=False,
        hovertemplate=f"%{{y}}<br>%{{x}}<br><b>{measure} %{{z:.{digits}f}}</b><extra></extra>",
    )  # fmt: skip
    figure = go.Figure(heatmap)
    if max(values.shape) <= _WRITTEN:
        rows, columns = np.nonzero(np.isfinite(shown))
        cells = values[rows, columns]
        shades = sample_colorscale(colours, np.clip((cells - low) / (high - low), 0, 1)) if len(cells) else []
        figure.add_scatter(
            x=np.array(right, dtype=object)[columns], y=np.array(down, dtype=object)[rows], mode="text",
            text=[_number(float(value), digits) for value in cells], hoverinfo="skip",
            textfont={"size": 13, "color": [ink_on(shade) for shade in shades]},
        )  # fmt: skip
    axis = {"type": "category", "constrain": "domain", "showgrid": False, "tickfont": {"size": 12}}
    rows_named, columns_named = _spread(number, 26), _spread(len(across), 345 // (10 + 7 * len(str(len(across)))))
    labels = [f"\u2068{in_figure(cut(texts[order[row]]))}\u2069  <b>{order[row] + 1}</b>" for row in rows_named]
    # Plotly measures the labels by drawing everything twice: worth it for few cells, a second lost for 4 million.
    left = 10 if (measured := max(values.shape) <= 100) else 300
    square = {"scaleanchor": "x"} if 1 / 3 <= number / len(across) <= 3 else {}
    title = _finding(texts, documents, similarities, digits)
    figure.update_layout(
        layout(title, height, {"l": left, "r": 10, "t": 128, "b": 12, "pad": 4}),
        xaxis={**axis, "side": "top", "constraintoward": "left", "tickangle": 0},
        yaxis={**axis, "autorange": "reversed", "constraintoward": "top", "automargin": measured, **square},
    )
    figure.update_xaxes(
        tickvals=[right[place] for place in columns_named],
        ticktext=[f"<b>{document_order[place] + 1}</b>" for place in columns_named],
    )
    figure.update_yaxes(tickvals=[down[row] for row in rows_named], ticktext=labels)
    return figure


def comparison_figure(
    embeddings: _Matrix,
    others: _Matrix | None = None,
    order: _Order | None = None,
    document_order: _Order | None = None,
) -> go.Figure:
    """Draw the four similarities of (n, dim) vectors, to (m, dim) others or to each other, side by side.

    Each has a scale of its own, from its lowest value to its highest; the title says how far they agree on the most
    similar pairs.
    """
    from workbench.similarity import SimilarityFunction

    across, symmetric = (embeddings, True) if others is None else (others, False)
    order = np.arange(len(embeddings)) if order is None else order
    document_order = order if symmetric else np.arange(len(across)) if document_order is None else document_order
    best, figure = [], make_subplots(2, 2, subplot_titles=list(SIMILARITIES.values()), vertical_spacing=0.09)
    pairs = np.flatnonzero(~np.tri(len(embeddings), dtype=bool) if symmetric else np.ones((len(order), len(across))))
    for place, function in enumerate(SIMILARITIES):
        values = SimilarityFunction.to_similarity_fn(function)(embeddings, across).numpy()
        best.append(set(pairs[np.argsort(-values.ravel()[pairs], kind="stable")[:_LEADING]].tolist()))
        figure.add_heatmap(
            z=values[np.ix_(order, document_order)], x=[str(column + 1) for column in document_order],
            y=[str(row + 1) for row in order], colorscale=SEQUENTIAL, showscale=False,
            hovertemplate=f"texts %{{y}} and %{{x}}<br><b>{SIMILARITIES[function]} %{{z:.3g}}</b><extra></extra>",
            row=place // 2 + 1, col=place % 2 + 1,
        )  # fmt: skip
    agreed, leading = len(set.intersection(*best)), min(_LEADING, len(pairs))
    title = headline(f"The four agree on {agreed} of the {leading} most similar pairs")
    figure.update_layout(layout(title, 640, {"l": 40, "r": 10, "t": 76, "b": 20}))
    figure.update_xaxes(type="category", showgrid=False, nticks=12)
    figure.update_yaxes(type="category", showgrid=False, nticks=12, autorange="reversed")
    return figure


def most_alike(similarities: _Matrix, symmetric: bool) -> tuple[int, int]:
    """Return row and column of the highest of (n, m) similarities; if ``symmetric``, of two different texts."""
    apart = np.where(np.tri(len(similarities), dtype=bool), -np.inf, similarities) if symmetric else similarities
    first, second = np.unravel_index(np.argmax(apart), np.shape(apart))
    return int(first), int(second)


def _names(texts: Sequence[str], order: _Order) -> list[str]:
    return [f"<b>{place + 1}</b>  {'<br>'.join(map(in_figure, wrap(texts[place])))}" for place in order]


def _finding(texts: Sequence[str], documents: Sequence[str] | None, similarities: _Matrix, digits: int) -> str:
    """The title: which two texts are most alike."""
    symmetric = documents is None
    first, second = most_alike(similarities, symmetric)
    other = (texts if documents is None else documents)[second]
    pair = " and ".join(f"“\u2068{in_figure(cut(text, 36))}\u2069”" for text in (texts[first], other))
    which = f"Texts {first + 1} and {second + 1}" if symmetric else f"Text {first + 1} and document {second + 1}"
    finding = f"{which} are most alike, at {_number(similarities[first, second], digits)}"
    return headline(finding, pair)


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
