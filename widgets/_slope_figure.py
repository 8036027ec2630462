"""Two orders of the same texts as a slope chart, and what two or more pipelines score, as pure functions."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from widgets._theme import CATEGORIES, INK, OTHER, cut, headline, in_figure, layout, wrap

__all__ = ["metrics_figure", "slope_figure"]

_MARGIN = {"l": 44, "r": 372, "t": 126, "b": 10}
_ROW = 26  # pixels from one passage to the next, so that no two labels meet
_GOLD = "#e6a700"
_MOVES = {  # colour, dash: the direction is told without colour too
    "up": (CATEGORIES[0], "solid"), "down": (CATEGORIES[3], "dash"), "same": (OTHER, "dot"),
}  # fmt: skip


def slope_figure(
    texts: Mapping[Any, str],
    before: Sequence[Any],
    after: Sequence[Any],
    k: int = 10,
    *,
    scores: Mapping[Any, float] | None = None,
    judged: Collection[Any] = (),
    names: tuple[str, str] = ("retrieved", "re-ranked"),
    title: str = "",
) -> go.Figure:
    """Join the places that passages have in two orders: those that are among the first ``k`` of either.

    Args:
        texts: the passages by id.
        before: ids in the order on the left, best first.
        after: ids in the order on the right; one that stands on one side only has no line.
        k: how many ranks of either side to show.
        scores: of the order on the right, by id.
        judged: ids that are known to answer the query; they get a gold star.
        names: what the two orders are called.
        title: the finding; "" says where the best judged passage, or else the first one, came from.
    """
    old, new = ({name: rank for rank, name in enumerate(side, 1)} for side in (before, after))
    shown = dict.fromkeys([*after[:k], *before[:k]])
    sides = [sorted((name for name in shown if name in ranks), key=ranks.__getitem__) for ranks in (old, new)]
    places = [{name: place for place, name in enumerate(side, 1)} for side in sides]
    height = _ROW * max(1, *map(len, sides)) + 136
    figure = go.Figure()
    for move, (colour, dash) in _MOVES.items():
        x: list[float | None] = []
        y: list[int | None] = []
        for name in (name for name in shown if name in old and name in new and _move(old[name] - new[name]) == move):
            x += [0, 1, None]
            y += [places[0][name], places[1][name], None]
        figure.add_scatter(
            x=x, y=y, mode="lines", name=move, hoverinfo="skip", line={"color": colour, "dash": dash, "width": 2}
        )
    for star in (False, True):
        points = [(x, name) for x in (0, 1) for name in sides[x] if (name in judged) == star]
        figure.add_scatter(
            x=[x for x, _ in points], y=[places[x][name] for x, name in points], mode="markers+text",
            name="judged" if star else "passage", showlegend=star, cliponaxis=False,
            text=["" if x else f"{old[name]}" for x, name in points], textposition="middle left",
            textfont={"size": 13, "color": INK}, hovertemplate="%{customdata}<extra></extra>",
            customdata=[_hover(name, texts[name], old, new, names, scores) for _, name in points],
            marker={
                "size": 16 if star else 9, "symbol": "star" if star else "circle", "opacity": 1,
                "color": _GOLD if star else INK, "line": {"width": 1 if star else 0, "color": INK},
            },
        )  # fmt: skip
    labels = []
    for name in sides[1]:
        moved = old[name] - new[name] if name in old else None
        arrow = "new" if moved is None else f"{'▲' if moved > 0 else '▼'}{abs(moved)}" if moved else "="
        score = f" · {scores[name]:.2f}".replace("-", "\u2212") if scores else ""
        gold = " ★" if name in judged else ""
        labels.append(f" <b>{new[name]}</b>{gold} {arrow}{score} · \u2068{in_figure(cut(texts[name], 34))}\u2069")
    figure.update_layout(
        layout(title or _finding(texts, old, new, judged, names), height, _MARGIN, keys=60),
        legend_x=1,  # over the passages, where there is room for all of them
        xaxis={
            "range": [-0.04, 1.04], "fixedrange": True, "showgrid": False, "showticklabels": False,
        },
        yaxis={
            "range": [height / _ROW - 136 / _ROW + 0.6, 0.4], "fixedrange": True, "showgrid": False, "side": "right",
            "tickvals": list(range(1, len(labels) + 1)), "ticktext": labels, "tickfont": {"size": 13},
        },
    )  # fmt: skip
    for side, name in enumerate(names):
        figure.add_annotation(
            x=side, y=1, yref="paper", xanchor="left", yanchor="bottom", showarrow=False,
            text=f"<b>{in_figure(cut(name, 48))}</b>", font={"color": INK}, yshift=0 if side or len(name) < 20 else 18,
        )  # fmt: skip
    return figure


def metrics_figure(measured: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """Draw what each of some orders reaches by each metric: name → metric → value from 0 to 1."""
    figure = go.Figure()
    names = [in_figure(cut(name, 60)) for name in measured]
    for place, metric in enumerate(dict.fromkeys(name for values in measured.values() for name in values)):
        reached = [values[metric] for values in measured.values()]
        figure.add_bar(
            x=reached, y=names, orientation="h", name=metric, text=[f"{value:.2f}" for value in reached],
            textposition="outside", cliponaxis=False, hovertemplate="%{y}<br>%{x:.3f}<extra></extra>",
            marker_color=CATEGORIES[place],
            marker_pattern={"shape": ("", "/")[place % 2], "fillmode": "overlay", "fgcolor": "white", "solidity": 0.2},
        )  # fmt: skip
    best = in_figure(cut(max(measured, key=lambda name: next(iter(measured[name].values()))), 70))
    height = 60 * len(measured) + 134
    figure.update_layout(
        layout(headline("Best over all judged queries", best), height, {"l": 10, "r": 40, "t": 100, "b": 30}, keys=54),
        barmode="group",
        yaxis={"autorange": "reversed", "automargin": True},
        xaxis_range=[0, 1],
    )
    return figure


def _move(up: int) -> str:
    return "up" if up > 0 else "down" if up < 0 else "same"


def _hover(
    name: Any, text: str, old: Mapping[Any, int], new: Mapping[Any, int], names: tuple[str, str], scores: Any
) -> str:
    ranks = " · ".join(
        f"{in_figure(side)}: {f'rank {ranks[name]}' if name in ranks else 'not among them'}"
        for side, ranks in zip(names, (old, new), strict=True)
    )
    score = f" · score {scores[name]:.4f}" if scores and name in scores else ""
    return f"<b>{in_figure(cut(str(name)))}</b><br>{'<br>'.join(map(in_figure, wrap(text)))}<br>{ranks}{score}"


def _finding(
    texts: Mapping[Any, str], old: Mapping[Any, int], new: Mapping[Any, int], judged: Collection[Any], names: Any
) -> str:
    """The title: where the best judged passage, or the first one, stood before and stands now."""
    known = [name for name in new if name in judged and name in old]
    if not new or (judged and not known):
        return "<b>No judged answer is among the passages found</b>" if new else "<b>Nothing was found</b>"
    name, what = (known[0], "The judged answer") if known else (next(iter(new)), "The first passage")
    if name not in old:
        said = f"was not {in_figure(cut(names[0], 40))}"
    elif old[name] == new[name]:
        said = f"keeps rank {new[name]}"
    else:
        said = f"{'rises' if new[name] < old[name] else 'falls'} from rank {old[name]} to {new[name]}"
    short = in_figure(cut(texts[name], 70))
    return headline(f"{what} {said}", f"“\u2068{short}\u2069”")
