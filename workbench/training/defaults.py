"""What to begin with, given a table and a model: columns, rows to hold out, what to measure, a learning rate."""

from collections.abc import Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.datasets import as_dataset
from workbench.errors import ColumnsError, choose
from workbench.evaluation import BinaryClassificationEvaluator, EmbeddingSimilarityEvaluator
from workbench.evaluation import InformationRetrievalEvaluator as Retrieval
from workbench.models import StaticEmbedding
from workbench.training.columns import ROLES, VALID_LABEL_COLUMNS, text_columns

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["hold_out", "pick_columns", "suggest_columns", "suggest_evaluator", "usual_learning_rate"]

_CORPUS = 5000  # texts that a held-out text is searched for in, at most


def suggest_columns(frame: "pd.DataFrame") -> tuple[list[str], str]:
    """Return the columns of a table that a loss may take: those of texts, in order, and that of labels ("": none).

    Known names decide first (question, answer; anchor, positive, negative; label, score). Of the other columns of text
    those with a few values that come again and again are classes, and those without any space are names or numbers.
    """
    strings = [name for name in frame.columns if any(isinstance(value, str) for value in frame[name].head(100))]
    values = {name: frame[name].dropna().astype(str) for name in strings}
    classes = [name for name in strings if len(frame) >= 8 and values[name].nunique() <= len(frame) / 4]
    names = [name for name in strings if not values[name].str.contains(" ").any()]
    texts = [name for name in strings if name not in {*classes, *names, *VALID_LABEL_COLUMNS}] or strings[:1]
    known = sorted((name for name in strings if name.lower() in ROLES), key=lambda name: ROLES[name.lower()])
    texts = known[:3] if len(known) > 1 else texts[:2]
    label = next((name for name in VALID_LABEL_COLUMNS if name in frame.columns), "")
    if not label and len(texts) == 1:  # a single text is of use with its class only
        others = [*classes, *(name for name in frame.columns if frame[name].dtype.kind in "iu")]
        label = next((name for name in others if name not in texts), "")
    return texts, label


def pick_columns(frame: "pd.DataFrame", texts: Sequence[str], label: str = "") -> Any:
    """Return columns of a table as a data set for a loss: texts in order, then "label", classes as numbers from 0.

    Rows without a text or without a label are left out.

    Raises:
        ChoiceError: an unknown column; lists the known ones.
        ColumnsError: no column, one column twice, or no row is left.
    """
    for name in filter(None, [*texts, label]):
        choose("column", name, dict.fromkeys(map(str, frame.columns)))
    if not texts or len({*texts, label}) <= len(texts):
        raise ColumnsError(f"The columns are {[*texts, label]}; take one or more, each once.")
    kept = frame[[*texts, *filter(None, [label])]].dropna()
    kept = kept[kept[list(texts)].apply(lambda column: column.astype(str).str.strip() != "").all(axis=1)]
    if kept.empty:
        raise ColumnsError(f"No row has a value in each of the columns {list(kept.columns)}.")
    kept = kept.astype(dict.fromkeys(texts, str)).rename(columns={label: "label"})
    if label and kept["label"].dtype.kind not in "iuf":
        kept["label"] = kept["label"].astype(str).astype("category").cat.codes.astype(int)
    return as_dataset(kept)


def usual_learning_rate(model: Any) -> float:
    """Return a learning rate to begin with: 2e-5 for a transformer; for static vectors an 80th of a weight's size.

    Adam moves a weight by about the learning rate in a step, so static tables of larger numbers need larger ones.
    """
    for block in model.modules():
        if isinstance(block, StaticEmbedding):
            size = float(block.embedding.weight.detach().float().pow(2).mean().sqrt())
            return float(f"{size / 80:.0e}") or 1e-2
    return 2e-5


def hold_out(dataset: Any, share: float = 0.2, *, seed: int = 0, most: int = 1000) -> tuple[Any, Any]:
    """Split a ``datasets.Dataset`` into rows to train on and rows to measure with; the order stays.

    Rows with the same first text stay together, so that no anchor that is measured with has been trained on.

    Args:
        dataset: the data set.
        share: how much of it to hold out, between 0 and 1.
        seed: which rows.
        most: rows to hold out at most.

    Raises:
        ValueError: ``share`` is not between 0 and 1.
        ColumnsError: fewer than two different first texts.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; it must be between 0 and 1.")
    names = text_columns(dataset.column_names)
    firsts = dict[str, int]()
    groups = np.array([firsts.setdefault(text, len(firsts)) for text in (dataset[names[0]] if names else [])])
    if len(firsts) < 2:
        raise ColumnsError(f"A split needs two different texts or more in the first column; it holds {len(firsts)}.")
    held = min(max(1, round(share * len(firsts))), len(firsts) - 1, most)
    chosen = np.random.default_rng(seed).permutation(len(firsts))[:held]
    out = np.isin(groups, chosen)
    return dataset.select(np.flatnonzero(~out)), dataset.select(np.flatnonzero(out)[:most])


def suggest_evaluator(dataset: Any, others: Any = None, *, name: str = "") -> Any:
    """Return what measures how well a model does on rows that it was not trained on.

    Pairs and triplets: how well the first text finds the second, among all others; texts with classes: how well a text
    finds ``others`` of its class (``InformationRetrievalEvaluator``). Pairs that are alike or not: how well the
    similarity tells them apart (``BinaryClassificationEvaluator``). Pairs with scores: whether the similarity orders
    them as the scores do (``EmbeddingSimilarityEvaluator``).

    Args:
        dataset: the rows to measure with.
        others: the rows that are trained on: what the right text is to be found among.
        name: what its metrics are called.

    Raises:
        ColumnsError: single texts without labels, with which nothing can be measured.
    """
    texts = text_columns(dataset.column_names)
    label = next((column for column in VALID_LABEL_COLUMNS if column in dataset.column_names), None)
    labels = list(dataset[label]) if label else []
    if len(texts) == 1 and label and others is not None:
        return _same_class(dataset[texts[0]], labels, others[texts[0]], others[label], name)
    if len(texts) < 2:
        raise ColumnsError(
            "Single texts without classes give nothing to measure. Take pairs, or add a column 'label' with classes."
        )
    if len(texts) == 2 and len(set(labels)) > 1:
        binary = set(labels) <= {0, 1}
        kind: Any = BinaryClassificationEvaluator if binary else EmbeddingSimilarityEvaluator
        return kind(list(dataset[texts[0]]), list(dataset[texts[1]]), labels, name=name)
    parts = [dataset, *([] if others is None else [others])]  # first the texts to be found, if there are too many
    columns = [part[column] for part in parts for column in texts[1:] if column in part.column_names]
    corpus = {text: text for text in islice(dict.fromkeys(chain.from_iterable(columns)), _CORPUS)}
    relevant: dict[str, set[str]] = {}
    for anchor, positive in zip(dataset[texts[0]], dataset[texts[1]], strict=True):
        relevant.setdefault(anchor, set()).add(positive)
    return Retrieval({anchor: anchor for anchor in relevant}, corpus, relevant, name=name)


def _same_class(texts: Any, labels: list[Any], others: Any, other_labels: Any, name: str) -> Retrieval:
    corpus = dict(enumerate(list(others)[:_CORPUS]))
    members: dict[Any, set[int]] = {}
    for number, label in enumerate(list(other_labels)[:_CORPUS]):
        members.setdefault(label, set()).add(number)
    relevant = {number: members.get(label, set()) for number, label in enumerate(labels)}
    return Retrieval(dict(enumerate(texts)), corpus, relevant, name=name)
