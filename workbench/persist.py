"""Model folders as records, ``modules.json`` first: read in every layout, written in the oldest."""

import importlib
import inspect
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from workbench.errors import ModelFormatError, UnsafeModelError
from workbench.folders import Entry, check_size, inside, read_entries, read_json, write_json
from workbench.models.adapters import has_adapter
from workbench.models.base import Module
from workbench.models.types import module_class, type_name

__all__ = [
    "CONFIG", "FORMAT_VERSION", "ModelConfig", "load_module", "load_modules", "read_config", "save_modules", "versions",
]  # fmt: skip

CONFIG = "config_sentence_transformers.json"
FORMAT_VERSION = "3.4.1"  # the layout that every release of the reference reads


@dataclass
class ModelConfig:
    """What a folder says of the model as a whole."""

    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity_fn_name: str | None = None
    truncate_dim: int | None = None


def read_config(folder: Path) -> ModelConfig:
    """Read ``config_sentence_transformers.json``; a folder without it gives the defaults.

    Raises:
        ModelFormatError: a value is not of the kind it should be.
    """
    if not inside(folder, CONFIG).is_file():
        return ModelConfig()
    raw = read_json(folder, CONFIG)
    config = ModelConfig(**{key: raw[key] for key in ModelConfig.__annotations__ if raw.get(key) is not None})
    if not isinstance(config.prompts, dict) or not all(isinstance(text, str) for text in config.prompts.values()):
        raise ModelFormatError(f"{folder / CONFIG}: prompts must be a table of texts, not {config.prompts!r:.100}.")
    for key in ("default_prompt_name", "similarity_fn_name"):
        if not isinstance(getattr(config, key), str | None):
            raise ModelFormatError(f"{folder / CONFIG}: {key} must be a name, not {getattr(config, key)!r:.100}.")
    check_size(folder / CONFIG, "truncate_dim", config.truncate_dim)
    return config


def load_modules(
    folder: Path, *, trust_remote_code: bool = False, transformer_options: dict[str, Any] | None = None
) -> tuple[dict[str, nn.Module], dict[str, list[str]]]:
    """Return the blocks of the model in ``folder`` by name, and the keyword arguments that each one's forward takes.

    Args:
        folder: a SentenceTransformer folder in any layout, a model2vec folder, or a plain transformers folder (which
            gets mean pooling).
        trust_remote_code: whether a block may be of a class outside the closed table.
        transformer_options: constructor arguments for the Transformer block that win over the folder's.

    Raises:
        ModelFormatError: files are missing or damaged.
        UnsafeModelError: the folder names a class outside the table, or a path outside itself.
    """
    options = transformer_options or {}
    if not inside(folder, "modules.json").is_file():
        return _load_plain(folder, options), {}
    modules, kwargs = {}, {}
    for number, entry in enumerate(read_entries(folder)):  # their names are their places: a saved one may mean anything
        modules[str(number)] = load_module(folder, entry, trust_remote_code=trust_remote_code, options=options)
        kwargs[str(number)] = list(entry.kwargs)
    return modules, kwargs


def _find_class(name: str, folder: Path, trust_remote_code: bool) -> type[nn.Module]:
    try:
        return module_class(name)
    except UnsafeModelError:
        if not trust_remote_code:
            raise
    module, _, cls_name = name.rpartition(".")
    if inside(folder, f"{module}.py").is_file():
        from transformers.dynamic_module_utils import get_class_from_dynamic_module

        found: Any = get_class_from_dynamic_module(name, str(folder))
    else:
        found = getattr(importlib.import_module(module), cls_name, None) if module else None
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise ModelFormatError(f"{folder}: module type {name!r} is not a torch module.")
    return found


def load_module(
    root: Path, entry: Entry, *, trust_remote_code: bool = False, options: dict[str, Any] | None = None
) -> Any:
    """Return one block of the model in the folder ``root``; the rest as in ``load_modules``."""
    from workbench.models.transformer import Transformer

    cls: Any = _find_class(entry.type, root, trust_remote_code)
    path = inside(root, entry.path) if entry.path else root
    if issubclass(cls, Transformer):
        if not path.is_dir():  # which transformers would look for on the hub
            raise ModelFormatError(f"{path} is missing. The model folder is incomplete: save or download it again.")
        return cls.load(path, **options or {})
    if issubclass(cls, Module):
        return cls.load(path)
    if "subfolder" in inspect.signature(cls.load).parameters:  # a user's block written for newer releases
        return cls.load(str(root), subfolder=entry.path)
    return cls.load(str(path))


def _load_plain(folder: Path, options: dict[str, Any]) -> dict[str, nn.Module]:
    """A folder without modules.json: model2vec's, or a transformers model, which gets mean pooling."""
    from workbench.models import Normalize, Pooling, StaticEmbedding, Transformer

    config = read_json(folder, "config.json") if inside(folder, "config.json").is_file() else {}
    if config.get("model_type") == "model2vec":
        blocks: list[nn.Module] = [StaticEmbedding.from_model2vec(folder)]
        blocks += [Normalize()] if config.get("normalize") else []
        return {str(number): block for number, block in enumerate(blocks)}
    if not config and not has_adapter(folder):
        raise ModelFormatError(f"{folder} holds neither modules.json nor config.json: it is not a model folder.")
    transformer = Transformer.load(folder, **options)
    return {"0": transformer, "1": Pooling(transformer.get_word_embedding_dimension())}


def save_modules(
    folder: Path,
    modules: dict[str, nn.Module],
    kwargs: dict[str, list[str]],
    config: ModelConfig,
    safe_serialization: bool = True,
) -> None:
    """Write every block, ``modules.json`` and ``config_sentence_transformers.json`` to ``folder``."""
    lines = []
    for number, (name, module) in enumerate(modules.items()):
        in_root = number == 0 and getattr(module, "save_in_root", False)
        path = "" if in_root else f"{number}_{type(module).__name__}"
        (folder / path).mkdir(exist_ok=True)
        if isinstance(module, Module):
            module.save(folder / path, safe_serialization)
        else:
            module.save(str(folder / path))  # type: ignore[operator]
        line: dict[str, Any] = {"idx": number, "name": name, "path": path, "type": type_name(module)}
        lines.append({**line, "kwargs": kwargs[name]} if kwargs.get(name) else line)
    write_json(folder / "modules.json", lines)
    settings = {key: value for key, value in asdict(config).items() if key != "truncate_dim" or value is not None}
    write_json(folder / CONFIG, {"__version__": versions(), **settings})


def versions() -> dict[str, str]:
    """Return what a folder says that it was written with."""
    packages = {"transformers": "transformers", "pytorch": "torch"}
    return {"sentence_transformers": FORMAT_VERSION, **{name: version(one) for name, one in packages.items()}}
