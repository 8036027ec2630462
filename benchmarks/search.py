"""Search beside the reference package and beside a bare blocked matrix product, as ratios measured in one run.

Every side uses the same vectors and the same number of threads, and all take turns.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import THREADS, line, measure, parser, run, take_turns

SCALE = """
import re, threading, time
import numpy as np
def used(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
import torch; torch.set_num_threads({threads})
from workbench.search import ExactIndex
own = [used("RssAnon")]
def watch():
    while True:
        own.append(used("RssAnon"))
        time.sleep(0.02)
threading.Thread(target=watch, daemon=True).start()
corpus = np.load({path!r}, mmap_mode="r")
wanted = np.array({wanted!r})
index = ExactIndex.over(corpus, metric={metric!r})
start = time.perf_counter()
hits = index.search(corpus[wanted] * np.float32(1.5) if {metric!r} == "cosine" else corpus[wanted], 10)
seconds = time.perf_counter() - start
assert hits.ids[:, 0].tolist() == wanted.tolist(), hits.ids[:, 0]
print(used("VmHWM"), max(own), seconds)
"""


def vectors(rows: int, dim: int, seed: int) -> np.ndarray:
    """Random vectors, seeded."""
    return np.random.default_rng(seed).standard_normal((rows, dim), np.float32)


def semantic(options: argparse.Namespace) -> None:
    """A thousand queries against a large corpus: bound by the matrix product."""
    import torch
    from sentence_transformers.util import semantic_search as reference
    from torch.nn.functional import normalize

    from workbench.search import semantic_search

    rows = 20_000 if options.quick else 200_000
    queries, corpus = torch.from_numpy(vectors(1_000, 384, 0)), torch.from_numpy(vectors(rows, 384, 1))

    def bare() -> tuple[torch.Tensor, torch.Tensor]:
        """Blocks of 8,192 rows, the best ten of each, and the best ten of those."""
        unit, scores, ids = normalize(queries), [], []
        for start in range(0, rows, 8192):
            best = (unit @ normalize(corpus[start : start + 8192]).T).topk(10, dim=1)
            scores.append(best.values)
            ids.append(best.indices + start)
        best = torch.cat(scores, 1).topk(10, dim=1)
        return best.values, torch.cat(ids, 1).gather(1, best.indices)

    sides = (lambda _: semantic_search(queries, corpus), lambda _: bare(), lambda _: reference(queries, corpus))
    (ours, limit, theirs), (found, _, expected) = take_turns(options.rounds, *sides)
    what = f"semantic_search 1,000 x {rows:,} x 384"
    bars = {"≥ 1 x": theirs >= ours, "same": same(found, expected)}
    line(what, f"{ours:.2f} s", f"{theirs:.2f} s", f"{theirs / ours:.2f} x", **bars)
    share = ours / limit
    line(
        "… blocked matmul and top-k by hand",
        f"{ours:.2f} s",
        f"{limit:.2f} s",
        f"{share:.2f} of it",
        **{"≤ 1.25": share <= 1.25},
    )


def merges(options: argparse.Namespace) -> None:
    """Many queries against few documents, and small chunks with many hits: bound by what comes after the product."""
    import torch

    rows = 2_000 if options.quick else 20_000
    queries, corpus = torch.from_numpy(vectors(rows, 64, 2)), torch.from_numpy(vectors(2_000, 64, 3))
    _merge(options, queries, corpus, 3)
    _merge(options, queries, corpus, corpus_chunk_size=200)
    _merge(options, queries[: rows // 10], corpus, corpus_chunk_size=200, top_k=100)


def _merge(options: argparse.Namespace, queries: Any, corpus: Any, bar: float = 1, **given: int) -> None:
    from sentence_transformers.util import semantic_search as reference
    from torch.nn.functional import normalize

    from workbench.search import semantic_search, top_k

    sides = (
        lambda _: semantic_search(queries, corpus, **given),
        lambda _: reference(queries, corpus, **given),
        lambda _: top_k(queries, corpus, given.get("top_k", 10)),
        lambda _: normalize(queries) @ normalize(corpus).T,
    )
    (ours, theirs, kernel, product), (found, expected, *_) = take_turns(options.rounds, *sides)
    what = ", ".join([f"semantic_search {len(queries):,} x 2,000 x 64", *(f"{k}={v}" for k, v in given.items())])
    bars = {f"≥ {bar} x": theirs / ours >= bar, "same": same(found, expected)}
    line(what, f"{ours:.3f} s", f"{theirs:.3f} s", f"{theirs / ours:.1f} x", **bars)
    line("… top_k alone; the matrix product alone", f"{kernel:.3f} s", f"{product:.3f} s")


def same(found: list, expected: list) -> bool:
    """Whether scores agree to 1e-6, and rows but for such as agree in seven digits."""
    both = [
        ([[hit[key] for hit in hits] for hits in side]) for key in ("score", "corpus_id") for side in (found, expected)
    ]
    gap = np.abs(np.array(both[0]) - np.array(both[1])).max()
    return bool(gap <= 1e-6 and (np.array(both[2]) == np.array(both[3])).mean() > 0.9999)


def scale(options: argparse.Namespace) -> None:
    """Exact search over a memory-mapped file of five million rows: what is resident, mapped pages included."""
    rows = 100_000 if options.quick else 5_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "corpus.npy")
        corpus = np.lib.format.open_memmap(path, "w+", np.float32, (rows, 256))
        for start in range(0, rows, 50_000):
            corpus[start : start + 50_000] = vectors(50_000, 256, start)[: rows - start]
        corpus.flush()
        del corpus
        wanted = np.random.default_rng(9).choice(rows, 20, replace=False).tolist()
        for metric in ("cosine", "euclidean"):
            peak, own, seconds = map(
                float, run(SCALE.format(threads=THREADS, path=path, wanted=wanted, metric=metric)).split()
            )
            what = (
                f"exact search, {metric}, over a memmap of {rows:,} x 256 ({rows * 1024 / 1e9:.1f} GB), {seconds:.0f} s"
            )
            line(
                what, f"{peak:.0f} MB at most", "", f"{own:.0f} MB without mapped files", **{"< 1,500 MB": peak < 1500}
            )


def engines(options: argparse.Namespace) -> None:
    """Recall and speed of the embedded engines on clustered vectors, beside exact search."""
    from workbench.search import open_index

    rows = 5_000 if options.quick else 50_000
    rng = np.random.default_rng(4)
    centres = rng.standard_normal((500, 128), np.float32)
    corpus, queries = (centres[rng.integers(0, 500, n)] + vectors(n, 128, n) * np.float32(0.7) for n in (rows, 500))
    truth = None
    for kind, given in (
        ("exact", {}),
        ("exact", {"precision": "int8"}),
        ("exact", {"precision": "ubinary"}),
        ("faiss", {"method": "flat"}),
        ("faiss", {"method": "ivf"}),
        ("faiss", {"method": "hnsw"}),
        ("faiss", {"method": "flat", "precision": "ubinary"}),
        ("usearch", {}),
        ("usearch", {"precision": "int8"}),
        ("hnsw", {}),
    ):
        index = open_index(kind, **given)
        (built,), _ = take_turns(1, lambda _, index=index: index.add(None, corpus))
        (seconds,), (hits,) = take_turns(options.rounds, lambda _, index=index: index.search(queries))
        truth = hits.ids if truth is None else truth
        recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(hits.ids.tolist(), truth.tolist(), strict=True)])
        text = " ".join([kind, *given.values()])
        line(
            f"{text}, {rows:,} x 128",
            f"{500 / seconds:,.0f} queries/s",
            f"built in {built:.1f} s",
            f"recall@10 {recall:.3f}",
        )


PARTS = (semantic, merges, scale, engines)


def main() -> int:
    """Measure, print the table, and return 1 if a bar was missed (never with ``--quick``)."""
    options = parser(__doc__, PARTS).parse_args()
    options.rounds = 1 if options.quick else 3
    return measure(options, PARTS)


if __name__ == "__main__":
    sys.exit(main())
