"""The contract of every panel: inputs, a run that can be cancelled, and a result with figure, table, code and facts."""

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import ipywidgets as widgets
import traitlets as tr

from widgets._theme import CSS, count, duration, facts, in_html, table
from workbench.errors import Cancelled, WorkbenchError
from workbench.progress import Bar, listen

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

__all__ = ["Panel", "Result"]

_STALE = "<div class='wb-stale'>An input has changed since this result was made. Press Run to renew it.</div>"


class Result(Protocol):
    """What a run makes: data, and the views of it that a panel shows."""

    def plain(self) -> Any:
        """Return what ``run`` returns: arrays, numbers and texts."""

    def figure(self) -> "go.Figure":
        """Return a plain figure, whose title says the finding."""

    def frame(self) -> "pd.DataFrame":
        """Return the figure's twin, a table."""

    def caption(self) -> str:
        """Return how to read the figure, and what it cannot show."""

    def facts(self) -> dict[str, object]:
        """Return the "Model", what was shown of how much, and everything else that a reader may doubt."""


@dataclass(eq=False)
class _Job:
    """One run: the inputs it began with, and its way to report progress and to stop."""

    inputs: dict[str, Any]
    show: Callable[["_Job", Bar], None]
    begun: float = field(default_factory=time.monotonic)
    worked: float | None = None  # when the first progress came: loading a model says nothing of the speed
    reported: float = 0.0
    cancelled: bool = False

    def heard(self, bar: Bar) -> None:
        """Pass progress on, at most ten times a second, or stop the work."""
        self.check()
        now = time.monotonic()
        self.worked = self.worked or now
        if now - self.reported > 0.1:
            self.reported = now
            self.show(self, bar)

    def check(self) -> None:
        if self.cancelled:
            raise Cancelled("The run was cancelled.")

    def seconds(self) -> float:
        return time.monotonic() - self.begun


class Panel(widgets.VBox):
    """A card with a form, a Run button and a result; what the mouse can do, Python can do too.

    A subclass names its ``inputs``: traits that are constructor arguments too. Its ``_compute`` makes a ``Result``.

    Attributes:
        state: "empty", "running", "done", "stale" (an input has changed since the result was made) or "error".
        result: the last good result, None before the first.
    """

    title: ClassVar[str]
    purpose: ClassVar[str]
    first_step: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    example: ClassVar[Mapping[str, Any]]

    state = tr.Enum(("empty", "running", "done", "stale", "error"), "empty")
    result = tr.Any(None)

    def __init__(self, *, report: bool | None = None, **inputs: Any) -> None:
        super().__init__()
        self._report = os.environ.get("WORKBENCH_REPORT") == "1" if report is None else report
        self._job: _Job | None = None
        self._shown: dict[str, Any] = {}
        self._done = ""
        self._build()
        for name, value in inputs.items():
            setattr(self, name, value)
        self.observe(lambda change: self._settle(), list(self.inputs))
        self._settle()

    def _controls(self) -> tuple[list[widgets.Widget], list[widgets.Widget]]:
        """Make the controls of the form, and those that are folded under "More"."""
        raise NotImplementedError

    def _amount(self, inputs: dict[str, Any]) -> tuple[int, str]:
        """Return how much there is to do, in the unit that the user thinks in: (900, "texts")."""
        raise NotImplementedError

    def _compute(self, inputs: dict[str, Any]) -> Result:
        """Make the result of inputs; runs in another thread, so it touches no trait."""
        raise NotImplementedError

    def _code(self, inputs: dict[str, Any]) -> str:
        """Return Python that makes the same result without the panel."""
        raise NotImplementedError

    def run(self) -> Any:
        """Do what the Run button does, wait for it, and return the result as plain data.

        Raises:
            WorkbenchError: an input cannot be used, the run was cancelled, or the panel is already running. The panel
                shows the same error, and keeps its inputs and its last good result.
        """
        return self._work(self._begin()).plain()

    def cancel(self) -> None:
        """Stop the run that is under way, if any. The panel is free at once and keeps its last good result."""
        if (job := self._job) is not None:
            job.cancelled = True
            self._end(job, Cancelled())

    def to_figure(self) -> "go.Figure":
        """Return the result as a plain plotly figure, which needs no panel."""
        return self._need().figure()

    def to_frame(self) -> "pd.DataFrame":
        """Return the result as a table."""
        frame: pd.DataFrame = self._need().frame()
        return frame

    def to_code(self) -> str:
        """Return Python that makes the shown result (before the first run: the one to come) without the panel."""
        return self._code(self._shown or self._inputs())

    @property
    def parameters(self) -> dict[str, Any]:
        """The inputs as values that JSON can hold; ``from_parameters`` makes a panel of them again."""
        return self._inputs()

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any], **changes: Any) -> Self:
        """Make a panel from ``parameters``, with some of them changed."""
        return cls(**{**parameters, **changes})

    # How a run goes.

    def _begin(self) -> _Job:
        if self._job is not None:
            raise WorkbenchError("This panel is still running. Wait for it, or call cancel() first.")
        self._job = job = _Job(self._inputs(), self._show_progress)
        self._run.disabled, self._cancel.disabled = True, False
        self._bar.value, self._bar.layout.display = 0.0, ""
        self._note.value, self._status.value = "Starting …", ""
        self.state = "running"
        return job

    @contextmanager
    def _busy(self, job: _Job) -> Iterator[None]:
        """Whatever happens to a job, the panel stops being busy and says how it ended."""
        error: BaseException | None = None
        try:
            yield
        except BaseException as caught:
            error = caught
            raise
        finally:
            if self._job is job:
                self._end(job, error)

    def _work(self, job: _Job) -> Result:
        with self._busy(job):
            with listen(job.heard):
                result = self._compute(job.inputs)
            job.check()
            self._show(job, result)
        return result

    def _work_quietly(self, job: _Job) -> None:
        with suppress(Exception):  # the panel has shown it; behind a button there is nobody else to tell
            self._work(job)

    def _on_run(self, button: widgets.Button) -> None:
        if self._job is None:
            threading.Thread(target=self._work_quietly, args=(self._begin(),), daemon=True).start()

    def _on_example(self, button: widgets.Button) -> None:
        for name, value in self.example.items():
            setattr(self, name, value)
        self._on_run(button)

    def _end(self, job: _Job, error: BaseException | None) -> None:
        self._job = None
        self._run.disabled, self._cancel.disabled = False, True
        self._bar.layout.display = "none"
        if isinstance(error, (Cancelled, KeyboardInterrupt)):
            kept = " The result below is the one from before." if self.result is not None else ""
            self._settle(f"<div class='wb-said'>Cancelled after {duration(job.seconds())}.{kept}</div>")
        else:
            self._settle(_error_line(error) if error else "", failed=error is not None)

    def _settle(self, said: str = "", failed: bool = False) -> None:
        """Say where the panel stands, unless it is running: nothing yet, a result, an old result, an error."""
        if self._job is not None:
            return
        amount, unit = self._amount(inputs := self._inputs())
        self._note.value = f"{count(amount)} {unit}" if amount else ""
        old = self.result is not None and inputs != self._shown
        state = "error" if failed else "empty" if self.result is None else "stale" if old else "done"
        self._card.add_class("wb-old") if old else self._card.remove_class("wb-old")
        self._status.value = said or {"done": self._done, "stale": _STALE}.get(state, "")
        self.state = state  # last, for whoever waits for it

    def _refuse(self, error: WorkbenchError) -> None:
        """Show what is wrong with an input that was picked in the form."""
        self._settle(_error_line(error), failed=True)

    def _show_progress(self, job: _Job, bar: Bar) -> None:
        if self._job is job and bar.total:
            part, (amount, unit) = min(bar.done / bar.total, 1.0), self._amount(job.inputs)
            spent = job.reported - (job.worked or 0)
            left = f" · {duration(spent * (1 - part) / part)} left" if spent > 0.3 else ""
            self._bar.value, self._note.value = part, f"{count(round(part * amount))} of {count(amount)} {unit}{left}"

    def _show(self, job: _Job, result: Result) -> None:
        """Make every view of a result before the first is swapped in, so that one that fails changes nothing."""
        figure, pages, caption = result.figure(), _pages(result, self._code(job.inputs)), in_html(result.caption())
        content = {**figure.to_dict(), "config": {"displaylogo": False, "showSendToCloud": False}}
        if self._job is not job:
            return
        said = f"Done at {time.strftime('%H:%M:%S')} in {duration(job.seconds())}, with {result.facts()['Model']}."
        self.result, self._shown, self._done = result, job.inputs, f"<div class='wb-said'>{in_html(said)}</div>"
        self._plot.layout.height = f"{figure.layout.height}px"
        data = {"application/vnd.plotly.v1+json": content}
        self._plot.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)
        self._below.value = f"<p class='wb-caption'>{caption}</p>"
        for tab, page in zip(self._tabs.children, pages, strict=True):
            tab.value = page
        self._card.children = [self._plot, self._below, self._tabs]

    # What it looks like.

    def _build(self) -> None:
        shown, folded = self._controls()
        self._run = widgets.Button(description="Run", button_style="primary", tooltip="Make the result of these inputs")
        self._cancel = widgets.Button(description="Cancel", disabled=True, tooltip="Stop; the last result stays")
        self._bar = widgets.FloatProgress(max=1.0, layout={"width": "150px", "display": "none"})
        self._note, self._below, self._status = widgets.HTML(), widgets.HTML(), _styled(widgets.HTML(), "wb-status")
        self._run.on_click(self._on_run)
        self._cancel.on_click(lambda button: self.cancel())
        more = widgets.ToggleButton(description="▸ More", tooltip="Further inputs", layout={"width": "88px"})
        rest = _styled(widgets.HBox(folded, layout={"display": "none"}), "wb-form")
        more.observe(lambda change: _fold(more, rest), "value")
        start = widgets.Button(description="Try the example")
        start.on_click(self._on_example)
        empty = _styled(widgets.VBox([widgets.HTML(f"<p>{in_html(self.first_step)}</p>"), start]), "wb-empty")
        self._plot = _styled(widgets.Output(), "wb-figure")
        pages = [widgets.HTML(), widgets.HTML(), widgets.HTML()]
        self._tabs = _styled(widgets.Tab(pages, titles=("Table", "Code", "Facts")), "wb-tabs")
        self._card = _styled(widgets.VBox([empty]), "wb-result")
        head = f"<div class='wb-title'>{in_html(self.title)}</div><p class='wb-purpose'>{in_html(self.purpose)}</p>"
        form = _styled(widgets.HBox([*shown, more] if folded else shown), "wb-form")
        actions = _styled(widgets.HBox([self._run, self._cancel, self._bar, self._note]), "wb-actions")
        _styled(self, "wb-panel").children = [widgets.HTML(CSS + head), form, rest, actions, self._status, self._card]

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Show the panel; in report mode its figure and its table instead, which print and need no kernel."""
        if not self._report:
            return super()._repr_mimebundle_(**kwargs)
        from IPython.display import HTML, display

        if self.result is None:
            self.run()
        (rows, _, about), caption = _pages(self.result, ""), self.result.caption()
        display(HTML(f"{CSS}<div class='wb-report wb-title'>{in_html(self.title)}</div>"))
        display(self.to_figure())
        page = f"<div class='wb-report'><p class='wb-caption'>{in_html(caption)}</p>{rows}{about}</div>"
        return {"text/html": page, "text/plain": f"{self.title}. {caption}"}

    def __repr__(self) -> str:
        amount, unit = self._amount(self._inputs())
        return f"<{type(self).__name__}: {amount} {unit}, {self.state}>"

    def _inputs(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.inputs}
        return {name: value.copy() if isinstance(value, list) else value for name, value in values.items()}

    def _need(self) -> Any:
        if self.result is None:
            raise WorkbenchError("There is no result yet. Press Run, or call run().")
        return self.result


def _styled(widget: widgets.DOMWidget, style: str) -> Any:
    widget.add_class(style)
    return widget


def _fold(button: widgets.ToggleButton, rest: widgets.HBox) -> None:
    rest.layout.display = "" if button.value else "none"
    button.description = "▾ More" if button.value else "▸ More"


def _pages(result: Result, code: str) -> tuple[str, str, str]:
    """The pages Table, Code and Facts as HTML."""
    frame = result.frame()
    rows = [
        [f"{value:.4f}" if isinstance(value, float) else value for value in row]
        for row in frame.head(20).itertuples(index=False, name=None)
    ]
    note = f"The first {len(rows)} of {count(len(frame))} rows; to_frame() has them all." if len(frame) > 20 else ""
    rest = f"\n… {count(len(code) - 4000)} more letters: print(panel.to_code())" if len(code) > 4000 else ""
    return table(list(frame.columns), rows, note), f"<pre>{in_html(code[:4000] + rest)}</pre>", facts(result.facts())


def _error_line(error: BaseException) -> str:
    """One line in plain words; what else there is to know is folded."""
    own = isinstance(error, WorkbenchError)
    said = str(error).strip() or type(error).__name__
    first = said.splitlines()[0] if own else f"{type(error).__name__}: {said.splitlines()[0]}"
    whole = said if own else "".join(traceback.format_exception(error))
    details = f"<details><summary>Details</summary><pre>{in_html(whole)}</pre></details>" if whole != first else ""
    return f"<div class='wb-error' role='alert'>{in_html(first)}{details}</div>"
