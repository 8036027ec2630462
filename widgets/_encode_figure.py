"""What there is to see in a table of vectors: their lengths, and how alike two texts drawn at random are."""

from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from widgets._theme import CATEGORIES, count, headline, layout

__all__ = ["random_cosines", "vectors_figure"]

_Array = npt.NDArray[np.floating[Any]]


def random_cosines(embeddings: _Array, seed: int = 0, pairs: int = 5000) -> _Array:
    """Return the cosines of random pairs of different rows of (n, dim) vectors, (pairs,); none of fewer than two."""
    number, draw = len(embeddings), np.random.default_rng(seed)
    if number < 2:
        return np.zeros(0, np.float32)
    first = draw.integers(number, size=pairs)
    second = (first + draw.integers(1, number, size=pairs)) % number
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    return np.asarray(np.einsum("ij,ij->i", unit[first], unit[second]))


def vectors_figure(norms: _Array, cosines: _Array) -> go.Figure:
    """Draw two histograms: the lengths of n vectors, and the cosines of random pairs of them."""
    low, high = float(norms.min()), float(norms.max())
    number, even = count(len(norms)), high - low < 1e-3 * max(high, 1e-12)
    lengths = f"All {number} vectors have length {high:.3g}" if even else f"Lengths run from {low:.3g} to {high:.3g}"
    usual = f"Two texts at random are {np.median(cosines):.2f} alike" if len(cosines) else ""
    figure = make_subplots(1, 2, horizontal_spacing=0.12)
    for place, (values, what, unit) in enumerate(
        ((norms, "length (norm) of a vector", "vector"), (cosines, "cosine of two random texts", "pair")), 1
    ):
        # Bars of given heights, so that a million vectors send 41 numbers to the browser.
        ends = (high - 0.05, high + 0.05) if place == 1 and even else None
        heights, edges = np.histogram(values, 41, ends)
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2, y=heights, width=np.diff(edges), row=1, col=place, showlegend=False,
            marker={"color": CATEGORIES[place - 1], "line": {"width": 0}},
            hovertemplate=f"{what} about %{{x:.3f}}<br><b>%{{y}} {unit}s</b><extra></extra>",
        )  # fmt: skip
        figure.update_xaxes(title=what, showgrid=False, row=1, col=place)
        figure.update_yaxes(title=f"{unit}s", row=1, col=place)
    figure.update_layout(layout(headline(lengths, usual), 316, {"l": 60, "r": 10, "t": 66, "b": 56}), bargap=0)
    return figure
