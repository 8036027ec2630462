"""Data sets to batches: one data set or several end to end, each batch from one of them, in the order of a sampler."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, IterableDataset, SequentialSampler

from workbench import processes
from workbench.training.collator import COPY, DATASET, Rows
from workbench.training.columns import VALID_LABEL_COLUMNS, check_size
from workbench.training.samplers import (
    DefaultBatchSampler,
    GroupByLabelBatchSampler,
    NoDuplicatesBatchSampler,
    ProportionalBatchSampler,
    RoundRobinBatchSampler,
)

__all__ = ["NamedDatasets", "Shares", "is_stream", "loader"]

_SAMPLERS: dict[str, Any] = {
    "batch_sampler": DefaultBatchSampler,
    "no_duplicates": NoDuplicatesBatchSampler,
    "group_by_label": GroupByLabelBatchSampler,
}
_TURNS: dict[str, Any] = {"proportional": ProportionalBatchSampler, "round_robin": RoundRobinBatchSampler}


def loader(dataset: Any, size: int, drop_last: bool, args: Any, collate: Any, *, in_order: bool = False) -> Any:
    """Return a ``DataLoader``; of several processes, each gets its share of every batch (of a stream, all of it).

    Args:
        dataset: a data set, a dict of them, or a stream.
        size: rows in a batch of each process.
        drop_last: leave out batches that are not full.
        args: the training arguments: samplers, seeds, workers.
        collate: makes a batch of rows.
        in_order: take the rows as they come, in place of the samplers of ``args``.

    Raises:
        ValueError: no batch can be made.
    """
    how: dict[str, Any] = {
        "collate_fn": collate,
        "num_workers": args.dataloader_num_workers,
        "pin_memory": args.dataloader_pin_memory and args.device.type != "cpu",
        "persistent_workers": args.dataloader_persistent_workers,
        "prefetch_factor": args.dataloader_prefetch_factor,
    }
    if is_stream(dataset):
        return DataLoader(dataset, batch_size=size, drop_last=drop_last, **how)
    several = isinstance(dataset, dict)
    parts: dict[str | None, Any] = dataset if several else {None: dataset}
    if any(map(is_stream, parts.values())):
        raise ValueError("Several streams cannot take turns here: join them with datasets.interleave_datasets.")
    joined = NamedDatasets(parts)
    size *= processes.count()  # batches are planned for all processes together
    if in_order:
        plain = BatchSampler(SequentialSampler(joined), size, drop_last)
        return DataLoader(joined, batch_sampler=Shares(plain, len(joined)), **how)
    for name, part in parts.items() if drop_last else ():
        check_size(part, size, f"train_dataset[{name!r}]" if several else "train_dataset")
    seed = args.data_seed if args.data_seed is not None else args.seed
    make = _SAMPLERS.get(args.batch_sampler, args.batch_sampler)
    batches = [
        make(part, batch_size=size, drop_last=drop_last, valid_label_columns=list(VALID_LABEL_COLUMNS),
             generator=torch.Generator().manual_seed(seed), seed=seed)
        for part in parts.values()
    ]  # fmt: skip
    if several:
        turns = _TURNS.get(args.multi_dataset_batch_sampler, args.multi_dataset_batch_sampler)
        batches = [turns(joined, batches, generator=torch.Generator().manual_seed(seed), seed=seed)]
    return DataLoader(joined, batch_sampler=Shares(batches[0], len(joined)), **how)


def is_stream(dataset: Any) -> bool:
    """Whether rows can only be read one after the other."""
    return isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__")


class Shares(BatchSampler):
    """Of each batch the share of this process, so that all of them together train on the batches of one.

    Args:
        batches: the sampler of all processes' batches; its ``unit`` says how many rows stay together, if any do.
        rows: how many rows there are; copies of another process's rows are counted from their end, as -1, -2, …
    """

    def __init__(self, batches: Any, rows: int) -> None:
        self.batches = batches
        self.rows = rows

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        if callable(told := getattr(self.batches, "set_epoch", None)):
            told(epoch)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            mine, is_copy = processes.share(batch, getattr(self.batches, "unit", 1))
            yield [row - self.rows * is_copy for row in mine]


class NamedDatasets(ConcatDataset[Any]):
    """Data sets end to end, whose rows say which of them they are from.

    Args:
        parts: the data sets by name; None for one without a name.
    """

    def __init__(self, parts: Mapping[str | None, Any]) -> None:
        super().__init__(list(parts.values()))
        self.names = list(parts)

    def __getitems__(self, rows: Sequence[int]) -> Sequence[dict[str, Any]]:
        """Return rows of one data set, read at once; those of several, one by one. See ``Shares`` for those below 0."""
        copy = {COPY: [True] * len(rows)} if rows[0] < 0 else {}
        rows = [row % len(self) for row in rows]
        place = next(place for place, end in enumerate(self.cumulative_sizes) if rows[0] < end)
        start = self.cumulative_sizes[place - 1] if place else 0
        if not all(start <= row < self.cumulative_sizes[place] for row in rows):
            return [self.__getitems__([row])[0] for row in rows]
        dataset, local = self.datasets[place], [row - start for row in rows]
        if isinstance(dataset, Dataset):
            columns = dataset[local]
        else:
            found = [dataset[row] for row in local]
            columns = {name: [row[name] for row in found] for name in found[0]}
        return Rows({**columns, DATASET: [self.names[place]] * len(rows), **copy})
