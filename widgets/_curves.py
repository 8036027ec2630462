"""How a training run goes: its loss and a metric as a figure, and as HTML that is quick to renew."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from widgets._theme import CATEGORIES, FONT, INK, count, headline, in_figure, layout

__all__ = ["curves_figure", "curves_html", "explained", "main_metric", "smooth"]

_Rows = Sequence[Mapping[str, float]]

_DRAWN = 400  # points of a curve at most; neighbours are put together
_SPAN = 10  # points that the smoothed curve looks back on
_DOTS = "stroke-dasharray='2 4'"
_RIGHT = {"nticks": 6, "tickformat": ".3f", "tickcolor": "rgba(0,0,0,0)"}
_METRICS = {  # by a part of its name, the most telling first: how a metric is called, and what it says
    "ndcg@": "nDCG@10: how well the ten nearest are ordered, 1 is perfect",
    "spearman": "Spearman correlation: how well the similarities are in the order of the scores, 1 is perfect",
    "_ap": "average precision: how well the similarity tells alike from not alike, 1 is perfect",
    "map@": "MAP: how well the nearest are ordered, 1 is perfect",
    "accuracy": "accuracy: the share that is right",
}


def main_metric(rows: _Rows) -> str:
    """Return the name of the most telling metric that was logged, "" where there is none."""
    names = dict.fromkeys(name for row in rows for name in row if name.startswith("eval_") and name != "eval_loss")
    return next((name for kind in _METRICS for name in names if kind in name), next(iter(names), ""))


def smooth(values: npt.ArrayLike, span: float = _SPAN) -> npt.NDArray[np.float64]:
    """Return the exponentially weighted mean of each value of a series, (n,), and of those before it."""
    weight, kept, total = 0.0, 1 - 2 / (span + 1), 0.0
    smoothed = []
    for value in np.asarray(values, dtype=float):
        total, weight = kept * total + value, kept * weight + 1
        smoothed.append(total / weight)
    return np.array(smoothed)


def curves_figure(rows: _Rows, *, total: int = 0, metric: str | None = None, height: int = 340) -> go.Figure:
    """Draw the loss of a run, raw and smoothed, and a metric on an axis of its own.

    Args:
        rows: what each step logged: ``workbench.training.logged_rows``.
        total: steps of the whole run, 0 where that is not known.
        metric: which metric to draw; None takes the most telling one.
        height: in pixels.
    """
    metric = main_metric(rows) if metric is None else metric
    x, loss = _series(rows, "loss")
    figure = go.Figure()
    figure.add_scatter(
        x=x, y=loss, mode="lines+markers" if len(x) < 3 else "lines", name="loss", opacity=0.35, line_width=1,
        marker_color=CATEGORIES[0], line_color=CATEGORIES[0], hovertemplate="step %{x}<br>loss %{y:.4f}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=x, y=smooth(loss), mode="lines", name="loss, smoothed", line={"color": CATEGORIES[0], "width": 3},
        hovertemplate="step %{x}<br>loss, smoothed %{y:.4f}<extra></extra>",
    )  # fmt: skip
    judged = {"eval_loss": ("y", CATEGORIES[4], "square"), metric: ("y2", CATEGORIES[3], "diamond")}
    for name, (axis, colour, symbol) in judged.items():
        where, values = _series(rows, name)
        called = _short(name) if name == metric else "loss, held out"
        if where:
            figure.add_scatter(
                x=where, y=values, mode="lines+markers", name=called, yaxis=axis,
                line={"color": colour, "width": 2, "dash": "dot"}, marker={"size": 9, "symbol": symbol},
                hovertemplate=f"step %{{x}}<br>{in_figure(name)} %{{y:.4f}}<extra></extra>",
            )  # fmt: skip
    small = {"tickfont": {"size": 12}}
    figure.update_layout(
        layout(_finding(rows, total, metric), height, {"l": 60, "r": 64, "t": 100, "b": 48}, keys=56),
        xaxis={**small, "title": "step", "range": [0, max(total, *x, 1)]},
        yaxis={**small, "title": "loss", "rangemode": "tozero"},
        yaxis2={**small, "overlaying": "y", "side": "right", "showgrid": False, "title": _short(metric), **_RIGHT},
        legend_font={"size": 12, "color": INK},
    )  # fmt: skip
    return figure


def curves_html(rows: _Rows, *, total: int = 0, metric: str | None = None) -> str:
    """Return the same curves as HTML, without axes but with the values at their ends; arguments as in the figure."""
    metric = main_metric(rows) if metric is None else metric
    (x, loss), (where, values), end = _series(rows, "loss"), _series(rows, metric), max(total, 1)
    low, high = min(loss, default=0.0), max(loss, default=1.0)
    lines = [
        (_points(x, loss, end, low, high), CATEGORIES[0], "1", "opacity='0.4'"),
        (_points(x, smooth(loss).tolist(), end, low, high), CATEGORIES[0], "3", ""),
        (_points(where, values, end, min(values, default=0.0), max(values, default=1.0)), CATEGORIES[3], "2", _DOTS),
    ]
    drawn = "".join(
        f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='{width}' {more} "
        "vector-effect='non-scaling-stroke'/>"
        for points, colour, width, more in lines
    )
    scale = f"loss {low:.2f} to {high:.2f}" if loss else ""
    other = f" · dotted: {_short(metric)} {min(values):.3f} to {max(values):.3f}" if values else ""
    said = _finding(rows, total, metric).replace("<br>", " · ")  # one line, so that nothing jumps
    return (
        f"<div style='max-width:960px;font:14px/1.5 {FONT}'>{said}"
        f"<svg viewBox='0 0 1000 200' preserveAspectRatio='none' style='width:100%;height:200px;display:block;"
        f"border:1px solid rgba(128,128,128,0.4);margin:4px 0'>{drawn}</svg>"
        f"<span style='color:{INK}'>step 0 to {count(total)} · {scale}{other}</span></div>"
    )


def _points(x: list[float], y: list[float], end: float, low: float, high: float) -> str:
    """Points of a line in a frame of 1000 by 200."""
    span = high - low or 1.0
    return " ".join(f"{1000 * a / end:.1f},{190 - 180 * (b - low) / span:.1f}" for a, b in zip(x, y, strict=True))


def _series(rows: _Rows, name: str) -> tuple[list[float], list[float]]:
    """The steps and the values of what rows have logged under a name, neighbours put together where there are many."""
    found = np.array([(row["step"], row[name]) for row in rows if name in row], dtype=float).reshape(-1, 2)
    parts = np.array_split(found, min(_DRAWN, len(found))) if len(found) else []
    means = [part.mean(0).tolist() for part in parts]
    return [step for step, _ in means], [value for _, value in means]


def explained(metric: str) -> str:
    """Return what a metric is called and what it says: "nDCG@10: how well …"."""
    return next((said for part, said in _METRICS.items() if part in metric), metric.removeprefix("eval_"))


def _short(metric: str) -> str:
    return in_figure(explained(metric).partition(":")[0])


def _finding(rows: _Rows, total: int, metric: str) -> str:
    _, loss = _series(rows, "loss")
    if not loss:
        return "<b>The first step is under way</b>"
    done, line = int(rows[-1]["step"]), smooth(loss)
    moved = f"The loss {'fell' if line[-1] < loss[0] else 'rose'} from {loss[0]:.2f} to {line[-1]:.2f}"
    said = f"{moved} in {count(done)}{f' of {count(total)}' if total > done else ''} steps"
    _, values = _series(rows, metric)
    return headline(f"{_short(metric)} {values[0]:.3f} → {values[-1]:.3f}", said) if len(values) > 1 else headline(said)
