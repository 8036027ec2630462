"""Progress: one switch, a listener in place of bars, and a stop button."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from workbench.errors import Cancelled
from workbench.progress import listen, show_progress, track


@pytest.fixture(autouse=True)
def _switch_as_it_was():
    yield
    show_progress(None)


def work(show=None, steps=3):
    with track(steps, unit="rows", desc="Working", show=show) as bar:
        for _ in range(steps):
            bar.update(1)
    return bar


def test_a_bar_counts_and_its_total_may_change(capsys):
    with track(3, unit="rows", desc="Working") as bar:
        bar.update(2)
        bar.update(2, total=10)
    assert (bar.done, bar.total) == (4, 10)
    assert capsys.readouterr().err == ""


def test_a_bar_is_drawn_when_asked_for_and_not_when_not(capsys):
    work(show=True)
    assert "Working" in capsys.readouterr().err
    show_progress(True)
    work(show=False)
    assert capsys.readouterr().err == ""


def test_a_bar_that_nobody_asked_for_waits_until_the_work_turns_out_long(capsys, monkeypatch):
    show_progress(True)
    work()
    assert capsys.readouterr().err == ""
    clock = iter(range(100))
    monkeypatch.setattr("tqdm.std.time", lambda: float(next(clock)))
    work()
    assert "Working" in capsys.readouterr().err


def test_interactive_use_shows_bars(capsys, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("tqdm.std.time", lambda: float(next(clock)))
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    work()
    assert "Working" in capsys.readouterr().err


def test_a_bar_whose_work_fails_is_closed(capsys):
    with pytest.raises(ZeroDivisionError), track(3, unit="rows", desc="Working", show=True):
        raise ZeroDivisionError
    assert capsys.readouterr().err.endswith("\n")


def test_a_listener_hears_everything_in_its_context_and_nothing_after(capsys):
    heard = []
    with listen(lambda bar: heard.append((bar.desc, bar.done, bar.total, bar.unit))):
        work(show=True)
        with listen(lambda bar: heard.append("inner")):
            work(steps=1)
        work(steps=1)
    work()
    assert heard == [*(("Working", done, 3, "rows") for done in (1, 2, 3)), "inner", ("Working", 1, 1, "rows")]
    assert capsys.readouterr().err == ""


def test_a_listener_belongs_to_its_own_thread():
    heard = []
    with listen(lambda bar: heard.append(bar.done)):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert heard == []


def test_a_listener_stops_the_work_by_raising():
    def stop(bar):
        if bar.done == 2:
            raise Cancelled("stopped")

    with listen(stop), pytest.raises(Cancelled, match="stopped"):
        work(steps=100)


def test_the_environment_sets_the_switch():
    code = "from workbench import progress; print(progress._switch)"
    for value, expected in (("0", "False"), ("1", "True"), ("", "None")):
        environment = {"WORKBENCH_PROGRESS": value}
        run = [sys.executable, "-c", code]
        answer = subprocess.run(run, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True)
        assert answer.stdout.strip() == expected
