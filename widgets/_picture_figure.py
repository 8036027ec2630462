"""Found pictures: a grid of thumbnails for the page, with words for those who do not see them, and a plain figure."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from widgets._theme import cut, in_figure, in_html, layout

__all__ = ["picture_figure", "picture_grid", "thumbnail"]

_SIDE = 128  # pixels of a thumbnail, at most
_ROW = 6  # pictures in a row of the figure
_CELL = 190  # pixels of a row of the figure


def thumbnail(image: Any) -> str:
    """Return a ``PIL.Image.Image`` as the data URI of a small PNG: at most 128 by 128 pixels, 70,000 letters."""
    small, file = image.convert("RGB"), io.BytesIO()
    small.thumbnail((_SIDE, _SIDE))
    small.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def picture_grid(thumbnails: Sequence[str], scores: Sequence[float], captions: Sequence[str]) -> str:
    """Return an ordered list in HTML: each picture with its rank, score and caption, which is its alternative text."""
    cells = (
        f"<li><img src='{in_html(uri)}' alt='{in_html(cut(caption, 200))}'>"
        f"<span><b>{rank}</b> · {score:.2f}</span><bdi title='{in_html(cut(caption, 400))}'>"
        f"{in_html(cut(caption, 60))}</bdi></li>"
        for rank, (uri, score, caption) in enumerate(zip(thumbnails, scores, captions, strict=True), 1)
    )
    return f"<ol class='wb-pictures'>{''.join(cells)}</ol>"


def picture_figure(
    thumbnails: Sequence[str], scores: Sequence[float], captions: Sequence[str], title: str
) -> go.Figure:
    """Return the same grid as a plain figure, for reports: hover over a picture for its whole caption."""
    rows = -(-len(thumbnails) // _ROW)
    places = [(number % _ROW, rows - 1 - number // _ROW) for number in range(len(thumbnails))]
    figure = go.Figure(layout=layout(in_figure(title), 60 + _CELL * rows, {"l": 4, "r": 4, "t": 48, "b": 4}))
    hover = [f"{score:.4f}<br>{in_figure(cut(caption, 200))}" for score, caption in zip(scores, captions, strict=True)]
    figure.add_scatter(
        x=[x + 0.5 for x, _ in places], y=[y + 0.6 for _, y in places], mode="markers", hovertext=hover,
        hoverinfo="text", marker={"size": 60, "opacity": 0}, showlegend=False,
    )  # fmt: skip
    for (x, y), uri, score, caption in zip(places, thumbnails, scores, captions, strict=True):
        figure.add_layout_image(
            source=uri, x=x + 0.04, y=y + 0.96, sizex=0.92, sizey=0.7, xref="x", yref="y", xanchor="left", yanchor="top"
        )
        words = f"{score:.2f} · {in_figure(cut(caption, 20))}"
        figure.add_annotation(x=x + 0.5, y=y + 0.13, text=words, showarrow=False, font={"size": 12})
    figure.update_xaxes(visible=False, range=[0, _ROW], fixedrange=True)
    figure.update_yaxes(visible=False, range=[0, rows], fixedrange=True)
    return figure
