"""Worker processes: the vectors of one process, for many callers at once, and never a hang when a worker fails."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from tests.tiny import DIM, made_texts, model_folder
from tests.trap import Trap, Unpicklable
from workbench import SentenceTransformer
from workbench.errors import Cancelled, ChoiceError, TextTypeError, TruncationWarning, WorkerError
from workbench.pool import WorkerPool
from workbench.progress import listen

TEXTS = made_texts(60)
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return SentenceTransformer(
        model_folder(tmp_path_factory.mktemp("pool") / "m"), device="cpu", prompts={"q": "query: "}
    )


@pytest.fixture(scope="module")
def pool(model):
    pool = model.start_multi_process_pool(["cpu", "cpu"])
    yield pool
    model.stop_multi_process_pool(pool)


@pytest.fixture(scope="module")
def trap():
    return SentenceTransformer(modules=[Trap()], device="cpu")


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def in_time(work, seconds=60):
    """The result of ``work()``, or a failure when it takes too long: nothing here may hang."""
    future = Future()

    def run():
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()  # a daemon, so that a hang would not keep pytest from ending
    return future.result(timeout=seconds)


# ── the same vectors ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunk_size": 7},
        {"prompt_name": "q", "normalize_embeddings": True},
        {"truncate_dim": 8, "batch_size": 3},
        {"convert_to_tensor": True},
        {"convert_to_numpy": False},
        {"precision": "uint8"},
        {"precision": "ubinary"},
    ],
)
def test_workers_give_the_vectors_of_one_process(model, pool, options):
    found = model.encode([*TEXTS, *TEXTS], pool=pool, **options)
    options = {key: value for key, value in options.items() if key != "chunk_size"}
    expected = model.encode([*TEXTS, *TEXTS], **options)
    assert type(found) is type(expected)
    if "precision" in options:
        assert (found == expected).mean() > 0.99
    else:
        close(np.stack([np.asarray(row) for row in found]), np.stack([np.asarray(row) for row in expected]))


def test_one_text_nothing_and_streams_go_through_a_pool_too(model, pool, tmp_path):
    assert model.encode("monkey", pool=pool).shape == (DIM,)
    assert model.encode([], pool=pool).shape == (0, DIM)
    out = np.memmap(tmp_path / "v", np.float32, "w+", shape=(60, DIM))
    assert np.shares_memory(model.encode(iter(TEXTS), pool=pool, out=out), out)
    close(out, model.encode(TEXTS))
    close(model.encode_query(TEXTS, pool=pool), model.encode(TEXTS))


def test_the_older_name_gives_the_same(model, pool):
    close(model.encode_multi_process(TEXTS, pool, prompt_name="q", chunk_size=9), model.encode(TEXTS, prompt_name="q"))


def test_a_repeated_text_is_sent_once(model, pool, monkeypatch):
    sent, run = [], WorkerPool.map
    monkeypatch.setattr(
        WorkerPool, "map", lambda self, chunks, options: run(self, sent.__iadd__(list(chunks)), options)
    )
    model.encode([*TEXTS, *TEXTS], pool=pool, chunk_size=50)
    assert [len(chunk) for chunk in sent] == [50, 10]


def test_what_workers_cut_is_counted(model, pool):
    with pytest.warns(TruncationWarning, match="2 of 62 texts were longer than 48 tokens"):
        model.encode([*TEXTS, *["a man " * 40] * 2], pool=pool)


def test_bad_input_is_found_before_anything_is_sent(model, pool):
    with pytest.raises(TextTypeError, match="Row 1 is None"):
        model.encode(["a", None], pool=pool)
    with pytest.raises(ValueError, match="token_embeddings"):
        model.encode(["a"], pool=pool, output_value="token_embeddings")


def test_several_threads_share_a_pool_and_each_gets_its_own_vectors(model, pool):
    parts = [made_texts(40, longest)[::-1] for longest in (5, 12, 20, 30)]
    expected = [model.encode(part) for part in parts]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            found = list(threads.map(lambda part: model.encode(part, pool=pool, chunk_size=3), parts))
            for one, other in zip(found, expected, strict=True):
                close(one, other)


def test_a_listener_hears_of_texts_and_may_cancel(model, pool):
    heard = []
    with listen(lambda bar: heard.append((bar.done, bar.total))):
        model.encode(TEXTS, pool=pool, chunk_size=20)
    assert heard[-1] == (60, 60)

    def stop(bar):
        raise Cancelled("enough")

    with listen(stop), pytest.raises(Cancelled):
        model.encode(TEXTS, pool=pool, chunk_size=5)
    close(model.encode(TEXTS, pool=pool), model.encode(TEXTS))  # the pool is none the worse


def test_a_list_of_devices_starts_a_worker_for_each_and_stops_them(trap, monkeypatch):
    started, start = [], WorkerPool.__init__
    monkeypatch.setattr(
        WorkerPool, "__init__", lambda self, model, devices: (started.append(self), start(self, model, devices))[1]
    )
    assert trap.encode(["a", "bb", "a"], device=["cpu", "cpu"]).tolist() == [[1], [2], [1]]
    assert [len(pool) for pool in started] == [2]
    assert not any(worker.process.is_alive() for worker in started[0]._workers)


def test_an_unknown_device_is_refused_before_a_worker_starts(model):
    with pytest.raises(ChoiceError, match=r"'gpu'.*'cpu'"):
        model.encode(TEXTS, device=["cpu", "gpu"])


# ── workers that fail ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_that_cannot_be_pickled_is_refused():
    with pytest.raises(WorkerError, match=r"cannot be sent to a worker process.*lock"):
        in_time(lambda: SentenceTransformer(modules=[Unpicklable()], device="cpu").start_multi_process_pool(["cpu"]))


@pytest.fixture(scope="module")
def trapped(trap):
    with trap.start_multi_process_pool(["cpu", "cpu"]) as pool:
        yield pool


def test_a_worker_that_raises_becomes_an_error_with_its_traceback_and_lives_on(trap, trapped):
    with pytest.raises(WorkerError, match=r"worker \d on cpu \(pid \d+\) raised") as raised:
        in_time(lambda: trap.encode(["a", "bb", "raise", "ccc"], pool=trapped, chunk_size=1))
    assert "ArithmeticError: the trap was sprung" in str(raised.value)
    assert "in tokenize" in str(raised.value)
    assert trap.encode(["a", "bb"], pool=trapped).tolist() == [[1], [2]]


def test_an_interrupt_from_the_keyboard_does_not_end_workers(trap, trapped):
    for worker in trapped._workers:
        os.kill(worker.process.pid, signal.SIGINT)
    assert trap.encode(["a", "bb"], pool=trapped, chunk_size=1).tolist() == [[1], [2]]


def test_dead_workers_and_closed_pools_become_errors_and_nobody_waits_for_them(trap, trapped):
    one, other = (worker.process for worker in trapped._workers)
    with ThreadPoolExecutor(4) as threads:
        asleep = [threads.submit(trap.encode, ["sleep"], pool=trapped) for _ in range(2)]
        time.sleep(0.5)
        waiting = threads.submit(trap.encode, ["a", "bb", "ccc"], pool=trapped, chunk_size=1)
        os.kill(one.pid, signal.SIGKILL)
        done, _ = wait(asleep, timeout=30, return_when=FIRST_COMPLETED)
        with pytest.raises(WorkerError, match=rf"pid {one.pid}\) died with exit code -9.*ran out of memory"):
            done.pop().result()
        with pytest.raises(WorkerError, match=rf"pid {one.pid}\) died"):  # whoever comes to the dead worker next
            waiting.result(timeout=30)
        left = threads.submit(trap.encode, ["a"] * 3, pool=trapped)
        start = time.monotonic()
        trap.stop_multi_process_pool(trapped)
        assert time.monotonic() - start < 20
        for future in (*asleep, left):
            with pytest.raises(WorkerError):
                future.result(timeout=30)
    assert not one.is_alive()
    assert not other.is_alive()
    with pytest.raises(WorkerError, match="closed"):
        trap.encode(["a"], pool=trapped)
    trapped.close()  # twice is no error


def test_a_script_that_forgot_its_guard_is_told_about_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from tests.trap import Trap\n"
        "from workbench import SentenceTransformer\n"
        "SentenceTransformer(modules=[Trap()], device='cpu').encode(['a'], device=['cpu'])\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    assert "WorkerError: worker 0 on cpu" in run.stderr
    assert 'if __name__ == "__main__"' in run.stderr


def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\n"
        "from tests.trap import Trap\n"
        "from workbench import SentenceTransformer\n"
        "if __name__ == '__main__':\n"
        "    pool = SentenceTransformer(modules=[Trap()], device='cpu').start_multi_process_pool(['cpu'])\n"
        "    print(pool._workers[0].process.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=120)
    worker, until = int(run.stdout), time.monotonic() + 30
    while alive(worker) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive(worker)


def alive(pid):
    status = Path(f"/proc/{pid}/status")
    if not status.parent.parent.is_dir():
        pytest.fail("this test reads /proc")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_a_notebook_encodes_in_several_processes():
    cells = [
        "from tests.trap import Trap",
        "from workbench import SentenceTransformer",
        "model = SentenceTransformer(modules=[Trap()], device='cpu')",
        "vectors = model.encode(['a', 'bb', 'a'], device=['cpu', 'cpu'], show_progress_bar=False)",
        "print(vectors.tolist())",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    assert notebook.cells[-1].outputs[0].text == "[[1.0], [2.0], [1.0]]\n"
