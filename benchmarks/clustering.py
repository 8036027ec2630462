"""Communities beside the reference package and clusters of labelled texts: ratios and V-measures from one run.

Vectors are drawn, so nothing is downloaded. With ``--data`` (a folder with ``stackoverflow_titles`` and
``twenty_newsgroups``), the bundled model's clusters of real texts are compared with their labels.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import THREADS, line, measure, parser, run, take_turns

PEAK = """
import re, threading, time
import torch; torch.set_num_threads({threads})
import workbench.clustering
from workbench.clustering import community_detection
from benchmarks.clustering import {kind}
def used(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
vectors = {kind}({rows})
inputs, own = used("VmRSS"), [0]
def watch():
    while True:
        own.append(used("VmRSS"))
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
community_detection(vectors)
print(max(own) - inputs)
"""


def grouped(rows: int) -> Any:
    """Vectors of 384 dimensions in groups of about 100, each row a candidate for a centre."""
    import torch

    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(max(1, rows // 100), 384, generator=draw)
    own = torch.randint(0, len(centres), (rows,), generator=draw)
    return centres[own] + 0.5 * torch.randn(rows, 384, generator=draw)


def scattered(rows: int) -> Any:
    """A third of the vectors in groups, the rest alone, as texts of many topics are."""
    import torch

    alone = torch.randn(rows - rows // 3, 384, generator=torch.Generator().manual_seed(1))
    return torch.cat([grouped(rows // 3), alone])


def alike(rows: int) -> Any:
    """Vectors that are all near each other, as those of models with a narrow cone are: every pair is a hit."""
    import torch

    return 1 + 0.3 * torch.randn(rows, 384, generator=torch.Generator().manual_seed(2))


def product(unit: Any) -> None:
    """The cosines of all pairs, a block at a time, and nothing done with them."""
    for start in range(0, len(unit), 1024):
        unit[start : start + 1024] @ unit.T


def with_cpu(work: Callable[[], Any]) -> tuple[Any, float]:
    """What the work gave, and its seconds on all processors, which other programs disturb less."""
    start = time.process_time()
    return work(), time.process_time() - start


def communities(options: argparse.Namespace) -> None:
    """``community_detection``, default settings, both sides on the same vectors; the whole product beside it."""
    import torch
    from sentence_transformers.util import community_detection as reference

    from workbench.clustering import community_detection

    rows = 4_000 if options.quick else 50_000
    for kind in (scattered, grouped):
        vectors = kind(rows)
        unit = torch.nn.functional.normalize(vectors)
        community_detection(vectors[:100]), reference(vectors[:100])
        work = (lambda: community_detection(vectors), lambda: reference(vectors), lambda: product(unit))  # noqa: B023
        (a, b, limit), results = take_turns(1, *(lambda _, side=side: with_cpu(side) for side in work))
        (x, a_cpu), (y, b_cpu), (_, limit_cpu) = results
        what = f"community_detection, {rows:,} x 384, {kind.__name__}, {len(x):,} communities"
        line(what, f"{a:.1f} s", f"{b:.1f} s", f"{b / a:.1f} x", **{"≥ 1.8 x": b / a >= 1.8, "the same": x == y})
        line("… in seconds of processors", f"{a_cpu:.1f} s", f"{b_cpu:.1f} s", f"{b_cpu / a_cpu:.1f} x")
        line("… the product of all pairs alone", f"{limit:.1f} s, of processors {limit_cpu:.1f} s")


def memory(options: argparse.Namespace) -> None:
    """What ``community_detection`` takes beyond its vectors, in processes of their own."""
    for kind in (grouped, alike):
        rows = 4_000 if options.quick else 50_000
        peak = float(run(PEAK.format(threads=THREADS, kind=kind.__name__, rows=rows)))
        what = f"community_detection, {rows:,} x 384, {kind.__name__}, memory"
        line(what, f"{peak:.0f} MB above the vectors", **{"< 1,000 MB": peak < 1000})


def labelled(options: argparse.Namespace) -> None:
    """V-measure of the bundled model's clusters on labelled texts."""
    if options.data is None:
        return
    import pandas as pd
    from sklearn.metrics import v_measure_score

    from workbench import SentenceTransformer
    from workbench.clustering import cluster

    model = SentenceTransformer("starter", device="cpu")
    sources = ("stackoverflow_titles/stackoverflow.tsv.gz", "twenty_newsgroups/train.jsonl.gz")
    for source in sources:
        path = options.data / source
        table = (
            pd.read_json(path, lines=True)
            if ".jsonl" in source
            else pd.read_csv(path, sep="\t", quoting=3, keep_default_na=False)
        )
        table = table.sample(min(len(table), 1_000 if options.quick else 20_000), random_state=0)
        text = next(name for name in ("text", "title") if name in table)
        vectors, count = model.encode(table[text].tolist()), table["label"].nunique()
        (seconds,), (found,) = take_turns(1, lambda _, v=vectors, c=count: cluster(v, n_clusters=c))
        value = v_measure_score(table["label"], found.labels)
        what = f"k-means, starter, {path.parent.name}, {len(table):,} rows, {count} labels"
        line(what, f"V-measure {value:.3f}", f"{seconds:.1f} s")


PARTS = (communities, memory, labelled)


def main() -> int:
    """Measure, print the table, and return 1 if a bar was missed (never with ``--quick``)."""
    ask = parser(__doc__, PARTS)
    ask.add_argument("--data", type=Path, help="folder of labelled texts")
    return measure(ask.parse_args(), PARTS)


if __name__ == "__main__":
    sys.exit(main())
