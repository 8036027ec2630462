"""Fine-tuning, guided: columns, losses that fit them, what the loss will see, training, and what changed."""

import copy
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go
import traitlets as tr

from widgets import _finetune as steps
from widgets._curves import curves_figure
from widgets._data_panel import DataPanel
from widgets._fields import Choice, Column, Model
from widgets._finetune_figure import HEIGHT
from widgets._job import Job
from widgets._models import load_model
from widgets._parts import button, draw, styled
from widgets._theme import count, duration, in_html, table
from workbench import losses
from workbench.errors import WorkbenchError
from workbench.progress import Bar
from workbench.projection import METHODS
from workbench.training import History, suggest_columns

__all__ = ["FinetunePanel"]

_SEEN = 500  # rows that a preview looks at
_PROBE = 5  # steps that an estimate is judged by


class _Live(History):
    """Draws the curves of a run, twice a second at most, and knows how long its steps took."""

    shows_progress = True  # so that the trainer shows none

    def __init__(self, show: Callable[[go.Figure], Any]) -> None:
        super().__init__()
        self._show, self._drawn = show, 0.0
        self.begun, self.ended = math.inf, 0.0  # when the first and the last step were done

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the clock."""
        super().on_step_end(args, state, control, **kwargs)
        self.ended = time.monotonic()
        self.begun = min(self.begun, self.ended)

    def changed(self, *, last: bool = False) -> None:
        """Draw, if the last drawing is old enough."""
        if last or time.monotonic() - self._drawn > 0.5:
            self._show(curves_figure(self.rows, total=self.total, height=HEIGHT))
            self._drawn = time.monotonic()


class FinetunePanel(DataPanel[steps.Finetuned]):
    """Fine-tune a model on columns of your own data, and see what changed.

    Args:
        data: see ``DataPanel``.
        column: the first column of texts: the anchor, question or sentence. Columns that are not named are guessed.
        second: the second: the positive, answer or other sentence; "" where there is none.
        third: the third: a text that does not belong to the first.
        label: the column of scores or classes.
        loss: a loss of ``workbench.losses``; "" takes the first of those that fit.
        model: name or folder of a model, or a loaded one, of which a copy is trained.
        negatives: hard negatives to mine for each pair and to train with, 0 to 5.
        epochs: how often to go through the data.
        batch_size: rows of a batch; for losses with in-batch negatives, more is better.
        learning_rate: 0 takes the usual one of the kind of model.
        held_out: the share of rows to measure with.
        map: how to lay out the map: "pca", "umap" or "tsne".
        seed: decides the rows held out, their order and the map.
        report: show figure and table in place of controls; None asks the environment variable ``WORKBENCH_REPORT``.

    Attributes:
        trained: the model after the last run, None before; ``save`` and ``push`` keep it.
        history: what the run that is under way, or the last one, has logged, as a DataFrame.
    """

    title = "Fine-tune"
    purpose = "Train a model on your own columns, and see on rows that were held out whether it got better."
    first_step = "Choose data with texts and their class, or with two columns that belong together, and press Run."
    inputs = (
        "data", "column", "second", "third", "label", "loss", "model",
        "negatives", "epochs", "batch_size", "learning_rate", "held_out", "map", "seed",
    )  # fmt: skip
    form = ("data", "upload", "column", "second", "third", "label", "loss", "model", "preview")
    labels_in = "label"
    example = {"data": "support_messages", "epochs": 10}  # noqa: RUF012 - the base class declares it as a class variable

    second = Column(text=True).tag(label="Second text")
    third = Column(text=True).tag(label="Negative")
    label = Column().tag(label="Score or class")
    loss = Choice("", losses.__all__, none="suggested").tag(label="Loss")
    model = Model("starter").tag(label="Model")
    negatives = tr.Int(0, min=0, max=5).tag(label="Hard negatives")
    epochs = tr.Int(5, min=1, max=1000).tag(label="Epochs")
    batch_size = tr.Int(32, min=2, max=4096).tag(label="Batch size")
    learning_rate = tr.Float(0.0, min=0.0, max=10.0).tag(label="Learning rate (0: usual)", step=1e-5)
    held_out = tr.Float(0.2, min=0.01, max=0.9).tag(label="Share held out", step=0.05)
    map = Choice("pca", list(METHODS)).tag(label="Map")
    seed = tr.Int(0).tag(label="Seed", kind=widgets.IntText)

    def __init__(self, data: Any = None, **inputs: Any) -> None:
        self._live = _Live(lambda figure: None)
        self._before: tuple[widgets.Widget, ...] = ()  # what the card showed before the run that is under way
        super().__init__(data, **inputs)

    @property
    def trained(self) -> Any:  # noqa: D102 - the class describes it
        return None if self.result is None else self.result.model

    @property
    def history(self) -> pd.DataFrame:  # noqa: D102 - the class describes it
        frame: pd.DataFrame = self._live.to_frame()
        return frame

    def pause(self) -> None:
        """Let the run wait after the step that it is in."""
        self._hold.value = True

    def resume(self) -> None:
        """Let a paused run go on."""
        self._hold.value = False

    def cancel(self) -> None:
        """Stop the run after the step that it is in. The panel is free at once and keeps its last good result."""
        super().cancel()
        self._live.stop()

    def save(self, folder: str | Path) -> Path:
        """Write the trained model to a folder."""
        self._need().model.save_pretrained(Path(folder).expanduser())
        return Path(folder)

    def push(self, name: str) -> str:
        """Upload the trained model to the hub, as ``organization/name``; returns its address."""
        return str(self._need().model.push_to_hub(name))

    def suggestions(self) -> dict[str, str]:
        """Return the losses that fit the columns: name → what speaks for it, the most advisable first."""
        return steps.suggestions(self._inputs(), _SEEN)

    def preview(self) -> pd.DataFrame:
        """Return some rows as the loss will see them, with mined negatives if these are asked for."""
        inputs = self._inputs()
        frame: pd.DataFrame = steps.mine(steps.picked(inputs, _SEEN), load_model(self.model), inputs).to_pandas()
        return frame

    def estimate(self) -> float:
        """Return the seconds that the training steps will take, judged by a few that a copy of the model does."""
        inputs, model, clock = self._inputs(), copy.deepcopy(load_model(self.model)), _Live(lambda figure: None)
        quiet: dict[str, Any] = {"eval_strategy": "no", "eval_on_start": False, "max_steps": _PROBE}
        with tempfile.TemporaryDirectory() as folder:
            rows = steps.mine(steps.picked(inputs, _SEEN), model, inputs)
            steps.make_trainer(model, rows, None, inputs, clock, folder, **quiet).train()
        return (clock.ended - clock.begun) / (_PROBE - 1) * self._amount(inputs)[0]

    # Inputs, from Python and from the form.

    @tr.observe("data")
    def _take_data(self, change: Any) -> None:
        """Guess what the columns are, unless those that are chosen are there, too."""
        chosen = [getattr(self, name) for name in self.columns]
        super()._take_data(change)
        if self._frame is not None and not (chosen[0] and {*chosen} <= {"", *self._frame.columns}):
            texts, label = suggest_columns(self._frame)
            self.loss = ""
            for name, value in zip(self.columns, [*[*texts, "", ""][:3], label], strict=True):
                setattr(self, name, value)
        self._guess()

    @tr.observe("column", "second", "third", "label", "loss", "negatives")
    def _take_role(self, change: Any) -> None:
        self._guess()

    def _guess(self) -> None:
        """Show which losses fit the columns, why, and what the chosen one will see."""
        if self._frame is None:
            self._guide.value = ""
            return
        try:
            self._say(self.suggestions(), steps.picked(self._inputs(), _SEEN).to_pandas())
        except WorkbenchError as error:
            self._guide.value = f"<div class='wb-error'>{in_html(error)}</div>"

    def _say(self, found: dict[str, str], rows: pd.DataFrame, note: str = "") -> None:
        suggested, chosen = next(iter(found), "none fits"), self.loss or next(iter(found), "")
        names = dict.fromkeys([*found, *filter(None, [self.loss])])
        self.fill(self._fields["loss"], [(f"suggested: {suggested}", ""), *((one, one) for one in names)], self.loss)
        lines = [[("▸ " if name == chosen else "") + name, reason] for name, reason in list(found.items())[:4]]
        seen = table(list(rows.columns), rows.head(3).to_numpy().tolist(), note)
        self._guide.value = f"{table(['loss that fits', 'why'], lines)}<p class='wb-note'>What it will see:</p>{seen}"

    def _on_preview(self) -> None:
        self._fields["preview"].disabled = True
        self._in_background(self._look)

    def _look(self) -> None:
        try:
            with self.refusing():
                found, rows = self.suggestions(), self.preview()
                self._say(found, rows)
                said = f"{count(self._amount(self._inputs())[0])} steps, about {duration(self.estimate())}."
                self._say(found, rows, said)
        finally:
            self._fields["preview"].disabled = False

    def _controls(self) -> dict[str, Any]:
        fields = super()._controls()
        fields["column"].description = "First text"
        self._plot = styled(widgets.Output(), "wb-figure")
        look = button("Preview", "See the rows, mine negatives, estimate the time", self._on_preview)
        where = widgets.Text(description="Folder, or organization/name on the hub", value="my-model")
        save = button("Save", "Write the model to a folder", lambda: self._on_keep(self.save, where.value.strip()))
        push = button("Push to the hub", "Upload it", lambda: self._on_keep(self.push, where.value.strip()))
        self._keep = styled(widgets.HBox([where, save, push]), "wb-form")
        return {**fields, "preview": look}

    def _actions(self) -> list[widgets.Widget]:
        self._hold = widgets.ToggleButton(description="Pause", tooltip="Wait after this step", disabled=True)
        self._hold.observe(lambda change: self._on_hold(), "value")
        return [self._hold, *super()._actions()]

    def _on_hold(self) -> None:
        self._hold.description = "Continue" if self._hold.value else "Pause"
        self._live.pause() if self._hold.value else self._live.resume()

    def _on_keep(self, keep: Callable[[str], Any], where: str) -> None:
        with self.refusing():
            try:
                self._settle(f"<div class='wb-said'>Kept: {in_html(keep(where))}</div>")
            except (OSError, ValueError) as error:
                raise WorkbenchError(f"The model could not be kept: {error}") from error

    # The run.

    def _amount(self, inputs: dict[str, Any]) -> tuple[int, str]:
        rows = 0 if inputs["frame"] is None else len(inputs["frame"]) * (1 - inputs["held_out"])
        return math.ceil(rows * max(1, inputs["negatives"]) / inputs["batch_size"]) * inputs["epochs"], "steps"

    def _begin(self) -> Job:
        job = super()._begin()
        self._live = _Live(lambda figure: draw(self._plot, figure) if self._job is job else None)
        self._before, self._card.children = self._card.children, [draw(self._plot, curves_figure([], height=HEIGHT))]
        self._hold.disabled = False
        return job

    def _end(self, job: Job, error: BaseException | None) -> None:
        self._hold.value, self._hold.disabled = False, True
        if error is not None and self._before:
            self._card.children = self._before
        self._before = ()
        super()._end(job, error)

    def _reported(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The first texts, and the model before training; a label that belongs to a pair says nothing of the texts."""
        return {**inputs, "label": "" if inputs["second"] else inputs["label"]}

    def _show_progress(self, job: Job, bar: Bar) -> None:
        if bar.unit == "steps" and bar.done:  # not the texts that an evaluation encodes in between
            super()._show_progress(job, bar)

    def _views(self, result: steps.Finetuned) -> list[Any]:
        return [result.figure(), self._keep]

    def _compute(self, inputs: dict[str, Any]) -> steps.Finetuned:
        model = copy.deepcopy(load_model(inputs["model"]))
        with tempfile.TemporaryDirectory() as folder:
            return steps.finetune(inputs, model, self._live, folder)

    def _code(self, inputs: dict[str, Any]) -> str:
        return steps.code(inputs, self._plain_data(inputs))
