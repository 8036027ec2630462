"""Distillation of vectors: a student learns a teacher's space, in further languages, fewer layers or dimensions."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from workbench.datasets import as_dataset
from workbench.errors import ColumnsError
from workbench.evaluation import MSEEvaluator, SequentialEvaluator, TranslationEvaluator
from workbench.losses import MSELoss
from workbench.models import Dense, Normalize
from workbench.recipes.steps import Steps, as_model
from workbench.sentence_transformer import SentenceTransformer
from workbench.texts import as_texts, slices

__all__ = ["distil_vectors", "extend_languages", "keep_layers", "language_evaluator", "reduce_dimensions"]

_BLOCK = 10_000  # texts that are encoded at a time


def extend_languages(
    teacher: Any,
    student: Any,
    parallel: Any,
    *,
    source: str | None = None,
    languages: Sequence[str] | None = None,
    output_path: str | Path | None = None,
    **options: Any,
) -> Any:
    """Teach a student further languages: a sentence and its translations all move to the teacher's vector of it.

    Choose it to bring a good model of one language to others: a few thousand translated sentences for each are enough
    to begin with, and no labels are needed. Texts in all languages then share one space. The student needs a tokenizer
    that knows the new languages; it may be the teacher itself. Reimers and Gurevych 2020, arXiv:2004.09813.

    Args:
        teacher: a model of the language ``source``.
        student: the model to begin with, of as many dimensions.
        parallel: a table with a column for each language, see ``as_dataset``; cells may be empty.
        source: the column that the teacher reads; None: the first.
        languages: the columns to learn; None: all others.
        output_path: where the steps and ``model`` are kept, so that a killed run goes on; None: nowhere.
        options: training arguments, see ``Steps.fit``.

    Returns:
        The trained student; the given one stays as it is. ``language_evaluator`` tells how good either is.

    Raises:
        ColumnsError: a language without data, or no rows; names it and the columns there are.
        TypeError: the teacher or the student is missing.
        ValueError: the student has fewer dimensions than the teacher.
    """
    teacher, student = _both(teacher, student)
    pairs = _translations(parallel, source, languages)
    steps = Steps(output_path, teacher=teacher, student=student, parallel=pairs, options=options)
    texts = list(dict.fromkeys(text for sources, _ in pairs.values() for text in sources))
    vectors = dict(zip(texts, teacher.encode(texts), strict=True))
    tables = {
        name: as_dataset({"source": sources, "translation": targets, "label": [vectors[text] for text in sources]})
        for name, (sources, targets) in pairs.items()
    }
    return steps.fit(student, tables if len(tables) > 1 else next(iter(tables.values())), MSELoss, **options)


def language_evaluator(
    teacher: Any, parallel: Any, *, source: str | None = None, languages: Sequence[str] | None = None
) -> SequentialEvaluator:
    """Return what tells how well a model knows languages, on rows that it was not trained on.

    For each language: how far its vectors are from the teacher's (``MSEEvaluator``), and how often it finds the
    translation (``TranslationEvaluator``); the one score is the mean accuracy over the languages. Arguments and errors
    are as in ``extend_languages``.
    """
    teacher = as_model("teacher", teacher, "encode", SentenceTransformer)
    pairs = _translations(parallel, source, languages)
    parts: list[Any] = [MSEEvaluator(*pair, teacher, name=name) for name, pair in pairs.items()]
    parts += [TranslationEvaluator(*pair, name=name) for name, pair in pairs.items()]
    return SequentialEvaluator(parts, lambda scores: sum(scores[len(pairs) :]) / len(pairs))


def _translations(
    parallel: Any, source: str | None, languages: Sequence[str] | None
) -> dict[str, tuple[list[str], list[str]]]:
    """For each language the sources that have a translation, and the translations; named "en-de"."""
    table = as_dataset(parallel)
    known = list(table.column_names)
    source = source or known[0]
    wanted = [name for name in known if name != source] if languages is None else list(languages)
    found = {}
    for name in [source, *wanted]:
        if name not in known:
            raise ColumnsError(f"There is no column {name!r} of sentences; the columns are: {', '.join(known)}.")
    for name in wanted:
        both = [
            (first, second)
            for first, second in zip(table[source], table[name], strict=True)
            if isinstance(first, str) and isinstance(second, str) and first.strip() and second.strip()
        ]
        if not both:
            raise ColumnsError(f"No row has texts in both {source!r} and {name!r}: drop the language, or bring data.")
        found[f"{source}-{name}"] = [first for first, _ in both], [second for _, second in both]
    if not found:
        raise ColumnsError(f"There is nothing to learn beside {source!r}; the columns are: {', '.join(known)}.")
    return found


def distil_vectors(
    teacher: Any, student: Any, texts: Any, *, output_path: str | Path | None = None, **options: Any
) -> Any:
    """Have a student give the teacher's vectors, on any texts: no labels are needed.

    Choose it after ``keep_layers`` to win back what the layers knew, or to copy a large model into a small one, on
    texts like those that it will see. Where only the ranking matters, ``distil_scores`` asks for less. Hinton et al.
    2015, arXiv:1503.02531; sentence vectors as targets: Reimers and Gurevych 2020, arXiv:2004.09813.

    Args:
        teacher: the model to copy.
        student: the model to begin with, of as many dimensions.
        texts: the texts to copy it on.
        output_path: see ``extend_languages``.
        options: see there.

    Returns:
        The trained student; the given one stays as it is.

    Raises:
        ColumnsError: no texts.
        TypeError: the teacher or the student is missing.
        ValueError: the student has fewer dimensions than the teacher.
    """
    teacher, student = _both(teacher, student)
    rows = _some(texts)
    steps = Steps(output_path, teacher=teacher, student=student, texts=rows, options=options)
    table = as_dataset({"sentence": rows, "label": list(teacher.encode(rows))})
    return steps.fit(student, table, MSELoss, **options)


def _both(teacher: Any, student: Any) -> tuple[Any, Any]:
    """The two models, which must fit each other."""
    teacher = as_model("teacher", teacher, "encode", SentenceTransformer)
    student = as_model("student", student, "encode", SentenceTransformer)
    dims = [model.get_sentence_embedding_dimension() for model in (teacher, student)]
    if None not in dims and dims[1] < dims[0]:
        raise ValueError(
            f"The teacher has {dims[0]} dimensions and the student {dims[1]}: give the student a Dense block of "
            f"{dims[0]}, or the teacher reduce_dimensions(teacher, texts, {dims[1]})."
        )
    return teacher, student


def _some(texts: Any) -> list[str]:
    rows = [text for text in as_texts(texts, name="texts")[0] if text.strip()]
    if not rows:
        raise ColumnsError("There are no texts. Give some hundreds at least, like those that the model will see.")
    return rows


def keep_layers(model: Any, layers: int | Sequence[int]) -> Any:
    """Return a copy of a model whose transformer has only some of its layers: smaller and faster, and worse.

    Choose it for speed where a smaller model of the same kind is not to be had, and have ``distil_vectors`` (or
    ``distil_scores`` for a ``CrossEncoder``) teach it what the lost layers did. Layers spread over the depth keep more
    than the first ones do. Sajjad et al. 2020, arXiv:2004.03844; initialising a student so: Sanh et al. 2019,
    arXiv:1910.01108.

    Args:
        model: a ``SentenceTransformer`` or a ``CrossEncoder`` that has a transformer.
        layers: which layers, from 0; or how many, spread evenly, with the last among them.

    Raises:
        ValueError: the model has no list of layers, or not those.
    """
    small = copy.deepcopy(model)
    inner = getattr(small, "transformers_model", None)
    config: Any = getattr(inner, "config", None)
    count = getattr(config, "num_hidden_layers", 0)
    lists = [
        (parent, name)
        for parent in (inner.modules() if inner is not None else ())
        for name, child in parent.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == count
    ]
    if len(lists) != 1:
        raise ValueError(f"{type(model).__name__} has no transformer with one list of layers that could be cut.")
    if isinstance(layers, int):
        kept = [round((place + 1) * count / layers) - 1 for place in range(layers)] if 0 < layers <= count else []
    else:
        kept = list(layers)
    if not kept or sorted(set(kept)) != kept or kept[0] < 0 or kept[-1] >= count:
        raise ValueError(f"layers is {layers}; expected 1 to {count}, or rising numbers from 0 to {count - 1}.")
    parent, name = lists[0]
    setattr(parent, name, nn.ModuleList(getattr(parent, name)[place] for place in kept))
    for key, value in vars(config).items():
        if isinstance(value, (list, tuple)) and len(value) == count and not key.startswith("_"):  # one entry a layer
            setattr(config, key, [value[place] for place in kept])
    config.num_hidden_layers = len(kept)
    return small


def reduce_dimensions(model: Any, texts: Any, dim: int) -> SentenceTransformer:
    """Return a copy of a model that gives ``dim`` dimensions: the principal components of its vectors, as a Dense.

    Choose it for smaller indexes and faster search with any model, with no training: half of the dimensions lose
    almost nothing. A model trained with ``MatryoshkaLoss`` is cut with ``truncate_dim`` instead; int8 and binary
    vectors (``quantize_embeddings``) save more and go together with it. Raunak et al. 2019, W19-4328.

    Vectors are not centred, so that products of them stay what they were. Memory does not grow with the texts.

    Args:
        model: the model.
        texts: some thousands of texts like those that it will see; at least ``dim`` different ones.
        dim: how many dimensions to keep.

    Raises:
        ColumnsError: fewer different texts than ``dim``.
        ValueError: the model has no more than ``dim`` dimensions.
    """
    small: Any = copy.deepcopy(as_model("model", model, "encode", SentenceTransformer))
    small.truncate_dim = None
    rows = list(dict.fromkeys(_some(texts)))
    width = small.get_sentence_embedding_dimension() or len(small.encode(rows[0]))
    if not 0 < dim < width:
        raise ValueError(f"dim is {dim}; the model gives {width} dimensions, so take 1 to {width - 1}.")
    if len(rows) < dim:
        raise ColumnsError(
            f"There are {len(rows)} different texts; {dim} dimensions need {dim} texts, better 10 times."
        )
    products, total = np.zeros((width, width)), np.zeros(width)
    for part in slices(rows, _BLOCK):
        vectors = small.encode(part).astype(np.float64)
        products += vectors.T @ vectors
        total += vectors.sum(axis=0)
    covariance = products / len(rows) - np.outer(total, total) / len(rows) ** 2
    _, axes = np.linalg.eigh(covariance)  # rising
    components = torch.from_numpy(axes.T[::-1][:dim].copy()).float()  # (dim, width)
    block = Dense(width, dim, bias=False, activation_function=None, init_weight=components)
    unit = isinstance(small[-1], Normalize)
    for one in [block, *([Normalize()] if unit else [])]:
        small.append(one.to(small.device))
    return small.eval()  # type: ignore[no-any-return]
