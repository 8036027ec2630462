"""The road from rows to model outputs: tokenised once and ahead of the model, in batches under a token budget."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from workbench.progress import Bar
from workbench.texts import slices
from workbench.tokens import IntArray, TokenRows

__all__ = ["SLICE", "Batch", "outputs", "plan"]

SLICE = 16_384  # rows tokenised at a time: enough to sort well, few enough to hold
_ROWS = 32  # rows in a batch where only the tokenizer of a user's own block knows the lengths

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Batch:
    """What the model gave for some of the rows."""

    rows: IntArray  # positions of the rows in the input
    lengths: IntArray  # their tokens
    features: dict[str, Any]
    cut: npt.NDArray[np.bool_]  # which of them were longer than the maximum


def plan(lengths: IntArray, *, budget: int, rows: int | None = None) -> list[IntArray]:
    """Cut rows into batches of like length, longest first.

    Args:
        lengths: tokens per row.
        budget: most tokens in a batch, padding included; a longer row has a batch of its own.
        rows: exactly this many rows in a batch (fewer in the last) in place of the budget.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = rows or max(1, budget // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + size])
        start += size
    return batches


def outputs(
    rows: Sequence[Any],
    tokenise: Callable[[list[Any]], TokenRows | list[Any]],
    collate: Callable[[Any, IntArray], dict[str, Any]],
    forward: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    bar: Bar,
    budget: int,
    batch_size: int | None = None,
    padded: bool = True,
) -> Iterator[Batch]:
    """Yield the model's output for every row once, batch by batch, in the order that is fastest.

    Args:
        rows: what to run the model on.
        tokenise: gives unpadded tokens of many rows; or the rows themselves, for a block that only makes whole batches.
        collate: makes the batch of some rows of what ``tokenise`` gave.
        forward: the model.
        bar: counts tokens.
        budget: most tokens in a batch.
        batch_size: rows in a batch, in place of the budget.
        padded: whether a batch is as wide as its longest row; else rows are taken as they come.
    """
    sizes = np.fromiter(map(_size, rows), np.int64, len(rows))
    per_size, seen, done = 1.0, 0, 0
    bar.update(0, total=bar.done + int(sizes.sum()))
    base = bar.done
    for part, tokens in _ahead(slices(rows, SLICE), tokenise):
        lengths = tokens.lengths if isinstance(tokens, TokenRows) else sizes[done : done + len(part)]
        seen += int(sizes[done : done + len(part)].sum())
        per_size = (bar.done - base + int(lengths.sum())) / max(1, seen)
        total = base + per_size * int(sizes.sum())  # tokens so far, and as many per character to come
        if padded:
            size = batch_size or (None if isinstance(tokens, TokenRows) else _ROWS)
            batches = plan(lengths, budget=budget, rows=size)
        else:
            batches = np.split(np.arange(len(part)), range(batch_size or len(part), len(part), batch_size or len(part)))
        cut = tokens.cut if isinstance(tokens, TokenRows) and tokens.cut is not None else np.zeros(len(part), bool)
        run = partial(_run, forward, collate, tokens)
        for index in batches:
            for piece, features in _halved(run, index):
                yield Batch(done + piece, lengths[piece], features, cut[piece])
            bar.update(int(lengths[index].sum()), total=total)
        done += len(part)


def _ahead(parts: Iterable[_Part], work: Callable[[_Part], _Result]) -> Iterator[tuple[_Part, _Result]]:
    """Yield each part with its result, working on the next part while the caller uses this one."""
    with ThreadPoolExecutor(1) as thread:
        waiting: tuple[_Part, Future[_Result]] | None = None
        for part in parts:
            following = (part, thread.submit(work, part))
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting is not None:
            yield waiting[0], waiting[1].result()


def _run(forward: Any, collate: Any, tokens: Any, index: IntArray) -> dict[str, Any]:
    features: dict[str, Any] = forward(collate(tokens, index))
    return features


def _halved(run: Callable[[IntArray], _Result], index: IntArray) -> Iterator[tuple[IntArray, _Result]]:
    """Run a batch; when the device's memory cannot hold it, run its halves, so that no finished work is lost."""
    try:
        result = run(index)
    except torch.OutOfMemoryError:
        if len(index) == 1:
            raise
    else:
        yield index, result
        return
    torch.cuda.empty_cache()
    for half in np.array_split(index, 2):
        yield from _halved(run, half)


def _size(row: Any) -> int:
    """About how much work a row is before its tokens are known: its characters."""
    if isinstance(row, tuple):
        return sum(map(len, row))
    if isinstance(row, dict):
        return sum(len(value) for value in row.values() if isinstance(value, str))
    return len(row) if isinstance(row, str) else 1
