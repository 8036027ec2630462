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

from workbench import __version__
from workbench._optional import require
from workbench.errors import WorkbenchError

__all__ = ["app", "doctor", "lab", "main", "models", "train_starter"]

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
def models() -> None:
    """List the known models: which are on this machine, what they are and how large."""
    from workbench import hub, registry

    for name, row in registry.MODELS.items():
        numbers = {"dim": row.dimensions, "tokens": row.max_seq_length, "MB": row.size_mb}
        known = [f"{number} {unit}" for unit, number in numbers.items() if number is not None]
        typer.echo(f"{'here' if hub.available(name) else '-':6}{name}")
        typer.echo(f"{'':6}{', '.join([row.kind, *known, row.languages, row.license or 'licence not known'])}")


@app.command()
def train_starter(
    data: Annotated[Path, typer.Option(help="Folder of public sets; the models' cards list them.")],
    out: Annotated[Path, typer.Option(help="Folder to write the model to.")],
    model: Annotated[str, typer.Option(help="starter or starter-reranker.")] = "starter",
    teacher: Annotated[str, typer.Option(help="Name or folder of the model that teaches.")] = "all-MiniLM-L6-v2",
    quick: Annotated[bool, typer.Option("--quick", help="A trial, to see that everything runs.")] = False,
) -> None:
    """Train a bundled model again: up to three hours on two cores."""
    from workbench.recipes.bundled import train_bundled

    train_bundled(model, data, out, teacher=teacher, quick=quick)
    typer.echo(f"{model} is in {out}; its README.md says how it was made.")


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
