"""The check of a data set's columns against what a loss takes, before the first step; and which losses would fit."""

import importlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workbench.errors import ColumnsError
from workbench.losses.base import LABELS, Inputs

__all__ = ["VALID_LABEL_COLUMNS", "Suggestion", "check_columns", "loss_table", "suggest_losses", "text_columns"]

VALID_LABEL_COLUMNS = ("label", "labels", "score", "scores")
"""What a column of labels may be called; every other column holds texts."""

_BLOCK = 50_000  # rows looked at together
_HEAD = 100  # rows that are looked at to know what columns hold; of a stream, all that are looked at
_NOT_TEXTS = ("dataset_name",)

_ROLES = {  # names whose place is beyond doubt
    **dict.fromkeys(["anchor", "query", "question", "premise"], 0),
    **dict.fromkeys(["positive", "answer", "passage", "hypothesis", "entailment"], 1),
    **dict.fromkeys(["negative", "contradiction", "negative_1"], 2),
}

_PAIR, _MODEL = "workbench.losses.cross_encoder", "workbench.losses"

_REASONS: dict[str, dict[str, str]] = {  # by kind of model, the best first; what speaks for a loss that fits
    "sentence": {
        "MultipleNegativesRankingLoss": "pairs without labels: every other positive in the batch is a negative",
        "CachedMultipleNegativesRankingLoss": "the same with batches of thousands, in the memory of a small one",
        "GISTEmbedLoss": "the same, with a guide model that drops false negatives",
        "CoSENTLoss": "scored pairs: asks for the right order of the scores, whatever their scale",
        "AnglELoss": "scored pairs: as CoSENTLoss, with a gradient that does not fade near ±1",
        "CosineSimilarityLoss": "scored pairs: the cosine becomes the score itself, which should be from 0 to 1",
        "OnlineContrastiveLoss": "pairs that are alike or not: learns from the hard ones of each batch",
        "ContrastiveLoss": "pairs that are alike or not: learns from every pair",
        "BatchAllTripletLoss": "texts with classes: all triplets of a batch; use the sampler group_by_label",
        "BatchHardTripletLoss": "texts with classes: the hardest triplets of a batch; use the sampler group_by_label",
        "SoftmaxLoss": "pairs with classes, as in NLI: a classifier on both vectors",
        "TripletLoss": "triplets: the negative must be farther than the positive",
        "MarginMSELoss": "a teacher's scores: copies its margins between positive and negatives",
        "DistillKLDivLoss": "a teacher's scores: copies how it shares out its preference",
        "MSELoss": "a teacher's vectors: copies them",
        "ContrastiveTensionLossInBatchNegatives": "single texts: two copies of the model must agree on each",
    },
    "pair": {
        "BinaryCrossEntropyLoss": "pairs that match or not, or match by a share from 0 to 1",
        "CrossEntropyLoss": "pairs with classes",
        "MultipleNegativesRankingLoss": "pairs without labels: other texts of the batch are negatives",
        "LambdaLoss": "a query with a list of documents and their grades: learns the order that counts most",
        "ListNetLoss": "a query with a list of documents and their grades: learns their distribution",
        "MSELoss": "a teacher's scores of pairs: copies them",
        "MarginMSELoss": "a teacher's scores: copies its margins",
    },
}


@dataclass(frozen=True)
class Suggestion:
    """A loss that fits a data set."""

    loss: str
    reason: str
    label: str  # what the label column must hold, in words


@dataclass(frozen=True)
class _Columns:
    """What a data set holds."""

    texts: list[str]
    label: str | None = None
    kinds: set[str] = field(default_factory=set)  # what the labels can be: keys of LABELS
    problem: str = ""  # why the labels can be nothing
    constant: bool = False  # whether all labels are the same

    def __str__(self) -> str:
        labels = f" and the label {self.label!r}" if self.label else " and no label"
        return f"texts {', '.join(map(repr, self.texts)) or 'none'}{labels}"


def check_columns(dataset: Any, loss: Any, *, name: str = "train_dataset") -> None:
    """See that a data set gives what a loss takes, row by row; a stream is checked on its first rows only.

    Args:
        dataset: a ``datasets.Dataset`` or a stream of rows.
        loss: a loss of ``workbench.losses``; one that declares no inputs is not checked.
        name: what errors call the data set.

    Raises:
        ColumnsError: columns or labels do not fit, in a wrong order, or a row without text; says what would fit.
    """
    inputs: Sequence[Inputs] = getattr(loss, "inputs", ())
    if not inputs:
        return
    if hasattr(dataset, "__len__") and not len(dataset):
        raise ColumnsError(f"{name} is empty: it has no rows to train on.")
    columns = _described(dataset, name)
    called = type(loss).__name__
    if not any(_fits(columns, one) for one in inputs):
        wanted = " or ".join(str(one) for one in inputs)
        fitting = [one.loss for one in suggest_losses(dataset, _kind(loss))]
        advice = " ".join(filter(None, [columns.problem, _advice(columns, inputs)]))
        others = f" Losses that take these columns: {', '.join(fitting[:5])}." if fitting else ""
        raise ColumnsError(f"{name} has {columns}; {called} needs {wanted}. {advice}{others}")
    if swapped := _in_order(columns, inputs):
        line = f"dataset = dataset.select_columns({[*swapped, *filter(None, [columns.label])]})"
        raise ColumnsError(
            f"{name} has {columns}, in an order that {called} would read wrongly: it takes {inputs[0]}, by place and "
            f"not by name. Reorder them: {line}"
        )
    if columns.constant and inputs[0].label == "class":
        raise ColumnsError(f"{name}: all rows have one label in {columns.label!r}; {called} needs two or more classes.")
    _check_rows(dataset, columns.texts, name)


def text_columns(names: Iterable[str], labels: Sequence[str] = VALID_LABEL_COLUMNS) -> list[str]:
    """Return the names of the columns that hold texts, in order: all but labels and what the trainer adds."""
    return [
        name for name in names if name not in labels and name not in _NOT_TEXTS and not name.endswith("_prompt_length")
    ]


def suggest_losses(dataset: Any, model_kind: str = "sentence") -> list[Suggestion]:
    """Return the losses that fit a data set's columns, the most advisable first.

    Args:
        dataset: a ``datasets.Dataset`` or a stream of rows.
        model_kind: "sentence" for a ``SentenceTransformer``, "pair" for a ``CrossEncoder``.
    """
    columns = _described(dataset, "dataset")
    module = importlib.import_module(_MODEL if model_kind == "sentence" else _PAIR)
    found = []
    for name, reason in _REASONS[model_kind].items():
        inputs = [one for one in getattr(module, name).inputs if _fits(columns, one)] if hasattr(module, name) else []
        if inputs:
            found.append(Suggestion(name, reason, LABELS[inputs[0].label]))
    return found


def loss_table(names: Sequence[str] | None = None) -> str:
    """Return a Markdown table of losses, the columns and the labels that each takes."""
    module = importlib.import_module(_MODEL)
    rows = ["| loss | text columns | label |", "|---|---|---|"]
    for name in names or module.__all__:
        inputs = getattr(getattr(module, name), "inputs", ())
        for one in inputs if isinstance(inputs, tuple) else ():  # a modifier's are those of the loss inside
            texts = ", ".join([*one.columns, *([f"{one.more} …"] if one.more else [])])
            rows.append(f"| `{name}` | {texts} | {LABELS[one.label]} |")
    return "\n".join(rows)


def _kind(loss: Any) -> str:
    return "pair" if type(loss).__module__.startswith((_PAIR, "workbench.losses.listwise")) else "sentence"


def _described(dataset: Any, name: str) -> _Columns:
    """Texts and labels of a data set, by its columns and a sample of its rows."""
    head = list(itertools.islice(iter(dataset), _HEAD))
    if not head:
        raise ColumnsError(f"{name} is empty: it has no rows to train on.")
    names = [column for column in head[0] if column not in _NOT_TEXTS]
    labels = [column for column in names if column in VALID_LABEL_COLUMNS]
    texts = [column for column in names if column not in VALID_LABEL_COLUMNS]
    if len(labels) > 1:
        raise ColumnsError(f"{name} has the label columns {', '.join(map(repr, labels))}; keep one, remove the others.")
    for column in texts:
        if not isinstance(value := head[0][column], (str, list, tuple, type(None))):
            raise ColumnsError(
                f"{name}: column {column!r} holds {type(value).__name__}, no text. If these are the labels: dataset = "
                f"dataset.rename_column({column!r}, 'label'); else dataset = dataset.remove_columns({column!r})"
            )
    if not labels:
        return _Columns(texts)
    values = [row[labels[0]] for row in head]
    if hasattr(dataset, "__len__") and not np.ndim(values[0]):  # sorted by label, a sample would show one class only
        values = list(dataset[labels[0]])
    kinds, problem = _label_kinds(values, len(texts))
    return _Columns(texts, labels[0], kinds, problem and f"{labels[0]!r} {problem}", len({str(v) for v in values}) == 1)


def _label_kinds(values: list[Any], texts: int) -> tuple[set[str], str]:
    """What labels can be, and why they can be nothing."""
    if missing := [row for row, value in enumerate(values) if value is None]:
        return set(), f"has no value in row {missing[0]}: drop such rows."
    if isinstance(values[0], str):
        return set(), "holds strings: number the classes, as with dataset.class_encode_column."
    if np.ndim(values[0]):
        width = {len(value) for value in values}
        kinds = {"embedding"} if len(width) == 1 else set[str]()
        kinds |= {"scores"} if width == {texts - 1} else set()
        return kinds | ({"margin"} if width == {texts - 2} else set()), ""
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "biuf":
        return set(), f"holds {type(values[0]).__name__}, no numbers."
    if not np.isfinite(numbers).all():
        return set(), f"is not a number in row {int(np.flatnonzero(~np.isfinite(numbers))[0])}: drop such rows."
    kinds = {"score", "margin"}
    if numbers.dtype.kind == "f":
        whole = bool((numbers == numbers.round()).all())
        return kinds, "holds whole numbers stored as floats: cast them to int for classes." if whole else ""
    kinds |= {"class"} if numbers.min() >= 0 else set()
    return kinds | ({"binary"} if set(np.unique(numbers).tolist()) <= {0, 1} else set()), ""


def _fits(columns: _Columns, inputs: Inputs) -> bool:
    count = len(columns.texts)
    enough = count == len(inputs.columns) or (inputs.more is not None and count > len(inputs.columns))
    if inputs.label == "none":  # a column of one and the same label says nothing that would be lost
        return enough and (columns.label is None or columns.constant)
    return enough and inputs.label in columns.kinds


def _advice(columns: _Columns, inputs: Sequence[Inputs]) -> str:
    """What would make the columns fit, as a line of code."""
    for one in inputs:
        spare = len(columns.texts) - len(one.columns)
        if columns.label and one.label == "none" and spare >= 0:
            return f"Its labels would be ignored: dataset = dataset.remove_columns({columns.label!r})"
        if spare > 0 and one.more is None and (one.label == "none" or one.label in columns.kinds):
            kept = [*columns.texts[: len(one.columns)], *filter(None, [columns.label])]
            return f"Keep the columns that it takes: dataset = dataset.select_columns({kept})"
        if columns.label is None and one.label != "none" and spare == 1:
            last = columns.texts[-1]
            return f"If {last!r} holds the labels: dataset = dataset.rename_columns({{{last!r}: 'label'}})"
        if columns.label is None and one.label != "none":
            return f"Add a column 'label': {LABELS[one.label]}."
    return ""


def _in_order(columns: _Columns, inputs: Sequence[Inputs]) -> list[str]:
    """The text columns as they should stand, when their names leave no doubt that they stand wrong; else nothing."""
    roles = [_ROLES.get(name.lower()) for name in columns.texts]
    ordered = any(one.columns[0] in ("anchor", "query") for one in inputs)
    known = [role for role in roles if role is not None]
    if not ordered or None in roles or len(set(known)) < len(known) or known == sorted(known):
        return []
    return [name for _, name in sorted(zip(known, columns.texts, strict=True))]


def _check_rows(dataset: Any, texts: Sequence[str], name: str) -> None:
    """Name the first row that has no text in one of its columns."""
    for start, block in _blocks(dataset, texts):
        for column, values in block.items():
            if not isinstance(values[0], str | None):
                continue
            bad = next((row for row, value in enumerate(values) if not (value and value.strip())), None)
            if bad is not None:
                what = "no text (None)" if values[bad] is None else "an empty text"
                raise ColumnsError(
                    f"{name}: row {start + bad} has {what} in column {column!r}. Drop such rows: "
                    f"dataset = dataset.filter(lambda row: row[{column!r}] and row[{column!r}].strip())"
                )


def _blocks(dataset: Any, texts: Sequence[str]) -> Iterator[tuple[int, dict[str, list[Any]]]]:
    if not hasattr(dataset, "__len__"):
        rows = list(itertools.islice(iter(dataset), _HEAD))
        yield 0, {column: [row[column] for row in rows] for column in texts}
        return
    chosen = dataset.select_columns(list(texts)) if hasattr(dataset, "select_columns") else dataset
    for start in range(0, len(dataset), _BLOCK):
        block = chosen[start : start + _BLOCK]
        yield start, {column: list(block[column]) for column in texts}
