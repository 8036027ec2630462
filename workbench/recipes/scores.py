"""Distillation of scores: a student learns how a teacher scores pairs, which are scored once and kept as a column."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from workbench.cross_encoder import CrossEncoder
from workbench.datasets import as_dataset
from workbench.errors import ColumnsError, choose
from workbench.losses import CosineSimilarityLoss, DistillKLDivLoss, MarginMSELoss
from workbench.losses import cross_encoder as pair_losses
from workbench.losses.listwise import ListNetLoss
from workbench.models import Normalize
from workbench.recipes.steps import Steps, as_model
from workbench.sentence_transformer import SentenceTransformer
from workbench.similarity import pairwise_cos_sim, pairwise_dot_score
from workbench.training.columns import text_columns

__all__ = ["SCORE_LOSSES", "as_teacher", "distil_scores", "fit_scores", "score_pairs", "text_rows"]

SCORE_LOSSES = {
    "mse": "the scores themselves; the student must have the teacher's scale",
    "margin_mse": "how much better the positive is than each negative",
    "kl_div": "how the preference is shared out among the texts of a row",
}
"""What of a teacher's scores ``distil_scores`` copies."""

_BI: dict[str, Any] = {"mse": CosineSimilarityLoss, "margin_mse": MarginMSELoss, "kl_div": DistillKLDivLoss}
_CROSS: dict[str, Any] = {"mse": pair_losses.MSELoss, "margin_mse": pair_losses.MarginMSELoss, "kl_div": ListNetLoss}
_TEMPERATURE = 0.05  # of "kl_div" with cosines, which differ by little: without it their softmax is flat


def distil_scores(
    teacher: Any, student: Any, data: Any, *, loss: str = "margin_mse", output_path: str | Path | None = None,
    **options: Any,
) -> Any:  # fmt: skip
    """Have a student score pairs as a teacher does: a fast bi-encoder or a small cross-encoder as an exact one.

    Choose it over training on marked pairs when a good cross-encoder is at hand: its scores say how relevant each text
    is, and forgive negatives that are none. "margin_mse" and "kl_div" need negatives in the rows
    (``mine_hard_negatives`` finds some). Hofstätter et al. 2020, arXiv:2010.02666; "kl_div": Lin et al. 2020,
    arXiv:2010.11386.

    The teacher's scores are computed once, before the training. A cross-encoder, and a student that is compared by dot
    product, learn its logits; a student that is compared by cosine, or gives vectors of length 1, shares from 0 to 1.

    Args:
        teacher: a ``CrossEncoder`` of one label, a model that encodes, or anything with ``predict``, whose scores are
            taken as they are.
        student: a ``SentenceTransformer`` or a ``CrossEncoder``.
        data: a table: a query and one or more texts in each row, in this order; labels are not read.
        loss: a key of ``SCORE_LOSSES``.
        output_path: where the steps and ``model`` are kept, so that a killed run goes on; None: nowhere.
        options: training arguments, see ``Steps.fit``.

    Returns:
        The trained student; the given one stays as it is.

    Raises:
        ChoiceError: an unknown loss; lists the known ones.
        ColumnsError: no rows, or too few columns of texts.
        TypeError: the teacher or the student is missing.
        ValueError: the teacher does not give one finite number for each pair.
    """
    choose("loss", loss, SCORE_LOSSES)
    teacher = as_teacher("teacher", teacher)
    if not isinstance(student, CrossEncoder):
        student = as_model("student", student, "encode", SentenceTransformer)
    rows = text_rows(data, 2 if loss == "mse" else 3)
    steps = Steps(output_path, teacher=teacher, student=student, data=rows, loss=loss, options=options)
    return fit_scores(steps, teacher, student, rows, loss, **options)


def as_teacher(what: str, teacher: Any) -> Any:
    """Return what gives scores: a model that encodes, or one that predicts; a name means a ``CrossEncoder``."""
    return teacher if hasattr(teacher, "encode") else as_model(what, teacher, "predict", CrossEncoder)


def text_rows(data: Any, columns: int) -> list[list[str]]:
    """Return the texts of a table's rows, of ``columns`` columns or more.

    Raises:
        ColumnsError: fewer columns, no rows, or a row without a text.
    """
    table = as_dataset(data)
    names = text_columns(table.column_names)
    if len(names) < columns or not len(table):
        raise ColumnsError(
            f"The data has {len(table)} rows with the texts {names}; expected {columns} columns or more."
        )
    rows = [list(row) for row in zip(*(table[name] for name in names), strict=True)]
    for number, row in enumerate(rows):
        if not all(isinstance(text, str) and text.strip() for text in row):
            raise ColumnsError(f"Row {number} has a column without a text. Drop such rows.")
    return rows


def fit_scores(steps: Steps, teacher: Any, student: Any, rows: list[list[str]], loss: str, **options: Any) -> Any:
    """Score the rows (query, text, …) in one step and train on them in another; see ``distil_scores``."""
    pair = isinstance(student, CrossEncoder)
    unit = not pair and (
        str(student.similarity_fn_name) != "dot" or any(isinstance(block, Normalize) for block in student)
    )
    make = choose("loss", loss, _CROSS if pair else _BI)
    if not pair and loss != "mse":
        make = partial(make, similarity_fct=pairwise_cos_sim if unit else pairwise_dot_score)
        make = partial(make, temperature=_TEMPERATURE) if unit and loss == "kl_div" else make
    shares = unit or (not pair and loss == "mse")
    scored = steps.rows("scores", rows, lambda part: _scored(teacher, part, shares))
    scores = [row["scores"] for row in scored]
    table: dict[str, Any]
    if loss == "mse":
        flat = [score for own in scores for score in own]
        pairs = [(query, text) for query, *texts in rows for text in texts]
        sides = map(list, zip(*pairs, strict=True))
        table = {**dict(zip(("sentence1", "sentence2"), sides, strict=True)), "label": flat}
    elif pair and loss == "kl_div":
        table = {"query": [row[0] for row in rows], "documents": [row[1:] for row in rows], "labels": scores}
    else:
        names = ["query", "positive", *(f"negative_{number}" for number in range(1, len(rows[0]) - 1))]
        table = {**dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)), "label": scores}
    return steps.fit(student, as_dataset(table), make, **options)


def _scored(teacher: Any, rows: list[list[str]], shares: bool) -> list[dict[str, Any]]:
    """For each row the scores of its texts with its query."""
    flat = iter(score_pairs(teacher, [(query, text) for query, *texts in rows for text in texts], shares).tolist())
    return [{"scores": [next(flat) for _ in row[1:]]} for row in rows]


def score_pairs(teacher: Any, pairs: list[tuple[str, str]], shares: bool = True) -> npt.NDArray[np.float32]:
    """Return a teacher's scores of pairs, each different pair scored once: (pairs,).

    Args:
        teacher: see ``distil_scores``.
        pairs: the pairs.
        shares: put the logits of a ``CrossEncoder`` through a sigmoid; else they are taken as they are.

    Raises:
        ValueError: the teacher does not give one finite number for each pair.
    """
    places = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
    if isinstance(teacher, CrossEncoder):
        found = teacher.predict(list(places), activation_fn=nn.Sigmoid() if shares else nn.Identity())
    elif hasattr(teacher, "predict"):
        found = teacher.predict(list(places))
    else:
        texts = {text: place for place, text in enumerate(dict.fromkeys(text for pair in places for text in pair))}
        vectors = torch.as_tensor(teacher.encode(list(texts)))
        sides = [vectors[[texts[text] for text in side]] for side in zip(*places, strict=True)]
        found = getattr(teacher, "similarity_pairwise", pairwise_cos_sim)(*sides).cpu().numpy()
    scores = np.asarray(found, np.float32)
    if scores.shape != (len(places),) or not np.isfinite(scores).all():
        raise ValueError(
            f"The teacher gave scores of shape {scores.shape} for {len(places)} pairs, "
            f"{int(np.count_nonzero(~np.isfinite(scores)))} of them not finite; it must give one number for each pair."
        )
    return scores[[places[pair] for pair in pairs]]
