"""Two processes train, encode and measure together, and find what one process finds with batches of the same rows."""

import math
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import processes_worker as worker
from tests.test_samplers import LABELS, Columns, paired
from workbench import processes
from workbench.training.loader import Shares
from workbench.training.samplers import DefaultBatchSampler, GroupByLabelBatchSampler, NoDuplicatesBatchSampler

ROOT = Path(__file__).parents[1]
CLOSE = {"rtol": 0, "atol": 1e-5}


def launch(launcher, *arguments):
    """Run a module in two processes on the cpu; returns how that ended and what they wrote on the screen."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}  # of earlier runs
    environment = {**own, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *launcher, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    child = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **pipes)
    try:
        said, _ = child.communicate(timeout=150)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    return child.returncode, said


def found_by(launcher, folder, *parts):
    """What each of two processes found."""
    code, said = launch(launcher, "tests.processes_worker", folder, *parts)
    assert code == 0, said[-3000:]
    return [torch.load(folder / f"found{number}", weights_only=False) for number in (0, 1)]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes found."""
    torchrun = ["torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m"]
    return found_by(torchrun, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """What a single process finds."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return worker.everything(tmp_path_factory.mktemp("one"))


def same(mine, other, **how):
    assert len(mine) == len(other)
    for left, right in zip(mine, other, strict=True):
        assert torch.allclose(left, right, **how or CLOSE), (left - right).abs().max()


@pytest.mark.parametrize("name", [*worker.RUNS, "cross-encoder"])
def test_two_processes_have_the_losses_and_weights_of_one(two, one, name):
    assert two[0][name]["losses"] == pytest.approx(one[name]["losses"], abs=1e-4)  # logged with four digits
    same(two[0][name]["weights"], one[name]["weights"])
    same(two[0][name]["weights"], two[1][name]["weights"], rtol=0, atol=0)
    assert len(set(one[name]["losses"])) > 1


def test_accelerate_launch_gives_what_torchrun_gives(two, tmp_path):
    accelerate = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    plain = ["--mixed_precision", "no", "--dynamo_backend", "no", "-m"]
    for mine, other in zip(found_by([*accelerate, *plain], tmp_path, "cross-encoder"), two, strict=True):
        assert mine.keys() == {"cross-encoder"}
        assert mine["cross-encoder"]["losses"] == other["cross-encoder"]["losses"]
        same(mine["cross-encoder"]["weights"], other["cross-encoder"]["weights"])


def test_losses_that_hang_on_who_shares_a_batch_leave_all_processes_in_step(two):
    for name, mine in two[0]["in step"].items():
        same(mine["weights"], two[1]["in step"][name]["weights"], rtol=0, atol=0)
        assert all(map(math.isfinite, mine["losses"])), name


def test_evaluation_in_two_processes_gives_the_numbers_and_the_files_of_one(two, one):
    for line, wanted in zip(two[0]["evaluated"]["logged"], one["evaluated"]["logged"], strict=True):
        assert line == pytest.approx(wanted, abs=1e-5)
    assert two[0]["evaluated"]["logged"] == two[1]["evaluated"]["logged"]
    assert {found["evaluated"]["best"] for found in (*two, one)} == {one["evaluated"]["best"]}
    assert {found["evaluated"]["csv"] for found in (*two, one)} == {4}  # a header, one before step 0, and two
    same(two[0]["evaluated"]["weights"], one["evaluated"]["weights"])


def test_two_processes_resume_bit_for_bit_from_what_both_kept(two):
    assert two[0]["resumed"]["same"]
    assert two[1]["resumed"]["same"]
    assert {"rng_state_0.pth", "rng_state_1.pth", "trainer_state.json"} <= set(two[0]["resumed"]["files"])


def test_texts_encoded_together_have_the_vectors_scores_and_metrics_of_one(two, one):
    wanted = one["encoded"]
    for found in (two[0]["encoded"], two[1]["encoded"]):
        assert np.allclose(found["vectors"], wanted["vectors"], atol=1e-6)
        assert np.allclose(found["one"], wanted["one"], atol=1e-6)
        assert found["none"] == wanted["none"]
        assert torch.is_tensor(found["tensor"])
        assert torch.allclose(found["tensor"], wanted["tensor"], atol=1e-6)
        assert np.array_equal(found["codes"], wanted["codes"])
        assert np.allclose(found["scores"], wanted["scores"], atol=1e-6)
        assert found["metrics"] == pytest.approx(wanted["metrics"], abs=1e-9)


def test_gradients_of_gathered_rows_are_those_of_the_joined_batch(two, one):
    assert torch.allclose(two[0]["gathered"]["gradient"], one["gathered"]["gradient"], atol=1e-12)
    assert two[0]["gathered"]["starts"] == [0, 3]


def test_a_model_cut_up_among_processes_learns_the_same_and_is_saved_whole(two, one):
    assert [found["sharded"]["is_cut"] for found in (*two, one)] == [True, True, False]
    for found in two:
        same(found["sharded"]["weights"], one["sharded"]["weights"])


# ── shares of batches ─────────────────────────────────────────────────────────────────────────────────────────────


def shares(monkeypatch, sampler, count):
    """The batches of each process."""
    found = []
    for number in range(count):
        monkeypatch.setattr(processes, "count", lambda: count)
        monkeypatch.setattr(processes, "rank", lambda number=number: number)
        mine = Shares(sampler, len(sampler.dataset))
        mine.set_epoch(3)
        found.append(list(mine))
        assert len(mine) == len(found[-1])
    return found


rows = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("ijklmnopqrst")), min_size=1, max_size=60)


@given(rows=rows, count=st.integers(1, 4), per=st.integers(1, 5), drop=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_processes_share_every_row_once_and_no_text_comes_twice_in_a_batch_of_all(rows, count, per, drop, seed):
    with pytest.MonkeyPatch.context() as patch:
        for kind in (DefaultBatchSampler, NoDuplicatesBatchSampler):
            whole = kind(paired(rows), per * count, drop, LABELS, seed=seed)
            found = shares(patch, whole, count)
            assert len({len(mine) for mine in found}) == 1, "as many steps for each process"
            for batch, parts in zip(whole.plan, zip(*found, strict=True), strict=True):
                assert sorted(row for part in parts for row in part if row >= 0) == sorted(batch)
                assert {row % len(rows) for part in parts for row in part} == set(batch.tolist()), "copies"
                assert all(parts)
                assert max(map(len, parts)) - min(map(len, parts)) <= 1
                for part in parts if kind is NoDuplicatesBatchSampler else ():
                    texts = [text for row in part for text in set(rows[row])]
                    assert len(texts) == len(set(texts))


@given(labels=st.lists(st.integers(0, 3), min_size=16, max_size=60), count=st.integers(1, 3), per=st.integers(4, 9))
@settings(max_examples=60, deadline=None)
def test_a_process_gets_an_even_number_of_rows_of_each_label(labels, count, per):
    counts = Counter(labels)
    if sum(number > 1 for number in counts.values()) < 2:
        return
    data = paired([(f"a{row}", f"b{row}") for row in range(len(labels))]) | {"label": labels}
    with pytest.MonkeyPatch.context() as patch:
        sampler = GroupByLabelBatchSampler(Columns(data), per * count, False, LABELS, seed=1)
        for mine in shares(patch, sampler, count):
            for batch in mine:
                assert all(number % 2 == 0 for number in Counter(labels[row] for row in batch).values())


def test_outside_of_a_run_of_several_processes_nothing_changes(tiny):
    with processes.spread():
        assert not processes.is_spread()
        vectors = tiny.encode(["a text"])
    assert np.array_equal(vectors, tiny.encode(["a text"]))
    assert (processes.count(), processes.rank(), processes.agreed("x")) == (1, 0, "x")
    assert processes.row_weight(5, torch.device("cpu")) == 1.0
