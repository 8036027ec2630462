"""A callback for a trainer that shows how the run goes while it goes."""

import sys
import time
from typing import Any

import plotly.graph_objects as go

from widgets._curves import curves_figure, curves_html, main_metric
from workbench.training import History

__all__ = ["LiveCurves"]

_LINES = 20  # lines of a printed table at most, besides those with a metric


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
        self._drawn, self._over = 0.0, False
        self._head: list[str] = []  # columns of the printed table
        self._told, self._due = 0, 0.0  # rows that were looked at for it; the step from which on a line is due

    def to_figure(self) -> go.Figure:
        """Return the curves as a plain figure."""
        return curves_figure(self.rows, total=self.total, metric=self.metric)

    def show(self) -> None:
        """Draw the curves here, and keep these up to date from now on."""
        from IPython.display import display

        self._display = display(self._bundle(last=self._over), raw=True, display_id=True)

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
        self._over = last
        if not self.live:
            self._print(last)
        elif last or time.monotonic() - self._drawn >= self.every:
            self._display.update(self._bundle(last=last), raw=True)
            self._drawn = time.monotonic()

    def _bundle(self, *, last: bool = False) -> dict[str, Any]:
        """The curves as HTML, since JupyterLab draws a plotly figure only once; the last ones as a figure, too."""
        rows, given = self.rows, {"total": self.total, "metric": self.metric}
        found: dict[str, Any] = {"text/html": curves_html(rows, **given), "text/plain": f"{len(rows)} steps logged"}
        return found | ({"application/vnd.plotly.v1+json": self.to_figure().to_dict()} if last else {})

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
