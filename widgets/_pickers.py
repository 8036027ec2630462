"""What panels share to choose from: models that are at hand or can be named, and a column of somebody's data."""

import io
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import ipywidgets as widgets
import traitlets as tr

from widgets._data import FILES, as_frame, bundled_sets, read_file, text_columns
from widgets._job import Job
from widgets._panel import Panel
from widgets._reports import link, report_of
from widgets._theme import count
from workbench.errors import WorkbenchError, choose
from workbench.progress import Bar, listen
from workbench.texts import as_texts, clean

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DataPanel", "Model", "ModelPicker", "known_models", "load_model", "load_reranker", "model_facts", "model_name",
    "model_prompts", "texts_of",
]  # fmt: skip


def known_models(kind: str = "bi-encoder", *, everywhere: bool = False) -> list[tuple[str, str]]:
    """Return (label, name) of the known models that are on this machine; ``everywhere`` adds those to be fetched."""
    from workbench import hub, registry

    bundled, found = hub.bundled(), []
    for row in registry.MODELS.values():
        if row.kind == kind and ((here := hub.available(row.name)) or everywhere):
            note = " (bundled)" if row.name in bundled else "" if here else f" (download, {row.size_mb:.0f} MB)"
            found.append((row.name.rpartition("/")[2] + note, row.name))
    return found


def model_facts(model: Any) -> str:
    """Return what is known of a model, by name or loaded, in one line: dimensions, length, size, languages, licence."""
    from workbench import hub, registry

    row = registry.facts(model) if isinstance(model, str) else None
    if row is None:
        return (
            "no facts are known of this model" if isinstance(model, str) else f"an object of type {model_name(model)}"
        )
    length = "any length" if row.max_seq_length is None else f"{row.max_seq_length} tokens"
    where = "on this machine" if hub.available(row.name) else "not on this machine: downloaded when it runs"
    parts = [f"{row.dimensions} dimensions" if row.dimensions else "", length, f"{row.size_mb:g} MB", row.languages]
    return " · ".join(filter(None, [*parts, row.license or "licence unknown", row.note, where]))


def model_prompts(model: Any) -> dict[str, str]:
    """Return the prompts that a model brings, or that are published for it, by name, without loading its weights."""
    from workbench import hub, persist, registry

    if not isinstance(model, str):
        return dict(getattr(model, "prompts", {}))
    row = registry.facts(model)
    known = {"query": row.query_prompt, "document": row.document_prompt} if row else {}
    found = {name: text for name, text in known.items() if text}
    return (
        found | persist.read_config(hub.resolve(model, local_files_only=True)).prompts
        if hub.available(model)
        else found
    )


def model_name(model: Any) -> str:
    """Return the name of a model, also of an object that loading this name makes again, or else its type."""
    return model if isinstance(model, str) else getattr(model, "loaded_from", None) or type(model).__name__


def load_model(model: Any) -> Any:
    """Return a bi-encoder by name or folder, loaded once for all panels; an object is returned as it is."""
    return _load("SentenceTransformer", model)


def load_reranker(model: Any) -> Any:
    """Return a cross-encoder by name or folder, loaded once for all panels; an object is returned as it is."""
    return _load("CrossEncoder", model)


def _load(kind: str, model: Any) -> Any:
    if not isinstance(model, str):
        return model
    # A folder is read again each time, since it may have changed.
    return _load_once.__wrapped__(kind, model) if Path(model).is_dir() else _load_once(kind, model)


@lru_cache(maxsize=4)
def _load_once(kind: str, name: str) -> Any:
    import workbench

    return getattr(workbench, kind)(name)


class Model(tr.Any):
    """A trait for a model: a name, a folder, or an object with the method that the panel calls."""

    def __init__(self, default: Any, method: str = "encode") -> None:
        super().__init__(default)
        self._method = method

    def validate(self, obj: Any, value: Any) -> Any:
        """Refuse at once what cannot be a model."""
        if isinstance(value, (str, Path)):
            return str(value)
        if not hasattr(value, self._method):
            kind = type(value).__name__
            raise WorkbenchError(
                f"{self.name} is of type {kind}; expected a name, a folder or an object with {self._method}()."
            )
        return value


class ModelPicker:
    """A menu of models and a field for any other one, which follow a trait of a panel and set it."""

    def __init__(
        self,
        panel: Panel,
        trait: str = "model",
        kind: str = "bi-encoder",
        label: str = "Model",
        *,
        everywhere: bool = False,
    ) -> None:
        self._panel, self._trait = panel, trait
        self.menu = widgets.Dropdown(description=label, options=known_models(kind, everywhere=everywhere))
        other = f"Another {label.lower()}: its name or folder"
        self.other = widgets.Text(description=other, continuous_update=False)
        self.menu.observe(lambda change: panel.pick(trait, change["new"]), "value")
        self.other.observe(lambda change: panel.pick(trait, change["new"].strip() or getattr(panel, trait)), "value")
        panel.observe(lambda change: self._offer(), trait)
        self._offer()

    def _offer(self) -> None:
        options, model = list(self.menu.options), getattr(self._panel, self._trait)
        if model not in [value for _, value in options]:
            options.append((model_name(model), model))
        self._panel.fill(self.menu, options, model)


class DataPanel(Panel):
    """A panel whose texts are a column of data that is passed, uploaded, named by its path, or came along.

    A subclass that lists "data" and "column" among its ``inputs`` finds "frame" and "texts" among the inputs of a run.

    Attributes:
        data: a DataFrame, a ``datasets.Dataset``, the path of a CSV, TSV, JSONL or Parquet file, the name of a bundled
            set, a list of records, or texts.
        column: the column that holds the texts; by default the one with the longest.
    """

    columns: ClassVar[tuple[str, ...]] = ("column",)  # the inputs that name a column; "" is none
    labels_in: ClassVar[str] = ""  # the input that names a column of labels, for a report
    reports: ClassVar[bool] = True  # whether there is a button that writes one

    data = tr.Any(None)
    column = tr.Unicode("")
    _frame: "pd.DataFrame | None"
    _found: dict[str, list[str]]  # the columns of text

    def __init__(self, data: Any = None, **inputs: Any) -> None:
        super().__init__(**({} if data is None else {"data": data}), **inputs)  # first: other inputs name its columns

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
        used = dict.fromkeys(filter(None, (inputs[name] for name in self.columns)))
        return str(data) if isinstance(data, Path) else json.loads(inputs["frame"][[*used]].to_json(orient="records"))

    def _data_code(self, inputs: dict[str, Any]) -> str:
        """Return Python that makes ``frame`` and ``texts``; it needs ``as_frame`` of this package."""
        data = self._plain_data(inputs)
        rows = "".join(f"    {row!r},\n" for row in data) if isinstance(data, list) else ""
        given = f"[\n{rows}]" if rows else repr(data)
        return f"frame = as_frame({given})\ntexts = frame[{inputs['column']!r}].fillna('').tolist()\n"

    def _inputs(self) -> dict[str, Any]:
        own = super()._inputs()
        return {**own, "frame": self._frame, "texts": self.texts_in_column} if "data" in own else own

    def _amount(self, inputs: dict[str, Any]) -> tuple[int, str]:
        return len(inputs["texts"]), "text" if len(inputs["texts"]) == 1 else "texts"

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

    def _longest(self) -> str:
        """The column with the longest texts."""
        return max(self._found, key=lambda name: sum(map(len, map(str, self._found[name][:100]))), default="")

    @tr.observe("column")
    def _take_column(self, change: Any) -> None:
        """Follow the column; a panel that keeps its texts elsewhere takes them here."""
        self.fill(self._columns, None, self.column or None)

    def _data_controls(self) -> tuple[list[widgets.Widget], list[widgets.Widget]]:
        """Make the controls for data: those of the form, and those for "More"."""
        self._frame, self._found = None, {}
        self._sets = widgets.Dropdown(description="Data", options=_set_options(None))
        self._columns = widgets.Dropdown(description="Column", layout={"display": "none"})
        upload = widgets.FileUpload(accept=",".join(FILES), tooltip="A CSV, TSV, JSONL or Parquet file, up to 10 MB")
        path = widgets.Text(description="A file on the server: its path", continuous_update=False)
        self._sets.observe(lambda change: self.pick("data", change["new"]) if change["new"] else None, "value")
        self._columns.observe(lambda change: self.pick("column", change["new"]), "value")
        path.observe(lambda change: self.pick("data", Path(change["new"].strip()).expanduser()), "value")
        upload.observe(lambda change: self._take_upload(change["new"]), "value")
        return [self._sets, self._columns, upload], [path]

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
                    path = report_of(inputs, out, self.columns, parameters)
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

    def _build(self) -> None:
        super()._build()
        if self.reports:
            button = widgets.Button(description="Report", tooltip="Write a page on these texts that opens offline")
            button.on_click(lambda _: self._in_background(self.write_report))
            self._written = widgets.Output()
            actions = self.children[3]
            *before, bar, note = actions.children
            actions.children = [*before, button, bar, note, self._written]


def _set_options(own: Any) -> list[tuple[str, str]]:
    kind = str(own.name) if isinstance(own, Path) else str(own) if isinstance(own, str) else type(own).__name__
    size = f", {count(len(own))} rows" if hasattr(own, "__len__") and not isinstance(own, str) else ""
    return [("choose …" if own is None else f"{kind}{size}", ""), *((name, name) for name in bundled_sets())]


def texts_of(inputs: dict[str, Any]) -> list[str]:
    """Return the texts of a run's inputs, one for each row of ``inputs["frame"]``, blank where there was none."""
    texts: list[str] = inputs["texts"]
    return texts
