"""Models in 8 bits with fixed ranges, learnt from texts: for ONNX Runtime, and for OpenVINO without nncf."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy.typing as npt
import torch

from workbench._optional import require
from workbench.backends.export import to_openvino
from workbench.backends.optimise import place, quiet, the_compiled
from workbench.errors import ColumnsError
from workbench.texts import as_pairs, as_texts

__all__ = ["export_static_quantized_onnx_model", "export_static_quantized_openvino_model"]

_SAMPLES = 256  # texts; more change the ranges no further
_Arrays = dict[str, npt.NDArray[Any]]
_USUAL = ("nyu-mll/glue", "sst2", "train", "sentence")


def export_static_quantized_openvino_model(
    model: Any,
    quantization_config: dict[str, Any] | None,
    model_name_or_path: str | Path,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    dataset_split: str | None = None,
    column_name: str | None = None,
    push_to_hub: bool = False,
    create_pr: bool = False,
    file_suffix: str = "qint8_quantized",
    *,
    texts: Sequence[Any] | None = None,
) -> None:
    """Write ``openvino/openvino_model_qint8_quantized.xml``: weights and activations in 8 bits, with fixed ranges.

    The ranges are learnt from texts by ONNX Runtime, whose quantizer takes the place of nncf, and OpenVINO reads them.

    Args:
        model: a model loaded with ``backend="onnx"`` or ``backend="openvino"``.
        quantization_config: ``{"num_samples": 256}``, or None.
        model_name_or_path: the folder to write to, which gets the whole model if there is none; or a name on the hub.
        dataset_name: a data set with texts, by the name that ``datasets`` knows it by; with its configuration, split
            and column. Without these and ``texts``: sentences of SST-2.
        dataset_config_name: see ``dataset_name``.
        dataset_split: see ``dataset_name``.
        column_name: see ``dataset_name``.
        push_to_hub: upload to the hub instead.
        create_pr: upload as a pull request.
        file_suffix: what comes after ``openvino_model_``.
        texts: texts like those to come, or pairs of texts for a cross-encoder; they win over ``dataset_name``.

    Raises:
        TextTypeError: a row of ``texts`` is no text, or no pair.
        ColumnsError: there is no text to learn from, or the data set has no such column.
        ValueError: torch runs the model; load it with another backend.
        DependencyError: onnxruntime is not installed; says what to install.
    """
    rows = _rows(model, quantization_config, texts, (dataset_name, dataset_config_name, dataset_split, column_name))

    def write(path: Path) -> None:
        with TemporaryDirectory(prefix="workbench-") as scratch:
            quantised = Path(scratch) / "model.onnx"
            _quantise(model, rows, quantised)
            to_openvino(quantised, path)

    place(model, write, f"openvino_model_{file_suffix}.xml", model_name_or_path, push_to_hub, create_pr)


def export_static_quantized_onnx_model(
    model: Any,
    model_name_or_path: str | Path,
    texts: Sequence[Any],
    push_to_hub: bool = False,
    create_pr: bool = False,
    file_suffix: str = "qint8_static",
) -> None:
    """Write ``onnx/model_qint8_static.onnx``: the same for ONNX Runtime, with the same arguments and errors."""
    the_compiled(model, "onnx")
    rows = _rows(model, None, texts, (None,) * 4)
    name = f"model_{file_suffix}.onnx"
    place(model, lambda path: _quantise(model, rows, path), name, model_name_or_path, push_to_hub, create_pr)


def _rows(
    model: Any, config: dict[str, Any] | None, texts: Sequence[Any] | None, data: tuple[str | None, ...]
) -> list[Any]:
    """The first texts, or pairs for a cross-encoder."""
    the_compiled(model, model.backend if model.backend != "torch" else "onnx")
    count = int((config or {}).get("num_samples") or _SAMPLES)
    if texts is None:
        name, subset, split, column = (given or usual for given, usual in zip(data, _USUAL, strict=True))
        table = require("datasets", extra="lab").load_dataset(name, data[1] if data[0] else subset, split=split)
        if column not in table.column_names:
            raise ColumnsError(f"{name} has no column {column!r}. It has: {', '.join(table.column_names)}.")
        texts = list(islice(table[column], count))
    rows: list[Any] = (as_pairs if hasattr(model, "predict") else as_texts)(list(texts)[:count])[0]
    if not rows:
        raise ColumnsError("There are no texts to learn the ranges from. Give at least a few dozen like those to come.")
    return rows


class _Reader:
    """Batches of features, the way ONNX Runtime's quantizer asks for them."""

    def __init__(self, batches: list[_Arrays]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> _Arrays | None:
        """Return the next batch; None after the last."""
        return next(self._batches, None)


def _quantise(model: Any, rows: list[Any], path: Path) -> None:
    """Write the model with 8 bits in every product with weights; what comes out of one stays float."""
    quantization, onnx = (require(name, extra="onnx") for name in ("onnxruntime.quantization", "onnx"))
    compiled = the_compiled(model, model.backend)
    if compiled.backend != "onnx":  # its folder holds an ONNX file, or the weights to make one from
        compiled = the_compiled(type(model)(str(compiled.source), device="cpu", backend="onnx"), "onnx")
    features = model.features if hasattr(model, "predict") else model.tokenize
    batches = []
    names = [one.name for one in onnx.load(str(compiled.path), load_external_data=False).graph.input]
    for row in rows:  # one by one, so that no padding is measured
        batch = features([row])
        batches.append({name: batch.get(name, torch.zeros_like(batch["input_ids"])).numpy() for name in names})
    with quiet():
        quantization.quantize_static(
            str(compiled.path),
            str(path),
            _Reader(batches),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]},
        )
