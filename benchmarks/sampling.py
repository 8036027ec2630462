"""Planning an epoch of 1,000,000 pairs in which no batch holds a text twice, beside the reference package.

Pairs share some texts, as mined data do: every hundredth anchor comes twice. Both sides take turns on the same data.
"""

import argparse
import sys
from typing import Any

import torch
from datasets import Dataset

from benchmarks.harness import line, measure, parser, take_turns


def no_duplicates(options: argparse.Namespace) -> None:
    """All batches of an epoch, the numbering of the texts included; and of the epoch after it."""
    from sentence_transformers.base.sampler import NoDuplicatesBatchSampler as Reference

    from workbench.training.samplers import NoDuplicatesBatchSampler

    rows = 20_000 if options.quick else 1_000_000
    anchors = [f"anchor {row - row % 100 if row % 100 == 1 else row}" for row in range(rows)]
    data = Dataset.from_dict({"anchor": anchors, "positive": [f"positive {row}" for row in range(rows)]})

    def batches(kind: Any) -> int:
        return sum(1 for _ in kind(data, 64, False, [], torch.Generator().manual_seed(0), 0))

    seconds, found = take_turns(
        options.rounds, lambda _: batches(NoDuplicatesBatchSampler), lambda _: batches(Reference)
    )
    ratio = seconds[1] / seconds[0]
    sides = (f"{one:.2f} s, {count:,} batches" for one, count in zip(seconds, found, strict=True))
    line(f"no duplicates, {rows:,} pairs", *sides, f"{ratio:.1f}x", **{">= 10x": ratio >= 10})


def main() -> int:
    """Measure, print the table, and return 1 if a bar was missed (never with ``--quick``)."""
    ask = parser(__doc__)
    ask.add_argument("--rounds", type=int, default=1, help="how often each side runs; the median counts")
    return measure(ask.parse_args(), [no_duplicates])


if __name__ == "__main__":
    sys.exit(main())
