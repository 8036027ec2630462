"""A scorecard: models measured on one's own files, side by side, each number with its confidence interval."""

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.datasets import as_dataset
from workbench.errors import ColumnsError, DataFormatError, choose
from workbench.evaluation import (
    BinaryClassificationEvaluator,
    BitextEvaluator,
    ClusteringEvaluator,
    EmbeddingSimilarityEvaluator,
    InformationRetrievalEvaluator,
)
from workbench.evaluation.bootstrap import draws, interval
from workbench.readers import open_text
from workbench.sentence_transformer import SentenceTransformer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TASKS", "Task", "evaluate", "read_collection", "read_columns"]


@dataclass(frozen=True)
class Task:
    """What a file of a kind holds, what judges it, and the ends of the names of the metrics to show."""

    columns: tuple[str, ...]
    evaluator: Callable[..., Any]
    metrics: tuple[str, ...]
    optional: bool = False  # whether cells may be empty


TASKS: dict[str, Task] = {
    "sts": Task(("sentence1", "sentence2", "score"), EmbeddingSimilarityEvaluator, ("spearman_",)),
    "pairs": Task(("sentence1", "sentence2", "label"), BinaryClassificationEvaluator, ("_ap", "_f1", "_f1_threshold")),
    "clusters": Task(("text", "label"), ClusteringEvaluator, ("v_measure",)),
    "bitext": Task(
        ("source", "target"),
        BitextEvaluator,
        ("src2trg_accuracy", "trg2src_accuracy", "f1", "precision", "recall", "threshold"),
        optional=True,
    ),
}
"""What a model can be measured by that is one file; a folder of a search collection is the fifth kind, "ir"."""

_SEARCH = ("_ndcg@10", "_mrr@10", "_recall@10")


def evaluate(
    models: Any,
    *,
    sts: str | Path | None = None,
    ir: str | Path | None = None,
    pairs: str | Path | None = None,
    clusters: str | Path | None = None,
    bitext: str | Path | None = None,
    columns: Sequence[str] | None = None,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    batch_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> "pd.DataFrame":
    """Measure models on one's own data, with confidence intervals by the bootstrap.

    The rows of a file (the queries of a collection, the sources of translations) are drawn anew ``samples`` times with
    the model's scores kept. All models see the same draws, so that a model's difference from the first one has an
    interval of its own: where it does not hold 0, the data tell the two apart.

    Args:
        models: a name, folder or ``SentenceTransformer``, or a list of them.
        sts: a CSV, TSV, JSONL or Parquet file with the columns sentence1, sentence2, score: Spearman's correlation.
        ir: a folder, see ``read_collection``: NDCG, MRR and recall at 10.
        pairs: a file with sentence1, sentence2, label (1: the same meaning, 0: not): average precision and best F1.
        clusters: a file with text, label: V-measure of k-means.
        bitext: a file with source, target, one of them empty for sentences without a translation: accuracy in both
            directions, and F1 of mining at its best threshold.
        columns: the names that a file has in the place of those above, in their order; for one file at a time.
        samples: how many draws.
        level: of the intervals.
        seed: of the draws and of k-means.
        batch_size: see ``SentenceTransformer.encode``.
        show_progress_bar: see there.

    Returns:
        A row for each model and metric: ``model``, ``data``, ``metric``, ``value``, ``low``, ``high``, ``difference``
        (from the first model) with ``difference_low`` and ``difference_high``, and ``rows`` (what was drawn from).
        NaN where a number has no interval, such as a threshold.

    Raises:
        ColumnsError: no data, or a column is missing, empty or of the wrong kind; says what there is.
        DataFormatError: no such file, or a damaged one.
        ModelNotFoundError: no such model; lists what was tried.
    """
    import pandas as pd

    if samples < 1 or not 0 < level < 1:
        raise ValueError(f"samples is {samples} and level {level}; draw at least 1 sample, at a level between 0 and 1.")
    given = {"sts": sts, "ir": ir, "pairs": pairs, "clusters": clusters, "bitext": bitext}
    wanted = {kind: Path(path) for kind, path in given.items() if path is not None}
    if not wanted or (columns is not None and (len(wanted) > 1 or ir is not None)):
        raise ColumnsError(f"Give data, some of {', '.join(given)}; and columns for one file only. Found: {wanted}.")
    options = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
    evaluators = {kind: _evaluator(kind, path, columns, seed, options) for kind, path in wanted.items()}
    several = isinstance(models, Iterable) and not isinstance(models, (str, SentenceTransformer))
    rows: list[dict[str, Any]] = []
    first: dict[tuple[str, str], tuple[float, Any]] = {}  # value and draws of the first model, by data and metric
    for model in models if several else [models]:
        name = str(model) if isinstance(model, (str, Path)) else _name(model)
        model = SentenceTransformer(model) if isinstance(model, (str, Path)) else model
        for kind, evaluator in evaluators.items():
            found = evaluator.measure(model, None)
            drawn = draws(found.samples, samples, seed=seed)
            for metric in _shown(kind, found.metrics):
                value, many = found.metrics[metric], drawn.get(metric)
                label = _plain(metric, model)
                start, before = first.setdefault((kind, label), (value, many))
                gap = None if many is None or before is None else many - before
                low, high = _interval(value, many, level)
                less, more = _interval(value - start, gap, level)
                rows.append(
                    {
                        "model": name, "data": wanted[kind].name, "metric": label, "value": value, "low": low,
                        "high": min(high, 1), "difference": value - start, "difference_low": less,
                        "difference_high": more, "rows": found.samples.rows,
                    }
                )  # fmt: skip
    if not rows:
        raise ColumnsError("There is no model to measure: give at least one.")
    return pd.DataFrame(rows)


def _interval(value: float, values: Any, level: float) -> tuple[float, float]:
    return (math.nan, math.nan) if values is None else interval(value, values, level)


def _name(model: Any) -> str:
    return getattr(getattr(model, "model_card_data", None), "model_name", None) or type(model).__name__


def _plain(metric: str, model: Any) -> str:
    """A metric's name without the model's similarity, so that models of different ones stand side by side."""
    own = getattr(model, "similarity_fn_name", None) or "cosine"
    return metric.removeprefix(f"{own}_").removesuffix(f"_{own}")


def _shown(kind: str, metrics: dict[str, float]) -> list[str]:
    ends = _SEARCH if kind == "ir" else TASKS[kind].metrics
    return [name for end in ends for name in metrics if name.endswith(end) or (end[-1] == "_" and name.startswith(end))]


def _evaluator(kind: str, path: Path, columns: Sequence[str] | None, seed: int, options: dict[str, Any]) -> Any:
    if kind == "ir":
        return InformationRetrievalEvaluator(*read_collection(path), **options)
    task = TASKS[kind]
    names = tuple(columns or task.columns)
    if len(names) != len(task.columns):
        raise ColumnsError(f"{kind} has the columns {', '.join(task.columns)}; columns names {len(names)}: {names}.")
    found = read_columns(path, names, optional=task.optional)
    return task.evaluator(*found, **({"seed": seed} if kind == "clusters" else {}), **options)


def read_columns(path: str | Path, names: Sequence[str], *, optional: bool = False) -> list[list[Any]]:
    """Return columns of a CSV, TSV, JSON, JSONL or Parquet file.

    Args:
        path: the file.
        names: its columns.
        optional: whether cells may be empty; they are None.

    Raises:
        DataFormatError: no such file, or a damaged one.
        ColumnsError: a column is missing, a cell is empty, or there are no rows.
        ChoiceError: a file of an unknown kind; lists the known ones.
    """
    return _columns_of(_table(Path(path)), path, names, optional)


def _table(path: Path) -> Any:
    if not path.is_file():
        raise DataFormatError(f"There is no file {path}. Check the path.")
    return as_dataset(path)


def _columns_of(table: Any, path: str | Path, names: Sequence[str], optional: bool = False) -> list[list[Any]]:
    if missing := [name for name in names if name not in table.column_names]:
        raise ColumnsError(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}. Rename them, or say "
            f"which to take with columns, in the order {', '.join(names)}."
        )
    found = [[None if value != value else value for value in table[name]] for name in names]
    if not found[0]:
        raise ColumnsError(f"{path} holds no rows.")
    if not optional:
        for name, column in zip(names, found, strict=True):
            if None in column:
                raise ColumnsError(f"{path}: {name} is empty in row {column.index(None)}. Fill or drop such rows.")
    return found


def read_collection(
    folder: str | Path, split: str | None = None
) -> tuple[dict[str, str], dict[str, str], dict[str, set[str]]]:
    """Return the queries, the corpus and the relevant documents of a folder, all by id.

    Two layouts are known. That of BEIR: ``corpus.jsonl`` (_id, text and maybe title), ``queries.jsonl`` (_id, text),
    ``qrels/{split}.tsv`` (query-id, corpus-id, score). A simple one: ``corpus.csv`` (id, text) and ``queries.csv``
    (query, id, maybe gain): a line for each relevant document of a query. Documents with a score or gain above 0 count
    as relevant.

    Args:
        folder: the folder.
        split: of ``qrels``; None: "test", or the only one there is.

    Raises:
        DataFormatError: a file is missing or damaged; says which were expected.
        ColumnsError: a column is missing, or there are no rows.
        ChoiceError: an unknown split; lists those there are.
    """
    folder = Path(folder)
    if (folder / "corpus.csv").is_file():
        ids, texts = read_columns(folder / "corpus.csv", ("id", "text"))
        table = _table(path := folder / "queries.csv")
        graded = "gain" in table.column_names
        asked, wanted, *gains = _columns_of(table, path, ("query", "id", *(["gain"] * graded)))
        qrels = zip(asked, map(str, wanted), gains[0] if gains else [1] * len(asked), strict=True)
        return {text: text for text in asked}, dict(zip(map(str, ids), texts, strict=True)), _relevant(qrels, folder)
    if not (folder / "corpus.jsonl").is_file():
        raise DataFormatError(
            f"{folder} holds neither corpus.jsonl (beside queries.jsonl and qrels/*.tsv) nor corpus.csv (queries.csv)."
        )
    sides = []
    for name in ("queries", "corpus"):
        table = _table(path := folder / f"{name}.jsonl")
        ids, texts = _columns_of(table, path, ("_id", "text"))
        titles = table["title"] if name == "corpus" and "title" in table.column_names else [None] * len(ids)
        whole = (f"{title} {text}".strip() if title else text for title, text in zip(titles, texts, strict=True))
        sides.append(dict(zip(map(str, ids), whole, strict=True)))
    splits = {path.stem: path for path in sorted((folder / "qrels").glob("*.tsv"))}
    if split is None:
        split = next(iter(splits)) if len(splits) == 1 else "test"
    return sides[0], sides[1], _relevant(_judgements(choose(f"split of {folder}", split, splits)), folder)


def _judgements(path: Path) -> Iterable[tuple[str, str, Any]]:
    """The lines of a file of judgements; ids stay text, whatever they look like."""
    wanted = ("query-id", "corpus-id", "score")
    with open_text(path) as file:
        lines = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        if missing := [name for name in wanted if name not in (lines.fieldnames or ())]:
            raise ColumnsError(
                f"{path} has no column {', '.join(missing)}; expected {', '.join(wanted)} in its first line."
            )
        for line in lines:
            if None in (row := tuple(line[name] for name in wanted)):
                raise DataFormatError(f"{path}, line {lines.line_num}: expected {', '.join(wanted)}, found {line}.")
            yield row[0], row[1], row[2]


def _relevant(judged: Iterable[tuple[str, str, Any]], where: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for query, document, gain in judged:
        try:
            counts = float(gain) > 0
        except ValueError as error:
            raise DataFormatError(f"{where}: the gain of {document} for {query} is {gain!r}, no number.") from error
        if counts:
            found.setdefault(query, set()).add(document)
    if not found:
        raise ColumnsError(f"{where} names no relevant document.")
    return found
