"""Checkpoints on disk: which were written to their end, and how a model and its losses are read back from one."""

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workbench.errors import ModelFormatError
from workbench.folders import load_state, read_entries, save_state
from workbench.models.adapters import is_adapted, restore_adapter
from workbench.models.types import MODULE_TYPES, type_name
from workbench.persist import load_module

__all__ = ["begin", "is_complete", "latest", "restore", "save_losses"]

_STATE = "trainer_state.json"  # what a checkpoint gets last
_LOSSES = "losses"  # the folder of a checkpoint that holds what a loss itself has learned


def begin(folder: Path) -> None:
    """Make way for a checkpoint: one that lies there from an earlier run must not pass for the new one."""
    (folder / _STATE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def is_complete(folder: Path) -> bool:
    """Whether a folder is a checkpoint that was written to its end."""
    try:
        json.loads((folder / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def latest(output_dir: Path) -> Path:
    """Return the newest checkpoint that was written to its end; later ones that were not are named in a warning.

    Raises:
        ModelFormatError: there is none.
    """
    numbered = [(folder.name.rpartition("-")[2], folder) for folder in output_dir.glob("checkpoint-*")]
    steps = {int(number): folder for number, folder in numbered if number.isdecimal()}
    for step in sorted(steps, reverse=True):
        if is_complete(steps[step]):
            return steps[step]
        warnings.warn(f"{steps[step]} was not written to its end; an earlier checkpoint is taken.", stacklevel=3)
    raise ModelFormatError(f"{output_dir} holds no checkpoint that was written to its end; train without resuming.")


def save_losses(folder: Path, own: Mapping[str, nn.Parameter]) -> None:
    """Write what the losses themselves have learned, if anything, into a checkpoint."""
    if own:
        (folder / _LOSSES).mkdir(exist_ok=True)
        save_state(folder / _LOSSES, dict(own))


def restore(folder: Path, model: Any, own: Mapping[str, nn.Parameter]) -> None:
    """Give a model, and what its losses learn, the values of a checkpoint."""
    adapted = is_adapted(getattr(model, "transformers_model", None))
    if adapted:  # what is frozen stays as it is
        restore_adapter(model.transformers_model, folder)
    if isinstance(model, nn.Sequential):
        entries = read_entries(folder)
        # A block of the user's own may be loaded again, as the model here has it.
        trusted = {entry.type for entry in entries} <= {*MODULE_TYPES, *map(type_name, model)}
        for entry, block in zip(entries, model, strict=True):
            if not (adapted and hasattr(block, "auto_model")):
                block.load_state_dict(load_module(folder, entry, trust_remote_code=trusted).state_dict())
    elif not adapted:
        model.load_state_dict(type(model)(folder, device="cpu").state_dict())
    if own:
        saved = load_state(folder / _LOSSES)
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(saved[name])
