"""Safe reading and atomic writing of model folders: no path leaves the folder, no pickle runs, no save is half done."""

import ctypes
import json
import os
import shutil
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from workbench.errors import ModelFormatError, UnsafeModelError

__all__ = [
    "ADAPTER", "ADAPTER_WEIGHTS", "MAX_JSON_BYTES", "WEIGHTS", "Entry", "check_links", "check_size", "inside",
    "load_state", "read_entries", "read_json", "replacing", "save_state", "warn_pickle", "write_atomically",
    "write_json",
]  # fmt: skip

MAX_JSON_BYTES = 32 * 2**20  # configuration files are a few kB; vocabularies in JSON reach some MB
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def inside(folder: str | Path, name: str) -> Path:
    """Return the path of ``name`` in ``folder``.

    Raises:
        UnsafeModelError: the name is absolute, climbs out with ``..``, or is a link that leads outside the folder.
    """
    folder, part = Path(folder), Path(name)
    if part.is_absolute() or ".." in part.parts or "\\" in name or "\0" in name:
        raise UnsafeModelError(f"{folder}: the path {name!r} leaves the model folder. Refusing to follow it.")
    path = folder / part
    real = path.resolve()
    if not any(real.is_relative_to(root) for root in _roots(folder)):
        raise UnsafeModelError(f"{path} is a link to {real}, outside the model folder. Copy the file into the folder.")
    return path


def check_links(folder: str | Path) -> None:
    """Raise ``UnsafeModelError`` if a link directly in ``folder`` leads out of it."""
    for entry in Path(folder).iterdir():
        if entry.is_symlink():
            inside(folder, entry.name)


def _roots(folder: Path) -> list[Path]:
    """Where files of ``folder`` may really lie: in it, or in the hub cache's blobs when it is a snapshot there."""
    real = folder.resolve()
    snapshots = (parent.parent for parent in real.parents if parent.name == "snapshots")
    return [real, *(repo / "blobs" for repo in snapshots if repo.name.startswith("models--"))]


def read_json(folder: str | Path, name: str, kind: type = dict) -> Any:
    """Return the JSON value in ``folder / name``, an object unless ``kind`` says otherwise.

    Raises:
        ModelFormatError: missing, too large, not JSON, or of another kind.
        UnsafeModelError: the path leaves the folder.
    """
    path = inside(folder, name)
    if not path.is_file():
        raise ModelFormatError(f"{path} is missing. The model folder is incomplete: save or download it again.")
    if (size := path.stat().st_size) > MAX_JSON_BYTES:
        raise ModelFormatError(f"{path} has {size:,} bytes; a configuration has at most {MAX_JSON_BYTES:,}.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{path} is not valid JSON ({error}). Save or download the model again.") from error
    if not isinstance(value, kind):
        raise ModelFormatError(f"{path} holds a JSON {type(value).__name__}; expected a {kind.__name__}.")
    return value


@dataclass(frozen=True)
class Entry:
    """One line of modules.json."""

    path: str
    type: str
    kwargs: tuple[str, ...] = ()


def read_entries(folder: Path) -> list[Entry]:
    """Read ``modules.json``; raises ``ModelFormatError`` when it is not a list of at least one module."""
    raw = read_json(folder, "modules.json", list)
    try:
        entries = [Entry(line.get("path", ""), line["type"], tuple(line.get("kwargs", ()))) for line in raw]
        if not all(isinstance(entry.path, str) and isinstance(entry.type, str) for entry in entries):
            raise TypeError("path and type must be strings")
    except (AttributeError, KeyError, TypeError) as error:
        raise ModelFormatError(f"{folder / 'modules.json'} is not a list of modules: {error}") from error
    if not entries:
        raise ModelFormatError(f"{folder / 'modules.json'} lists no modules.")
    return entries


def check_size(where: str | Path, name: str, value: object) -> None:
    """Raise ``ModelFormatError`` unless the setting ``name`` of the file ``where`` is null or a whole number from 1."""
    if value is not None and (type(value) is not int or value < 1):
        raise ModelFormatError(f"{where}: {name} must be a whole number above 0, or null; not {value!r:.100}.")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented UTF-8 JSON."""
    Path(path).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load_state(folder: str | Path, names: tuple[str, str] = WEIGHTS) -> dict[str, torch.Tensor]:
    """Return the tensors saved in ``folder``: safetensors if there, else a pickle restricted to tensors.

    ``names`` are those of the two files.

    Raises:
        ModelFormatError: no weights, or damaged ones.
        UnsafeModelError: the pickle holds anything but tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    safe, pickled = (inside(folder, name) for name in names)
    if safe.is_file():
        try:
            return load_file(safe)
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelFormatError(f"{safe} is damaged ({error}). Download or save the model again.") from error
    if pickled.is_file():
        return _load_pickle(pickled)
    raise ModelFormatError(f"{folder} holds neither {names[0]} nor {names[1]}. Save or download the model again.")


def warn_pickle(path: Path) -> None:
    """Say that weights are a pickle, of which only the tensors are read."""
    warnings.warn(
        f"{path} is a pickle; only tensors are read from it. Save the model again to get safetensors.", stacklevel=4
    )


def _load_pickle(path: Path) -> dict[str, torch.Tensor]:
    from pickle import UnpicklingError

    warn_pickle(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise UnsafeModelError(f"{path} holds more than tensors, which could run code. Refusing to load it.") from error
    except Exception as error:  # damaged bytes lead torch's reader to errors of every kind, without one that it names
        raise ModelFormatError(f"{path} is damaged ({error!r}). Download or save the model again.") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelFormatError(f"{path} does not hold a table of tensors.")
    return state


def save_state(folder: str | Path, state: dict[str, torch.Tensor], safe_serialization: bool = True) -> None:
    """Write tensors to ``folder`` as safetensors, or as a torch pickle when asked."""
    from safetensors.torch import save_file

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    if safe_serialization:
        save_file(state, Path(folder) / WEIGHTS[0], metadata={"format": "pt"})
    else:
        torch.save(state, Path(folder) / WEIGHTS[1])


@contextmanager
def write_atomically(target: str | Path, *, replaced: Collection[str] = ()) -> Iterator[Path]:
    """Give a fresh folder beside ``target`` to write into, and put it in place when the block ends well.

    Whatever was in ``target`` and is not written anew is kept (a checkpoint's optimizer state, a user's notes), but for
    the names in ``replaced``.
    If the block raises or the process is killed, ``target`` is as it was.
    """
    target = Path(target).resolve()
    if Path.cwd().is_relative_to(target):
        raise ValueError(f"{target} is the working directory or holds it. Save to a folder of its own.")
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{uuid4().hex}")
    fresh.mkdir()
    try:
        yield fresh
        if target.exists():
            _keep_others(target, fresh, replaced)
            _swap(fresh, target)  # what was in target is removed below
        else:
            fresh.replace(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def replacing(target: str | Path) -> Iterator[Path]:
    """Give the path of a fresh file beside the file ``target``, and put it in place when the block ends well.

    The folder is made by need. If the block raises or the process is killed, ``target`` is as it was.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        yield fresh
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def _swap(fresh: Path, target: Path) -> None:
    """Exchange two folders: in one step where the system can (Linux), else in two renames."""
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    here, exchange_flag = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if exchange and exchange(here, os.fsencode(fresh), here, os.fsencode(target), exchange_flag) == 0:
        return
    old = fresh.with_name(fresh.name + ".old")
    target.replace(old)
    fresh.replace(target)
    old.replace(fresh)


def _keep_others(old: Path, fresh: Path, replaced: Collection[str]) -> None:
    """Hard-link (or copy) what only ``old`` has, except weights in other formats, old modules and ``replaced``."""
    model = {*WEIGHTS, ADAPTER, *ADAPTER_WEIGHTS, "config.json", "modules.json", "onnx", "openvino"}
    replaced = {*model, *replaced} | {entry["path"] for entry in _modules(old)}
    for entry in old.iterdir():
        if entry.name in replaced or (fresh / entry.name).exists():
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, fresh / entry.name, symlinks=True, copy_function=_link)
        else:
            _link(entry, fresh / entry.name)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _modules(folder: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return (
        [entry for entry in entries if isinstance(entry, dict) and entry.get("path")]
        if isinstance(entries, list)
        else []
    )
