"""Reports: a notebook run with parameters by papermill, and written as one HTML file that opens without a network."""

import ast
import copy
import csv
import hashlib
import html
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import workbench
from workbench._optional import require
from workbench.errors import DataFormatError, WorkbenchError, choose
from workbench.folders import replacing
from workbench.progress import track

__all__ = ["SECTIONS", "Report", "Sections", "guess_languages", "report_batch", "write_report"]

SECTIONS = {
    "facts": "What the texts are",
    "map": "What they are about",
    "neighbours": "Which are alike, and which stand alone",
    "search": "How well they are found",
    "models": "How models compare",
}
_FORMATS = ("html", "ipynb")
_NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "report.ipynb"
_LISTS = {"models", "sections"}  # options of several values, which a batch's file joins with ";"
_STAMP = "sentence-workbench"
# The page may run its own scripts (plotly's maps compile theirs), and ask no other place for anything.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:; worker-src blob:"
)
_STYLE = """
:root { color-scheme: light; --ink: #1f2328; --faint: #57606a; --ground: #fff; }
@media screen and (prefers-color-scheme: dark) { :root {
  color-scheme: dark; --ink: #e6edf3; --faint: #9198a1; --ground: #161b22; --jp-layout-color1: var(--ground);
  --jp-content-font-color1: var(--ink); --jp-content-font-color2: var(--faint); --jp-border-color1: #3d444d;
  --jp-border-color2: #3d444d; --jp-border-color3: #2a3038;
} }
body { margin: 0; color: var(--ink); background: var(--ground); }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 28px 20px 60px; overflow-wrap: anywhere; }
h1 { font-size: 28px; line-height: 1.25; margin: 0 0 8px; } h2 { font-size: 21px; margin: 40px 0 8px; }
.wb-title { display: none; } pre { white-space: pre-wrap; font-size: 13px; }
.failed { padding: 8px 12px; border-left: 4px solid #d1242f; background: rgba(209, 36, 47, 0.1); }
.wb-report { margin: 10px 0 18px; } .wb-report .wb-table { margin: 12px 0 2px; }
.plotly-graph-div { break-inside: avoid; } details.code { margin-top: 40px; color: var(--faint); }
@media print { main { max-width: none; padding: 0; } details.code { display: none; } h2 { break-after: avoid; } }
"""


@dataclass(frozen=True)
class Report:
    """What was written: the files, the plain values of the notebook's last cell, and the parts that failed."""

    paths: list[Path]
    results: dict[str, Any]
    seconds: float
    skipped: bool = False  # the same report was there already

    @property
    def failed(self) -> dict[str, str]:
        """By section, what went wrong."""
        return dict(self.results.get("failed", {}))


class Sections:
    """The parts of a report, used as a decorator in its notebook: one that fails says why, and the rest goes on.

    Args:
        wanted: names in ``SECTIONS``; empty for all.

    Raises:
        ChoiceError: there is no section of that name.
    """

    def __init__(self, wanted: Sequence[str] = ()) -> None:
        for name in wanted:
            choose("section", name, SECTIONS)
        self.wanted = list(wanted) or list(SECTIONS)
        self.failed: dict[str, str] = {}

    def __call__(self, name: str) -> Callable[[Callable[[], object]], None]:
        """Show the section's heading and run the function, if the section is wanted."""
        from IPython.display import HTML, display

        def run(show: Callable[[], object]) -> None:
            if name not in self.wanted:
                return
            display(HTML(f"<h2>{html.escape(choose('section', name, SECTIONS))}</h2>"))  # type: ignore[no-untyped-call]
            try:
                show()
            except Exception as error:  # whatever it is, the other sections are worth having
                self.failed[name] = reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
                display(HTML(f"<p class='failed'>This section failed. {html.escape(reason)}</p>"))  # type: ignore[no-untyped-call]

        return run


def write_report(
    data: str | Path,
    out: str | Path,
    *,
    formats: Sequence[str] = (),
    again: bool = True,
    notebook: str | Path = _NOTEBOOK,
    **parameters: Any,
) -> Report:
    """Run the report's notebook on a file of texts and write what it shows.

    Args:
        data: a CSV, TSV, JSONL or Parquet file, or the name of a bundled set.
        out: the file to write; its ending is replaced by each format's.
        formats: "html", "ipynb" or both; empty takes the one that ``out`` ends in.
        again: False keeps a report that is there and was made of the same data, parameters and version.
        notebook: another notebook with a cell of parameters, whose last cell, with the id "results", shows a dict.
        parameters: of that cell. The report's own takes ``text``, ``label``, ``models``, ``queries``, ``sections``,
            ``rows``, ``clusters``, ``seed`` and ``title``.

    Raises:
        ChoiceError: an unknown format, section or parameter.
        WorkbenchError: the notebook stopped, for want of the data or of a column; nothing is written.
        Cancelled: a listener to its progress, cell by cell, has stopped it; nothing is written.
    """
    papermill = require("papermill", extra="lab")
    started, out = time.monotonic(), Path(out)
    wanted = list(formats) or [out.suffix.lstrip(".") or "html"]
    for name in wanted:
        choose("format", name, dict.fromkeys(_FORMATS))
    known = papermill.inspect_notebook(str(notebook))
    given = {name: value for name, value in parameters.items() if value not in (None, "", [], ())}
    for name in given:
        choose("parameter", name, known)
    for name in given.get("sections", ()):
        choose("section", name, SECTIONS)
    files = {
        name: str(Path(given[name]).resolve()) for name in ("queries",) if Path(str(given.get(name, ""))).is_file()
    }
    data = str(Path(data).resolve()) if Path(data).is_file() else str(data)
    given |= {"data": data, **files}
    stamp, paths = _stamp(given, Path(notebook)), [out.with_suffix(f".{name}") for name in wanted]
    if not again and all(_stamped(path) == stamp for path in paths):
        return Report(paths, {}, time.monotonic() - started, skipped=True)
    with tempfile.TemporaryDirectory() as folder:
        run = _run(Path(notebook), Path(folder) / "run.ipynb", given)
    results = _results(run)
    stamp = "" if results.get("failed") else stamp  # a report with a gap is made again
    out.parent.mkdir(parents=True, exist_ok=True)
    for name, path in zip(wanted, paths, strict=True):
        run.metadata[_STAMP] = stamp
        if name == "html":
            _write(path, _page(run, str(results.get("title", "Report")), stamp))
        else:
            import nbformat

            _write(path, nbformat.writes(run))  # type: ignore[no-untyped-call]
    return Report(paths, results, time.monotonic() - started)


def report_batch(runs: str | Path, notebook: str | Path = _NOTEBOOK) -> Iterator[tuple[Path, Report | WorkbenchError]]:
    """Write the reports of a CSV file, one a row, and yield each with its path; a row that fails stops no other.

    The columns are ``data``, ``out`` and parameters of ``write_report``; several models or sections stand between
    semicolons, paths are relative to the file. Reports that are there already are kept, so a batch can be taken up.

    Raises:
        DataFormatError: a column that is needed is missing, or a row has no such value.
    """
    runs = Path(runs)
    if not runs.is_file():
        raise DataFormatError(f"There is no file {runs}. Name a CSV file with the columns data and out.")
    with runs.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows, 2):
        if not (row.get("data") and row.get("out")):
            raise DataFormatError(f"{runs}, line {number}: every report needs a value for data and for out.")
    for row in rows:
        options: dict[str, Any] = {name: value for name, value in row.items() if name and value}
        data, out = _beside(runs, options.pop("data")), runs.parent / options.pop("out")
        for name, value in options.items():
            if name in (*_LISTS, "formats"):
                options[name] = [part.strip() for part in value.split(";")]
            elif name == "queries":
                options[name] = _beside(runs, value)
            elif re.fullmatch(r"\d+", value) and name in ("rows", "clusters", "seed"):
                options[name] = int(value)
        try:
            yield out, write_report(data, out, again=False, notebook=notebook, **options)
        except WorkbenchError as error:
            yield out, error


def _beside(file: Path, name: str) -> str:
    """A path beside a file, if there is one; else the name as it is."""
    path = file.parent / name
    return str(path.resolve()) if path.is_file() else name


def _run(notebook: Path, target: Path, parameters: Mapping[str, Any]) -> Any:
    """Execute a notebook in a kernel of its own and return it with its outputs."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    cells = len(json.loads(notebook.read_text("utf-8"))["cells"])
    try:
        with track(cells, unit="cells", desc="write the report") as bar:
            return papermill.execute_notebook(
                str(notebook), str(target), dict(parameters), cwd=str(notebook.parent), kernel_name="python3",
                progress_bar=False, store_widget_state=False, extra_arguments=["--IPKernelApp.log_level=50"],
                on_cell_executed=lambda **cell: bar.update(1),
            )  # fmt: skip
    except PapermillExecutionError as error:
        said = re.sub(r"\x1b\[[0-9;]*m", "", str(error.evalue)).strip()
        raise WorkbenchError(f"No report was written: {said or error.ename}") from error


def _results(notebook: Any) -> dict[str, Any]:
    """The plain values that the cell "results" shows."""
    for cell in notebook.cells:
        if cell.get("id") == "results":
            for output in cell.outputs:
                if text := output.get("data", {}).get("text/plain"):
                    found: dict[str, Any] = ast.literal_eval(text)
                    return found
    return {}


def _stamp(parameters: Mapping[str, Any], notebook: Path) -> str:
    """What a report was made of, as a hash: the parameters, the content of files, the notebook and the version."""
    parts = [json.dumps(parameters, sort_keys=True), workbench.__version__, _content(notebook)]
    parts += [_content(Path(value)) for _, value in sorted(parameters.items()) if _is_file(value)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _is_file(value: object) -> bool:
    return isinstance(value, str) and len(value) < 4096 and Path(value).is_file()


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamped(path: Path) -> str | None:
    """The stamp in a report that is there."""
    if not path.is_file():
        return None
    text = path.read_text("utf-8", "replace")
    if path.suffix == ".html":
        found = re.search(rf'<meta name="{_STAMP}" content="(\w+)">', text[:2000])
        return found[1] if found else None
    try:
        stamp: str | None = json.loads(text)["metadata"].get(_STAMP)
    except (ValueError, KeyError):
        return None
    return stamp


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8")


def _page(notebook: Any, title: str, stamp: str) -> str:
    """The HTML page: what the cells show from top to bottom, and their code, folded, at the end."""
    from nbconvert import HTMLExporter
    from plotly.offline import get_plotlyjs

    code, drawn, notebook = [], False, copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.get("id") == "results":
            cell.outputs = []  # values for a program, which the sections have shown to a reader
        if cell.cell_type == "code":
            code.append(cell.source)
            for output in cell.outputs:
                drawn = _draw(output) or drawn
    exporter = HTMLExporter(template_name="basic", exclude_input=True, exclude_output_prompt=True)  # type: ignore[no-untyped-call]
    body, _ = exporter.from_notebook_node(notebook)
    library = f"<script>{get_plotlyjs()}</script>" if drawn else ""
    listing = html.escape("\n\n".join(code))
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta name="{_STAMP}" content="{stamp}">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>{library}</head>\n<body><main>{body}"
        f"<details class='code'><summary>The code of this report</summary><pre>{listing}</pre></details>"
        "</main></body></html>\n"
    )


def _draw(output: Any) -> bool:
    """Turn a plotly figure in a cell's output into HTML that the page's own plotly draws; whether there was one."""
    import plotly.io

    data = output.get("data", {})
    figure = data.get("application/vnd.plotly.v1+json")
    if figure is None:
        return False
    config = {"displaylogo": False, "responsive": True, **figure.get("config", {})}
    parts = {name: figure[name] for name in ("data", "layout") if name in figure}
    drawing = plotly.io.to_html(parts, config=config, include_plotlyjs=False, full_html=False, validate=False)
    output["data"] = {"text/html": f"<div class='wb-figure'>{drawing}</div>"}  # as in a panel, whose styles it takes
    return True


# The commonest short words of a language, of which others have few.
_WORDS = {
    "English": "the and of to is in that it for you was with are this have not",
    "German": "der die und das ist nicht ich mit ein den auf für eine dem wie auch",
    "French": "le les des est et une pas dans que pour je vous qui sur avec il",
    "Spanish": "el los las es una por con para del no se al como lo está mi",
    "Italian": "il di che è un per non sono una con gli ha della questo mi anche",
    "Portuguese": "o os um uma não em com para do da que por mais dos é meu",
    "Dutch": "het een van en is dat niet ik op te voor met zijn je de er",
}
_SCRIPTS = {
    "Chinese or Japanese": "[\u3040-\u30ff\u3400-\u9fff]",
    "Korean": "[\uac00-\ud7af]",
    "Russian or another in Cyrillic": "[\u0400-\u04ff]",
    "Arabic, Persian or Urdu": "[\u0600-\u06ff]",
    "Greek": "[\u0370-\u03ff]",
    "Hebrew": "[\u0590-\u05ff]",
    "Hindi or another in Devanagari": "[\u0900-\u097f]",
    "Thai": "[\u0e00-\u0e7f]",
}


def guess_languages(texts: Sequence[str]) -> dict[str, int]:
    """Return how many texts seem to be in which language, the commonest first; "unsure" where none stands out.

    A guess by script and by the commonest short words of seven languages: good for a survey of many texts, not for one.
    """
    found: dict[str, int] = {}
    for text in texts:
        language = _guess(text[:2000])
        found[language] = found.get(language, 0) + 1
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _guess(text: str) -> str:
    letters = sum(map(str.isalpha, text))
    for name, pattern in _SCRIPTS.items():
        if len(re.findall(pattern, text)) > 0.3 * max(letters, 1):
            return name
    words = re.findall(r"[^\W\d_]+", text.lower())
    seen = {name: sum(word in known for word in words) for name, known in _common_words().items()}
    best, second = sorted(seen.values(), reverse=True)[:2]
    return max(seen, key=lambda name: seen[name]) if best > max(second, 1) else "unsure"  # one word is no evidence


@cache
def _common_words() -> dict[str, frozenset[str]]:
    return {name: frozenset(words.split()) for name, words in _WORDS.items()}
