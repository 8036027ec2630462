"""The command line: open JupyterLab, see what this machine has, list the models that are known."""

import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from typer.core import TyperGroup

from workbench import __version__, commands
from workbench._optional import require
from workbench.errors import WorkbenchError

__all__ = ["app", "doctor", "encode", "lab", "main", "models", "report", "train_starter"]

_NAME = "sentence-workbench"
_HERE = Path(__file__).resolve().parent


class _Group(TyperGroup):
    """Commands whose foreseen errors are one line and exit code 1, not a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except WorkbenchError as error:
            typer.secho(f"Error: {' '.join(str(error).split())}", fg="red", err=True)
            raise typer.Exit(1) from error


app = typer.Typer(cls=_Group, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False) -> None:
    """Sentence Workbench: encode, compare, search and explore sentences in Jupyter."""
    if version:
        typer.echo(f"Sentence Workbench {__version__}")
        raise typer.Exit


@app.command()
def lab(
    notebook: Annotated[Path | None, typer.Argument(help="A notebook, or a folder. Default: the quickstart.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on; the next free one if taken.")] = 8888,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, open no browser.")] = False,
) -> None:
    """Open JupyterLab on a notebook. It listens on this machine only, and Jupyter's token stays on."""
    require("jupyterlab", extra="lab")
    target = (notebook or _HERE.parent / "notebooks" / "00_quickstart.ipynb").resolve()
    if not target.exists():
        advice = "Check the path." if notebook else "Clone the project and run this inside it, or name a notebook."
        raise WorkbenchError(f"There is no notebook at {target}. {advice}")
    folder = target if target.is_dir() else target.parent
    root = Path.cwd() if folder.is_relative_to(Path.cwd()) else folder
    arguments = [
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{quote(target.relative_to(root).as_posix())}",
        *(["--no-browser"] if no_browser else []),
        *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
    ]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *arguments])  # noqa: S606 (our own arguments)


@app.command()
def doctor() -> None:
    """Show what this machine has, and what to run for what is missing."""
    import torch

    from workbench import hub
    from workbench.devices import pick_device

    device = pick_device()
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    _show(True, "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    _show(True, "torch", f"{torch.__version__}, runs on {device}{name}")
    _show(True, "cores", str(cores))
    _show(True, "memory", _memory())
    _show(hub.bundled(), "bundled models", ", ".join(hub.bundled()) or "none", "clone the project again")
    _show(_installed(_NAME), "workbench", __version__, "make lab")
    for extra, packages in _extras().items():
        lacking = ", ".join(package for package in packages if not _installed(package))
        remedy = f"{sys.executable} -m pip install '{_NAME}[{extra}]'"
        _show(not lacking, f"extra {extra}", f"lacks {lacking}" if lacking else "complete", remedy)


@app.command()
def models(
    name: Annotated[str, typer.Argument(help="Part of a name; every model without it.")] = "",
    kind: Annotated[str | None, typer.Option(help="bi-encoder (vectors) or cross-encoder (scores of pairs).")] = None,
    language: Annotated[str | None, typer.Option(help="A code such as de; multilingual models always count.")] = None,
    max_mb: Annotated[float | None, typer.Option(min=0, help="Largest size of the weights in MB.")] = None,
    here: Annotated[bool, typer.Option("--here", help="Only what loads on this machine without the network.")] = False,
    details: Annotated[bool, typer.Option("--details", help="Also the use, scores, prompts and source.")] = False,
) -> None:
    """List the known models: which are on this machine, what they are and how large."""
    from workbench import hub, registry
    from workbench.errors import choose

    rows = [row for row in registry.MODELS.values() if name.lower() in row.name.lower()]
    if kind is not None:
        kind = choose("kind", kind, {row.kind: row.kind for row in registry.MODELS.values()})
        rows = [row for row in rows if row.kind == kind]
    if language is not None:
        if not re.fullmatch("[A-Za-z]{2,3}", language):
            raise WorkbenchError(f"--language is {language!r}; expected a code of two or three letters, such as de.")
        rows = [row for row in rows if row.speaks(language)]
    if max_mb is not None:
        rows = [row for row in rows if row.size_mb is not None and row.size_mb <= max_mb]
    at_hand = {row.name for row in rows if hub.available(row.name)}
    rows = [row for row in rows if row.name in at_hand or not here]
    for row in rows:
        numbers = {"dim": row.dimensions, "tokens": row.max_seq_length, "MB": row.size_mb}
        known = [f"{number:g} {unit}" for unit, number in numbers.items() if number is not None]
        typer.echo(f"{'here' if row.name in at_hand else '-':6}{row.name}")
        spoken = row.languages if row.languages.count(",") < 3 else f"{row.languages.count(',') + 1} languages"
        typer.echo(f"{'':6}{', '.join([row.kind, *known, spoken, row.license or 'licence not known'])}")
        if details:
            prompts = {"query prompt": row.query_prompt, "document prompt": row.document_prompt}
            quoted = {what: repr(text) for what, text in prompts.items() if text}
            more = {"use": row.note, "languages": row.languages, **row.scores, **quoted, "source": row.source}
            for what, value in more.items():
                typer.echo(f"{'':8}{what}: {value}")
    if not rows:
        typer.echo("No known model is like that. Any other name of the hub can be used as well.")


@app.command()
def report(
    data: Annotated[str, typer.Argument(help="A CSV, TSV, JSONL or Parquet file, or the name of a bundled set.")] = "",
    text: Annotated[str, typer.Option(help="The column of texts. Default: the one with the longest.")] = "",
    label: Annotated[str, typer.Option(help="A column of known labels.")] = "",
    model: Annotated[list[str] | None, typer.Option(help="A model; several are compared. Default: starter.")] = None,
    queries: Annotated[str, typer.Option(help="Judged queries: a file with the columns query, id, gain.")] = "",
    sections: Annotated[str, typer.Option(help="Some of facts,map,neighbours,search,models. Default: all.")] = "",
    rows: Annotated[int, typer.Option(min=2, help="Rows at most; of more, a sample is taken.")] = 5000,
    clusters: Annotated[int, typer.Option(min=0, help="How many clusters; 0 chooses.")] = 0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    title: Annotated[str, typer.Option(help="Default: the name of the data.")] = "",
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
    format: Annotated[str, typer.Option(help="html, ipynb or both: html,ipynb. Default: what --out ends in.")] = "",  # noqa: A002
    batch: Annotated[Path | None, typer.Option(help="A CSV file of reports: columns data, out and options.")] = None,
) -> None:
    """Write a report on a file of texts: one HTML page that opens without a network."""
    from workbench.report import report_batch, write_report

    if bool(data) == bool(batch):
        raise WorkbenchError("Name a file of texts, or a file of reports with --batch.")
    wanted = format.replace(",", " ").split()
    if batch:
        runs = report_batch(batch)
    else:
        typer.echo("Running the notebook …", err=True)
        parts = sections.replace(",", " ").split()
        made = write_report(
            data, out, formats=wanted, text=text, label=label, models=model, queries=queries, sections=parts,
            rows=rows, clusters=clusters, seed=seed, title=title,
        )  # fmt: skip
        runs = iter([(out, made)])
    failed = False
    for path, found in runs:
        if isinstance(found, WorkbenchError):
            typer.secho(f"{path}: {' '.join(str(found).split())}", fg="red", err=True)
        else:
            how = "is there already" if found.skipped else f"written in {found.seconds:.0f} s"
            typer.echo(f"{', '.join(map(str, found.paths))} {how}")
            for section, reason in found.failed.items():
                typer.secho(f"{path}: the section {section!r} failed. {reason}", fg="red", err=True)
        failed = failed or isinstance(found, WorkbenchError) or bool(found.failed)
    if failed:
        raise typer.Exit(1)


@app.command()
def encode(
    source: Annotated[list[str], typer.Argument(help="Parquet, CSV, TSV or JSONL files, or folders of them.")],
    text: Annotated[str, typer.Option(help="The column of texts.")],
    out: Annotated[str, typer.Option(help="The folder to write shards to; the same call again goes on there.")],
    model: Annotated[str, typer.Option(help="Name or folder of the model.")] = "starter",
    id: Annotated[str | None, typer.Option(help="The column of ids. Default: rows are numbered.")] = None,  # noqa: A002
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster, or auto. Default: this machine.")] = None,
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale every vector to length 1.")] = False,
    precision: Annotated[str, typer.Option(help="float32, binary or ubinary.")] = "float32",
    rows_per_shard: Annotated[int, typer.Option(min=1, help="Rows that a worker holds.")] = 50_000,
    workers: Annotated[int | None, typer.Option(min=1, help="Default: one per GPU, else one per core.")] = None,
) -> None:
    """Encode a data set of any size with Ray, on this machine or a cluster; a run that stopped goes on."""
    from workbench.distributed import encode_dataset

    made = encode_dataset(
        source, model, out, text=text, id=id, address=address, normalize_embeddings=normalize,
        precision=precision, rows_per_shard=rows_per_shard, workers=workers,  # type: ignore[arg-type]
    )  # fmt: skip
    typer.echo(f"{made.rows:,} rows in {made.shards:,} shards in {made.out}; {made.kept:,} of them were there.")


@app.command()
def train_starter(
    data: Annotated[Path, typer.Option(help="Folder of public sets; the models' cards list them.")],
    out: Annotated[Path, typer.Option(help="Folder to write the model to.")],
    model: Annotated[str, typer.Option(help="starter, starter-multilingual or starter-reranker.")] = "starter",
    teacher: Annotated[str, typer.Option(help="Name or folder of the model that teaches.")] = "all-MiniLM-L6-v2",
    quick: Annotated[bool, typer.Option("--quick", help="A trial, to see that everything runs.")] = False,
) -> None:
    """Train a bundled model again: up to three hours on two cores."""
    from workbench.recipes.bundled import train_bundled

    train_bundled(model, data, out, teacher=teacher, quick=quick)
    typer.echo(f"{model} is in {out}; its README.md says how it was made.")


for _command in (commands.tune, commands.evaluate, commands.mine_bitext):
    app.command()(_command)


def _show(found: object, what: str, value: str, remedy: str = "") -> None:
    typer.echo(f"{'ok' if found else 'missing':8} {what:20} {value}{'' if found else f' -> {remedy}'}")


def _memory() -> str:
    if not hasattr(os, "sysconf"):
        return "unknown on this system"
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"


def _extras() -> dict[str, list[str]]:
    """The packages that each extra brings, as the installed package's own metadata lists them."""
    extras: dict[str, list[str]] = {}
    for requirement in (metadata.requires(_NAME) or []) if _installed(_NAME) else []:
        if match := re.match(r"""([\w.-]+).*extra == ['"]([\w-]+)""", requirement):
            extras.setdefault(match[2], []).append(match[1])
    return extras


def _installed(package: str) -> bool:
    return any(True for _ in metadata.distributions(name=package))
