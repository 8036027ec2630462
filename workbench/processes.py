"""The processes of one run (``torchrun``, ``accelerate launch``): which this is, and what they tell each other."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import pad

__all__ = [
    "agreed", "align", "average_gradients", "copying", "count", "gather", "is_spread", "map_spread", "rank",
    "row_weight", "share", "spread",
]  # fmt: skip

_Row = TypeVar("_Row")
_SLICE = 20_000  # rows whose results are sent around together
_spread: ContextVar[bool] = ContextVar("_spread", default=False)
_copying: ContextVar[bool] = ContextVar("_copying", default=False)


def count() -> int:
    """Return how many processes work together: 1 outside of ``torchrun`` and its kin."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if count() > 1 else 0


@contextmanager
def spread() -> Iterator[None]:
    """Have ``encode``, ``predict`` and every evaluator share their work among all processes while this is open.

    Each process must make the same calls with the same texts; each then does its share, and each has the whole result.
    With one process, nothing changes::

        with spread():
            vectors = model.encode(texts)
            metrics = evaluator(model)
    """
    token = _spread.set(True)
    try:
        yield
    finally:
        _spread.reset(token)


def is_spread() -> bool:
    """Return whether the work at hand is to be shared among several processes."""
    return _spread.get() and count() > 1


def share(rows: Sequence[_Row], unit: int = 1) -> tuple[list[_Row], bool]:
    """Return this process's part of a batch, and whether it is a copy of another's.

    Every row is in one part, and parts differ by one unit at most. Where there are fewer units than processes, those
    left over get copies, because all must take the same steps; what they find there must not count: see ``copying``.

    Args:
        rows: the batch of all processes.
        unit: rows that stay together.
    """
    if count() == 1:
        return list(rows), False
    units = [rows[start : start + unit] for start in range(0, len(rows), unit)]
    mine = units[rank() :: count()] or [units[rank() % len(units)]]
    return [row for part in mine for row in part], rank() >= len(units)


@contextmanager
def copying(is_copy: bool) -> Iterator[None]:
    """Say whether the rows at hand are a copy of another process's; then they count for nothing in what is joined."""
    token = _copying.set(is_copy)
    try:
        yield
    finally:
        _copying.reset(token)


def map_spread(work: Callable[[list[_Row]], Any], rows: Sequence[_Row]) -> Iterator[tuple[slice, Any]]:
    """Yield, for slices of rows that together are all, what ``work`` made of them in one process or another.

    Args:
        work: some rows → anything that can be sent to another process.
        rows: the same in every process.
    """
    for start in range(0, len(rows), _SLICE):
        stop = min(start + _SLICE, len(rows))
        if stop - start < count():  # too few to share
            yield slice(start, stop), work(list(rows[start:stop]))
            return
        places = [slice(start + number, stop, count()) for number in range(count())]
        found: list[Any] = [None] * count()
        distributed.all_gather_object(found, work(list(rows[places[rank()]])))
        yield from zip(places, found, strict=True)


def gather(tensors: Sequence[Tensor], across_devices: bool = True) -> tuple[list[Tensor], int]:
    """Return the tensors of all processes, joined along rows, and where this process's rows begin in them.

    Gradients flow back to the process that each row came from.

    Args:
        tensors: as many rows in each; another process may have more or fewer.
        across_devices: whether to gather at all.
    """
    if not across_devices or count() == 1:
        return list(tensors), 0
    rows = _sizes(len(tensors[0]), tensors[0].device).tolist()
    holder = rank() % (count() - rows.count(0)) if _copying.get() else rank()  # who sends what this process has
    found: list[Tensor] = [_Gathered.apply(tensor, rows) for tensor in tensors]  # type: ignore[no-untyped-call]
    return found, sum(rows[:holder])


class _Gathered(torch.autograd.Function):
    """The rows of all processes; each gets the sum of the gradients that all have for its own."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, rows: list[int]) -> Tensor:
        ctx.rows, ctx.own = rows, tensor.shape
        even = pad(tensor, (0, 0) * (tensor.ndim - 1) + (0, max(rows) - len(tensor)))  # all send as many rows
        parts = [torch.empty_like(even) for _ in rows]
        distributed.all_gather(parts, even.contiguous())
        return torch.cat([part[:size] for part, size in zip(parts, rows, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.clone()  # (rows of all processes, …)
        distributed.all_reduce(gradient)
        start, size = sum(ctx.rows[: rank()]), ctx.rows[rank()]
        return gradient[start : start + size] if size else gradient.new_zeros(ctx.own), None


def row_weight(rows: int, device: torch.device) -> Tensor | float:
    """Return the weight of a mean over this process's rows in the mean over processes, so that all rows count alike."""
    if count() == 1:
        return 1.0
    sizes = _sizes(rows, device)
    return sizes[rank()] * count() / sizes.sum()


def _sizes(rows: int, device: torch.device) -> Tensor:
    """How many rows each process has, copies not counted: (processes,)."""
    sizes = torch.zeros(count(), dtype=torch.long, device=device)
    sizes[rank()] = 0 if _copying.get() else rows
    distributed.all_reduce(sizes)
    return sizes


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every process the mean gradient of all of them, once a step, whatever the loss did to come by its own."""
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    if count() == 1 or not wanted:
        return
    has = torch.tensor([parameter.grad is not None for parameter in wanted], dtype=torch.uint8, device=wanted[0].device)
    distributed.all_reduce(has, distributed.ReduceOp.MAX)
    gradients = []
    for parameter, is_used in zip(wanted, has.tolist(), strict=True):
        if is_used:  # by some process, if not by this one
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradients.append(parameter.grad)
    for work in [distributed.all_reduce(gradient, async_op=True) for gradient in gradients]:
        work.wait()
    for gradient in gradients:
        gradient.div_(count())


def align(tensors: Iterable[Tensor]) -> None:
    """Give every process the values that the first one has."""
    for tensor in tensors if count() > 1 else ():
        distributed.broadcast(tensor.data, 0)


def agreed(value: Any) -> Any:
    """Return the first process's value in every process."""
    if count() == 1:
        return value
    found = [value]
    distributed.broadcast_object_list(found, 0)
    return found[0]
