"""A report on the data of a panel: what it is written of, where it goes, and the link to it."""

import itertools
from pathlib import Path
from typing import Any
from urllib.parse import quote

import ipywidgets as widgets

from widgets._data import bundled_sets
from widgets._theme import count, cut, in_html
from workbench.errors import WorkbenchError

__all__ = ["link", "report_of"]


def report_of(inputs: dict[str, Any], out: str | Path, used: list[str], parameters: dict[str, Any]) -> Path:
    """Write a report of a run's inputs and return its path.

    Args:
        inputs: of a panel, with "data", "frame", "column" and "model".
        out: the HTML file; "" for a new one in the working folder.
        used: the columns of the data that are in use; if it is in no file, they are written beside the report.
        parameters: of ``write_report``.

    Raises:
        WorkbenchError: there are no texts, the model was passed as an object, or the report's notebook has stopped.
    """
    from workbench.report import write_report

    given, data = inputs["model"], inputs["data"]
    model = given if isinstance(given, str) else getattr(given, "loaded_from", None)
    if not any(text.strip() for text in inputs["texts"]):
        raise WorkbenchError("There are no texts to report on. Choose data first.")
    if not model:
        raise WorkbenchError(
            f"A report loads its model by itself; this one is an object ({type(given).__name__}). "
            "Set model to a name or folder."
        )
    path = Path(out) if out else _fresh()
    made: Path | None = None
    if not (isinstance(data, Path) or (isinstance(data, str) and (data in bundled_sets() or Path(data).is_file()))):
        made, parameters = path.with_suffix(".jsonl"), {"title": _title(inputs), **parameters}
        made.parent.mkdir(parents=True, exist_ok=True)
        inputs["frame"][used].to_json(made, orient="records", lines=True, force_ascii=False)
    try:
        report = write_report(made or data, path, text=inputs["column"], models=[model], **parameters)
    except BaseException:
        if made:
            made.unlink()
        raise
    return report.paths[0]


def link(place: widgets.Output, path: Path) -> None:
    """Show a link to a file; the page finds it from the folder of its notebook."""
    shown = path.resolve()
    shown = shown.relative_to(Path.cwd()) if shown.is_relative_to(Path.cwd()) else shown
    name = in_html(str(shown))
    html = name if shown.is_absolute() else f"<a href='{quote(shown.as_posix())}' target='_blank'>{name}</a>"
    data = {"text/html": f"<div class='wb-said'>Report: {html}</div>", "text/plain": f"Report: {shown}"}
    place.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)


def _title(inputs: dict[str, Any]) -> str:
    """What a report is called whose data has no name: "Report on 512 texts of column message"."""
    number, column = sum(bool(text.strip()) for text in inputs["texts"]), cut(inputs["column"])
    where = "" if column == "text" else f" of column {column}"
    return f"Report on {count(number)} {'text' if number == 1 else 'texts'}{where}"


def _fresh() -> Path:
    """A file that is not there yet."""
    names = itertools.chain(["report.html"], (f"report_{number}.html" for number in itertools.count(2)))
    return next(path for path in map(Path, names) if not path.exists())
