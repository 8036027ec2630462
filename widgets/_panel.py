"""The contract of every panel: inputs, a run that can be cancelled, and a result with figure, table, code and facts."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, ClassVar, Generic, Self, TypeVar

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go
import traitlets as tr

from widgets._clicks import Echo
from widgets._data import same
from widgets._fields import controls, signature
from widgets._job import Job, error_line
from widgets._parts import Result, button, draw, each, pages, styled
from widgets._theme import CSS, count, duration, in_html
from workbench.errors import Cancelled, WorkbenchError
from workbench.progress import Bar, listen

__all__ = ["Panel", "R"]

_STALE = "<div class='wb-stale'>An input has changed since this result was made. Press Run to renew it.</div>"


R = TypeVar("R", bound=Result)


class Panel(widgets.VBox, Generic[R]):
    """A card with a form, a Run button and a result; what the mouse can do, Python can do too.

    A subclass names its ``inputs``: traits that are constructor arguments too. Those that have a label get a control,
    which stands in the ``form`` or else under "More". Its ``_compute`` makes a ``Result``. Those of the inputs that are
    ``live`` change a result within a moment, and do so without a press of Run.

    Attributes:
        state: "empty", "running", "done", "stale" (an input has changed since the result was made) or "error".
        result: the last good result, None before the first.
    """

    title: ClassVar[str]
    purpose: ClassVar[str]
    first_step: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    form: ClassVar[tuple[str, ...]]
    live: ClassVar[tuple[str, ...]] = ()
    example: ClassVar[Mapping[str, Any]]

    state = tr.Enum(("empty", "running", "done", "stale", "error"), "empty")
    result = tr.Any(None)

    def __init_subclass__(cls, **options: Any) -> None:
        """Name all inputs in the signature, for help and for the completion of names."""
        super().__init_subclass__(**options)
        cls.__signature__ = signature(cls)

    def __init__(self, *, report: bool | None = None, **inputs: Any) -> None:
        super().__init__()
        self._report = os.environ.get("WORKBENCH_REPORT") == "1" if report is None else report
        self._job: Job | None = None
        self._shown: dict[str, Any] = {}
        self._done = ""
        self._filling = False
        self._build()
        for name in sorted(inputs, key=[*self.inputs, *inputs].index):  # some follow others, whoever comes first
            if not self.has_trait(name):
                raise TypeError(f"{type(self).__name__} has no input {name!r}; it has {', '.join(self.inputs)}.")
            setattr(self, name, inputs[name])
        self.observe(lambda change: self._changed(change["name"]), list(self.inputs))
        self._settle()

    def _controls(self) -> dict[str, Any]:
        """Make the controls by name, in the order that those have that are folded under "More"."""
        return controls(self)

    def _actions(self) -> list[widgets.Widget]:
        """Make further buttons to stand beside Run and Cancel."""
        return []

    def _amount(self, inputs: dict[str, Any]) -> tuple[int, str]:
        """Return how much there is to do, in the unit that the user thinks in: (900, "texts")."""
        raise NotImplementedError

    def _compute(self, inputs: dict[str, Any]) -> R:
        """Make the result of inputs; runs in another thread, so it touches no trait."""
        raise NotImplementedError

    def _code(self, inputs: dict[str, Any]) -> str:
        """Return Python that makes the same result without the panel."""
        raise NotImplementedError

    def _again(self, result: R, inputs: dict[str, Any]) -> R:
        """Make the result of inputs of which only ``live`` ones differ from those of ``result``."""
        return self._compute(inputs)

    def _figures(self, result: R) -> Sequence[go.Figure]:
        """Return the plain figures of a result, for the panel and for reports; the first one is ``to_figure()``."""
        return [result.figure()]

    def _views(self, result: R) -> Sequence[go.Figure | widgets.Widget]:
        """Return what the panel shows above the caption: plain figures, and widgets such as a ``FigureWidget``."""
        return self._figures(result)

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

    def to_figure(self) -> go.Figure:
        """Return the result as a plain plotly figure, which needs no panel."""
        return self._need().figure()

    def to_frame(self) -> pd.DataFrame:
        """Return the result as a table."""
        return self._need().frame()

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

    # How a form changes inputs.

    def pick(self, name: str, value: Any) -> None:
        """Set an input to what was picked in the form, or say what is wrong with it."""
        if not self._filling:
            with self.refusing():
                setattr(self, name, value)

    def fill(self, control: Any, options: list[Any] | None, value: Any) -> None:
        """Give a control new options (None: keep them) and a value; what it shows in between is nobody's choice."""
        with self.filling():
            if options is not None:
                control.options = options
            control.value = value

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Change controls without a pick."""
        before, self._filling = self._filling, True
        try:
            yield
        finally:
            self._filling = before

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Show an error that is raised here as that of an input, in place of a traceback."""
        try:
            yield
        except WorkbenchError as error:
            self._settle(error_line(error), failed=True)

    def _changed(self, name: str) -> None:
        self._settle()
        if name in self.live and self.state == "stale":
            now, before = self._inputs(), self._shown
            if all(key in self.live or same(now[key], before[key]) for key in now):
                self._quietly(self._work, self._begin(), partial(self._again, self.result))

    # How a run goes.

    def _begin(self) -> Job:
        if self._job is not None:
            raise WorkbenchError("This panel is still running. Wait for it, or call cancel() first.")
        self._job = job = Job(self._inputs(), self._show_progress)
        self._run.disabled, self._cancel.disabled = True, False
        self._bar.value, self._bar.layout.display = 0.0, ""
        self._note.value, self._status.value = "Starting …", ""
        self.state = "running"
        return job

    @contextmanager
    def _busy(self, job: Job) -> Iterator[None]:
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

    def _work(self, job: Job, compute: Callable[[dict[str, Any]], R] | None = None) -> R:
        with self._busy(job):
            with listen(job.heard):
                result = (compute or self._compute)(job.inputs)
            job.check()
            self._show(job, result)
        return result

    def _on_run(self) -> None:
        self._echo.act(each(self))

    def _start(self) -> None:
        if self._job is None:
            self._in_background(self._work, self._begin())

    def _in_background(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Do what a button asks for in another thread, so that Cancel and the rest of the notebook stay alive."""
        threading.Thread(target=self._quietly, args=(work, *arguments), daemon=True).start()

    def _quietly(self, work: Callable[..., Any], *arguments: Any) -> None:
        with suppress(Exception):  # the panel has shown it; behind a button there is nobody else to tell
            work(*arguments)

    def _on_example(self) -> None:
        for name, value in self.example.items():
            setattr(self, name, value)
        self._on_run()

    def _end(self, job: Job, error: BaseException | None) -> None:
        self._job = None
        self._run.disabled, self._cancel.disabled = False, True
        self._bar.layout.display = "none"
        if isinstance(error, (Cancelled, KeyboardInterrupt)):
            kept = " The result below is the one from before." if self.result is not None else ""
            self._settle(f"<div class='wb-said'>Cancelled after {duration(job.seconds())}.{kept}</div>")
        else:
            self._settle(error_line(error) if error else "", failed=error is not None)

    def _settle(self, said: str = "", failed: bool = False) -> None:
        """Say where the panel stands, unless it is running: nothing yet, a result, an old result, an error."""
        if self._job is not None:
            return
        amount, unit = self._amount(inputs := self._inputs())
        self._note.value = f"{count(amount)} {unit}" if amount else ""
        old = self.result is not None and not all(same(value, self._shown.get(name)) for name, value in inputs.items())
        state = "error" if failed else "empty" if self.result is None else "stale" if old else "done"
        self._card.add_class("wb-old") if old else self._card.remove_class("wb-old")
        self._status.value = said or {"done": self._done, "stale": _STALE}.get(state, "")
        self.state = state  # last, for whoever waits for it

    def _show_progress(self, job: Job, bar: Bar) -> None:
        if self._job is job and bar.total:
            part, (amount, unit) = min(bar.done / bar.total, 1.0), self._amount(job.inputs)
            spent = job.reported - (job.worked or 0)
            left = f" · {duration(spent * (1 - part) / part)} left" if spent > 0.3 and part else ""
            self._bar.value, self._note.value = part, f"{count(round(part * amount))} of {count(amount)} {unit}{left}"

    def _show(self, job: Job, result: R) -> None:
        """Make every view of a result before the first is swapped in, so that one that fails changes nothing."""
        views, texts = list(self._views(result)), pages(result, self._code(job.inputs))
        caption, model = in_html(result.caption()), result.facts().get("Model")
        if self._job is not job:
            return
        said = f"Done at {time.strftime('%H:%M:%S')} in {duration(job.seconds())}{f', with {model}' if model else ''}."
        self._made = views
        self.result, self._shown, self._done = result, job.inputs, f"<div class='wb-said'>{in_html(said)}</div>"
        plots = iter(self._plots)
        for place, view in enumerate(views):
            if not isinstance(view, widgets.Widget):
                if (plot := next(plots, None)) is None:
                    self._plots.append(plot := styled(widgets.Output(), "wb-figure"))
                views[place] = draw(plot, view)
        self._below.value = f"<p class='wb-caption'>{caption}</p>"
        for tab, page in zip(self._tabs.children, texts, strict=True):
            tab.value = page
        self._card.children = [*views, self._below, self._tabs]

    # What it looks like.

    def _build(self) -> None:
        self._fields = self._controls()
        shown = [self._fields[name] for name in self.form]
        folded = [control for name, control in self._fields.items() if name not in self.form]
        self._run = button("Run", "Make the result of these inputs", self._on_run, button_style="primary")
        self._cancel = button("Cancel", "Stop; the last result stays", self.cancel, disabled=True)
        self._bar = widgets.FloatProgress(max=1.0, layout={"width": "150px", "display": "none"})
        self._note, self._below, self._status = widgets.HTML(), widgets.HTML(), styled(widgets.HTML(), "wb-status")
        self._guide = widgets.HTML()  # what there is to say of the inputs
        self._echo = Echo(self._start)
        more = widgets.ToggleButton(tooltip="Further inputs", layout={"width": "88px"})
        rest = styled(widgets.HBox(folded), "wb-form")
        tr.dlink((more, "value"), (more, "description"), lambda down: "▾ More" if down else "▸ More")
        tr.dlink((more, "value"), (rest.layout, "display"), lambda down: "" if down else "none")
        start = button("Try the example", "Run on data that came along", self._on_example)
        empty = styled(widgets.VBox([widgets.HTML(f"<p>{in_html(self.first_step)}</p>"), start]), "wb-empty")
        self._plots = [styled(widgets.Output(), "wb-figure")]
        tabs = [widgets.HTML(), widgets.HTML(), widgets.HTML()]
        self._tabs = styled(widgets.Tab(tabs, titles=("Table", "Code", "Facts")), "wb-tabs")
        self._card = styled(widgets.VBox([empty]), "wb-result")
        head = f"<div class='wb-title'>{in_html(self.title)}</div><p class='wb-purpose'>{in_html(self.purpose)}</p>"
        form = styled(widgets.HBox([*shown, more] if folded else shown), "wb-form")
        self._buttons = widgets.HBox([self._run, self._cancel, *self._actions(), self._bar, self._note])
        below = [self._guide, styled(self._buttons, "wb-actions"), self._status, self._card]
        styled(self, "wb-panel").children = [widgets.HTML(CSS + head), form, rest, *below]

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Show the panel; in report mode its figure and its table instead, which print and need no kernel."""
        if not self._report:
            return super()._repr_mimebundle_(**kwargs)
        from IPython.display import HTML, display

        if self.result is None:
            self.run()
        (rows, _, about), caption = pages(self.result, "", 5), self.result.caption()
        display(HTML(f"{CSS}<div class='wb-report wb-title'>{in_html(self.title)}</div>"))
        for figure in self._figures(self.result):
            display(figure)
        page = f"<div class='wb-report'><p class='wb-caption'>{in_html(caption)}</p>{rows}{about}</div>"
        return {"text/html": page, "text/plain": f"{self.title}. {caption}"}

    def __repr__(self) -> str:
        amount, unit = self._amount(self._inputs())
        return f"<{type(self).__name__}: {amount} {unit}, {self.state}>"

    def _inputs(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.inputs}
        return {name: value.copy() if isinstance(value, list) else value for name, value in values.items()}

    def _need(self) -> R:
        result: R | None = self.result
        if result is None:
            raise WorkbenchError("There is no result yet. Press Run, or call run().")
        return result
