"""Where the work runs: choosing a torch device and how many tokens one batch may hold there."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from workbench.errors import ChoiceError

__all__ = ["batch_to_device", "bfloat16_is_faster", "default_devices", "one_thread", "pick_device", "token_budget"]


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """Return ``device``, or when it is None the best there is: cuda, mps, xpu, npu or cpu.

    Raises:
        ChoiceError: the name is no torch device, or this machine does not have it; lists what it has.
    """
    available = _available()
    if device is None:
        return torch.device(available[0])
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ChoiceError(f"Unknown device {device!r}. Choose one of: {', '.join(map(repr, available))}.") from error
    if wanted.type != "meta" and wanted.type not in {name.partition(":")[0] for name in available}:
        raise ChoiceError(f"Device {str(wanted)!r} is not available. Choose one of: {', '.join(map(repr, available))}.")
    if wanted.type == "cuda" and wanted.index is not None and wanted.index >= torch.cuda.device_count():
        raise ChoiceError(
            f"Device {str(wanted)!r} is not available: this machine has {torch.cuda.device_count()} GPUs."
        )
    return wanted


def token_budget(device: torch.device) -> int:
    """Tokens in one batch, padding included: enough to fill the device, few enough to stay in its fast memory."""
    return 2_048 if device.type == "cpu" else 32_768


def batch_to_device(batch: dict[str, Any], target_device: str | torch.device) -> dict[str, Any]:
    """Return ``batch`` with its tensors, those of dicts inside it too, on ``target_device``; other values stay."""

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return batch_to_device(value, target_device)
        return value.to(target_device) if isinstance(value, torch.Tensor) else value

    return {key: moved(value) for key, value in batch.items()}


def default_devices() -> list[str]:
    """One worker per GPU, else up to four on the cpu."""
    if torch.cuda.is_available():
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ["cpu"] * min(4, os.cpu_count() or 1)


def bfloat16_is_faster() -> bool:
    """Whether this processor multiplies matrices faster in bfloat16 than in float32: many only imitate it."""
    kinds = (torch.float32, torch.bfloat16)
    sides = {kind: (torch.ones(2048, 384, dtype=kind), torch.ones(384, 1536, dtype=kind)) for kind in kinds}
    seconds = dict.fromkeys(kinds, float("inf"))
    for _ in range(6):  # taking turns, the best of each: the first one prepares, and others may be interrupted
        for kind, (left, right) in sides.items():
            start = time.perf_counter()
            torch.mm(left, right)
            seconds[kind] = min(seconds[kind], time.perf_counter() - start)
    return seconds[torch.bfloat16] < seconds[torch.float32]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch work on one thread while this is open: for fair timing, or small work on shared cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _available() -> list[str]:
    """Usable devices, the fastest first; the cpu is always the last."""
    names = [
        name
        for name in ("cuda", "mps", "xpu", "npu")
        if (backend := getattr(torch, name, None)) is not None and backend.is_available()
    ]
    return [*names, "cpu"]
