"""Maps of texts as pure functions: places and groups in, a plain plotly figure out."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from widgets._theme import CATEGORIES, OTHER, SYMBOLS, count, cut, headline, in_figure, layout, wrap

if TYPE_CHECKING:
    from workbench.clustering import Clusters
    from workbench.projection import Projection

__all__ = ["GL_FROM", "Groups", "hover_texts", "label_shifts", "map_figure"]

_Floats = npt.NDArray[np.float32]
_Rows = npt.NDArray[np.int64]

GL_FROM = 3000  # points from which on WebGL draws them; below, SVG is sharper and needs no context
_HOVER_LETTERS = 1_200_000  # in all hover texts together, so that the message to the browser stays bounded
_WIDEST, _NARROWEST = 240, 60  # letters of one hover text; where fewer are left, a point shows no text until clicked
_HEIGHT, _WIDTH = 470, 640  # pixels of the maps; a panel may be wider, but labels are laid out for a narrow one
_LINE, _LETTER = 19, 6.8  # pixels of a label
_ABOVE = 14  # pixels that a label stands above its medoid, so as not to hide a small cluster
_AXES = {
    "showgrid": False, "showticklabels": False, "showline": True, "mirror": True, "linecolor": "rgba(128,128,128,0.35)",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Groups:
    """What points are coloured by: a number for each row, -1 for none, and the names that the numbers stand for."""

    codes: _Rows  # (n,)
    names: list[str]  # the largest group first
    what: str  # "cluster", or the name of a column

    @classmethod
    def of(cls, values: Any, what: str) -> "Groups":
        """Group rows by their value, the most frequent first; more than 8 different numbers become 5 ranges."""
        values = pd.Series(values).reset_index(drop=True)
        if pd.api.types.is_numeric_dtype(values) and values.nunique() > len(CATEGORIES):
            values = pd.qcut(values, 5, duplicates="drop")
        names = values.astype("object").map(str, na_action="ignore")
        known = names.value_counts().index  # of equal ones the first to appear
        return cls(pd.Categorical(names, known).codes.astype(np.int64), known.tolist(), what)

    @classmethod
    def topics(cls, clusters: "Clusters", texts: Sequence[str]) -> "Groups":
        """Group rows by their cluster, which is called by its number and the three words that set it apart."""
        from workbench.clustering import topic_words

        words = topic_words(clusters, texts, 3)
        names = [" ".join([str(place), ", ".join(word for word, _ in best)]) for place, best in enumerate(words, 1)]
        return cls(clusters.labels, [name.strip() for name in names], "cluster")

    def rows(self, code: int) -> _Rows:
        """Return the rows of one group."""
        return np.flatnonzero(self.codes == code)


def map_figure(
    maps: "Mapping[str, Projection]",
    groups: Groups,
    texts: Sequence[str] = (),
    *,
    rows: _Rows | None = None,
    total: int | None = None,
    kept: float | None = None,
    linked: bool = False,
) -> go.Figure:
    """Draw a map, or two side by side, with a trace for each of the 8 largest groups, one for the others, one for none.

    Args:
        maps: a name of each map, shown where there are two, and its n places.
        groups: of the rows; a group has the same colour and symbol on every map, and its name at its middle.
        texts: of the rows, for hovering: cut and escaped, and left out where there are too many.
        rows: (n,) what the rows are called, by default 0 to n - 1; the ``customdata`` of the points.
        total: how many rows there are, where a map shows a part of them.
        kept: share of the nearest texts that two maps have in common, for the title.
        linked: whether places mean the same on both maps, which then zoom together.
    """
    number, share = len(groups.codes), 1 / len(maps)
    names = np.asarray(np.arange(number) if rows is None else rows, dtype=np.int32)
    hover, parts = hover_texts(texts), _parts(groups)
    draw: Any = go.Scattergl if number >= GL_FROM else go.Scatter
    size = float(np.interp(number, [300, 3000, 20_000], [8, 6.5, 5]))
    figure, axes = go.Figure(), {}
    for side, (called, projection) in enumerate(maps.items()):
        end, places = "" if side == 0 else str(side + 1), projection.coordinates[:, :2]
        for name, members, colour, symbol in parts:
            shown = f"<b>{in_figure(cut(name, 60))}</b> · row %{{customdata}}"
            figure.add_trace(draw(
                x=places[members, 0], y=places[members, 1], customdata=names[members], mode="markers",
                name=f"{in_figure(cut(name, 32))}  <i>{count(len(members))}</i>", legendgroup=symbol + colour,
                showlegend=side == 0, xaxis=f"x{end}", yaxis=f"y{end}",
                marker={"color": colour, "symbol": symbol, "size": size, "opacity": 0.75},
                selected_marker_opacity=0.9, unselected_marker={"color": OTHER, "opacity": 0.3},
                hovertext=hover[members] if len(hover) else None,
                hovertemplate=("%{hovertext}<br>" + shown if len(hover) else shown + " · click for its text")
                + "<extra></extra>",
            ))  # fmt: skip
        bounds = _bounds(places)
        domain = [side * share + 0.01 * side, (side + 1) * share - 0.01 * (len(maps) - 1 - side)]
        axes[f"xaxis{end}"] = {**_AXES, "range": bounds[0], "domain": domain, "anchor": f"y{end}"}
        axes[f"yaxis{end}"] = {**_AXES, "range": bounds[1], "anchor": f"x{end}"}
        axes[f"yaxis{end}"] |= {"matches": "y"} if linked and side else {"scaleanchor": f"x{end}"}
        axes[f"xaxis{end}"] |= {"matches": "x"} if linked and side else {}
        if projection.method == "pca":
            for axis, order in (("x", "first"), ("y", "second")):
                title = {"text": f"{order} principal component", "font": {"size": 12}, "standoff": 4}
                axes[f"{axis}axis{end}"]["title"] = title
        _label(figure, places, parts[: len(groups.names)], bounds, _WIDTH * share, end)
        if len(maps) > 1:
            figure.add_annotation(
                text=f"<b>{in_figure(cut(called, 44))}</b>", xref=f"x{end} domain", yref=f"y{end} domain", x=0, y=1,
                xanchor="left", yanchor="bottom", showarrow=False, font_size=13, name="map",
            )  # fmt: skip
    named = any("title" in axis for axis in axes.values())
    top, bottom = 62 + 22 * (len(maps) > 1), 20 * -(-len(parts) // 2) + 14 + 24 * named
    head = headline(_finding(groups, kept), _badge(maps, number, total))
    margin = {"l": 8 + 20 * named, "r": 8, "t": top, "b": bottom}
    figure.update_layout(layout(head, _HEIGHT + top + bottom, margin), **axes, legend={
        "orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom", "font_size": 12,
        "entrywidth": 0.48, "entrywidthmode": "fraction", "itemsizing": "constant", "traceorder": "normal",
    })  # fmt: skip
    return figure


def hover_texts(texts: Sequence[str]) -> npt.NDArray[np.object_]:
    """Return texts cut so that all of them fit into a bounded message, and escaped; none where too little is left."""
    width = min(_WIDEST, _HOVER_LETTERS // max(1, len(texts)))
    if width < _NARROWEST:
        return np.empty(0, dtype=object)
    found = np.empty(len(texts), dtype=object)
    found[:] = ["<br>".join(map(in_figure, wrap(text, 60, width // 60))) for text in texts]
    return found


def label_shifts(
    middles: _Floats, widths: Sequence[float], width: float, height: float
) -> list[tuple[int, int] | None]:
    """Find how far to shift labels, in pixels, so that none lies over another or outside of the map; None: no room.

    Args:
        middles: (labels, 2) pixels, the most important label first.
        widths: of the labels, in pixels.
        width: of the map.
        height: of the map.
    """
    taken: list[tuple[float, float, float]] = []  # left and right end, height of the middle
    found: list[tuple[int, int] | None] = []
    for (x, y), wide in zip(middles.tolist(), widths, strict=True):
        centre = round(min(max(x, wide / 2), max(width - wide / 2, wide / 2)) - x) + x
        start, end = centre - wide / 2, centre + wide / 2
        free = None
        for step in sorted(range(-7, 8), key=abs):
            level = y + step * (_LINE // 2 + 1)
            inside = _LINE / 2 <= level <= height - _LINE / 2
            if inside and all(right <= start or end <= left or abs(level - m) >= _LINE for left, right, m in taken):
                taken.append((start, end, level))
                free = (round(centre - x), round(level - y))
                break
        found.append(free)
    return found


def _parts(groups: Groups) -> list[tuple[str, _Rows, str, str]]:
    """What is drawn as one trace: a name, its rows, colour and symbol. The smallest is drawn last, over the others."""
    largest = len(CATEGORIES)
    parts = [
        (name, groups.rows(code), CATEGORIES[code], SYMBOLS[code]) for code, name in enumerate(groups.names[:largest])
    ]
    if len(others := np.flatnonzero(groups.codes >= largest)):
        parts.append((f"{len(groups.names) - largest} others", others, OTHER, "circle"))
    if len(none := groups.rows(-1)):
        parts.append((f"no {groups.what}", none, OTHER, "x-thin-open"))
    return parts


def _finding(groups: Groups, kept: float | None) -> str:
    """The title: what two maps have in common, or how the rows spread over the groups."""
    if kept is not None:
        return f"{kept:.0%} of the nearest texts are the same before and after"
    number, total = len(groups.names), max(1, len(groups.codes))
    what = (
        groups.what if groups.what == "cluster" else f"value{'s' * (number != 1)} of {in_figure(cut(groups.what, 30))}"
    )
    kinds = f"{count(number)} {what}{'s' * (number != 1 and what == 'cluster')}"
    if not number:
        return f"No {what} holds any of the texts"
    size, largest = len(groups.rows(0)), f"“\u2068{in_figure(cut(groups.names[0], 24))}\u2069”"
    if size == 1 < number:
        return f"{kinds}, each of a single text: these colours show no groups"
    share = f"{size / total:.0%}" if size / total >= 0.01 else f"{count(size)} texts"
    return f"{kinds}; the largest, {largest}, holds {share}"


def _badge(maps: "Mapping[str, Projection]", number: int, total: int | None) -> str:
    """How many rows are shown, and how each map was made and can be trusted."""
    made = []
    for projection in maps.values():
        part = f", fitted on {count(projection.fitted)}" if projection.transformed else ""
        seed = "" if projection.method == "pca" else f", seed {projection.seed}"
        trust = f", trustworthiness {projection.trustworthiness:.2f} on {count(projection.measured)} rows"
        name = projection.method.upper().replace("TSNE", "t-SNE")
        made.append(f"{name}{seed}{part}{trust if projection.measured else ''}")
    return " · ".join([f"{count(number)} of {count(total or number)} rows shown", *dict.fromkeys(made)])


def _bounds(places: _Floats) -> list[list[float]]:
    """The range of each axis, with some room around the points."""
    low, high = places.min(0).astype(float), places.max(0).astype(float)
    room = 0.04 * (high - low) + 1e-3 + 0.01 * (high - low).max()
    bounds: list[list[float]] = np.stack([low - room, high + room], axis=1).tolist()
    return bounds


def _label(figure: Any, places: _Floats, parts: Any, bounds: list[list[float]], width: float, end: str) -> None:
    """Write the name of each large group above its medoid: the row nearest to the median of its places."""
    own = [places[rows] for _, rows, *_ in parts[: len(CATEGORIES)]]
    if not own:
        return
    middles = np.stack([xy[np.square(xy - np.median(xy, axis=0)).sum(1).argmin()] for xy in own])
    low, high = np.array(bounds, dtype=np.float32).T
    size = np.array([width, _HEIGHT], dtype=np.float32)
    scale = (size / (high - low)).min()  # pixels of one unit, the same on both axes
    labels = [cut(name, 28) for name, *_ in parts[: len(own)]]
    widths = [
        8 + _LETTER * sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in label) for label in labels
    ]
    above = np.array([0, _ABOVE], dtype=np.float32)
    shifts = label_shifts(scale * (middles - (low + high) / 2) + size / 2 + above, widths, *size.tolist())
    for label, middle, shift in zip(labels, middles.tolist(), shifts, strict=True):
        if shift is not None:
            figure.add_annotation(
                text=in_figure(label), x=middle[0], y=middle[1], xref=f"x{end}", yref=f"y{end}", showarrow=False,
                xshift=shift[0], yshift=shift[1] + _ABOVE, font={"size": 12, "color": "#1f2328"}, borderpad=1,
                bgcolor="rgba(255,255,255,0.82)", name="label",
            )  # fmt: skip
