"""How a training run goes: loss and metric as a figure, and a callback that keeps this figure up to date."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgets._theme import CATEGORIES, INK, count, in_figure, layout, table
from workbench.training import History

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["LiveCurves", "curves_figure", "main_metric", "smooth"]

_Rows = Sequence[Mapping[str, float]]

_DRAWN = 400  # points of a curve at most; neighbours are put together
_SPAN = 10  # points that the smoothed curve looks back on
_LINES = 20  # lines of a printed table at most, besides those with a metric
_BEST = ("ndcg@", "spearman", "map@", "_ap", "f1", "accuracy")  # kinds of metrics, the most telling first


def main_metric(rows: _Rows) -> str:
    """Return the name of the most telling metric that was logged, "" where there is none."""
    names = dict.fromkeys(name for row in rows for name in row if name.startswith("eval_") and name != "eval_loss")
    return next((name for kind in _BEST for name in names if kind in name), next(iter(names), ""))


def smooth(values: npt.ArrayLike, span: float = _SPAN) -> npt.NDArray[np.float64]:
    """Return the exponentially weighted mean of each value of a series, (n,), and of those before it."""
    weight, kept, total = 0.0, 1 - 2 / (span + 1), 0.0
    smoothed = []
    for value in np.asarray(values, dtype=float):
        total, weight = kept * total + value, kept * weight + 1
        smoothed.append(total / weight)
    return np.array(smoothed)


def curves_figure(rows: _Rows, *, total: int = 0, metric: str | None = None, height: int = 340) -> "go.Figure":
    """Draw the loss of a run, raw and smoothed, and a metric on an axis of its own.

    Args:
        rows: what each step logged: ``workbench.training.logged_rows``.
        total: steps of the whole run, 0 where that is not known.
        metric: which metric to draw; None takes the most telling one.
        height: in pixels.
    """
    import plotly.graph_objects as go

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
        if where:
            figure.add_scatter(
                x=where, y=values, mode="lines+markers", name=in_figure(name.removeprefix("eval_")), yaxis=axis,
                line={"color": colour, "width": 2, "dash": "dot"}, marker={"size": 9, "symbol": symbol},
                hovertemplate=f"step %{{x}}<br>{in_figure(name)} %{{y:.4f}}<extra></extra>",
            )  # fmt: skip
    grid = {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False, "tickfont": {"size": 12}}
    figure.update_layout(
        layout(_finding(rows, total, metric), height, {"l": 60, "r": 64, "t": 84, "b": 48}),
        xaxis={**grid, "title": "step", "range": [0, max(total, *x, 1)]},
        yaxis={**grid, "title": "loss", "rangemode": "tozero"},
        yaxis2={"overlaying": "y", "side": "right", "showgrid": False, "zeroline": False, "title": _short(metric)},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12, "color": INK}},
    )  # fmt: skip
    return figure


def _series(rows: _Rows, name: str) -> tuple[list[float], list[float]]:
    """The steps and the values of what rows have logged under a name, neighbours put together where there are many."""
    found = np.array([(row["step"], row[name]) for row in rows if name in row], dtype=float).reshape(-1, 2)
    parts = np.array_split(found, min(_DRAWN, len(found))) if len(found) else []
    means = [part.mean(0).tolist() for part in parts]
    return [step for step, _ in means], [value for _, value in means]


def _short(metric: str) -> str:
    """The last part of a metric's name, which says what it is: "ndcg@10"."""
    return in_figure(metric.removeprefix("eval_").rpartition("_cosine_")[2])


def _finding(rows: _Rows, total: int, metric: str) -> str:
    _, loss = _series(rows, "loss")
    if not loss:
        return "<b>The first step is under way</b>"
    done, line = int(rows[-1]["step"]), smooth(loss)
    moved = f"The loss {'fell' if line[-1] < loss[0] else 'rose'} from {loss[0]:.2f} to {line[-1]:.2f}"
    said = f"{moved} in {count(done)}{f' of {count(total)}' if total > done else ''} steps"
    _, values = _series(rows, metric)
    measured = f" · {_short(metric)} {values[0]:.3f} → {values[-1]:.3f}" if len(values) > 1 else ""
    return f"<b>{said}{measured}</b>"


class LiveCurves(History):
    """Shows how a run goes while it goes: ``trainer.add_callback(LiveCurves())``.

    In a notebook it draws curves that stay in the file, and so are there when it is closed and opened again; ``show``
    draws them in another cell. Where nobody watches (papermill, a script) it prints a plain table. See ``History`` for
    ``rows``, ``to_frame``, ``pause``, ``resume`` and ``stop``.

    Args:
        metric: which metric to draw; None takes the most telling one.
        every: seconds between two drawings at least.
        live: whether somebody watches; None finds out.
    """

    shows_progress = True  # the trainer then draws no bar of its own

    def __init__(self, *, metric: str | None = None, every: float = 0.5, live: bool | None = None) -> None:
        super().__init__()
        self.metric, self.every, self.live = metric, every, live
        self._display: Any = None
        self._drawn = 0.0
        self._head: list[str] = []  # columns of the printed table
        self._told, self._due = 0, 0.0  # rows that were looked at for it; the step from which on a line is due

    def to_figure(self) -> "go.Figure":
        """Return the curves as a plain figure."""
        return curves_figure(self.rows, total=self.total, metric=self.metric)

    def show(self) -> None:
        """Draw the curves here, and keep these up to date from now on."""
        from IPython.display import display

        self._display = display(self._bundle(), raw=True, display_id=True)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Find out who watches, and draw the empty axes."""
        super().on_train_begin(args, state, control, **kwargs)
        self._head, self._told, self._due, self._drawn = [], 0, 0.0, 0.0
        if self.live is None:
            self.live = _somebody_watches()
        if self.live and state.is_world_process_zero:
            self.show()

    def changed(self, *, last: bool = False) -> None:
        """Draw, if the last drawing is old enough, or print what is new."""
        if not self.live:
            self._print(last)
        elif last or time.monotonic() - self._drawn >= self.every:
            self._display.update(self._bundle(), raw=True)
            self._drawn = time.monotonic()

    def _bundle(self) -> dict[str, Any]:
        """The figure; a table where none can be drawn."""
        frame = self.to_frame().tail(_LINES)
        rows = [[f"{value:.6g}" for value in row] for row in frame.itertuples(index=False, name=None)]
        return {
            "application/vnd.plotly.v1+json": self.to_figure().to_dict(),
            "text/html": table(list(frame.columns), rows),
            "text/plain": frame.to_string(index=False),
        }

    def _print(self, last: bool) -> None:
        """Print the steps with a metric, and of the others some."""
        rows = self.rows
        metric = main_metric(rows) if self.metric is None else self.metric
        columns = ["step", "loss", "learning_rate", *filter(None, [metric])]
        for row in rows[self._told : len(rows) if last else -1]:  # the last may still get its metric
            self._told += 1
            if row["step"] < self._due and metric not in row and not (last and row is rows[-1]):
                continue
            self._due = row["step"] + max(1, self.total // _LINES)
            if columns != self._head:
                self._head = columns
                print("  ".join(f"{name.removeprefix('eval_'):>13}" for name in columns))
            values = [f"{row[name]:.6g}" if name in row else "" for name in columns]
            print("  ".join(f"{value:>13}" for value in values), flush=True)


def _somebody_watches() -> bool:
    """Whether this runs in a notebook that a person has open; programs that run notebooks allow no questions."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    kernel = getattr(shell, "kernel", None)
    return kernel is not None and bool(kernel.get_parent().get("content", {}).get("allow_stdin", False))
