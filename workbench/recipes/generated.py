"""Training for retrieval on passages alone: queries are generated, and (GPL) a cross-encoder says what answers them."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.datasets import as_dataset
from workbench.errors import ColumnsError
from workbench.losses import MultipleNegativesRankingLoss
from workbench.recipes.candidates import find_candidates
from workbench.recipes.queries import as_generator, distinct_passages, generator_name, write_queries
from workbench.recipes.scores import as_teacher, fit_scores
from workbench.recipes.steps import Steps, as_model
from workbench.sentence_transformer import SentenceTransformer

__all__ = ["genq", "gpl"]


def genq(
    student: Any,
    passages: Any,
    generator: Any = "rules",
    *,
    per_passage: int = 3,
    output_path: str | Path | None = None,
    **options: Any,
) -> Any:
    """Train a model to find the passage that each generated query was made from.

    Choose it when there are passages and no queries, and no cross-encoder either; with one, ``gpl`` is better, since
    here every generated query counts as a good one, and every other passage as wrong. Thakur et al. 2021 (BEIR),
    arXiv:2104.08663; Ma et al. 2021, arXiv:2004.14503.

    Args:
        student: the ``SentenceTransformer`` to begin with.
        passages: the texts to be found.
        generator: "rules", the name or folder of a sequence-to-sequence model, a function, or a ``QueryGenerator``.
        per_passage: queries of each passage, at most.
        output_path: where the steps and ``model`` are kept, so that a killed run goes on; None: nowhere.
        options: training arguments, see ``Steps.fit``.

    Returns:
        The trained student; the given one stays as it is.

    Raises:
        ColumnsError: no passages, or no queries for any of them.
        TypeError: the student or the generator is missing.
        DataFormatError: the folder holds the steps of another run.
    """
    student, maker = as_model("student", student, "encode", SentenceTransformer), as_generator(generator)
    texts = distinct_passages(passages)
    settings = {"generator": generator_name(maker), "per_passage": per_passage, "options": options}
    steps = Steps(output_path, student=student, passages=texts, **settings)
    pairs = write_queries(steps, texts, maker, per_passage)
    table = as_dataset({"query": [query for query, _ in pairs], "passage": [texts[row] for _, row in pairs]})
    return steps.fit(student, table, MultipleNegativesRankingLoss, **{"batch_sampler": "no_duplicates"} | options)


def gpl(
    student: Any,
    passages: Any,
    cross_encoder: Any,
    generator: Any = "rules",
    *,
    retrievers: Sequence[Any] | None = None,
    per_passage: int = 3,
    negatives: int = 4,
    depth: int = 50,
    seed: int = 0,
    output_path: str | Path | None = None,
    **options: Any,
) -> Any:
    """Adapt a model to the passages of a domain without any label (generative pseudo labelling).

    Queries are generated; retrievers find other passages for each; a cross-encoder scores the passage and the others;
    the student learns the margins (``MarginMSELoss``). A bad query gets a small margin and does little harm. Choose it
    to bring a general retrieval model to a new field when a cross-encoder knows what answers what; it can teach no more
    than that one knows, so measure on a few judged queries. Wang et al. 2022, arXiv:2112.07577.

    Args:
        student: see ``genq``.
        passages: see there.
        cross_encoder: a trained ``CrossEncoder`` of one label, such as "starter-reranker", or another teacher of
            ``distil_scores``, such as a larger model that encodes.
        generator: see ``genq``.
        retrievers: what finds the others, see ``find_candidates``; None: BM25 and the student.
        per_passage: queries of each passage, at most.
        negatives: others that are drawn for each query.
        depth: the first so many of each retriever are drawn from.
        seed: of the draw.
        output_path: see ``genq``.
        options: see there.

    Returns:
        The trained student; the given one stays as it is.

    Raises:
        ColumnsError: no passages, no queries, or no other passages for any query.
        TypeError: a model or the generator is missing.
        ValueError: the cross-encoder does not give one finite number for each pair.
        DataFormatError: the folder holds the steps of another run.
    """
    student, maker = as_model("student", student, "encode", SentenceTransformer), as_generator(generator)
    teacher = as_teacher("cross_encoder", cross_encoder)
    texts = distinct_passages(passages)
    finders = ["bm25", student] if retrievers is None else list(retrievers)
    settings = {"per_passage": per_passage, "negatives": negatives, "depth": depth, "seed": seed, "options": options}
    models = {"student": student, "cross_encoder": teacher, "generator": generator_name(maker), "retrievers": finders}
    steps = Steps(output_path, passages=texts, **models, **settings)
    pairs = write_queries(steps, texts, maker, per_passage)

    def draw(part: list[tuple[str, int]]) -> list[dict[str, Any]]:
        lots, own = random.Random(seed), dict[str, set[int]]()  # noqa: S311 (no secret)
        for query, row in part:
            own.setdefault(query, set()).add(row)
        found = dict(zip(own, find_candidates(list(own), texts, finders, depth), strict=True))
        wrong = [[row for row in found[query] if row not in own[query]] for query, _ in part]
        return [{"rows": lots.sample(rows, min(negatives, len(rows)))} for rows in wrong]

    others = steps.rows("negatives", pairs, draw, len(pairs))
    rows = [
        [query, texts[row], texts[other]]
        for (query, row), line in zip(pairs, others, strict=True)
        for other in line["rows"]
    ]
    if not rows:
        raise ColumnsError(f"No other passage was found for any of {len(pairs)} queries; {len(texts)} are too few.")
    return fit_scores(steps, teacher, student, rows, "margin_mse", **options)
