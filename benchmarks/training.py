"""Training beside the reference: samples per second on static vectors and on MiniLM, and memory of a cached loss.

Both sides train on the same rows with the same settings, and take turns; data are sentences of docstrings.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.core import docstrings, sentences
from benchmarks.harness import THREADS, line, measure, minilm, parser, run, take_turns

OPTIONS = {
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "logging_strategy": "no",
    "use_cpu": True,
    "dataloader_pin_memory": False,
    "learning_rate": 1e-5,
}
MEMORY = """
import re, sys, threading, time
import torch
torch.set_num_threads({threads})
from benchmarks.training import pair_rows, side, train
def used():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
model, loss, package = side({ours}, {folder!r}, "CachedMultipleNegativesRankingLoss", mini_batch_size=64)
rows = pair_rows({rows})
train(package, model, loss, rows.select(range(256)), 128, 2)
before, seen = used(), []
def watch():
    while True:
        seen.append(used())
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
train(package, model, loss, rows, {rows}, 1)
print(max(seen) - before)
"""


def pair_rows(count: int) -> Any:
    """Pairs of sentences that follow each other."""
    from datasets import Dataset

    texts = sentences(docstrings(count))[: 2 * count]
    return Dataset.from_dict({"anchor": texts[::2], "positive": texts[1::2]})


def side(ours: bool, folder: str, loss: str, **options: Any) -> tuple[Any, Any, Any]:
    """A model, its loss, and the package that trains it: this one, or the reference."""
    if ours:
        import workbench as package
        from workbench import losses
    else:
        import sentence_transformers as package  # type: ignore[no-redef]
        from sentence_transformers.sentence_transformer import losses  # type: ignore[no-redef]
    model = package.SentenceTransformer(folder, device="cpu")
    return model, getattr(losses, loss)(model, **options), package


def train(package: Any, model: Any, loss: Any, data: Any, batch: int, steps: int = -1, epochs: int = 1) -> None:
    """Train for some steps or epochs."""
    with tempfile.TemporaryDirectory() as folder:
        args = package.SentenceTransformerTrainingArguments(
            folder, per_device_train_batch_size=batch, max_steps=steps, num_train_epochs=epochs, **OPTIONS
        )
        package.SentenceTransformerTrainer(model, args, data, loss=loss).train()


def speed(what: str, folder: str, rows: int, batch: int, epochs: int, bar: float, rounds: int) -> None:
    """Samples per second with in-batch negatives."""
    data = pair_rows(rows)
    sides = [side(ours, folder, "MultipleNegativesRankingLoss") for ours in (True, False)]

    def trained(which: Any, turn: int) -> None:
        model, loss, package = which
        train(package, model, loss, data, batch, epochs=epochs)

    for which in sides:
        train(which[2], which[0], which[1], data.select(range(2 * batch)), batch)
    (ours, theirs), _ = take_turns(rounds, *(partial(trained, which) for which in sides))
    count = len(data) * epochs
    ratio = theirs / ours
    line(
        what, f"{count / ours:,.0f} pairs/s", f"{count / theirs:,.0f} pairs/s", f"{ratio:.2f}x",
        **{f">= {bar}x": ratio >= bar},
    )  # fmt: skip


def cached(folder: str, rows: int) -> None:
    """Peak memory of one step on a large batch, above what the process had before."""
    found = []
    for ours in (True, False):
        code = MEMORY.format(threads=THREADS, ours=ours, folder=folder, rows=rows)
        found.append(float(run(code).split()[-1]))
    ours, theirs = found
    line(
        f"CachedMNR, one batch of {rows:,}", f"{ours:,.0f} MB", f"{theirs:,.0f} MB", f"{ours / theirs:.2f}",
        **{"<= the reference's": ours <= theirs},
    )  # fmt: skip


def static(options: argparse.Namespace) -> None:
    """The vectors of ``starter``."""
    from workbench import SentenceTransformer

    rows, rounds = (2_048, 1) if options.quick else (8_192, 3)
    with tempfile.TemporaryDirectory() as folder:
        SentenceTransformer("starter", device="cpu").save(folder)
        speed("static, batch 1,024, 5 epochs", folder, rows, 1_024, 5, 3.0, rounds)


def transformer(options: argparse.Namespace) -> None:
    """MiniLM."""
    rows, rounds = (64, 1) if options.quick else (256, 2)
    speed("MiniLM, batch 32", minilm(), rows, 32, 1, 1.15, rounds)


def memory(options: argparse.Namespace) -> None:
    """One large batch of a cached loss on a tiny model."""
    from tests.tiny import model_folder

    with tempfile.TemporaryDirectory() as folder:
        model_folder(Path(folder), bert_config={"max_seq_length": 64})
        cached(folder, 512 if options.quick else 4_096)


PARTS = (static, transformer, memory)


def main() -> int:
    """Measure, print the table, and return 1 if a bar was missed (never with ``--quick``)."""
    return measure(parser(__doc__, PARTS).parse_args(), PARTS)


if __name__ == "__main__":
    sys.exit(main())
