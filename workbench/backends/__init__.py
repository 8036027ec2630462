"""Transformers run by ONNX Runtime and OpenVINO: exported, found in model folders, optimised, in 8 bits."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from workbench.backends.compiled import Compiled
    from workbench.backends.engines import BACKENDS
    from workbench.backends.loading import load_compiled
    from workbench.backends.optimise import export_dynamic_quantized_onnx_model, export_optimized_onnx_model
    from workbench.backends.static import export_static_quantized_onnx_model, export_static_quantized_openvino_model

__all__ = [
    "BACKENDS", "Compiled", "export_dynamic_quantized_onnx_model", "export_optimized_onnx_model",
    "export_static_quantized_onnx_model", "export_static_quantized_openvino_model", "load_compiled",
]  # fmt: skip

_HOMES = {
    "BACKENDS": "engines",
    "Compiled": "compiled",
    "load_compiled": "loading",
    **dict.fromkeys(["export_dynamic_quantized_onnx_model", "export_optimized_onnx_model"], "optimise"),
    **dict.fromkeys(["export_static_quantized_onnx_model", "export_static_quantized_openvino_model"], "static"),
}

__getattr__, __dir__ = lazy(__name__, _HOMES)
