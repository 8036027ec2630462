"""Adapters: a few weights beside a frozen transformers model, by PEFT. LoRA, Hu et al. 2021, arXiv:2106.09685."""

import warnings
from copy import copy
from pathlib import Path
from typing import Any

from torch import nn

from workbench import hub
from workbench._optional import require
from workbench.errors import ChoiceError, ModelFormatError, ModelNotFoundError, UnsafeModelError, WorkbenchError, choose
from workbench.folders import (
    ADAPTER,
    ADAPTER_WEIGHTS,
    check_links,
    inside,
    load_state,
    read_json,
    warn_pickle,
    write_json,
)

__all__ = [
    "Adaptable", "adapter_settings", "attach_adapter", "base_folder", "has_adapter", "is_adapted", "restore_adapter",
    "save_adapter",
]  # fmt: skip

_ABOUT = {"auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type"}


class Adaptable:
    """What a model does with adapters, by the names that transformers gives it: small weights, trained in its place.

    While there is an adapter, only adapters are trained (and blocks that come after the transformer), and saving writes
    the active adapter alone, next to the name of the model that it belongs to; such a folder loads like any other.
    """

    transformers_model: Any

    def add_adapter(self, adapter_config: Any, adapter_name: str | None = None) -> None:
        """Add a new adapter, to be trained, and make it the active one; all other weights are frozen.

        Args:
            adapter_config: a PEFT configuration, such as ``peft.LoraConfig(r=16, target_modules=["query", "value"])``.
            adapter_name: how to call it; None: "default".

        Raises:
            TypeError: no PEFT configuration.
            ValueError: the model has no transformer or no such ``target_modules``, or the name is taken.
            DependencyError: PEFT is not installed.
        """
        config = require("peft", extra="peft").PeftConfig
        if not isinstance(adapter_config, config):
            raise TypeError(f"adapter_config is {type(adapter_config).__name__}; expected a peft.PeftConfig.")
        _add(self._adaptable(), adapter_config, adapter_name)
        self._changed()

    def load_adapter(
        self, peft_model_id: str | Path, adapter_name: str | None = None, *, is_trainable: bool = True, **options: Any
    ) -> None:
        """Add an adapter from a folder or the hub, and make it the active one.

        Args:
            peft_model_id: where it is.
            adapter_name: how to call it; None: "default".
            is_trainable: whether it may be trained on; False freezes it.
            options: where to look for it, as in ``hub.resolve``.

        Raises:
            ModelNotFoundError: it is nowhere; lists what was tried.
            ModelFormatError: the folder is damaged, or belongs to another kind of model.
            ValueError: the model has no transformer, or the name is taken.
        """
        model = self._adaptable()
        attach_adapter(model, hub.resolve(peft_model_id, **options), adapter_name)
        self._changed()
        if not is_trainable:
            model.requires_grad_(False)  # the rest is frozen already

    def active_adapters(self) -> list[str]:
        """Return the names of the adapters in use; raises ``ValueError`` where there are none."""
        active: list[str] = list(self._adapted().active_adapters())
        return active

    def set_adapter(self, adapter_name: str | list[str]) -> None:
        """Use this adapter, or these, and no other."""
        model = self._adapted()
        for name in [adapter_name] if isinstance(adapter_name, str) else adapter_name:
            choose("adapter", name, model.peft_config)
        model.set_adapter(adapter_name)
        self._changed()

    def enable_adapters(self) -> None:
        """Use the active adapters again."""
        self._adapted().enable_adapters()
        self._changed()

    def disable_adapters(self) -> None:
        """Give the vectors or scores of the model without its adapters, until they are enabled."""
        self._adapted().disable_adapters()
        self._changed()

    def get_adapter_state_dict(self, adapter_name: str | None = None, **options: Any) -> dict[str, Any]:
        """Return the weights of an adapter, None: of the active one, by the names of their places."""
        state: dict[str, Any] = self._adapted().get_adapter_state_dict(adapter_name, **options)
        return state

    def delete_adapter(self, adapter_names: str | list[str]) -> None:
        """Remove an adapter, or several; without any, the whole model is trained again."""
        model = self._adapted()
        for name in [adapter_names] if isinstance(adapter_names, str) else adapter_names:
            choose("adapter", name, model.peft_config)
        model.delete_adapter(adapter_names)
        self._changed()
        if not is_adapted(model):
            model.requires_grad_(True)

    def merge_and_unload(self) -> None:
        """Add the active adapters to the weights and remove all adapters: a plain model of the same vectors or scores.

        Raises:
            ValueError: there is no adapter, or the adapters are disabled.
        """
        model = self._adapted()
        tuner = require("peft.tuners.tuners_utils", extra="peft").BaseTunerLayer
        if any(layer.disable_adapters for layer in model.modules() if isinstance(layer, tuner)):
            raise ValueError("The adapters are disabled, so there is nothing to merge: call enable_adapters() first.")
        inside_out = sorted(model.named_modules(), key=lambda item: -item[0].count("."))
        for name, layer in inside_out:
            parent, _, child = name.rpartition(".")
            if hasattr(layer, "unload_and_optionally_merge_module"):
                whole = layer.unload_and_optionally_merge_module(merge=True, safe_merge=True, adapter_names=None)
            elif isinstance(layer, tuner):
                layer.merge(safe_merge=True)
                whole = layer.get_base_layer()
            else:
                continue
            setattr(model.get_submodule(parent), child, whole)
        del model.peft_config
        model._hf_peft_config_loaded = False
        model.requires_grad_(True)

    def _changed(self) -> None:
        """Called when other adapters are at work than before."""

    def _adaptable(self) -> Any:
        if (model := self.transformers_model) is None:
            raise ValueError("This model has no transformer, so there is nothing that an adapter could change.")
        return model

    def _adapted(self) -> Any:
        model = self._adaptable()
        if not is_adapted(model):
            raise ValueError("This model has no adapter. Add one with add_adapter or load_adapter.")
        return model


def _add(model: Any, config: Any, name: str | None) -> None:
    before = set(getattr(model, "peft_config", ()))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")  # a second one is what was asked for
            model.add_adapter(config, name)
    except Exception:  # whatever it was, PEFT and transformers now believe in an adapter that is not there
        for one in set(getattr(model, "peft_config", ())) - before:
            del model.peft_config[one]
        model._hf_peft_config_loaded = bool(before)
        raise


def is_adapted(model: Any) -> bool:
    """Whether a transformers model has adapters."""
    return bool(getattr(model, "_hf_peft_config_loaded", False))


def has_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter."""
    return inside(folder, ADAPTER).is_file()


def base_folder(folder: Path, **where: Any) -> Path:
    """Return where the model lies that the adapter in ``folder`` belongs to; ``where`` as in ``hub.resolve``.

    Raises:
        DependencyError: PEFT is not installed.
        ModelNotFoundError: the model is nowhere.
        ModelFormatError: the adapter names no model, or one that is itself an adapter.
        UnsafeModelError: a link leads out of the folder, or the adapter would have modules imported.
    """
    _check(folder)
    if inside(folder, "config.json").is_file():  # the model lies beside its adapter
        return folder
    name = read_json(folder, ADAPTER).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise ModelFormatError(f"{folder / ADAPTER} does not say which model it belongs to: base_model_name_or_path.")
    try:
        base = hub.resolve(name, **where)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(f"{folder} holds an adapter of another model, which is needed too. {error}") from error
    if has_adapter(base):
        raise ModelFormatError(f"{folder} holds an adapter of {name!r}, which is an adapter itself; merge that first.")
    return base


def _check(folder: Path) -> None:
    """See that PEFT is there, and that it will neither leave the folder nor import what the folder names."""
    require("peft", extra="peft")
    check_links(folder)
    if read_json(folder, ADAPTER).get("megatron_config"):
        raise UnsafeModelError(f"{folder / ADAPTER} asks for a module of its own choice to be imported (Megatron).")
    if not inside(folder, ADAPTER_WEIGHTS[0]).is_file() and inside(folder, ADAPTER_WEIGHTS[1]).is_file():
        warn_pickle(folder / ADAPTER_WEIGHTS[1])


def attach_adapter(model: Any, folder: Path, name: str | None = None) -> None:
    """Give a transformers model the adapter in a folder, and make it the active one.

    Raises:
        DependencyError: PEFT is not installed.
        ModelFormatError: the folder holds no adapter, a damaged one, or that of another kind of model.
        UnsafeModelError: a link leads out of the folder, or the adapter would have modules imported.
        ChoiceError: the name is taken.
    """
    _check(folder)
    name = name or "default"
    if is_adapted(model) and name in model.peft_config:
        raise ChoiceError(f"There is an adapter {name!r} already. Give another adapter_name, or delete that one first.")
    try:
        config = require("peft", extra="peft").PeftConfig.from_pretrained(str(folder))
        _add(model, config, name)
    except Exception as error:  # damaged folders lead PEFT to errors of every kind
        raise ModelFormatError(f"The adapter in {folder} does not fit this model, or is damaged: {error}") from error
    try:
        restore_adapter(model, folder)
    except WorkbenchError:
        model.delete_adapter(name)
        raise


def save_adapter(model: Any, folder: Path) -> None:
    """Write the active adapter of a transformers model to a folder, with the name of the model that it belongs to."""
    model.save_pretrained(folder)
    config = read_json(folder, ADAPTER) | {"base_model_name_or_path": _base_name(model.name_or_path)}
    write_json(folder / ADAPTER, config)


def restore_adapter(model: Any, folder: Path) -> None:
    """Give the active adapter the weights that were saved in ``folder``; those of the model itself are not read.

    Raises:
        ModelFormatError: the weights are damaged, or of an adapter of another kind.
    """
    peft, name = require("peft", extra="peft"), model.active_adapters()[0]
    state = load_state(folder, ADAPTER_WEIGHTS)
    state = {key.removeprefix("base_model.model."): tensor for key, tensor in state.items()}
    expected = model.get_adapter_state_dict(name)
    if {key: tensor.shape for key, tensor in state.items()} != {key: one.shape for key, one in expected.items()}:
        raise ModelFormatError(f"{folder}: the adapter saved there does not fit the adapter {name!r} of this model.")
    peft.set_peft_model_state_dict(model, state, adapter_name=name)


def adapter_settings(module: nn.Module) -> list[Any]:
    """Return what the vectors of a model depend on in an adapted layer or model: nothing for all others."""
    found: list[Any] = []
    if isinstance(configs := getattr(module, "peft_config", None), dict):
        found += [
            [name, {key: value for key, value in config.to_dict().items() if key not in _ABOUT}]
            for name, config in configs.items()
        ]
    if hasattr(module, "adapter_layer_names"):  # a layer of PEFT's
        states = ("active_adapters", "disable_adapters", "merged_adapters", "scaling")
        found += [[state, copy(getattr(module, state, None))] for state in states]
    return found


def _base_name(name_or_path: str | Path) -> str:
    """How an adapter calls the model that it belongs to: the name on the hub, a bundled name, or a folder's path."""
    path = Path(name_or_path)
    for name, folder in hub.bundled().items():
        if path == folder:
            return name
    if path.parent.name == "snapshots" and (repo := path.parent.parent.name).startswith("models--"):
        return repo.removeprefix("models--").replace("--", "/")
    return str(path.resolve()) if path.is_dir() else str(name_or_path)
