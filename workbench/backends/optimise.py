"""ONNX files made faster: graphs with fused operators (O1 to O4), and weights in 8 bits for a kind of processor."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from workbench import hub
from workbench._optional import require
from workbench.backends.compiled import Compiled
from workbench.backends.engines import BACKENDS
from workbench.errors import choose

__all__ = ["export_dynamic_quantized_onnx_model", "export_optimized_onnx_model", "place", "quiet", "the_compiled"]

_LEVELS: dict[str, dict[str, bool]] = {
    "O1": {},  # what ONNX Runtime folds and removes in any graph
    "O2": {"fuse": True},  # and the operators that it has for transformers
    "O3": {"fuse": True, "gelu": True},  # and an approximation of GELU
    "O4": {"fuse": True, "gelu": True, "half": True},  # and float16, for GPUs
}
_PROCESSORS = {  # whether products of weights and activations would overflow 16 bits there, so that weights get 7 bits
    "arm64": False,
    "avx2": True,
    "avx512": True,
    "avx512_vnni": False,
}
_FUSED_AS = {"gpt2": "gpt2", "t5": "t5", "mt5": "t5"}  # for all others BERT's patterns are looked for


def export_optimized_onnx_model(
    model: Any,
    optimization_config: Literal["O1", "O2", "O3", "O4"],
    model_name_or_path: str | Path,
    push_to_hub: bool = False,
    create_pr: bool = False,
    file_suffix: str | None = None,
) -> None:
    """Write ``onnx/model_O3.onnx`` and the like: the same model as a graph that runs faster.

    Args:
        model: a model loaded with ``backend="onnx"``.
        optimization_config: "O1" general simplifications, "O2" also fused operators of transformers, "O3" also an
            approximate GELU, "O4" also float16, for GPUs.
        model_name_or_path: the folder to write to, which gets the whole model if there is none; or a name on the hub.
        push_to_hub: upload to the hub instead.
        create_pr: upload as a pull request.
        file_suffix: what comes after ``model_``; None: the level.

    Raises:
        ChoiceError: an unknown level; lists them.
        ValueError: the model does not run on ONNX Runtime.
    """
    level = choose("optimization level", optimization_config, _LEVELS)
    compiled = the_compiled(model, "onnx")

    def write(path: Path) -> None:
        if level.get("fuse"):
            _fuse(compiled, path, gelu=level.get("gelu", False), half=level.get("half", False))
        else:
            ort = require("onnxruntime", extra="onnx")
            settings = ort.SessionOptions()
            settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
            settings.optimized_model_filepath = str(path)
            ort.InferenceSession(str(compiled.path), settings, providers=["CPUExecutionProvider"])

    place(model, write, f"model_{file_suffix or optimization_config}.onnx", model_name_or_path, push_to_hub, create_pr)


def export_dynamic_quantized_onnx_model(
    model: Any,
    quantization_config: Literal["arm64", "avx2", "avx512", "avx512_vnni"],
    model_name_or_path: str | Path,
    push_to_hub: bool = False,
    create_pr: bool = False,
    file_suffix: str | None = None,
) -> None:
    """Write ``onnx/model_qint8_avx2.onnx`` and the like: weights in 8 bits, activations rounded to 8 bits as they come.

    Needs no data. Choose it for CPUs; check the quality on texts of your own, such as with an evaluator.

    Args:
        model: a model loaded with ``backend="onnx"``.
        quantization_config: the processor that it is for.
        model_name_or_path: as in ``export_optimized_onnx_model``, also for what follows.
        push_to_hub: upload to the hub instead.
        create_pr: upload as a pull request.
        file_suffix: what comes after ``model_``; None: "qint8" and the processor.

    Raises:
        ChoiceError: an unknown processor; lists them.
        ValueError: the model does not run on ONNX Runtime.
    """
    reduced = choose("quantization", quantization_config, _PROCESSORS)
    compiled = the_compiled(model, "onnx")

    def write(path: Path) -> None:
        quantization = require("onnxruntime.quantization", extra="onnx")
        with quiet():
            quantization.quantize_dynamic(
                str(compiled.path),
                str(path),
                op_types_to_quantize=["MatMul", "Gemm", "Attention"],
                per_channel=True,
                reduce_range=reduced,
                weight_type=quantization.QuantType.QInt8,
                extra_options={"DefaultTensorType": require("onnx", extra="onnx").TensorProto.FLOAT},
            )

    name = f"model_{file_suffix or f'qint8_{quantization_config}'}.onnx"
    place(model, write, name, model_name_or_path, push_to_hub, create_pr)


def the_compiled(model: Any, backend: str) -> Compiled:
    """Return the part of a model that an engine runs; raises ``ValueError`` if it is not the engine ``backend``."""
    found = next((part for part in model.modules() if isinstance(part, Compiled)), None)
    if found is None or found.backend != backend:
        raise ValueError(
            f"This needs a model of the backend {backend!r}, not {getattr(model, 'backend', 'torch')!r}. "
            f"Load it with {type(model).__name__}(…, backend={backend!r})."
        )
    return found


def place(
    model: Any, write: Callable[[Path], None], name: str, target: str | Path, push_to_hub: bool, create_pr: bool
) -> None:
    """Have ``write`` make the file ``name``, see that it opens, and put it into a model's folder or on the hub."""
    compiled = next(part for part in model.modules() if isinstance(part, Compiled))
    backend = next(name_ for name_, one in BACKENDS.items() if one.suffix == Path(name).suffix)
    with TemporaryDirectory(prefix="workbench-") as scratch:
        folder = Path(scratch) / "model" / BACKENDS[backend].folder
        folder.mkdir(parents=True)
        write(folder / name)
        made = Compiled(backend, folder / name, compiled.config, folder.parent, compiled.head, {})
        if push_to_hub:
            message = f"Add {folder.name}/{name}"
            hub.push(folder.parent, str(target), exist_ok=True, create_pr=create_pr, commit_message=message)
            return
        if not (Path(target) / "config.json").is_file():
            model.save_pretrained(target)
        made.add_to(Path(target))


def _fuse(compiled: Compiled, path: Path, *, gelu: bool, half: bool) -> None:
    """Replace groups of operators by those that ONNX Runtime has for transformers."""
    with quiet():
        optimizer = require("onnxruntime.transformers.optimizer", extra="onnx")
        options = require("onnxruntime.transformers.fusion_options", extra="onnx").FusionOptions("bert")
        options.enable_gelu_approximation = gelu
        config = compiled.config
        fused = optimizer.optimize_model(
            str(compiled.path),
            model_type=_FUSED_AS.get(config.model_type, "bert"),
            num_heads=getattr(config, "num_attention_heads", None) or 0,  # 0: seen in the graph
            hidden_size=getattr(config, "hidden_size", None) or 0,
            opt_level=1,
            optimization_options=options,
        )
        if half:
            fused.convert_float_to_float16(keep_io_types=True)
        fused.save_model_to_file(str(path))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep ONNX Runtime's tools, which write to the root logger, from talking."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
