"""What panels on a table share: data that is brought in any way, a column of it, and the report on its texts."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets as widgets
import pandas as pd
import traitlets as tr

from widgets._data import FILES, as_frame, bundled_sets, read_file, text_columns
from widgets._fields import Column, Model
from widgets._job import Job
from widgets._models import model_name
from widgets._panel import Panel, R
from widgets._parts import button
from widgets._reports import link, report_of
from widgets._theme import count
from workbench.errors import WorkbenchError, choose
from workbench.progress import Bar, listen
from workbench.texts import as_texts, clean

__all__ = ["DataPanel", "written"]


class DataPanel(Panel[R]):
    """A panel whose texts are a column of data that is passed, uploaded, named by its path, or came along.

    A subclass that lists "data" and "column" among its ``inputs`` finds "frame" and "texts" among the inputs of a run.

    Attributes:
        data: a DataFrame, a ``datasets.Dataset``, the path of a CSV, TSV, JSONL or Parquet file, the name of a bundled
            set, a list of records, or texts.
        column: the column that holds the texts; by default the one with the longest.
    """

    unit: ClassVar[str] = "text"  # what a row of the data is
    labels_in: ClassVar[str] = ""  # the input that names a column of labels, for a report
    reports: ClassVar[bool] = True  # whether there is a button that writes one

    data = tr.Any(None)
    column = tr.Unicode("")
    _frame: pd.DataFrame | None
    _found: dict[str, list[str]]  # the columns of text

    def __init__(self, data: Any = None, **inputs: Any) -> None:
        super().__init__(**({} if data is None else {"data": data}), **inputs)  # first: other inputs name its columns

    @property
    def columns(self) -> Sequence[str]:
        """The inputs that name a column; "" is none."""
        return ["column", *self._roles()]

    def _roles(self) -> dict[str, Column]:
        traits = self.traits()
        return {name: traits[name] for name in self.inputs if isinstance(traits[name], Column)}

    def known_columns(self, *, text: bool = False) -> list[str]:
        """Return the columns of the data, or those of them that hold ``text``."""
        return list(self._found) if text or self._frame is None else list(self._frame.columns)

    @property
    def texts_in_column(self) -> list[str]:
        """The texts that a run would take."""
        return self._found.get(self.column, [])

    @property
    def parameters(self) -> dict[str, Any]:
        """The inputs as values that JSON can hold.

        A model is named; data is its name or path, or, when it was passed as an object, the columns that are in use.
        """
        values = {name: getattr(self, name) for name in self.inputs}
        for name in values:
            if isinstance(self.traits()[name], Model):
                values[name] = model_name(values[name])
        return {**values, "data": self._plain_data(self._inputs())} if "data" in values else values

    def _plain_data(self, inputs: dict[str, Any]) -> Any:
        """The data as a name, a path, texts or records of the columns that are in use."""
        data = inputs["data"]
        if data is None or isinstance(data, (str, list)):
            return data
        if isinstance(data, Path):
            return str(data)
        return json.loads(inputs["frame"][self._used(inputs)].to_json(orient="records"))

    def _used(self, inputs: dict[str, Any]) -> list[str]:
        """The columns that are in use."""
        return list(dict.fromkeys(filter(None, (inputs[name] for name in self.columns))))

    def _data_code(self, inputs: dict[str, Any]) -> str:
        """Return Python that makes ``frame`` and ``texts``; it needs ``as_frame`` of this package."""
        data = self._plain_data(inputs)
        column = f"frame[{inputs['column']!r}].fillna('').tolist()"
        return "" if data is None else f"frame = as_frame({written(data)})\ntexts = {column}\n"

    def _inputs(self) -> dict[str, Any]:
        own = super()._inputs()
        return {**own, "frame": self._frame, "texts": self.texts_in_column} if "data" in own else own

    def _amount(self, inputs: dict[str, Any]) -> tuple[int, str]:
        number = len(inputs["texts"])
        return number, self.unit + "s" * (number != 1)

    @tr.validate("data")
    def _check_data(self, proposal: Any) -> Any:
        data = proposal["value"]  # never None, which traitlets lets pass by
        frame = as_frame(data)
        self._frame, self._found = frame, text_columns(frame)
        return data.copy() if isinstance(data, list) else data

    @tr.validate("column")
    def _check_column(self, proposal: Any) -> str:
        name: str = proposal["value"] or self._longest()
        if name:
            texts = choose("column", name, self._found)
            self._found[name] = clean(as_texts(texts, name=f"column {name!r}")[0])
        return name

    @tr.observe("data")
    def _take_data(self, change: Any) -> None:
        """Offer the columns that hold text; stay with the same column where there is one."""
        if self.data is None:
            self._frame, self._found = None, {}
        kept = self.column if self.column in self._found else self._longest()
        self.fill(self._columns, list(self._found), kept or None)
        own = not isinstance(self.data, str) or self.data not in bundled_sets()
        self.fill(self._sets, _set_options(self.data if own else None), "" if own else self.data)
        self._columns.layout.display = "" if self._found else "none"
        if kept == self.column:
            self._check_column({"value": kept})
            self._take_column(None)
        else:
            self.column = kept
        for name, trait in self._roles().items():
            kept = getattr(self, name) if getattr(self, name) in trait.known(self) else ""
            if name in self._fields:
                self.fill(self._fields[name], trait.options(self), kept)
            setattr(self, name, kept)

    def _longest(self) -> str:
        """The column with the longest texts."""
        return max(self._found, key=lambda name: sum(map(len, map(str, self._found[name][:100]))), default="")

    @tr.observe("column")
    def _take_column(self, change: Any) -> None:
        """Follow the column; a panel that keeps its texts elsewhere takes them here."""
        self.fill(self._columns, None, self.column or None)

    def _controls(self) -> dict[str, Any]:
        self._frame, self._found = None, {}
        self._sets = widgets.Dropdown(description="Data", options=_set_options(None))
        self._columns = widgets.Dropdown(description="Column", layout={"display": "none"})
        upload = widgets.FileUpload(accept=",".join(FILES), tooltip="A CSV, TSV, JSONL or Parquet file, up to 10 MB")
        path = widgets.Text(description="A file on the server: its path", continuous_update=False)
        self._sets.observe(lambda change: self.pick("data", change["new"]) if change["new"] else None, "value")
        self._columns.observe(lambda change: self.pick("column", change["new"]), "value")
        path.observe(lambda change: self.pick("data", Path(change["new"].strip()).expanduser()), "value")
        upload.observe(lambda change: self._take_upload(change["new"]), "value")
        data = {"data": self._sets, "upload": upload, "column": self._columns}
        return {**data, **super()._controls(), "path": path}

    def _take_upload(self, files: tuple[dict[str, Any], ...]) -> None:
        with self.refusing():
            for file in files:
                self.data = read_file(io.BytesIO(file["content"]), file["name"])

    def write_report(self, out: str | Path = "", **parameters: Any) -> Path:
        """Write all there is to say of the panel's texts into one HTML file that opens offline, and show where it is.

        Data that is neither bundled nor a file is written beside it, so that the report can be made again.

        Args:
            out: the file; "" takes the first of report.html, report_2.html, … that is not there yet.
            parameters: further ones of ``workbench.report.write_report``, such as ``sections``.

        Raises:
            Cancelled: by ``cancel()``, after the part that is being written.
            WorkbenchError: there are no texts, the model has no name, or the panel is running; nothing is written.
        """
        job = super()._begin()  # what a panel adds to the beginning of a run is not for a report
        job.show, inputs = self._show_writing, self._reported(job.inputs)
        parameters = {"label": inputs.get(self.labels_in, ""), **parameters}
        with self._busy(job):
            try:
                with listen(job.heard):
                    path = report_of(inputs, out, self._used(inputs), parameters)
            except OSError as error:
                raise WorkbenchError(f"The report could not be written: {error}") from error
            job.check()
            link(self._written, path)
        return path

    def _reported(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return what a report is written of: the inputs of a run, and what is to be said otherwise of its data."""
        return inputs

    def _show_writing(self, job: Job, bar: Bar) -> None:
        if self._job is job:
            self._bar.value, self._note.value = bar.done / bar.total, f"{bar.done:.0f} of {bar.total:.0f} parts written"

    def _actions(self) -> list[widgets.Widget]:
        self._written = widgets.Output()
        say = "Write a page on these texts that opens offline"
        return [button("Report", say, lambda: self._in_background(self.write_report))] if self.reports else []

    def _build(self) -> None:
        super()._build()
        self._buttons.children += (self._written,)


def _set_options(own: Any) -> list[tuple[str, str]]:
    kind = str(own.name) if isinstance(own, Path) else str(own) if isinstance(own, str) else type(own).__name__
    size = f", {count(len(own))} rows" if hasattr(own, "__len__") and not isinstance(own, str) else ""
    return [("choose …" if own is None else f"{kind}{size}", ""), *((name, name) for name in bundled_sets())]


def written(value: Any) -> str:
    """Return a value as Python, a list with a line for each of its rows."""
    rows = "".join(f"    {row!r},\n" for row in value) if isinstance(value, list) else ""
    return f"[\n{rows}]" if rows else repr(value)
