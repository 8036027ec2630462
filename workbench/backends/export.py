"""Torch models to the files of the engines: exported, and only kept when they give the same numbers."""

import inspect
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workbench._optional import require
from workbench.backends.engines import BACKENDS
from workbench.errors import ModelFormatError

__all__ = ["export", "to_openvino"]

_OPSET = 17
_TOLERANCE = 1e-4  # of the largest value: float32 in another order of additions
_LEAST = -3.4028234663852886e38  # of float32


class _Traced(nn.Module):
    """A transformers model as a function of tensors."""

    def __init__(self, model: nn.Module, wide: bool) -> None:
        super().__init__()
        self.model, self.wide = model, wide
        self.types = "token_type_ids" in inspect.signature(model.forward).parameters

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor | None = None) -> Tensor:
        given = {"token_type_ids": types} if self.types else {}
        if self.wide:  # the mask as a bias of attention, in the form that optimisers of graphs know
            mask = (1.0 - mask[:, None, None, :].to(torch.float32)) * _LEAST
        out = self.model(input_ids=ids, attention_mask=mask, return_dict=True, **given)
        return out[0]  # type: ignore[no-any-return]


def export(model: Any, path: Path, *, head: bool) -> None:
    """Write a transformers model, or a classifier (``head``), to ``path``: an .onnx file, or an .xml for OpenVINO.

    Texts and tokens may be any number. The file is run on other sizes than it was made with, padding included, and must
    give the same numbers as torch.

    Raises:
        ModelFormatError: the model cannot be exported.
        DependencyError: a package is missing; says what to install.
    """
    extra = "openvino" if path.suffix == ".xml" else "onnx"
    require("onnx", extra=extra)
    model = model.float().cpu().eval()
    model.set_attn_implementation("eager")  # whose operators every engine knows
    failures = []
    for wide in (True, False):  # a model that makes a mask of its own, such as a causal one, takes the second
        try:
            _write(_Traced(model, wide).eval(), path, head)
            off = _difference(model, path, head)
        except (
            RuntimeError,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            IndexError,
            NotImplementedError,
        ) as error:
            failures.append(f"{type(error).__name__}: {error!s:.200}")
            continue
        if off <= _TOLERANCE:
            return
        failures.append(f"the export differs from torch by {off:.1g}")
    raise ModelFormatError(f"{type(model).__name__} cannot be exported ({failures[-1]}). Run it with backend='torch'.")


def _batch(rows: int, length: int, model: Any, *, types: bool) -> tuple[Tensor, ...]:
    """Token ids, their mask with some padding, and types."""
    config = getattr(model.config, "text_config", None) or model.config
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, max(6, int(config.vocab_size)), (rows, length), generator=generator)
    mask = (torch.arange(length) < length - torch.arange(rows)[:, None]).long()  # row i has i tokens less
    kinds = torch.zeros_like(ids)
    if getattr(config, "type_vocab_size", 0) > 1:
        kinds[:, length // 2 :] = 1
    pad = getattr(config, "pad_token_id", None) or 0
    return (torch.where(mask.bool(), ids, pad), mask, kinds)[: 3 if types else 2]


def _write(traced: _Traced, path: Path, head: bool) -> None:
    names = ["input_ids", "attention_mask", "token_type_ids"][: 3 if traced.types else 2]
    output = "logits" if head else "token_embeddings"
    axes = {name: {0: "rows", 1: "tokens"} for name in names}
    axes[output] = {0: "rows"} if head else {0: "rows", 1: "tokens"}
    onnx_file = path.with_suffix(".onnx")
    chatty, level = logging.getLogger("torch.onnx"), logging.ERROR
    before = chatty.level
    chatty.setLevel(level)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of tracing: what it might get wrong is measured
            torch.onnx.export(
                traced,
                _batch(2, 5, traced.model, types=traced.types),
                str(onnx_file),
                input_names=names,
                output_names=[output],
                dynamic_axes=axes,
                opset_version=_OPSET,
                dynamo=False,  # the newer exporter needs onnxscript
            )
    finally:
        chatty.setLevel(before)
    if path.suffix == ".xml":
        to_openvino(onnx_file, path)
        onnx_file.unlink()


def to_openvino(onnx_file: Path, path: Path) -> None:
    """Write an ONNX file as an .xml and the weights beside it."""
    ov = require("openvino", extra="openvino")
    ov.save_model(ov.Core().read_model(str(onnx_file)), str(path), compress_to_fp16=False)


def _difference(model: Any, path: Path, head: bool) -> float:
    """How far the file is from torch, on a batch of another size, as a share of the largest value."""
    session = next(one for one in BACKENDS.values() if one.suffix == path.suffix).open(path, {})
    given = _batch(3, 9, model, types=True)
    names = ("input_ids", "attention_mask", "token_type_ids")
    arrays = {name: tensor.numpy() for name, tensor in zip(names, given, strict=True) if name in session.inputs}
    with torch.no_grad():
        inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
        expected = model(**inputs, return_dict=True)[0]
    found = torch.from_numpy(session.run(arrays, session.outputs[0]))
    real = torch.ones(3, dtype=torch.bool) if head else given[1].bool()
    worst = (found - expected)[real].abs().max() / expected[real].abs().max().clamp(min=1e-6)
    return float(worst.nan_to_num(float("inf")))
