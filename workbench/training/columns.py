"""The check of a data set's columns against what a loss takes, before the first step; and which losses would fit."""

import importlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import ColumnsError, choose
from workbench.losses.base import LABELS, Inputs
from workbench.training.rows import blocks, first_without_text, head, is_number, label_facts

__all__ = [
    "ROLES", "VALID_LABEL_COLUMNS", "Suggestion", "check_columns", "check_size", "loss_table", "suggest_losses",
    "text_columns",
]  # fmt: skip

VALID_LABEL_COLUMNS = ("label", "labels", "score", "scores")
"""What a column of labels may be called; every other column holds texts."""

_NOT_TEXTS = ("dataset_name",)

_IDS = {"id", "idx", "index", "guid"}  # numbers of such a name are no labels

ROLES = {
    **dict.fromkeys(["anchor", "query", "question", "premise"], 0),
    **dict.fromkeys(["positive", "answer", "passage", "hypothesis", "entailment"], 1),
    **dict.fromkeys(["negative", "contradiction"], 2),
}
"""Names of text columns whose place is beyond doubt; a number behind them does not count."""

_HOMES = {"sentence": ["workbench.losses"], "pair": ["workbench.losses.cross_encoder", "workbench.losses.listwise"]}

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
    code: str = ""  # the line that first makes the data set fit, where it does not as it is


@dataclass(frozen=True)
class _Columns:
    """What a data set holds, after the line ``fix`` has been run."""

    texts: list[str]
    label: str | None = None
    kinds: frozenset[str] = frozenset()  # what the labels can be: keys of LABELS
    problem: str = ""  # why the labels can be nothing, or why there is something to fix
    fix: str = ""
    constant: bool = False  # whether all labels are the same
    top: int = 0  # the highest class
    width: int = 0  # of lists of labels
    lists: tuple[str, ...] = ()  # columns that hold lists of texts

    def __str__(self) -> str:
        labels = f" and the label {self.label!r}" if self.label else " and no label"
        return f"texts {', '.join(map(repr, self.texts)) or 'none'}{labels}"


def check_columns(dataset: Any, loss: Any, *, name: str = "train_dataset", batch_size: int | None = None) -> None:
    """See that a data set gives what a loss takes, row by row; a stream is checked on its first rows only.

    Args:
        dataset: a ``datasets.Dataset``, a list of dicts, a stream of rows, or a dict of them.
        loss: a loss of ``workbench.losses``, or a dict of them by data set; one without ``inputs`` is not checked.
        name: what errors call the data set.
        batch_size: rows in a batch, where batches that are not full are left out.

    Raises:
        ColumnsError: columns or labels do not fit, in a wrong order, or a row without text; says what would fit.
        ChoiceError: a data set for which there is no loss.
    """
    if isinstance(dataset, Mapping):
        for part, rows in dataset.items():
            own = choose("data set of a loss", part, loss) if isinstance(loss, Mapping) else loss
            check_columns(rows, own, name=f"{name}[{part!r}]", batch_size=batch_size)
        return
    if hasattr(dataset, "__len__") and len(dataset):
        check_size(dataset, batch_size or 0, name)
    inputs: Sequence[Inputs] = getattr(loss, "inputs", ())
    if not inputs:
        return
    columns = _described(dataset, name)
    called = type(loss).__name__
    fitting = [one for one in inputs if _fits(columns, one)]
    if columns.fix or not fitting:
        wanted = " or ".join(str(one) for one in inputs)
        advice = [columns.problem, columns.fix, "" if fitting else _advice(columns, inputs)]
        others = [one.loss for one in suggest_losses(dataset, _kind(loss))]
        advice += [f"Losses that take these columns: {', '.join(others[:5])}."] if others else []
        raise ColumnsError(f"{name} has {columns}; {called} needs {wanted}. {' '.join(filter(None, advice))}")
    if line := _reordered(columns, inputs):
        raise ColumnsError(
            f"{name} has {columns}, in an order that {called} would read wrongly: it takes {inputs[0]}, by place and "
            f"not by name. Reorder them: {line}"
        )
    _check_labels(columns, loss, fitting[0], name)
    _check_rows(dataset, columns.texts, name)


def check_size(dataset: Any, batch_size: int, name: str) -> None:
    """Raise ``ColumnsError`` for fewer rows than a batch takes, where batches that are not full are left out."""
    if len(dataset) < batch_size:
        raise ColumnsError(
            f"{name} has {len(dataset)} rows, and a batch takes {batch_size}: no batch would be full, and those that "
            "are not are left out. Take smaller batches, or dataloader_drop_last=False."
        )


def text_columns(names: Iterable[str], labels: Sequence[str] = VALID_LABEL_COLUMNS) -> list[str]:
    """Return the names of the columns that hold texts, in order: all but labels and what the trainer adds."""
    return [
        name for name in names if name not in labels and name not in _NOT_TEXTS and not name.endswith("_prompt_length")
    ]


def suggest_losses(dataset: Any, model_kind: str = "sentence") -> list[Suggestion]:
    """Return the losses that fit a data set's columns, the most advisable first.

    Args:
        dataset: a ``datasets.Dataset``, a list of dicts, or a stream of rows.
        model_kind: "sentence" for a ``SentenceTransformer``, "pair" for a ``CrossEncoder``.
    """
    reasons = choose("kind of model", model_kind, _REASONS)
    columns = _described(dataset, "dataset")
    modules = [importlib.import_module(home) for home in _HOMES[model_kind]]
    found = []
    for name, reason in reasons.items():
        every = next((getattr(module, name).inputs for module in modules if hasattr(module, name)), ())
        if inputs := [one for one in every if _fits(columns, one)]:
            code = columns.fix or _reordered(columns, inputs)
            found.append(Suggestion(name, reason, LABELS[inputs[0].label], code))
    return found


def loss_table(names: Sequence[str] | None = None) -> str:
    """Return a Markdown table of losses, the columns and the labels that each takes."""
    module = importlib.import_module(*_HOMES["sentence"])
    rows = ["| loss | text columns | label |", "|---|---|---|"]
    for name in names or module.__all__:
        inputs = getattr(getattr(module, name), "inputs", ())
        for one in inputs if isinstance(inputs, tuple) else ():  # a modifier's are those of the loss inside
            texts = ", ".join([*one.columns, *([f"{one.more} …"] if one.more else [])])
            rows.append(f"| `{name}` | {texts} | {LABELS[one.label]} |")
    return "\n".join(rows)


def _kind(loss: Any) -> str:
    return "pair" if type(loss).__module__ in _HOMES["pair"] else "sentence"


def _described(dataset: Any, name: str) -> _Columns:
    """Texts and labels of a data set, by its columns and its labels."""
    rows = head(dataset)
    if not rows:
        raise ColumnsError(f"{name} is empty: it has no rows to train on.")
    if not isinstance(first := rows[0], Mapping):
        raise ColumnsError(f"{name}: a row is {type(first).__name__}; it must be a dict of columns. See as_dataset.")
    labels = [column for column in first if column in VALID_LABEL_COLUMNS]
    if len(labels) > 1:
        raise ColumnsError(f"{name} has the label columns {', '.join(map(repr, labels))}; keep one, remove the others.")
    texts = text_columns(first)
    numbers = [column for column in texts if is_number(first[column])]
    texts = [column for column in texts if column not in numbers]
    problem = fix = ""
    if len(numbers) == 1 and not labels and numbers[0].lower() not in _IDS:
        labels, fix = numbers, f"dataset = dataset.rename_column({numbers[0]!r}, 'label')"
        problem = f"Column {numbers[0]!r} holds no text. If these are the labels, name it so:"
    elif numbers:
        fix = f"dataset = dataset.remove_columns({numbers})"
        problem = f"Columns {', '.join(map(repr, numbers))} hold no text; remove them:"
    lists = tuple(column for column in texts if isinstance(first[column], (list, tuple)))
    facts: dict[str, Any] = {"problem": problem, "fix": fix, "lists": lists}
    if not labels:
        return _Columns(texts, **facts)
    return _Columns(texts, labels[0], **facts | label_facts(dataset, labels[0], texts, lists))


def _fits(columns: _Columns, inputs: Inputs) -> bool:
    count = len(columns.texts)
    enough = count == len(inputs.columns) or (inputs.more is not None and count > len(inputs.columns))
    if columns.lists and inputs.label != "grades":
        return False
    if inputs.label == "none":  # a column of one and the same label says nothing that would be lost
        return enough and (columns.label is None or columns.constant)
    return enough and inputs.label in columns.kinds


def _advice(columns: _Columns, inputs: Sequence[Inputs]) -> str:
    """What would make the columns fit, as a line of code where one does."""
    count = len(columns.texts)
    if columns.lists and all(one.label != "grades" for one in inputs):
        return f"Column {columns.lists[0]!r} holds lists; write each text into a column or a row of its own."
    for one in inputs:
        spare = count - len(one.columns)
        if spare < 0:
            return f"It lacks {', '.join(one.columns[count:])}."
        if columns.label and one.label == "none":
            return f"Its labels would be ignored: dataset = dataset.remove_columns({columns.label!r})"
        if columns.label is None and one.label != "none" and spare == 1:
            last = columns.texts[-1]
            return f"If {last!r} holds the labels: dataset = dataset.rename_columns({{{last!r}: 'label'}})"
        if columns.label is None and one.label != "none":
            return f"Add a column 'label': {LABELS[one.label]}."
        if spare and one.more is None and (one.label == "none" or one.label in columns.kinds):
            kept = [*columns.texts[: len(one.columns)], *filter(None, [columns.label])]
            return f"Keep the columns that it takes: dataset = dataset.select_columns({kept})"
    return f"{columns.label!r} must hold {' or '.join(LABELS[one.label] for one in inputs)}."


def _reordered(columns: _Columns, inputs: Sequence[Inputs]) -> str:
    """The line that puts the columns right, when their names leave no doubt that they stand wrong; else nothing."""
    roles = [ROLES.get(re.sub(r"_?\d+$", "", name.lower())) for name in columns.texts]
    places = [2 if role is None else role for role in roles]
    known = [role for role in roles if role is not None]
    wrong = known != sorted(known) or ({0, 1} <= set(known) and places != sorted(places))
    if not wrong or not any(one.columns[0] in ("anchor", "query") for one in inputs):
        return ""
    ordered = [name for _, name in sorted(zip(places, columns.texts, strict=True), key=lambda pair: pair[0])]
    return f"dataset = dataset.select_columns({[*ordered, *filter(None, [columns.label])]})"


def _check_labels(columns: _Columns, loss: Any, inputs: Inputs, name: str) -> None:
    """See that there are two classes or more, no more than the loss knows, and vectors no longer than the model's."""
    called, model = type(loss).__name__, getattr(loss, "model", None)
    if inputs.label == "class" and columns.constant:
        raise ColumnsError(f"{name}: all rows have one label in {columns.label!r}; {called} needs two or more classes.")
    classes = getattr(loss, "num_labels", None) or getattr(model, "num_labels", None)
    if inputs.label == "class" and classes and columns.top >= classes:
        raise ColumnsError(
            f"{name}: {columns.label!r} holds the class {columns.top}, but {called} was made for {classes}: 0 to "
            f"{classes - 1}. Set num_labels={columns.top + 1}."
        )
    dim = getattr(model, "get_sentence_embedding_dimension", lambda: None)()
    if inputs.label == "embedding" and dim and columns.width > dim:
        raise ColumnsError(
            f"{name}: vectors in {columns.label!r} have {columns.width} dimensions, the model's have {dim}. Reduce the "
            "teacher's (PCA), or give the model a Dense block of that size."
        )


def _check_rows(dataset: Any, texts: Sequence[str], name: str) -> None:
    """Name the first row that has no text in one of its columns."""
    for start, table in blocks(dataset, texts):
        for column in texts:
            if (row := first_without_text(table[column].combine_chunks())) is not None:
                what = "no text (None)" if table[column][row].as_py() is None else "an empty text"
                raise ColumnsError(
                    f"{name}: row {start + row} has {what} in column {column!r}. Drop such rows: "
                    f"dataset = dataset.filter(lambda row: row[{column!r}] and row[{column!r}].strip())"
                )
