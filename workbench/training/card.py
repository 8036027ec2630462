"""What a training run tells on the model's card: its data, losses, settings, the course of its metrics, and papers."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from torch import nn

from workbench.losses.base import Loss
from workbench.losses.citations import citations
from workbench.model_card import Training, as_table, as_text, code_block
from workbench.training.history import logged_rows

__all__ = ["SAMPLES", "training_part"]

SAMPLES = 3  # rows of each data set that are shown
_LONGEST = 200  # characters of a cell
_ROWS = 100  # of the table of metrics
_UNTOLD = re.compile(  # settings that do not change what is learned, or tell of the machine and its user
    r"^(output_dir|logging_.*|log_.*|report_to|run_name|project|trackio_.*|push_to_hub.*|hub_.*|disable_tqdm|do_.*"
    r"|local_rank|resume_from_checkpoint|accelerator_config|deepspeed|fsdp_config|eval_strategy)$"
)


def training_part(
    datasets: Mapping[str, Mapping[str | None, tuple[Any, Sequence[Mapping[str, Any]]]]],
    losses: Mapping[str | None, nn.Module],
    args: Any,
    log: Iterable[Mapping[str, Any]],
    primary: Iterable[str | None],
    *,
    examples: bool = True,
) -> Training:
    """Return what a card tells of a run. Every text is escaped.

    Args:
        datasets: by role ("Training", "Evaluation") and name: a data set and its first rows.
        losses: by data set; None: for all.
        args: the arguments of the run.
        log: ``trainer.state.log_history``.
        primary: the names of the evaluators' metrics by which models are compared.
        examples: whether rows may be shown.
    """
    parts = [part for loss in losses.values() for part in _chain(loss)]
    trained = [data for data, _ in datasets.get("Training", {}).values()]
    sizes = [len(data) for data in trained if hasattr(data, "__len__")]
    names = dict.fromkeys(f"loss:{type(part).__name__}" for part in parts)
    size = [f"dataset_size:{sum(sizes)}"] if sizes else []
    sections = ["## Training"]
    for role, group in datasets.items():
        for name, (data, rows) in group.items():
            loss = losses.get(name, losses.get(None))
            sections += [f"### {role} data: {as_text(name or _hub_name(data) or 'unnamed')}"]
            sections += [_data(data, rows, loss, examples=examples)]
    sections += ["### Settings that are not the usual ones", _settings(args, changed=True)]
    every = _settings(args, changed=False)
    sections += [f"<details><summary>All settings</summary>\n\n{every}\n\n</details>"]
    if history := _history(logged_rows(log), {f"eval_{name}" for name in primary}):
        sections += ["### Course of the training", history]
    return Training(
        ["generated_from_trainer", *size, *names],
        [name for data in trained if (name := _hub_name(data))],
        "\n\n".join(sections),
        list(dict.fromkeys(entry for part in parts for entry in citations(part))),
    )


def _chain(loss: nn.Module) -> list[nn.Module]:
    """A loss and those that it is made of."""
    return [loss, *(part for part in loss.modules() if isinstance(part, Loss) and part is not loss)]


def _hub_name(data: Any) -> str:
    """The name on the hub of what a data set was downloaded from, if it was."""
    addresses = getattr(getattr(data, "info", None), "download_checksums", None) or {}
    found = (re.match(r"hf://datasets/([\w.-]+/[\w.-]+?)@", str(address)) for address in addresses)
    return next((match[1] for match in found if match), "")


def _data(data: Any, rows: Sequence[Mapping[str, Any]], loss: nn.Module | None, *, examples: bool) -> str:
    columns = list(rows[0]) if rows else []
    size = f"{len(data):,} rows" if hasattr(data, "__len__") else "a stream"
    lines = [f"- **Size:** {size}", f"- **Columns:** {', '.join(map(as_text, columns))}"]
    if loss is not None:
        lines += [f"- **Loss:** {as_text(type(loss).__name__)}, with these parameters:"]
        lines += ["", code_block(_json(getattr(loss, "get_config_dict", dict)(), indent=2), "json")]
    if examples and columns:
        table = as_table(map(as_text, columns), [[_cell(row.get(name)) for name in columns] for row in rows])
        lines += ["", "The first rows:", "", table]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else _json(value)
    return as_text(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")


def _json(value: Any, indent: int | None = None) -> str:
    """A value in JSON; what has no form there is named, never shown with its address in memory."""
    return json.dumps(
        value, indent=indent, ensure_ascii=False, default=lambda one: getattr(one, "__name__", type(one).__name__)
    )


def _settings(args: Any, *, changed: bool) -> str:
    usual = {
        one.name: one.default_factory() if one.default_factory is not MISSING else one.default for one in fields(args)
    }
    lines = [
        f"- {as_text(name)}: {as_text(value if isinstance(value, str) else _json(value))}"
        for name, value in args.to_dict().items()
        if not _UNTOLD.match(name) and not (changed and (value or None) == (usual.get(name) or None))
    ]
    return "\n".join(lines) or "None."


def _history(rows: list[dict[str, float]], primary: set[str]) -> str:
    """Losses and main metrics by step; of a long run, the evaluations, or lines at even distances."""
    names = dict.fromkeys(name for row in rows for name in row if name.endswith("loss") or name in primary)
    rows = [row for row in rows if row.keys() & names]
    if len(rows) > _ROWS:
        rows = [row for row in rows if row.keys() & names.keys() - {"loss"}] or rows
    rows = rows[:: -(-len(rows) // _ROWS)][:-1] + rows[-1:] if len(rows) > _ROWS else rows
    if not rows:
        return ""
    titles = {"loss": "Training loss", "eval_loss": "Evaluation loss"}
    shown = (titles.get(name, name.removeprefix("eval_").replace("_loss", " loss")) for name in names)
    cells = [
        [f"{row.get('epoch', math.nan):.2f}", f"{row['step']}", *(f"{row[n]:.4f}" if n in row else "-" for n in names)]
        for row in rows
    ]
    return as_table(["Epoch", "Step", *map(as_text, shown)], cells)
