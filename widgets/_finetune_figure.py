"""What training did, as one figure: how loss and metric went, and where the texts moved on a map of both models."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from widgets._curves import curves_figure
from widgets._theme import CATEGORIES, INK, OTHER, in_figure, wrap

__all__ = ["HEIGHT", "finetune_figure"]

HEIGHT = 440  # pixels
_ARROWS = 12  # texts whose way is drawn


def finetune_figure(
    rows: Sequence[Mapping[str, float]],
    texts: Sequence[str],
    before: npt.NDArray[Any],
    after: npt.NDArray[Any],
    kept: npt.NDArray[Any],
) -> go.Figure:
    """Draw the curves of a run on the left, and on the right a map of n texts before and after it.

    Args:
        rows: what each step logged: ``workbench.training.logged_rows``.
        texts: the n texts.
        before: (n, 2) places before training, of a map that both models share: ``workbench.projection.aligned``.
        after: (n, 2) places after it.
        kept: (n,) share of its neighbours that a text has kept; the ways of those that kept least are drawn.
    """
    figure = curves_figure(rows, height=HEIGHT)
    hover = ["<br>".join(map(in_figure, wrap(text))) for text in texts]
    moved = np.argsort(kept, kind="stable")[:_ARROWS]
    ways = np.full((3 * len(moved), 2), np.nan)  # a gap after each
    ways[0::3], ways[1::3] = before[moved], after[moved]
    on_map = {"xaxis": "x2", "yaxis": "y3", "customdata": [*zip(hover, kept.tolist(), strict=True)]}
    on_map["hovertemplate"] = "%{customdata[0]}<br>kept %{customdata[1]:.0%} of its neighbours<extra></extra>"
    dot = {"size": 7 if len(texts) < 500 else 5}
    figure.add_scatter(
        x=before[:, 0], y=before[:, 1], mode="markers", name="before", **on_map,
        marker={**dot, "symbol": "circle-open", "color": OTHER},
    )  # fmt: skip
    figure.add_scatter(
        x=after[:, 0], y=after[:, 1], mode="markers", name="after", **on_map,
        marker={**dot, "symbol": "diamond", "color": CATEGORIES[2], "opacity": 0.75},
    )  # fmt: skip
    figure.add_scatter(
        x=ways[:, 0], y=ways[:, 1], mode="lines", name="changed most", xaxis="x2", yaxis="y3",
        line={"color": INK, "width": 1}, hoverinfo="skip",
    )  # fmt: skip
    hidden = {"visible": False, "domain": [0, 1]}
    return figure.update_layout(
        xaxis={"domain": [0, 0.44]}, xaxis2={**hidden, "domain": [0.54, 1], "anchor": "y3"},
        yaxis2_anchor="x", yaxis3={**hidden, "anchor": "x2"}, legend={"entrywidth": 0},
    )  # fmt: skip
