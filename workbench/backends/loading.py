"""Model folders to models that an engine runs: the export that lies in the folder, or one made now."""

import shutil
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any

from workbench import hub
from workbench.backends.compiled import Compiled
from workbench.backends.engines import BACKENDS, Backend
from workbench.backends.export import export
from workbench.errors import ChoiceError, ModelFormatError, WorkbenchError, choose
from workbench.folders import inside, read_json
from workbench.models.bert import usual_settings
from workbench.models.plain_tokenizer import read_tokenizer

__all__ = ["load_compiled"]

_PLACE = ("cache_dir", "local_files_only", "token", "trust_remote_code")
_TORCH = (
    "torch_dtype",
    "dtype",
    "attn_implementation",
    "output_hidden_states",
    "add_pooling_layer",
)  # of saved folders
_FILES = ("file_name", "subfolder", "export")


def load_compiled(
    backend: str,
    folder: Path,
    tokenizer_name: str | None,
    model_args: Mapping[str, Any],
    tokenizer_args: Mapping[str, Any],
    config_args: Mapping[str, Any],
    make: Callable[[dict[str, Any]], Any],
    *,
    head: bool,
) -> tuple[Compiled, Any]:
    """Return the model of a folder as the engine ``backend`` runs it, and its tokenizer.

    Args:
        backend: a key of ``BACKENDS``.
        folder: the model's folder, whose links were checked.
        tokenizer_name: where the tokenizer is; None: in ``folder``.
        model_args: ``file_name`` (None: the usual one), ``subfolder`` (None: the backend's own), ``export`` (True:
            always, False: never, None: when there is no such file), and the backend's options, such as ``provider``.
        tokenizer_args: passed to ``from_pretrained``; the next likewise.
        config_args: see ``tokenizer_args``.
        make: gives the transformers model for an export, from arguments for its ``from_pretrained``.
        head: whether it is a classifier.

    Raises:
        ChoiceError: an unknown argument, provider, or file; lists those there are.
        ModelFormatError: a file is damaged, or the model cannot be exported.
        UnsafeModelError: a file leads out of the folder.
        DependencyError: the engine is not installed; says what to install.
    """
    kind = choose("backend", backend, BACKENDS)
    known = dict.fromkeys([*_FILES, *kind.options])
    for name in model_args:
        if name not in (*_PLACE, *_TORCH):
            choose(f"model_kwargs of the backend {backend!r}:", name, known)
    config, tokenizer = _around(folder, tokenizer_name, tokenizer_args, config_args)
    options = {name: model_args[name] for name in kind.options if model_args.get(name) is not None}
    path = _find(kind, folder, model_args)
    if path is not None:
        return Compiled(backend, path, config, folder, head, options), tokenizer
    scratch = Path(mkdtemp(prefix="workbench-"))  # lives as long as the model, which may be saved or sent elsewhere
    try:
        path = scratch / (model_args.get("file_name") or kind.file).rpartition("/")[2]
        export(make({name: model_args[name] for name in _PLACE if name in model_args}), path, head=head)
        model = Compiled(backend, path, config, folder, head, options)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    weakref.finalize(model, shutil.rmtree, scratch, ignore_errors=True)
    return model, tokenizer


def _find(kind: Backend, folder: Path, args: Mapping[str, Any]) -> Path | None:
    """The export to open, None where one is to be made."""
    name, wanted = args.get("file_name"), args.get("export")
    if name is not None and Path(name).suffix != kind.suffix:
        raise ChoiceError(f"file_name={name!r} does not end in {kind.suffix}, as files of this backend do.")
    if wanted:
        return None
    subfolder = kind.folder if args.get("subfolder") is None else args["subfolder"]
    tried = [f"{subfolder}/{name or kind.file}", name or kind.file]
    where = {key: args[key] for key in ("token", "local_files_only") if args.get(key) is not None}
    for part in tried:
        path = inside(folder, part)
        beside = [f"{part.removesuffix('.xml')}.bin"] if kind.suffix == ".xml" else [f"{part}_data", f"{part}.data"]
        if not path.is_file():
            hub.complete(folder, [part, *beside], **where)
        if path.is_file():
            return path
    there = sorted(path.relative_to(folder).as_posix() for path in folder.glob(f"**/*{kind.suffix}") if path.is_file())
    if name is None and wanted is None:
        if there and not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*")):
            raise ModelFormatError(f"{folder} has no {tried[0]} and no weights to make it from. {_say(there)}")
        return None
    raise ChoiceError(f"{folder} has no {tried[0]}. {_say(there)}")


def _say(there: list[str]) -> str:
    if not there:
        return "It has none such; leave out export=False and file_name, or give export=True, to have it made."
    return (
        f"Choose one with model_kwargs={{'file_name': …}}: {', '.join(map(repr, there))}; or make it: 'export': True."
    )


def _around(
    folder: Path, tokenizer_name: str | None, tokenizer_args: Mapping[str, Any], config_args: Mapping[str, Any]
) -> tuple[Any, Any]:
    """Configuration and tokenizer of a folder; those of the usual BERT without transformers."""
    saved = read_json(folder, "config.json")
    settings = None if {*config_args} - {*_PLACE} else usual_settings(saved)
    plain = tokenizer_name is None and not {*tokenizer_args} - {*_PLACE}
    tokenizer: Any = read_tokenizer(folder) if plain else None
    first = {"trust_remote_code": False, "local_files_only": True}
    try:
        if settings is not None:
            config: Any = SimpleNamespace(**saved | settings, num_labels=len(saved.get("id2label") or (0, 1)))
        else:
            import transformers

            config = transformers.AutoConfig.from_pretrained(folder, **{**first, **config_args})
        if tokenizer is None:
            import transformers

            where = tokenizer_name or str(folder)
            tokenizer = transformers.AutoTokenizer.from_pretrained(where, **{**first, **tokenizer_args})
    except WorkbenchError:
        raise
    except Exception as error:  # damaged folders lead transformers to errors of every kind
        raise ModelFormatError(f"{folder} could not be loaded ({type(error).__name__}: {error})") from error
    return config, tokenizer
