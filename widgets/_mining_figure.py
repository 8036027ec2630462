"""Scores of mined pairs and what a threshold takes of them, as a pure function."""

from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from widgets._theme import CATEGORIES, INK, count, headline, layout

__all__ = ["mining_figure", "taken_at"]

_BINS = 50


def taken_at(
    scores: npt.NDArray[Any], threshold: float, true: npt.NDArray[np.bool_] | None = None, positives: int = 0
) -> dict[str, float]:
    """Return how many pairs score ``threshold`` or more and, where it is known which are true, how right that is."""
    taken = scores >= threshold
    found: dict[str, float] = {"pairs": int(taken.sum())}
    if true is not None:
        hits = int((taken & true).sum())
        precision, recall = hits / max(found["pairs"], 1), hits / max(positives, 1)
        found |= {"precision": precision, "recall": recall, "F1": 2 * hits / max(found["pairs"] + positives, 1)}
    return found


def mining_figure(
    scores: Any, threshold: float, true: Any = None, positives: int = 0, score: str = "cosine similarity"
) -> go.Figure:
    """Draw how the scores of mined pairs spread and, where the true ones are known, precision and recall by threshold.

    Args:
        scores: (n,) of the pairs.
        threshold: what a pair must score to be taken.
        true: (n,) whether each pair is one of the ``positives`` true ones; None: nobody knows.
        positives: how many true pairs there are, found or not.
        score: what the scores are.
    """
    scores = np.asarray(scores, dtype=float)
    true = None if true is None else np.asarray(true, dtype=bool)
    edges, read = np.histogram_bin_edges(scores, _BINS), taken_at(scores, threshold, true, positives)
    rows = 1 if true is None else 2
    figure = make_subplots(rows, 1, shared_xaxes=True, vertical_spacing=0.08, row_heights=[1] if rows == 1 else [3, 2])
    groups = {"pairs": scores} if true is None else {"other pairs": scores[~true], "true pairs": scores[true]}
    for place, (name, values) in enumerate(groups.items()):
        heights = np.histogram(values, edges)[0]
        figure.add_bar(
            x=(edges[1:] + edges[:-1]) / 2, y=100 * heights / max(len(values), 1), customdata=heights, opacity=0.65,
            name=f"{name} ({count(len(values))})", marker_color=CATEGORIES[4 - 3 * place], row=1, col=1,
            marker_pattern={"shape": ("", "/")[place], "fillmode": "overlay", "fgcolor": "white", "solidity": 0.2},
            hovertemplate=f"{name} at %{{x:.2f}}<br>%{{customdata}} of them<extra></extra>",
        )  # fmt: skip
    taken = f"{count(int(read['pairs']))} of {count(len(scores))} pairs score {threshold:.2f} or more"
    title = headline(taken)
    if true is not None:
        curves = [taken_at(scores, edge, true, positives) for edge in edges]
        for name, dash, colour in (("precision", "solid", CATEGORIES[2]), ("recall", "dash", CATEGORIES[3])):
            figure.add_scatter(
                x=edges, y=[values[name] for values in curves], mode="lines", name=name, row=2, col=1,
                line={"dash": dash, "color": colour}, hovertemplate=f"{name} at %{{x:.2f}}: %{{y:.2f}}<extra></extra>",
            )  # fmt: skip
        finding = f"{read['precision']:.0%} of them right, {read['recall']:.0%} of the true ones found"
        title = headline(taken, finding)
    figure.add_vline(x=threshold, line={"color": INK, "dash": "dot", "width": 2})
    look = layout(title, 276 + 160 * rows, {"l": 60, "r": 16, "t": 100, "b": 48}, keys=58)
    figure.update_layout(look, barmode="overlay", bargap=0)
    figure.update_xaxes(title=score, row=rows)
    figure.update_yaxes(title="% of these pairs", row=1)
    if rows == 2:
        figure.update_yaxes(range=[0, 1.05], row=2)
    return figure
