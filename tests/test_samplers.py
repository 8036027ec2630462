"""Batch samplers: what holds for any data, by random examples; and that the worst data stay fast."""

import time
from collections import Counter

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset

from workbench.errors import ChoiceError
from workbench.training.samplers import (
    BatchSamplers,
    DefaultBatchSampler,
    GroupByLabelBatchSampler,
    MultiDatasetBatchSamplers,
    NoDuplicatesBatchSampler,
    ProportionalBatchSampler,
    RoundRobinBatchSampler,
)

LABELS = ["label", "labels", "score", "scores"]
sizes, seeds, flags = st.integers(1, 9), st.integers(0, 2**40), st.booleans()
pairs = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefghijklmnop")), max_size=60)


class Columns(dict):
    """Columns in memory, with what a sampler asks of a data set: quicker to make than a ``Dataset``."""

    @property
    def column_names(self):
        return list(self)

    def __len__(self):
        return len(next(iter(self.values())))


def paired(rows):
    return Columns(anchor=[row[0] for row in rows], positive=[row[1] for row in rows], label=[1] * len(rows))


def batches_of(sampler, epoch=0):
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(sampler) == len(batches), "the length is exact"
    return batches


@given(rows=st.integers(0, 50), size=sizes, drop=flags, seed=seeds)
@settings(max_examples=50, deadline=None)
def test_random_batches_hold_every_row_once(rows, size, drop, seed):
    batches = batches_of(DefaultBatchSampler(range(rows), size, drop, seed=seed))
    assert len(batches) == (rows // size if drop else -(-rows // size))
    flat = [row for batch in batches for row in batch]
    assert len(set(flat)) == len(flat) == (rows // size * size if drop else rows)


@given(rows=pairs, size=sizes, drop=flags, seed=seeds)
@settings(max_examples=150, deadline=None)
def test_no_batch_holds_a_text_twice_and_no_row_is_lost(rows, size, drop, seed):
    batches = batches_of(NoDuplicatesBatchSampler(paired(rows), size, drop, LABELS, seed=seed))
    for batch in batches:
        texts = [text for row in batch for text in set(rows[row])]
        assert len(texts) == len(set(texts))
        assert len(batch) == size if drop else 1 <= len(batch) <= size
    flat = [row for batch in batches for row in batch]
    assert sorted(flat) == list(range(len(rows))) if not drop else len(flat) == len(set(flat))


@given(labels=st.lists(st.integers(0, 5), min_size=4, max_size=80), size=st.integers(4, 17), drop=flags, seed=seeds)
@settings(max_examples=150, deadline=None)
def test_batches_by_label_mix_labels_and_hold_each_in_pairs(labels, size, drop, seed):
    counts = Counter(labels)
    data = Columns(sentence=["text"] * len(labels), label=labels)
    sampler = GroupByLabelBatchSampler(data, size, drop, LABELS, seed=seed)
    if sum(count > 1 for count in counts.values()) < 2:
        with pytest.raises(ValueError, match="two labels with two rows each"):
            len(sampler)
        return
    batches = batches_of(sampler)
    flat = [row for batch in batches for row in batch]
    assert len(flat) == len(set(flat))
    for batch in batches:
        held = Counter(labels[row] for row in batch)
        assert len(held) >= 2
        assert all(count % 2 == 0 for count in held.values())
        assert len(batch) <= size
    assert all(len(batch) == size // 2 * 2 for batch in batches[:-1]), "only the last may be short"
    pairs = [count // 2 for count in counts.values()]
    if max(pairs) <= sum(pairs) / 2:  # no label outnumbers the others: full batches hold all but a rest
        assert len(batches) >= sum(pairs) // (size // 2)


@pytest.mark.parametrize("kind", [DefaultBatchSampler, NoDuplicatesBatchSampler, GroupByLabelBatchSampler])
def test_the_plan_hangs_on_seed_and_epoch_alone(kind):
    rows = [(f"a{number % 40}", f"b{number}") for number in range(200)]
    data = paired(rows) | {"label": [number % 5 for number in range(200)]}

    def plan(seed, epoch, drop=False, **more):
        torch.manual_seed(np.random.randint(1000))  # what else is drawn at random does not matter
        return batches_of(kind(Columns(data), 8, drop, LABELS, seed=seed, **more), epoch)

    assert plan(1, 0) == plan(1, 0) == plan(7, 0, generator=torch.Generator().manual_seed(1))
    assert plan(1, 0) != plan(2, 0)
    assert plan(1, 0) != plan(1, 1)
    sampler = kind(Columns(data), 8, False, LABELS, seed=1)
    first = batches_of(sampler, 0)
    assert batches_of(sampler, 1) == plan(1, 1)
    assert batches_of(sampler, 0) == first, "an epoch can be asked for again"


@pytest.mark.parametrize("kind", [DefaultBatchSampler, NoDuplicatesBatchSampler, GroupByLabelBatchSampler])
def test_two_processes_share_one_plan_and_take_as_many_batches_each(kind):
    data = Columns(paired([(f"a{row}", f"b{row}") for row in range(104)]) | {"label": [row % 4 for row in range(104)]})
    shares = [
        list(BatchSamplerShard(kind(data, 8, True, LABELS, seed=3), num_processes=2, process_index=process))
        for process in range(2)
    ]
    assert len(shares[0]) == len(shares[1]) == 6
    whole = list(kind(data, 8, True, LABELS, seed=3))
    assert [batch for both in zip(*shares, strict=True) for batch in both] == whole[:12]


def test_labels_of_a_sorted_data_set_are_dealt_evenly():
    data = Columns(sentence=["text"] * 400, label=np.repeat(range(4), 100).tolist())
    for batch in batches_of(GroupByLabelBatchSampler(data, 16, False, ["label"], seed=0)):
        assert Counter(data["label"][row] for row in batch) == dict.fromkeys(range(4), 4)


def test_a_label_that_outnumbers_all_others_is_cut_to_what_has_partners():
    data = Columns(sentence=["text"] * 104, label=[0] * 100 + [1] * 4)
    batches = batches_of(GroupByLabelBatchSampler(data, 8, False, ["label"], seed=0))
    assert [Counter(data["label"][row] for row in batch) for batch in batches] == [{0: 6, 1: 2}] * 2


def test_the_odd_row_of_a_label_takes_its_turn_in_another_epoch():
    data = Columns(sentence=["text"] * 6, label=["a", "a", "a", "b", "b", "b"])
    sampler = GroupByLabelBatchSampler(data, 4, False, ["label"], seed=0)
    assert {row for epoch in range(20) for batch in batches_of(sampler, epoch) for row in batch} == set(range(6))


@pytest.mark.parametrize(
    "rows",
    [
        [(f"anchor {row % 100}", f"positive {row}") for row in range(100_000)],
        [("the same", f"positive {row}") for row in range(20_000)],
        [(f"anchor {row if row % 2 else 0}", f"positive {row}") for row in range(100_000)],
        [(f"anchor {row % 317}", f"positive {row % 311}") for row in range(100_000)],
    ],
    ids=["100 anchors", "one anchor", "one anchor in every second row", "few anchors and few positives"],
)
def test_heavy_duplicates_take_seconds(rows):
    sampler = NoDuplicatesBatchSampler(paired(rows), 64, False, LABELS)
    start = time.perf_counter()
    batches = batches_of(sampler)
    assert time.perf_counter() - start < 20, "an idle machine takes less than one second"
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    fewest = max(-(-len(rows) // 64), *Counter(anchor for anchor, _ in rows).values())
    assert len(batches) <= 1.15 * fewest


def test_a_text_twice_in_its_own_row_is_no_hindrance():
    assert batches_of(NoDuplicatesBatchSampler(paired([("a", "a"), ("b", "b")]), 2, True, LABELS)) in (
        [[0, 1]],
        [[1, 0]],
    )


def test_columns_that_hold_no_texts_do_not_count_and_lists_do():
    data = Dataset.from_dict(
        {
            "query": ["a", "b", "c", "d"],
            "documents": [["x", "y"], ["z"], ["x", "y"], ["w"]],
            "query_prompt_length": [3] * 4,
            "dataset_name": ["one"] * 4,
            "scores": [[1, 0], [1], [1, 0], [1]],
        }
    )
    batches = batches_of(NoDuplicatesBatchSampler(data, 4, False, LABELS))
    assert sorted(map(len, batches)) == [1, 3]
    assert not any({0, 2} <= set(batch) for batch in batches)


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4), size=sizes, drop=flags, seed=seeds)
@settings(max_examples=60, deadline=None)
def test_batches_of_several_data_sets_take_turns_or_come_in_proportion(lengths, size, drop, seed):
    whole = ConcatDataset([range(length) for length in lengths])
    starts = np.cumsum([0, *lengths])

    def made(kind):
        parts = [DefaultBatchSampler(part, size, drop, seed=seed) for part in whole.datasets]
        batches = batches_of(kind(whole, parts, seed=seed), epoch=1)
        sources = [{int(np.searchsorted(starts, row, "right")) - 1 for row in batch} for batch in batches]
        assert all(len(source) == 1 for source in sources), "a batch is of one data set"
        flat = [row for batch in batches for row in batch]
        assert len(flat) == len(set(flat))
        return [source.pop() for source in sources], [len(part) for part in parts]

    turns, counts = made(RoundRobinBatchSampler)
    assert turns == list(range(len(lengths))) * min(counts)
    turns, counts = made(ProportionalBatchSampler)
    assert [turns.count(number) for number in range(len(lengths))] == counts


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchSamplers("nodup"), "Unknown batch sampler 'nodup'. Choose one of: 'batch_sampler'"),
        (lambda: MultiDatasetBatchSamplers("turns"), "Unknown multi-data-set batch sampler 'turns'"),
        (lambda: DefaultBatchSampler(range(4), 0, False), "batch_size is 0"),
        (lambda: GroupByLabelBatchSampler(paired([]), 3, False), "batch_size is 3; group_by_label needs at least 4"),
        (lambda: len(GroupByLabelBatchSampler(Columns(text=["a"]), 4, False, LABELS)), "needs a column 'label' or"),
        (
            lambda: RoundRobinBatchSampler(ConcatDataset([range(2)]), [], seed=0),
            "There are 1 data sets and 0 batch samplers",
        ),
    ],
)
def test_what_cannot_be_sampled_is_refused(make, message):
    with pytest.raises((ChoiceError, ValueError), match=message.replace(".", r"\.")):
        make()
