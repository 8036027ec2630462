"""Augmented SBERT: a cross-encoder labels pairs that nobody has labelled, and a bi-encoder learns from them.

Thakur, Reimers, Daxenberger and Gurevych 2021, arXiv:2010.08240.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.cross_encoder import CrossEncoder
from workbench.datasets import as_dataset
from workbench.errors import ColumnsError
from workbench.losses import CosineSimilarityLoss
from workbench.losses.cross_encoder import BinaryCrossEntropyLoss
from workbench.recipes.candidates import find_candidates
from workbench.recipes.scores import score_pairs
from workbench.recipes.steps import Steps, as_model
from workbench.sentence_transformer import SentenceTransformer
from workbench.texts import as_texts
from workbench.training.columns import VALID_LABEL_COLUMNS, text_columns

__all__ = ["augment_domain", "augment_gold", "augment_texts", "sample_pairs"]

_Pair = tuple[str, str]
_Scored = tuple[str, str, float]


def augment_gold(
    gold: Any,
    cross_encoder: Any,
    student: Any,
    *,
    retrievers: Sequence[Any] = ("bm25",),
    per_text: int = 3,
    output_path: str | Path | None = None,
    cross_options: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Train on a few labelled pairs and on many more of the same texts, which a cross-encoder labels.

    Choose it with some hundreds to some thousands of labelled pairs: a cross-encoder learns more from so few than a
    bi-encoder does. It is trained on them (gold), the texts are paired anew, it scores these pairs (silver), and the
    student is trained on both. The paper's in-domain set-up.

    Args:
        gold: a table of two texts and a score from 0 to 1, see ``as_dataset``.
        cross_encoder: the ``CrossEncoder`` of one label to train.
        student: the ``SentenceTransformer`` to train.
        retrievers: what finds the partners of a text, see ``find_candidates``; a model for semantic sampling.
        per_text: partners of each text.
        output_path: where the steps and ``model`` are kept, so that a killed run goes on; None: nowhere.
        cross_options: training arguments of the cross-encoder.
        options: training arguments of the student, see ``Steps.fit``.

    Returns:
        The trained student; the given models stay as they are.

    Raises:
        ColumnsError: no rows, no texts, or scores that are not from 0 to 1.
        TypeError: a model is missing.
        ValueError: no pair is left to label.
    """
    cross_encoder, student = _both(cross_encoder, student)
    rows = _gold_rows(gold)
    settings = {"retrievers": list(retrievers), "per_text": per_text, "options": [cross_options, options]}
    steps = Steps(output_path, gold=rows, cross_encoder=cross_encoder, student=student, **settings)
    teacher = _teacher(steps, cross_encoder, rows, cross_options)
    texts = [text for row in rows for text in row[:2]]
    silver = _silver(steps, teacher, texts, retrievers, per_text, {_key(row[0], row[1]) for row in rows})
    return steps.fit(student, _table([*rows, *silver]), CosineSimilarityLoss, **options)


def augment_texts(
    texts: Any,
    cross_encoder: Any,
    student: Any,
    *,
    retrievers: Sequence[Any] = ("bm25",),
    per_text: int = 3,
    output_path: str | Path | None = None,
    **options: Any,
) -> Any:
    """Train on texts without any label: a cross-encoder that is trained already labels pairs of them.

    Choose it when a good cross-encoder for the task is to be had and labels are not.

    Args:
        texts: the texts.
        cross_encoder: a trained ``CrossEncoder`` of one label, or anything whose ``predict`` gives scores from 0 to 1.
        student: see ``augment_gold``, as what is returned and the errors.
        retrievers: see there.
        per_text: see there.
        output_path: see there.
        options: see there.
    """
    cross_encoder, student = _both(cross_encoder, student)
    known = as_texts(texts, name="texts")[0]
    settings = {"retrievers": list(retrievers), "per_text": per_text, "options": options}
    steps = Steps(output_path, texts=known, cross_encoder=cross_encoder, student=student, **settings)
    silver = _silver(steps, cross_encoder, known, retrievers, per_text, set())
    return steps.fit(student, _table(silver), CosineSimilarityLoss, **options)


def augment_domain(
    source: Any,
    texts: Any,
    cross_encoder: Any,
    student: Any,
    *,
    retrievers: Sequence[Any] = ("bm25",),
    per_text: int = 3,
    output_path: str | Path | None = None,
    cross_options: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Carry labels of one domain over to another, of which there are only texts.

    Choose it when the labelled pairs are about other things than your texts: the cross-encoder is trained on the one
    and labels pairs of the other, and the student sees only these. The paper's domain adaptation.

    Args:
        source: labelled pairs of the other domain: two texts and a score from 0 to 1.
        texts: texts of the domain to learn.
        cross_encoder: see ``augment_gold``, as what is returned and the errors.
        student: see there.
        retrievers: see there.
        per_text: see there.
        output_path: see there.
        cross_options: see there.
        options: see there.
    """
    cross_encoder, student = _both(cross_encoder, student)
    rows, known = _gold_rows(source), as_texts(texts, name="texts")[0]
    settings = {"retrievers": list(retrievers), "per_text": per_text, "options": [cross_options, options]}
    steps = Steps(output_path, source=rows, texts=known, cross_encoder=cross_encoder, student=student, **settings)
    teacher = _teacher(steps, cross_encoder, rows, cross_options)
    silver = _silver(steps, teacher, known, retrievers, per_text, set())
    return steps.fit(student, _table(silver), CosineSimilarityLoss, **options)


def sample_pairs(
    texts: Any, *, retrievers: Sequence[Any] = ("bm25",), per_text: int = 3, known: set[_Pair] | None = None
) -> list[_Pair]:
    """Return different pairs of different texts that retrievers find alike, those of ``known`` left out.

    Drawn at random, nearly all pairs would have nothing in common, and a model would learn nothing from them.
    """
    rows = list(dict.fromkeys(text for text in as_texts(texts, name="texts")[0] if text.strip()))
    if len(rows) < 2 or per_text < 1:
        raise ColumnsError(
            f"There are {len(rows)} different texts and per_text is {per_text}; expected 2 and 1 or more."
        )
    seen, pairs = set(known or ()), []
    for text, found in zip(rows, find_candidates(rows, rows, retrievers, per_text + 1), strict=True):
        others = [rows[row] for row in found if rows[row] != text]
        for other in others[: per_text * len(retrievers)]:
            if (key := _key(text, other)) not in seen:
                seen.add(key)
                pairs.append((text, other))
    return pairs


def _key(first: str, second: str) -> _Pair:
    return (first, second) if first < second else (second, first)


def _both(cross_encoder: Any, student: Any) -> tuple[Any, Any]:
    return (
        as_model("cross_encoder", cross_encoder, "predict", CrossEncoder),
        as_model("student", student, "encode", SentenceTransformer),
    )


def _teacher(steps: Steps, cross_encoder: Any, rows: list[_Scored], options: dict[str, Any] | None) -> Any:
    """The cross-encoder, trained on labelled pairs."""
    return steps.fit(cross_encoder, _table(rows), BinaryCrossEntropyLoss, "cross-encoder", **options or {})


def _silver(
    steps: Steps, teacher: Any, texts: list[str], retrievers: Sequence[Any], per_text: int, known: set[_Pair]
) -> list[_Scored]:
    """Pairs of the texts, and the teacher's scores."""
    pairs = sample_pairs(texts, retrievers=retrievers, per_text=per_text, known=known)
    if not pairs:
        raise ValueError("The retrievers find no pair that is not labelled already: raise per_text, or add 'bm25'.")

    def score(part: list[_Pair]) -> list[dict[str, Any]]:
        scores = score_pairs(teacher, part).tolist()
        return [{"pair": pair, "score": score} for pair, score in zip(part, scores, strict=True)]

    return [(*row["pair"], row["score"]) for row in steps.rows("silver", pairs, score)]


def _gold_rows(gold: Any) -> list[_Scored]:
    table = as_dataset(gold)
    texts = text_columns(table.column_names)[:2]
    label = next((name for name in table.column_names if name in VALID_LABEL_COLUMNS), None)
    if len(texts) < 2 or label is None or not len(table):
        names = ", ".join(table.column_names)
        raise ColumnsError(f"The pairs have {len(table)} rows of ({names}); expected two texts and a column 'score'.")
    rows = list(zip(table[texts[0]], table[texts[1]], table[label], strict=True))
    for number, (*both, score) in enumerate(rows):
        if not all(isinstance(text, str) and text.strip() for text in both):
            raise ColumnsError(f"Row {number} has no text in {texts[0]!r} or {texts[1]!r}. Drop such rows.")
        if not isinstance(score, (int, float)) or not 0 <= score <= 1:
            raise ColumnsError(f"Row {number} has the score {score!r}; expected 0 to 1. Divide by the highest score.")
    return [(first, second, float(score)) for first, second, score in rows]


def _table(rows: Sequence[_Scored]) -> Any:
    return as_dataset(dict(zip(("sentence1", "sentence2", "label"), map(list, zip(*rows, strict=True)), strict=True)))
