"""GradCache: the loss of a batch of any size in the memory of a small part of it. Gao et al. 2021, arXiv:2101.06983."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from workbench.models.base import Features
from workbench.progress import track

__all__ = ["cached", "parts"]


def cached(
    embed: Callable[[list[Features]], list[Tensor]],
    sentence_features: Iterable[Features],
    compute: Callable[[list[Tensor]], Tensor],
    *,
    rows: int,
    tokens: int | None = None,
    show: bool | None = None,
) -> Tensor:
    """Return ``compute(embed(features))`` with its gradient, holding the activations of one part at a time.

    All parts are embedded without a graph first, and ``compute`` gives the loss. In the backward pass, as soon as the
    gradient of a column's vectors is known, its parts are embedded again, with the same dropout, to pass it on.

    Args:
        embed: one dict of features for each column → one tensor for each; more that need no gradient may follow.
        sentence_features: one dict of features for each column.
        compute: what ``embed`` gives → loss.
        rows: rows in a part.
        tokens: most tokens in a part, padding included, in place of ``rows``.
        show: whether to show progress.
    """
    columns = [list(parts(features, rows, tokens)) for features in sentence_features]
    states: list[list[_RandomState]] = [[] for _ in columns]
    found: list[list[list[Tensor]]] = [[] for _ in columns]
    with torch.no_grad(), track(sum(map(len, columns)), unit="parts", desc="Embedding", show=show) as bar:
        for column, state, made in zip(columns, states, found, strict=True):
            for part in column:
                state.append(_RandomState())
                made.append(embed([part]))
                bar.update(1)
    kinds = [[torch.cat(vectors) for vectors in zip(*made, strict=True)] for made in found]  # by column, then by kind
    learned = [kind[0] for kind in kinds]
    if torch.is_grad_enabled():
        for vectors, column, state in zip(learned, columns, states, strict=True):
            again = partial(_embed_again, embed=embed, column=column, states=state)
            vectors.requires_grad_().register_post_accumulate_grad_hook(again)  # type: ignore[no-untyped-call]
    return compute(learned + [kind[place] for place in range(1, len(kinds[0])) for kind in kinds])


def _embed_again(vectors: Tensor, embed: Any, column: list[Features], states: list["_RandomState"]) -> None:
    """Send the gradient of a column's vectors into the model, part by part."""
    gradient, start = vectors.grad, 0
    assert gradient is not None  # noqa: S101 (the hook runs when it has been set)
    for part, state in zip(column, states, strict=True):
        with state.restored(), torch.enable_grad():
            made = embed([part])[0]
        made.backward(gradient[start : start + len(made)])
        start += len(made)
    vectors.grad = None


class _RandomState:
    """The random numbers to come, on the cpu and on every GPU in use."""

    def __init__(self) -> None:
        self.cpu = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Have the same random numbers come again, and afterwards those that would have come."""
        with torch.random.fork_rng(range(len(self.cuda))):
            torch.set_rng_state(self.cpu)
            if self.cuda:
                torch.cuda.set_rng_state_all(self.cuda)
            yield


def parts(features: Features, rows: int, tokens: int | None = None) -> Iterator[Features]:
    """Cut a batch of features into batches of some rows, without the padding that no row in them needs.

    Args:
        features: tensors with a row for each text, or flat ``input_ids`` with ``offsets``; other values are kept.
        rows: rows in a part.
        tokens: most tokens in a part, padding included, in place of ``rows``; a longer text has a part of its own.
    """
    ids = features["input_ids"] if "input_ids" in features else next(v for v in features.values() if torch.is_tensor(v))
    offsets, mask = features.get("offsets"), features.get("attention_mask")
    count = len(ids) if offsets is None else len(offsets)
    if offsets is not None:
        lengths = torch.diff(offsets.cpu(), append=torch.tensor([len(ids)])).tolist()
    else:
        lengths = [1] * count if mask is None else mask.sum(1).tolist()
    start = 0
    while start < count:
        stop = start + 1
        longest = lengths[start]
        while stop < count and (
            stop - start < rows if tokens is None else max(longest, lengths[stop]) * (stop + 1 - start) <= tokens
        ):
            longest = max(longest, lengths[stop])
            stop += 1
        yield _part(features, start, stop, count, offsets, mask)
        start = stop


def _part(features: Features, start: int, stop: int, count: int, offsets: Any, mask: Any) -> Features:
    if offsets is not None:
        first = int(offsets[start])
        last = int(offsets[stop]) if stop < count else len(features["input_ids"])
        return features | {"input_ids": features["input_ids"][first:last], "offsets": offsets[start:stop] - first}
    used = slice(None)
    if mask is not None and len(places := mask[start:stop].any(0).nonzero()):
        used = slice(int(places[0]), int(places[-1]) + 1)
    cut: Features = {}
    for name, value in features.items():
        whole = torch.is_tensor(value) and value.ndim and len(value) == count
        padded = whole and mask is not None and value.shape[:2] == mask.shape
        cut[name] = value[start:stop, used] if padded else value[start:stop] if whole else value
    return cut
