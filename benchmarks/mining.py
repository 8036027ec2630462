"""Mining beside the reference package, as ratios measured in one run: ``python -m benchmarks.mining``.

Vectors are random or given, so that only mining is measured. ``--tatoeba FOLDER`` adds how many translations a model
finds in the Tatoeba test set (files ``xxx-eng.tsv.gz`` of two columns), as accuracy and as F1 of mined pairs.
"""

import argparse
import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import line, measure, parser, take_turns

LANGUAGES = ("deu", "fra", "spa", "ita", "nld", "swe", "rus", "jpn")


class Given:
    """A model that knows the vectors of its texts: ``q3`` is row 3 of the queries."""

    similarity_fn_name = "cosine"
    default_prompt_name = None
    device = "cpu"

    def __init__(self, queries: Any, documents: Any) -> None:
        from workbench.similarity import cos_sim, pairwise_cos_sim

        self.rows = {"q": queries, "d": documents}
        self.prompts: dict[str, str] = {}
        self.similarity, self.similarity_pairwise = cos_sim, pairwise_cos_sim

    def encode(self, texts: list[str], **options: Any) -> Any:
        """Look up the vectors."""
        return self.rows[texts[0][0]][[int(text[1:]) for text in texts]]

    encode_query = encode_document = encode


def paraphrases(options: argparse.Namespace) -> None:
    """All pairs among 30,000 rows."""
    import torch
    from sentence_transformers.util import paraphrase_mining_embeddings as reference

    from workbench.mining import paraphrase_mining_embeddings

    rows = 3_000 if options.quick else 30_000
    for dim, bar in ((384, 1.8), (64, 4.0)):
        vectors = torch.from_numpy(np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32))
        sides = paraphrase_mining_embeddings, reference, bare_product
        times, (x, y, _) = take_turns(options.rounds, *(lambda _, side=side, v=vectors: side(v) for side in sides))
        gap = float(np.abs(np.subtract([row[0] for row in x], [row[0] for row in y])).max())
        same = len({tuple(row[1:]) for row in x} ^ {tuple(row[1:]) for row in y})
        ratio = times[1] / times[0]
        what = f"paraphrase mining, {rows:,} x {dim} ({same} pairs differ, scores by {gap:.0e})"
        bars = {f"≥ {bar} x": ratio >= bar, "≤ 1e-6": gap <= 1e-6}
        line(what, f"{times[0]:.2f} s", f"{times[1]:.2f} s", f"{ratio:.2f} x", **bars)
        line("… half of the bare blocked matrix product", f"{times[2] / 2:.2f} s")


def hard_negatives(options: argparse.Namespace) -> None:
    """Three negatives for each of 5,000 queries among 50,000 documents, their vectors given."""
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives as reference

    from workbench.mining import mine_hard_negatives

    queries, documents = (500, 5_000) if options.quick else (5_000, 50_000)
    pairs = Dataset.from_dict({"q": [f"q{i}" for i in range(queries)], "d": [f"d{i}" for i in range(queries)]})
    corpus = [f"d{i}" for i in range(documents)]
    for dim, several in ((384, {}), (64, {}), (64, {"range_max": 50, "max_score": 0.9, "sampling_strategy": "random"})):
        rng = np.random.default_rng(0)
        sides = [rng.normal(size=(rows, dim)).astype(np.float32) for rows in (queries, documents)]
        model = Given(*sides)

        def run(mine: Any, model: Any = model, several: Any = several) -> Any:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                return mine(pairs, model, corpus=corpus, verbose=False, **several)

        calls = (lambda _: run(mine_hard_negatives), lambda _: run(reference), lambda _, s=sides: bare_product(*s))
        times, (x, y, _) = take_turns(options.rounds, *calls)
        ratio = times[1] / times[0]
        differ = sum(one != other for one, other in zip(x["negative"], y["negative"], strict=True))
        same = "random choice" if several else f"{differ} of {len(x):,} triplets differ"
        what = f"hard negatives, {queries:,} x {documents:,} x {dim}, {same}"
        line(what, f"{times[0]:.2f} s", f"{times[1]:.2f} s", f"{ratio:.2f} x", **{"≥ 3 x": ratio >= 3})
        line("… the bare blocked matrix product", f"{times[2]:.2f} s", "", f"{times[1] / times[2]:.2f} x at most")


def bare_product(queries: Any, documents: Any = None) -> None:
    """All scores in blocks, looked at by nobody: no exact search on this machine is faster."""
    import torch

    queries = torch.as_tensor(queries)
    documents = queries if documents is None else torch.as_tensor(documents)
    for rows in queries.split(1024):
        for columns in documents.split(8192):
            rows @ columns.T


def bitext(options: argparse.Namespace) -> None:
    """A parallel set with known truth: 2,000 pairs among 3,000 rows a side; then the Tatoeba sets asked for."""
    from workbench.mining import mine_bitext, score_bitext

    rng = np.random.default_rng(0)
    meaning = rng.normal(size=(2_000, 64)) + 1
    source, target = (
        np.concatenate([meaning, rng.normal(size=(1_000, 64)) + 1]) + 0.3 * rng.normal(size=(3_000, 64)) for _ in "ab"
    )
    found = score_bitext(mine_bitext(source, target), [(i, i) for i in range(2_000)])
    line("translated sentences, synthetic", f"F1 {found.f1:.4f}", **{"≥ 0.99": found.f1 >= 0.99})
    if options.tatoeba is not None:
        tatoeba(options)


def tatoeba(options: argparse.Namespace) -> None:
    """How often the nearest English sentence is the translation, and the best F1 of the mined pairs."""
    import pandas as pd

    from workbench import SentenceTransformer
    from workbench.mining import mine_bitext, score_bitext

    for name in options.models:
        model = SentenceTransformer(name, device="cpu")
        for language in LANGUAGES:
            path = options.tatoeba / f"{language}-eng.tsv.gz"
            rows = pd.read_csv(path, sep="\t", quoting=3, keep_default_na=False)
            source, target = (model.encode(rows.iloc[:, side].tolist()) for side in (1, 0))
            best = {i: j for _, i, j in mine_bitext(source, target, margin="absolute", retrieval="forward")}
            by_margin = {i: j for _, i, j in mine_bitext(source, target, retrieval="forward")}
            accuracy = [np.mean([pairs[i] == i for i in range(len(rows))]) for pairs in (best, by_margin)]
            f1 = score_bitext(mine_bitext(source, target), [(i, i) for i in range(len(rows))]).f1
            numbers = f"accuracy {accuracy[0]:.3f}, by margin {accuracy[1]:.3f}", f"best F1 {f1:.3f}"
            line(f"Tatoeba {language}-eng, {len(rows):,} pairs, {Path(name).name}", *numbers)


PARTS = (paraphrases, hard_negatives, bitext)


def main() -> int:
    """Measure, print the table, and return 1 if a bar was missed (never with ``--quick``)."""
    ask = parser(__doc__, PARTS)
    ask.add_argument("--rounds", type=int, help="how often each side runs; the median counts")
    ask.add_argument("--tatoeba", type=Path, help="folder of the Tatoeba test set")
    ask.add_argument("--models", nargs="+", default=["starter"], help="models for Tatoeba")
    options = ask.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    return measure(options, PARTS)


if __name__ == "__main__":
    sys.exit(main())
