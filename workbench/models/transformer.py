"""A transformers encoder as the first block: texts to one vector per token."""

import contextlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from threading import RLock
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from workbench import hub
from workbench.errors import ModelFormatError, UnsafeModelError, choose
from workbench.folders import WEIGHTS, check_links, check_size, inside, read_json, warn_pickle, write_json
from workbench.models.adapters import attach_adapter, base_folder, has_adapter, is_adapted, save_adapter
from workbench.models.base import Features, InputModule
from workbench.models.bert import Bert, BertClassifier, read_bert
from workbench.models.plain_tokenizer import read_tokenizer
from workbench.tokens import IntArray, Tokenized, TokenRows

__all__ = [
    "Pretrained", "Transformer", "load_pretrained", "longest", "model_inputs", "pad", "recompute_activations",
    "save_pretrained",
]  # fmt: skip

_CONFIG_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "inputs_embeds")


class Pretrained(Tokenized, nn.Module):
    """What holds a transformers model, under the name ``_kept``, and its tokenizer.

    The model may be one of ``workbench.models.bert``, which needs no transformers, as long as nobody asks for it: the
    attribute is then, from the first access on, the transformers model around the same layers.
    """

    _kept: ClassVar[str]

    @property
    def _held(self) -> Any:
        """The model as it is now."""
        return self._modules[self._kept]

    @property
    def _ready(self) -> Any:
        """The model to run: the transformers one wherever a gradient may be wanted."""
        wanted = self.training or torch.is_grad_enabled()
        return getattr(self, self._kept) if wanted else self._held

    def __getattr__(self, name: str) -> Any:
        if name != self._kept or name not in self._modules:
            return super().__getattr__(name)
        with _SWITCH:
            self._modules[name] = self._transformers()
            return self._held

    def _transformers(self) -> Any:
        """The transformers model, without keeping one that is made now: saving changes no later result by a bit."""
        return _around(self._held) if isinstance(self._held, (Bert, BertClassifier)) else self._held


class Transformer(Pretrained, InputModule):
    """Token vectors from a transformers model.

    Args:
        model_name_or_path: a folder, or a name on the hub.
        max_seq_length: texts are cut to this many tokens; None takes the smaller limit of tokenizer and model.
        model_args: passed to the model's ``from_pretrained``; ``tokenizer_args`` and ``config_args`` likewise.
        cache_dir: where downloads are kept.
        do_lower_case: lower-case the texts before the tokenizer sees them.
        tokenizer_name_or_path: where the tokenizer is, when not beside the model.
        backend: "torch", or an engine of ``workbench.backends``; ``model_args`` then has its options.

    Raises:
        ModelFormatError: the folder's files are missing, damaged or do not fit each other.
        UnsafeModelError: a link in the folder leads out of it.
    """

    config_keys: ClassVar[tuple[str, ...]] = ("max_seq_length", "do_lower_case")
    config_file: ClassVar[str] = _CONFIG_FILES[0]
    save_in_root: ClassVar[bool] = True
    _kept: ClassVar[str] = "auto_model"

    def __init__(
        self,
        model_name_or_path: str | Path,
        max_seq_length: int | None = None,
        model_args: dict[str, Any] | None = None,
        tokenizer_args: dict[str, Any] | None = None,
        config_args: dict[str, Any] | None = None,
        cache_dir: str | None = None,
        do_lower_case: bool = False,
        tokenizer_name_or_path: str | None = None,
        backend: str = "torch",
    ) -> None:
        super().__init__()
        self.do_lower_case = do_lower_case
        self.backend = backend
        given = (model_args, tokenizer_args, config_args)
        model, words, config = ({"cache_dir": cache_dir, **(one or {})} for one in given)
        self.auto_model, self.tokenizer = load_pretrained(
            str(model_name_or_path), tokenizer_name_or_path, model, words, config, backend=backend
        )
        limit = longest(self._held.config, self._tokens.tokenizer)
        self.max_seq_length = max_seq_length if max_seq_length is not None else limit

    @property
    def config(self) -> Any:
        """The transformers configuration of the model."""
        return self.auto_model.config

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Add ``token_embeddings`` (rows, tokens, dim), and ``all_layer_embeddings`` when the model gives them."""
        model = self.auto_model if kwargs or "inputs_embeds" in features else self._ready
        inputs = model_inputs(features, model, self._tokens.tokenizer)
        output = model(**inputs, **kwargs, return_dict=True)
        features["token_embeddings"] = output[0]
        if getattr(model.config, "output_hidden_states", False) and output.get("hidden_states") is not None:
            features["all_layer_embeddings"] = output["hidden_states"]
        return features

    def token_rows(self, texts: list[str]) -> TokenRows:
        """Tokenise without padding, cut to ``max_seq_length`` tokens."""
        return self._tokens.rows(self._lowered(texts), self.max_seq_length)

    def token_counts(self, texts: list[str]) -> IntArray:
        """Tokens per text, special tokens included, before anything is cut."""
        return self._tokens.counts(self._lowered(texts))

    def _lowered(self, texts: list[str]) -> list[str]:
        texts = [text.strip() for text in texts]
        return [text.lower() for text in texts] if self.do_lower_case else texts

    def collate(self, rows: TokenRows, index: IntArray) -> Features:
        """Return the given rows padded to the longest of them."""
        return pad(rows, index, self._tokens.tokenizer)

    def get_word_embedding_dimension(self) -> int:
        """Length of a token's vector."""
        config = self._held.config
        config = getattr(config, "text_config", None) or config
        return int(getattr(config, "hidden_size", None) or config.d_model)

    def __repr__(self) -> str:
        return f"Transformer({self.get_config_dict()}) with {type(self._held).__name__}"

    def save(self, output_path: str | Path, safe_serialization: bool = True) -> None:
        """Write model, tokenizer and this block's configuration to a folder."""
        save_pretrained(self._transformers(), self.tokenizer, output_path, safe_serialization)
        write_json(Path(output_path) / self.config_file, self.get_config_dict())

    @classmethod
    def load(cls, input_path: str | Path, **options: Any) -> Self:
        """Load from a folder; ``options`` are constructor arguments that win over the folder's own.

        Raises:
            ModelFormatError: files are missing, damaged, or do not fit each other.
        """
        files = (name for name in _CONFIG_FILES if inside(input_path, name).is_file())
        config = read_json(input_path, name) if (name := next(files, None)) else {}
        own = {key: config[key] for key in cls.config_keys if key in config}
        check_size(input_path, "max_seq_length", own.get("max_seq_length"))
        # Older and newer files may carry arguments for transformers; only those that cannot fetch or run code pass.
        for key in ("model_args", "tokenizer_args", "config_args"):
            if not isinstance(saved := config.get(key) or {}, dict):
                raise ModelFormatError(f"{input_path}: {key} must be a table of arguments, not {saved!r:.100}.")
            allowed = {name: value for name, value in saved.items() if name in _SAVED_ARGUMENTS}
            options[key] = {**allowed, **(options.get(key) or {})}
        return cls(input_path, **{**own, **options})


_SWITCH = RLock()  # one at a time goes over to transformers
_PLACE = {"cache_dir", "local_files_only", "token", "trust_remote_code"}  # for folders elsewhere
_SAVED_ARGUMENTS = ("torch_dtype", "dtype", "attn_implementation", "output_hidden_states", "add_pooling_layer")
_ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}


def load_pretrained(
    name: str,
    tokenizer_name: str | None,
    model_args: dict[str, Any],
    tokenizer_args: dict[str, Any],
    config_args: dict[str, Any],
    head: str | None = None,
    backend: str = "torch",
) -> tuple[Any, Any]:
    """Return (model, tokenizer); a local folder is read without asking the network.

    They are those of transformers, or for the usual BERT a ``Bert`` or ``BertClassifier`` and a ``PlainTokenizer``,
    which a ``Pretrained`` turns into those of transformers when they are asked for.

    Args:
        name: a folder or a name on the hub.
        tokenizer_name: where the tokenizer is; None: the same place.
        model_args: for the model's ``from_pretrained``, and ``adapter_name``; the next two for the tokenizer's and the
            configuration's.
        tokenizer_args: see ``model_args``.
        config_args: see ``model_args``.
        head: the transformers auto class of a model with a head, None: an encoder. The head's weights may be missing
            unless the configuration says that the model was saved with one.
        backend: what runs the model: "torch", or see ``workbench.backends.load_compiled``.

    Raises:
        ModelFormatError: a local folder's files are missing, damaged or do not fit each other.
        UnsafeModelError: they would run code, or lie outside the folder.
        ModelNotFoundError: the folder holds an adapter, and the model that it belongs to is nowhere.
        DependencyError: it holds an adapter, and PEFT is not installed.
    """
    if backend != "torch":
        return _compiled(backend, name, tokenizer_name, model_args, tokenizer_args, config_args, head)
    local, adapter, model_args = Path(name).is_dir(), None, dict(model_args)
    adapter_name = model_args.pop("adapter_name", "default")
    if local and has_adapter(Path(name)):
        adapter = Path(name)
        tokenizer_name = tokenizer_name or (name if inside(adapter, "tokenizer_config.json").is_file() else None)
        where = {"token": model_args.get("token"), "local_files_only": model_args.get("local_files_only", False)}
        name = str(base_folder(adapter, cache_folder=model_args.get("cache_dir"), **where))
    if local:
        _check_folder(Path(name))
        wishes = {*model_args, *tokenizer_args, *config_args} - _PLACE
        plain = tokenizer_name is None and not wishes and adapter is None
        if plain and (words := read_tokenizer(Path(name))) and (ours := read_bert(Path(name), classifier=bool(head))):
            return ours, words
    import transformers

    first = {"trust_remote_code": False}  # left open, transformers would ask on the terminal
    last = {"local_files_only": True} if local else {}
    model_args, tokenizer_args, config_args = (
        {**first, **a, **last} for a in (model_args, tokenizer_args, config_args)
    )
    try:
        with _without_bars():
            config = transformers.AutoConfig.from_pretrained(name, **config_args)
            code = [config._attn_implementation, model_args.get("attn_implementation")]
            if "/" in str(code) and not model_args["trust_remote_code"]:
                raise UnsafeModelError(f"{name} asks for attention code from the hub, which was not run: {code}.")
            loader = getattr(transformers, head or _ENCODERS.get(config.model_type, "AutoModel"))
            model, info = loader.from_pretrained(name, config=config, output_loading_info=True, **model_args)
            tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_name or name, **tokenizer_args)
    except UnpicklingError as error:
        raise UnsafeModelError(f"{name}: the weights hold more than tensors, which could run code.") from error
    except Exception as error:  # damaged folders lead transformers to errors of every kind
        if not local or isinstance(error, ModelFormatError):
            raise
        raise ModelFormatError(f"{name} could not be loaded ({type(error).__name__}: {error})") from error
    trained = head and any(kind.endswith(head.removeprefix("AutoModel")) for kind in config.architectures or ())
    body = f"{model.base_model_prefix}." if head else ""
    missing = [key for key in info["missing_keys"] if trained or ("pooler" not in key and key.startswith(body))]
    if missing:
        raise ModelFormatError(
            f"{name}: the weights lack {len(missing)} tensors that the model needs, such as {missing[0]}."
        )
    if adapter is not None and adapter != Path(name):
        with _without_bars():
            attach_adapter(model, adapter, adapter_name)
    return model, tokenizer


def _compiled(backend: str, name: str, tokenizer_name: str | None, *arguments: Any) -> tuple[Any, Any]:
    """The model as an engine runs it, and the tokenizer; ``arguments`` are the last four of ``load_pretrained``."""
    from workbench.backends import BACKENDS, load_compiled

    choose("backend", backend, {"torch": None, **BACKENDS})
    model_args, tokenizer_args, config_args, head = arguments
    where = {"token": model_args.get("token"), "cache_folder": model_args.get("cache_dir")}
    folder = hub.resolve(name, local_files_only=model_args.get("local_files_only") or False, **where)
    if has_adapter(folder):
        raise ModelFormatError(f"{folder} holds an adapter. Load it with backend='torch', merge it and save it first.")
    _check_folder(folder)

    def make(args: dict[str, Any]) -> Any:
        model, tokenizer = load_pretrained(str(folder), tokenizer_name, args, tokenizer_args, config_args, head)
        if tokenizer.padding_side == "left" and _counts_places(model):
            raise ModelFormatError(f"{folder} pads on the left and numbers tokens: run it with backend='torch'.")
        return _around(model) if isinstance(model, (Bert, BertClassifier)) else model

    given = (folder, tokenizer_name, model_args, tokenizer_args, config_args)
    return load_compiled(backend, *given, make, head=head is not None)


def _around(plain: Bert | BertClassifier) -> Any:
    """The transformers model that has the layers of ``plain``, the very same ones."""
    import transformers

    config = transformers.BertConfig.from_dict(dict(plain.saved))
    kind = transformers.BertModel if isinstance(plain, Bert) else transformers.BertForSequenceClassification
    with _without_bars():
        model: Any = kind.from_pretrained(None, config=config, state_dict=plain.state_dict())
    config.name_or_path = model.name_or_path = str(plain.folder)
    _share(plain, model.to(next(plain.parameters()).device))
    return model.train(plain.training)


def _share(plain: nn.Module, model: nn.Module) -> None:
    """Put the layers of ``plain`` into ``model``, each in its place."""
    for name, part in plain.named_children():
        if isinstance(part, (Bert, nn.ModuleDict, nn.ModuleList)):
            _share(part, model.get_submodule(name))
        else:
            setattr(model, name, part)


def _check_folder(folder: Path) -> None:
    """Refuse links and shard names that leave the folder; say when the weights are a pickle."""
    check_links(folder)
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            read_json(folder, name)
    for index in folder.glob("*.index.json"):
        shards = read_json(folder, index.name).get("weight_map")
        for shard in set(map(str, shards.values() if isinstance(shards, dict) else ())):
            inside(folder, shard)
    if (folder / WEIGHTS[1]).is_file() and not any(folder.glob("*.safetensors")):
        warn_pickle(folder / WEIGHTS[1])


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Keep transformers from drawing bars of its own: progress has one switch."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def longest(config: Any, tokenizer: Any) -> int | None:
    """Return the most tokens that both a model and its tokenizer allow; None: there is no limit."""
    limits = (getattr(config, "max_position_embeddings", None), tokenizer.model_max_length)
    return min((limit for limit in limits if limit and 0 < limit < 10**9), default=None)


def model_inputs(features: Features, model: Any, tokenizer: Any) -> Features:
    """Return what of a batch a transformers model takes."""
    inputs = {name: features[name] for name in _MODEL_INPUTS if name in features}
    mask: Tensor | None = inputs.get("attention_mask")
    if mask is not None and mask.device.type == "cpu" and bool(mask.all()):
        del inputs["attention_mask"]  # nothing is padded: attention without a mask is faster
    elif mask is not None and tokenizer.padding_side == "left" and _counts_places(model):
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)  # padding before a text must not move it
    return inputs


def _counts_places(model: Any) -> bool:
    """Whether the model numbers tokens from 0 at the left; RoBERTa's kind skips padding by itself."""
    skips = hasattr(getattr(model.base_model, "embeddings", None), "padding_idx")
    return not skips and "position_ids" in inspect.signature(model.forward).parameters


def pad(rows: TokenRows, index: IntArray, tokenizer: Any) -> Features:
    """Return the rows as one padded batch, the way ``tokenizer`` pads."""
    fill = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": getattr(tokenizer, "pad_token_type_id", 0)}
    return {**rows.padded(index, fill, left=tokenizer.padding_side == "left")}


def recompute_activations(model: Any, kwargs: dict[str, Any] | None = None, **options: Any) -> None:
    """Have a transformers model forget its activations and compute them again in the backward pass."""
    newer = getattr(model, "activation_checkpointing_enable", None)  # its name in later transformers
    if newer is not None:
        newer(kwargs, **options)
    else:
        model.gradient_checkpointing_enable(kwargs)


def save_pretrained(model: Any, tokenizer: Any, folder: str | Path, safe_serialization: bool) -> None:
    """Write a transformers model, or its active adapter if it has one, and its tokenizer to a folder."""
    if hasattr(model, "backend"):
        model.save(Path(folder))
    elif is_adapted(model):
        with _without_bars():
            save_adapter(model, Path(folder))
    elif safe_serialization:
        with _without_bars():
            model.save_pretrained(folder)
    else:
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), Path(folder) / WEIGHTS[1])
    tokenizer.save_pretrained(folder)
