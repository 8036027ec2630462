"""The fingerprint of a model: what its vectors depend on, hashed, so that a changed model never gets old vectors."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from workbench.models.adapters import adapter_settings
from workbench.models.bert import Bert, BertClassifier, usual_settings
from workbench.models.transformer import Pretrained
from workbench.tokens import Tokenized

__all__ = ["model_fingerprint"]

_PIECE = 2**24  # bytes hashed at a time, several at once
_NAMES = {
    "_name_or_path",
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
}  # say nothing of the vectors

_known: WeakKeyDictionary[nn.Module, tuple[Any, str]] = WeakKeyDictionary()  # model → its state when hashed, the hash
_lock = Lock()


def model_fingerprint(model: nn.Module) -> str:
    """Return 32 hexadecimal digits that stand for a model's weights, configuration and tokenizers, not for its name.

    The hash is computed once for each model object (about a second for 1 GB). Later calls add up the weights, as fast
    as memory is read (about 5 ms for 100 MB), and hash again where that or a setting differs: torch's own counters miss
    fused optimizers and whatever writes through ``.data``.
    """
    state = _state(model)
    with _lock:
        if model in _known and _known[model][0] == state:
            return _known[model][1]
    parts = [_settings(model), [_tokenizer(one) for one in _tokenizers(model)], list(_weights(model))]
    text = json.dumps(parts, sort_keys=True, default=_plain)
    fingerprint = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    with _lock:
        _known[model] = (state, fingerprint)
    return fingerprint


def _state(model: nn.Module) -> Any:
    """What tells cheaply whether a model was changed."""
    tokenizers = [(one, _length(one), *_sides(one)) for one in _tokenizers(model)]
    with torch.no_grad():
        weights = [(name, tensor.dtype, tensor.shape, *_sum(tensor)) for name, tensor in model.state_dict().items()]
    return _settings(model), tokenizers, weights


def _sum(tensor: Tensor) -> tuple[int, bytes, int]:
    """The wrapped sum of a tensor's bytes as whole numbers, the last few bytes, and how often torch saw it change."""
    raw = _raw(tensor)
    whole = len(raw) // 8 * 8
    if raw.device.type == "cpu":
        total = int(np.add.reduce(raw[:whole].numpy().view(np.uint64)))  # faster than torch, and on one core
    else:
        words = raw[:whole] if raw.storage_offset() % 8 == 0 else raw[:whole].clone()
        total = int(words.view(torch.int64).sum())
    return total, bytes(raw[whole:].tolist()), 0 if tensor.is_inference() else tensor._version


def _raw(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _weights(model: nn.Module) -> Iterator[Any]:
    """Name, type, shape and hash of every tensor."""
    with ThreadPoolExecutor() as threads:  # hashing frees the interpreter's lock
        for name, tensor in model.state_dict().items():
            pieces = torch.split(_raw(tensor), _PIECE)
            hashes = threads.map(lambda piece: sha256(piece.cpu().numpy()).hexdigest(), pieces)
            yield name, str(tensor.dtype), list(tensor.shape), list(hashes)


def _settings(model: nn.Module) -> list[Any]:
    """Class and settings of every block, and those of the transformers models inside."""
    found: list[Any] = []
    configs: set[int] = set()
    whole: list[str] = []  # what was said of these stands for every module inside
    for name, module in model.named_modules():
        if module is model or name.startswith(tuple(whole)):  # a model's prompts and truncation are options of encode
            continue
        if (usual := _usual_bert(module)) is not None:
            found.append([name, usual])
            whole.append(f"{name}.")
            continue
        own: Any = module.get_config_dict() if hasattr(module, "get_config_dict") else {}
        if not own and "." not in name:  # a user's block
            own = {key: value for key, value in vars(module).items() if isinstance(value, (bool, int, float, str))}
            own.pop("training", None)
        found.append([name, type(module).__qualname__, module.extra_repr(), own, *adapter_settings(module)])
        config: Any = None if isinstance(module, Pretrained) else getattr(module, "config", None)
        if hasattr(config, "to_dict") and id(config) not in configs:  # parts of one model share its configuration
            configs.add(id(config))
            found.append({key: value for key, value in config.to_dict().items() if key not in _NAMES})
    return found


def _usual_bert(module: nn.Module) -> dict[str, Any] | None:
    """Settings of a BERT that is computed without transformers, or could be: the vectors are the same."""
    if isinstance(module, (Bert, BertClassifier)):
        return usual_settings(module.saved)
    if type(module).__name__ not in ("BertModel", "BertForSequenceClassification") or hasattr(module, "peft_config"):
        return None
    return usual_settings(module.config.to_dict())  # type: ignore[operator,union-attr]


def _tokenizers(model: nn.Module) -> list[Any]:
    found = {}
    for module in model.modules():
        if module is not model:
            part = module.tokenizer_part if isinstance(module, Tokenized) else getattr(module, "tokenizer", None)
            if part is not None:
                found[id(part)] = part
    return list(found.values())


def _tokenizer(tokenizer: Any) -> Any:
    """What a tokenizer depends on, as plain values."""
    rust = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if hasattr(rust, "to_str"):
        spec = json.loads(rust.to_str()) | {"truncation": None, "padding": None}  # both are set anew for every call
        return [*_sides(tokenizer), spec]
    if hasattr(tokenizer, "config_keys"):
        spec = {key: getattr(tokenizer, key) for key in tokenizer.config_keys}
    else:
        spec = {"vocab": dict(tokenizer.get_vocab()), "special": tokenizer.special_tokens_map}
    return [type(tokenizer).__qualname__, *_sides(tokenizer), spec]


def _sides(tokenizer: Any) -> tuple[Any, Any]:
    return getattr(tokenizer, "padding_side", None), getattr(tokenizer, "truncation_side", None)


def _length(tokenizer: Any) -> int:
    """How many tokens a tokenizer knows, which grows when some are added."""
    if hasattr(tokenizer, "get_vocab_size"):
        return int(tokenizer.get_vocab_size())
    return len(tokenizer if hasattr(tokenizer, "__len__") else tokenizer.get_vocab())


def _plain(value: Any) -> Any:
    """A value that JSON does not have, in a form that is the same in every process."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value) if isinstance(value, torch.dtype) else type(value).__qualname__
