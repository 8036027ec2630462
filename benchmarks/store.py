"""The embedding store: rows a second read and filled, one row of many, and memory.

Run with ``python -m benchmarks.store``. Vectors come from a model that costs nothing, so that only the store counts;
filling is measured with the bundled static model, the fastest there is, beside the same ``encode`` without a store.
"""

import argparse
import sys
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import line, measure, minilm, parser, run, take_turns

BAR = 200_000  # rows a second
MEMORY = """
import re, threading, time
import numpy as np
from benchmarks.store import Free, texts
from workbench.store import EmbeddingStore
def used():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
model, rows = Free({dim}), texts({rows})
own = [used()]
def watch():
    while True:
        own.append(used())
        time.sleep(0.02)
threading.Thread(target=watch, daemon=True).start()
out = np.lib.format.open_memmap({path!r} + ".npy", "w+", np.float32, ({rows}, {dim}))
with EmbeddingStore({path!r}) as store:
    start = time.perf_counter()
    store.encode(model, rows, fingerprint="free", out=out)
    seconds = time.perf_counter() - start
    assert store.stats()["hits"] == {hits}
start = time.perf_counter()
with EmbeddingStore({path!r}) as store:
    assert (store.encode(model, rows[777], fingerprint="free") == out[777]).all()
    cold = time.perf_counter() - start
    start = time.perf_counter()
    for row in range(0, {rows}, {rows} // 200):
        store.encode(model, rows[row], fingerprint="free")
    warm = (time.perf_counter() - start) / 200
print(max(own) - own[0], seconds, cold, warm)
"""


class Free:
    """A model whose vectors cost next to nothing."""

    def __init__(self, dim: int) -> None:
        self.vectors = np.random.default_rng(0).normal(size=(10_007, dim)).astype(np.float32)

    def encode(self, texts: list[str]) -> Any:
        """Return the vector that stands at the number in front of each text."""
        return self.vectors[[int(text.partition(" ")[0]) % len(self.vectors) for text in texts]]


def texts(count: int) -> list[str]:
    """Different texts of 50 to 100 characters."""
    words = ["the", "a", "small", "red", "old", "house", "tree", "river", "runs", "over", "under", "near", "and", "so"]
    return [
        f"{number} " + " ".join(words[(number * 7 + place * (number % 5 + 3)) % 14] for place in range(12 + number % 8))
        for number in range(count)
    ]


def reading(options: argparse.Namespace, folder: Path) -> None:
    """Rows that are all there, in another order than they came, from a file in the system's memory."""
    from workbench.store import EmbeddingStore

    rows = texts(5_000 if options.quick else 200_000)
    order = np.random.default_rng(1).permutation(len(rows))
    mixed = [rows[row] for row in order]

    def hashed(_: int) -> list[bytes]:
        return [blake2b(row.encode(), digest_size=16).digest() for row in mixed]

    for dim in (128, 384):
        model = Free(dim)
        with EmbeddingStore(folder / f"{dim}.db") as store:
            store.encode(model, rows, fingerprint="free")
            (seconds, alone), (vectors, _) = take_turns(
                options.rounds,
                lambda _, store=store, model=model: store.encode(model, mixed, fingerprint="free"),
                hashed,
            )
            assert store.stats()["misses"] == len(rows)
            assert (vectors == model.encode(mixed)).all()
        speed = len(rows) / seconds
        what = f"store, {len(rows):,} rows that are there, {dim} dimensions"
        line(what, f"{speed:,.0f} rows/s", **{f"≥ {BAR:,}/s": speed >= BAR})
        line("… hashing the texts alone", f"{len(rows) / alone:,.0f} rows/s")


def filling(options: argparse.Namespace, folder: Path) -> None:
    """The bundled static model with a store and without, on texts that are not there."""
    from workbench import SentenceTransformer
    from workbench.store import EmbeddingStore

    model = SentenceTransformer("starter", device="cpu")
    rows = texts(4_000 if options.quick else 120_000)
    parts = np.array_split(np.array(rows, dtype=object), 2 * options.rounds)  # new words for either side
    model.encode(rows[:100])
    with EmbeddingStore(folder / "fill.db") as store:
        sides = lambda turn: store.encode(model, parts[2 * turn]), lambda turn: model.encode(parts[2 * turn + 1])
        times, (vectors, _) = take_turns(options.rounds, *sides)
    assert np.abs(vectors - model.encode(parts[-2])).max() <= 1e-6
    with_store, without = (len(parts[0]) / seconds for seconds in times)
    ratio = with_store / without
    what = f"store, {len(parts[0]):,} rows that are not there, starter (beside: encode without a store)"
    line(what, f"{with_store:,.0f} rows/s", f"{without:,.0f} rows/s", f"{ratio:.2f} x", **{"≥ 0.7 x": ratio >= 0.7})


def keys(options: argparse.Namespace, folder: Path) -> None:
    """The fingerprint of a model of 91 MB: at first, and when it is asked again."""
    from workbench import SentenceTransformer
    from workbench.store import model_fingerprint

    model = SentenceTransformer(minilm(), device="cpu")
    (first,), _ = take_turns(1, lambda _: model_fingerprint(model))
    (again,), _ = take_turns(5, lambda _: model_fingerprint(model))
    line("store, fingerprint of MiniLM, first", f"{first * 1e3:.0f} ms", **{"≤ 1 s": first <= 1})
    line("… and again", f"{again * 1e3:.1f} ms", **{"≤ 50 ms": again <= 0.05})


def memory(options: argparse.Namespace, folder: Path) -> None:
    """A million rows of 384 dimensions into a file on disk: made and kept, then read; and single rows of them."""
    rows = 20_000 if options.quick else 1_000_000
    for what, hits in (("filled", 0), ("read", rows)):
        code = MEMORY.format(rows=rows, dim=384, path=str(folder / "large.db"), hits=hits)
        own, seconds, cold, warm = map(float, run(code).split())
        speed = f"{rows / seconds:,.0f} rows/s"
        line(f"store, {rows:,} x 384 {what}", f"{own:.0f} MB beyond the texts", speed, **{"< 300 MB": own < 300})
    line("… one row of them, store just opened", f"{cold * 1e3:.0f} ms", "", "", **{"≤ 1 s": cold <= 1})
    line("… one row of them, after that", f"{warm * 1e3:.2f} ms", "", "", **{"≤ 10 ms": warm <= 0.01})


PARTS = (reading, filling, keys, memory)


def main() -> int:
    """Measure, print the table, and return 1 if a bar was missed (never with ``--quick``)."""
    options = parser(__doc__, PARTS).parse_args()
    options.rounds = 1 if options.quick else 3
    with tempfile.TemporaryDirectory() as folder:
        return measure(options, PARTS, Path(folder), head="measured | workbench | beside | ratio")


if __name__ == "__main__":
    sys.exit(main())
