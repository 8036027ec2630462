"""The engines that run exported models: how each opens a file, on as many threads as torch has, without running code.

Only a model's own file and the weights beside it are read. Libraries of custom operators are never loaded, so that a
file that needs one does not open.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from workbench._optional import require
from workbench.errors import ModelFormatError, UnsafeModelError, choose
from workbench.folders import inside

__all__ = ["BACKENDS", "Backend", "Session", "data_files"]

_Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Session:
    """An opened file: the names of its inputs and outputs, and how to compute one output."""

    inputs: list[str]
    outputs: list[str]
    run: Callable[[_Arrays, str], npt.NDArray[Any]]


@dataclass(frozen=True)
class Backend:
    """What a backend calls its files, and how it opens one; ``options`` are the keys that ``model_kwargs`` may have."""

    folder: str
    file: str
    options: tuple[str, ...]
    open: Callable[[Path, Mapping[str, Any]], Session]

    @property
    def suffix(self) -> str:
        """How the names of its files end."""
        return Path(self.file).suffix


def data_files(path: Path) -> list[Path]:
    """Return the files beside a model's file that hold weights of it.

    Raises:
        ModelFormatError: the file is damaged, or such a file is missing.
        UnsafeModelError: the weights lie outside the file's folder.
    """
    if path.suffix == ".xml":
        weights = inside(path.parent, f"{path.stem}.bin")
        return [weights] if weights.is_file() else []
    onnx = require("onnx", extra="onnx")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own errors have no base class that onnx names
        raise _damaged(path, error) from error
    names = {
        entry.value
        for tensor in _messages(model, "TensorProto")
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    files = [inside(path.parent, name) for name in sorted(names)]
    if lacking := [file.name for file in files if not file.is_file()]:
        raise ModelFormatError(f"{path}: its weights in {', '.join(lacking)} are missing. Download the model again.")
    return files


def _messages(message: Any, kind: str) -> Iterator[Any]:
    """Every message of a kind inside a protobuf message, however deep: also in branches, loops and functions."""
    if message.DESCRIPTOR.name == kind:
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if isinstance(value, (list, tuple)) or hasattr(value, "__len__") else [value]:
                yield from _messages(inner, kind)


def _open_onnx(path: Path, options: Mapping[str, Any]) -> Session:
    """Open a file in ONNX Runtime."""
    ort = require("onnxruntime", extra="onnx")
    there = ort.get_available_providers()
    usual = "CUDAExecutionProvider" if torch.cuda.is_available() else "CPUExecutionProvider"
    provider = options.get("provider") or (usual if usual in there else "CPUExecutionProvider")
    choose("provider", provider, dict.fromkeys(there))
    data_files(path)
    settings = options.get("session_options")
    if settings is None:
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        settings.log_severity_level = 3  # warnings about where an operator was placed help nobody here
    how = [options["provider_options"]] if options.get("provider_options") else None
    try:
        session = ort.InferenceSession(str(path), settings, providers=[provider], provider_options=how)
    except Exception as error:  # of a dozen kinds, which have no other base class
        raise _damaged(path, error) from error

    def run(arrays: _Arrays, output: str) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = session.run([output], dict(arrays))[0]
        return found

    return Session([one.name for one in session.get_inputs()], [one.name for one in session.get_outputs()], run)


def _open_openvino(path: Path, options: Mapping[str, Any]) -> Session:
    """Open a file in OpenVINO."""
    ov = require("openvino", extra="openvino")
    core = ov.Core()
    device = choose("provider", options.get("provider") or "CPU", {name: name for name in core.available_devices})
    usual = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if device == "CPU":
        usual["INFERENCE_NUM_THREADS"] = str(torch.get_num_threads())
    try:
        if not data_files(path):
            raise ModelFormatError(f"{path}: its weights, {path.stem}.bin, are missing. Download the model again.")
        model = core.read_model(str(path))
        request = core.compile_model(model, device, usual | (options.get("ov_config") or {})).create_infer_request()
    except RuntimeError as error:
        raise _damaged(path, error) from error
    inputs, outputs = ([next(iter(port.get_names()), "") for port in ports] for ports in (model.inputs, model.outputs))
    lock = Lock()  # a request does one thing at a time

    def run(arrays: _Arrays, output: str) -> npt.NDArray[Any]:
        with lock:
            request.infer(dict(arrays))
            return np.array(request.get_tensor(output).data)

    return Session(inputs, outputs, run)


def _damaged(path: Path, error: Exception) -> ModelFormatError:
    if isinstance(error, (ModelFormatError, UnsafeModelError)):
        return error
    return ModelFormatError(f"{path} could not be opened ({error!s:.300}). Export or download it again.")


BACKENDS = {
    "onnx": Backend("onnx", "model.onnx", ("provider", "provider_options", "session_options"), _open_onnx),
    "openvino": Backend("openvino", "openvino_model.xml", ("provider", "ov_config"), _open_openvino),
}
