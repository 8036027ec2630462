"""Which rows go into a batch together: a plan for each epoch, the same for a seed on every process."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import BatchSampler, ConcatDataset

from workbench.errors import choose
from workbench.training.columns import text_columns

__all__ = [
    "BatchSamplers", "DefaultBatchSampler", "GroupByLabelBatchSampler", "MultiDatasetBatchSamplers",
    "MultiDatasetDefaultBatchSampler", "NoDuplicatesBatchSampler", "ProportionalBatchSampler",
    "RoundRobinBatchSampler",
]  # fmt: skip

_Rows = npt.NDArray[np.int64]
_GROUP = 2  # rows of one label that stay together


class BatchSamplers(StrEnum):
    """How rows of one data set are put into batches."""

    BATCH_SAMPLER = "batch_sampler"
    NO_DUPLICATES = "no_duplicates"
    NO_DUPLICATES_HASHED = "no_duplicates"  # an older name: texts are always numbered
    GROUP_BY_LABEL = "group_by_label"

    @classmethod
    def _missing_(cls, value: object) -> "BatchSamplers":
        names = {member.value: member for member in cls} | {"no_duplicates_hashed": cls.NO_DUPLICATES}
        return choose("batch sampler", value, names)


class MultiDatasetBatchSamplers(StrEnum):
    """How batches of several data sets follow each other."""

    ROUND_ROBIN = "round_robin"
    PROPORTIONAL = "proportional"

    @classmethod
    def _missing_(cls, value: object) -> "MultiDatasetBatchSamplers":
        return choose("multi-data-set batch sampler", value, {member.value: member for member in cls})


class _Planned(BatchSampler):
    """Batches by a plan that is made once for each epoch; its length is exact.

    Processes that train together share the rows of each batch, ``unit`` rows at a time.
    """

    unit = 1

    def __init__(self, seed: int, generator: torch.Generator | None) -> None:
        self.seed = generator.initial_seed() if generator is not None else seed
        self.epoch = 0
        self._planned: tuple[int, Sequence[Any]] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; each has an order of its own."""
        self.epoch = epoch

    @abstractmethod
    def make_plan(self, draw: np.random.Generator) -> Sequence[Any]:
        """Return the batches of an epoch, drawn with ``draw``."""

    @property
    def plan(self) -> Sequence[Any]:
        """The batches of the epoch that comes next."""
        if self._planned is None or self._planned[0] != self.epoch:
            draw = np.random.default_rng([self.seed % 2**63, self.epoch])
            self._planned = (self.epoch, self.make_plan(draw))
        return self._planned[1]

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.plan:
            yield batch.tolist()


class DefaultBatchSampler(_Planned):
    """Rows in random order.

    Args:
        dataset: what to draw from, with ``len`` and, for the samplers that look at rows, columns by name.
        batch_size: rows in a batch.
        drop_last: leave out batches that are not full.
        valid_label_columns: names that a label column may have.
        generator: its seed is used, where given.
        seed: decides the order, together with the epoch.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(seed, generator)
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1.")
        self.dataset = dataset
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.valid_label_columns = tuple(valid_label_columns or ())

    def make_plan(self, draw: np.random.Generator) -> Sequence[_Rows]:
        """Cut a random order into batches."""
        return self._cut(draw.permutation(len(self.dataset)))

    def _cut(self, order: _Rows) -> list[_Rows]:
        batches = np.split(order, range(self.batch_size, len(order), self.batch_size)) if len(order) else []
        return [batch for batch in batches if len(batch) == self.batch_size or not self.drop_last]


class NoDuplicatesBatchSampler(DefaultBatchSampler):
    """Rows in random order, none in a batch with another that shares a text: no false in-batch negatives.

    Rows that meet a text again wait for a later batch. Use it with ``MultipleNegativesRankingLoss`` and its kin.
    """

    @cached_property
    def texts(self) -> npt.NDArray[np.int64]:
        """A number for each text, the same for equal ones: (rows, columns)."""
        names = text_columns(self.dataset.column_names, self.valid_label_columns)
        return _numbered([self.dataset[name][:] for name in names])

    def make_plan(self, draw: np.random.Generator) -> Sequence[_Rows]:
        """Take blocks without a repeat as they come, shuffle what is left and try again; then deal out row by row."""
        rest, size, batches = draw.permutation(len(self.dataset)), self.batch_size, list[_Rows]()
        while len(rest) >= size:
            blocks = rest[: len(rest) // size * size].reshape(-1, size)  # (blocks, rows)
            clean = ~_repeats(self.texts[blocks].reshape(len(blocks), -1))
            batches += list(blocks[clean])
            left = np.concatenate([blocks[~clean].ravel(), rest[blocks.size :]])
            if clean.mean() < 0.5:
                rest = left
                break
            rest = draw.permutation(left)
        return [*batches, *self._dealt(rest)]

    def _dealt(self, rest: _Rows) -> list[_Rows]:
        """Put each row into the first batch that is not full and comes after all that hold a text of it."""
        batches: list[list[int]] = []
        following: list[int] = []  # of a full batch, one after it that may have room; of another, itself
        after: dict[int, int] = {}  # of a text, the first batch after those that hold it
        for row, texts in zip(rest.tolist(), self.texts[rest].tolist(), strict=True):
            place = max(after.get(text, 0) for text in texts)
            while place < len(batches) and following[place] != place:
                if following[place] < len(batches):  # shorten the way for those that come later
                    following[place] = following[following[place]]
                place = following[place]
            if place == len(batches):
                batches.append([])
                following.append(place)
            batches[place].append(row)
            if len(batches[place]) == self.batch_size:
                following[place] = place + 1
            after.update(dict.fromkeys(texts, place + 1))
        full = [np.array(batch) for batch in batches if len(batch) == self.batch_size]
        short = [np.array(batch) for batch in batches if len(batch) < self.batch_size]
        return full if self.drop_last else full + short


class GroupByLabelBatchSampler(DefaultBatchSampler):
    """Two or more labels in each batch, and an even number of rows of each: what the batch triplet losses need.

    A label's rows are spread over the epoch, so that batches are as mixed as the data allow. What can have no partner
    waits for another epoch: the odd row of a label, and the rows of a label that outnumbers all others together.
    """

    unit = _GROUP

    def __init__(self, dataset: Any, batch_size: int, *args: Any, **kwargs: Any) -> None:
        if batch_size < 2 * _GROUP:
            raise ValueError(f"batch_size is {batch_size}; group_by_label needs at least {2 * _GROUP}.")
        super().__init__(dataset, batch_size // _GROUP * _GROUP, *args, **kwargs)

    def make_plan(self, draw: np.random.Generator) -> Sequence[_Rows]:
        """Tie each label's rows into pairs, and deal the pairs out label by label, so that labels mix."""
        labels = self._labels()
        tied = [draw.permutation(rows)[: len(rows) // _GROUP * _GROUP].reshape(-1, _GROUP) for rows in labels]
        groups = np.concatenate([tied[label] for label in draw.permutation(len(tied))])  # (groups, rows)
        owner = self._numbers[groups[:, 0]]
        size = self.batch_size // _GROUP
        count, rest = divmod(len(groups), size)
        late = draw.choice(len(groups), rest, replace=False)
        early = np.delete(np.arange(len(groups)), late)
        plan = [early[number::count] for number in range(count)]
        plan = [plan[number] for number in draw.permutation(count)] + [late] * (rest > 0 and not self.drop_last)
        return [groups[batch].ravel() for batch in plan if len(set(owner[batch].tolist())) > 1]

    def _labels(self) -> list[_Rows]:
        """The rows of each label that has two or more."""
        wanted = self.valid_label_columns or ("label",)
        name = next((name for name in wanted if name in self.dataset.column_names), None)
        if name is None:
            found = ", ".join(self.dataset.column_names)
            raise ValueError(f"group_by_label needs a column {' or '.join(map(repr, wanted))}; found: {found}.")
        labels = np.asarray(self.dataset[name][:])
        _, self._numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
        order = np.argsort(self._numbers, kind="stable")
        rows = [part for part in np.split(order, np.cumsum(counts)[:-1]) if len(part) >= _GROUP]
        if len(rows) < 2:
            raise ValueError(
                f"group_by_label needs two labels with two rows each; {name!r} has {len(rows)} such labels."
            )
        return rows


class MultiDatasetDefaultBatchSampler(_Planned):
    """Batches of several data sets, each batch from one of them.

    Args:
        dataset: the data sets, end to end.
        batch_samplers: one for each.
        generator: its seed is used, where given.
        seed: decides the order, together with the epoch.
    """

    def __init__(
        self,
        dataset: ConcatDataset[Any],
        batch_samplers: Sequence[BatchSampler],
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(seed, generator)
        if len(dataset.datasets) != len(batch_samplers):
            raise ValueError(f"There are {len(dataset.datasets)} data sets and {len(batch_samplers)} batch samplers.")
        self.dataset = dataset
        self.batch_samplers = list(batch_samplers)
        self.unit = max((getattr(sampler, "unit", 1) for sampler in batch_samplers), default=1)

    @property
    def batch_size(self) -> int:  # type: ignore[override]
        """Rows in a batch."""
        return int(self.batch_samplers[0].batch_size)

    @property
    def drop_last(self) -> bool:  # type: ignore[override]
        """Whether batches that are not full are left out."""
        return bool(self.batch_samplers[0].drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next, to the samplers of the data sets too."""
        super().set_epoch(epoch)
        for sampler in self.batch_samplers:
            if callable(told := getattr(sampler, "set_epoch", None)):
                told(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        starts = [0, *self.dataset.cumulative_sizes]
        sources = [iter(sampler) for sampler in self.batch_samplers]
        for number in self.plan:
            yield [starts[number] + row for row in next(sources[number])]


class RoundRobinBatchSampler(MultiDatasetDefaultBatchSampler):
    """A batch of each data set in turn, until one of them is used up: all count the same, whatever their size."""

    def make_plan(self, draw: np.random.Generator) -> Sequence[int]:
        """Take the data sets in turn."""
        return list(range(len(self.batch_samplers))) * min(map(len, self.batch_samplers))


class ProportionalBatchSampler(MultiDatasetDefaultBatchSampler):
    """All batches of all data sets in random order: each data set counts by its size."""

    def make_plan(self, draw: np.random.Generator) -> Sequence[int]:
        """Shuffle the data sets' numbers, each as often as it has batches."""
        sizes = [*map(len, self.batch_samplers)]
        turns: list[int] = draw.permutation(np.repeat(range(len(sizes)), sizes)).tolist()
        return turns


def _numbered(columns: Sequence[Any]) -> npt.NDArray[np.int64]:
    """A number for each text, (rows, columns), the same for equal ones; a repeat within its own row has its own."""
    import pandas as pd

    values = [value if isinstance(value, str) else str(value) for column in columns for value in column]
    numbers = pd.factorize(np.array(values, dtype=object))[0].reshape(len(columns), -1).T.astype(np.int64)
    for place in range(1, len(columns)):
        again = np.flatnonzero((numbers[:, :place] == numbers[:, [place]]).any(axis=1))
        numbers[again, place] = -1 - place - again * len(columns)
    return numbers


def _repeats(texts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether a line holds a number twice."""
    ordered = np.sort(texts, axis=1)
    twice: npt.NDArray[np.bool_] = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    return twice
