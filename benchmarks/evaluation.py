"""Evaluators beside the reference's: the search and the metrics of information retrieval, on vectors made before."""

import argparse
import sys
from typing import Any

import numpy as np

from benchmarks.harness import THREADS, line, measure, parser, take_turns


class Made:
    """A model that looks its vectors up: a text is the number of its row."""

    similarity_fn_name = "cosine"

    def __init__(self, vectors: Any, similarity: Any) -> None:
        self.vectors, self.similarity = vectors, similarity
        self.model_card_data = self

    def set_evaluation_metrics(self, *arguments: Any, **options: Any) -> None:
        """Keep no record."""

    def encode(self, sentences: Any, **options: Any) -> Any:
        """Return the rows that the texts name."""
        return self.vectors[[int(text) for text in sentences]]

    encode_query = encode_document = encode


def retrieval(options: argparse.Namespace) -> None:
    """From vectors to all metrics of 1,000 queries on 100,000 documents."""
    import torch
    from sentence_transformers.sentence_transformer import evaluation as theirs
    from sentence_transformers.util import cos_sim as their_cos_sim

    from workbench import evaluation
    from workbench.similarity import cos_sim

    torch.set_num_threads(THREADS)
    queries, documents, dim = (50, 2_000, 64) if options.quick else (1_000, 100_000, 64)
    rng = np.random.default_rng(0)
    vectors = torch.from_numpy(rng.normal(size=(documents + queries, dim)).astype(np.float32))
    near = rng.integers(0, documents, (queries, 3))
    vectors[documents:] += vectors[near].mean(1) * 1.5
    texts = {str(row): str(row) for row in range(documents + queries)}
    corpus = {key: texts[key] for key in list(texts)[:documents]}
    asked = {key: texts[key] for key in list(texts)[documents:]}
    relevant = {key: set(map(str, rows)) for key, rows in zip(asked, near.tolist(), strict=True)}
    sides = {
        room.__name__.split(".")[0]: (
            room.InformationRetrievalEvaluator(asked, corpus, relevant, write_csv=False),
            Made(vectors, function),
        )
        for room, function in ((evaluation, cos_sim), (theirs, their_cos_sim))
    }
    (ours, own), (other, model) = sides.values()
    given = {"corpus_embeddings": vectors[:documents]}
    rounds = 1 if options.quick else 3
    seconds, found = take_turns(rounds, lambda _: ours(own, **given), lambda _: other(model, **given))
    same = max(abs(found[0][key] - value) for key, value in found[1].items()) < 1e-6
    size = f"{queries:,} queries on {documents:,} documents"
    shown = [f"{time:.3f} s" for time in seconds]
    line(
        f"IR evaluator, search and metrics, {size}", *shown, f"{seconds[1] / seconds[0]:.1f}", **{"same metrics": same}
    )

    scores, ids = ours._search(own, **given)["cosine"]
    hits = [
        [{"corpus_id": str(place), "score": score} for place, score in zip(*row, strict=True)]
        for row in zip(ids.tolist(), scores.tolist(), strict=True)
    ]
    seconds, _ = take_turns(rounds, lambda _: ours._judge(ids), lambda _: other.compute_metrics(hits))
    ratio, shown = seconds[1] / seconds[0], [f"{time:.3f} s" for time in seconds]
    bars = {} if options.quick else {"at least 4": ratio >= 4}
    line(f"IR evaluator, metrics of what was found, {size}", *shown, f"{ratio:.1f}", **bars)


def main() -> int:
    """Measure, print the table, and return 1 if a bar was missed (never with ``--quick``)."""
    return measure(parser(__doc__).parse_args(), [retrieval])


if __name__ == "__main__":
    sys.exit(main())
