"""NanoBEIR: thirteen small collections that stand for the BEIR benchmark of search (arXiv:2104.08663), or one's own.

They come from the hub through ``datasets``, or from a local folder that holds ``{name}/corpus.jsonl``, ``queries`` and
``qrels`` (or ``.parquet``; or the hub's own layout, ``corpus/{name}-….parquet``), with the columns "_id" and "text",
and "query-id" and "corpus-id".
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from workbench._optional import require
from workbench.errors import ChoiceError, DataFormatError
from workbench.evaluation.base import Measured, SentenceEvaluator
from workbench.evaluation.retrieval import InformationRetrievalEvaluator

__all__ = ["DATASETS", "Aggregate", "NanoBEIREvaluator", "read_dataset"]

_COLLECTIONS = (
    "ClimateFEVER", "DBPedia", "FEVER", "FiQA2018", "HotpotQA", "MSMARCO", "NFCorpus", "NQ", "QuoraRetrieval",
    "SCIDOCS", "ArguAna", "SciFact", "Touche2020",
)  # fmt: skip
DATASETS = {name.lower(): f"Nano{name}" for name in _COLLECTIONS}
"""The collections by the names that the evaluator takes, and what the hub calls them."""

_COLUMNS = {
    "corpus": ("_id", "text"), "queries": ("_id", "text"), "qrels": ("query-id", "corpus-id"),
    "bm25": ("query-id", "corpus-ids"),
}  # fmt: skip
_Table = dict[str, list[Any]]


class Aggregate(SentenceEvaluator):
    """Evaluators of several collections, and each of their metrics over all collections.

    Args:
        name: of the metrics over all.
        dataset_names: which collections; None: all.
        dataset_id: where they are.
        aggregate_fn: makes one number of those of all collections; None: the mean.
        aggregate_key: what the metrics over all are called.
        write_csv: whether the collections and all together get a CSV file each.
    """

    line_end = "\n"
    evaluators: Sequence[Any] = ()

    def __init__(
        self, name: str, dataset_names: Sequence[str] | None, dataset_id: str | Path,
        aggregate_fn: Callable[[list[float]], float] | None, aggregate_key: str, write_csv: bool,
    ) -> None:  # fmt: skip
        super().__init__(name, write_csv=write_csv)
        self.dataset_names, self.dataset_id = _names_of(dataset_names, dataset_id), str(dataset_id)
        self.aggregate_fn, self.aggregate_key = aggregate_fn or np.mean, aggregate_key
        self.csv_file = f"NanoBEIR_evaluation_{aggregate_key}_results.csv"

    def __call__(
        self, model: Any, output_path: str | Path | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Measure a model on every collection; see ``SentenceEvaluator``."""
        metrics: dict[str, float] = {}
        every: list[Measured] = []
        for evaluator in self.evaluators:
            every.append(evaluator.measure(model, output_path))
            metrics |= evaluator.report(model, every[-1], output_path, epoch, steps)
        joined, row = (
            {key: float(self.aggregate_fn([table[key] for table in tables])) for key in tables[0]}
            for tables in ([one.metrics for one in every], [one.row for one in every])
        )
        found = Measured(joined, self._primary(joined, every[0].primary), row)
        return metrics | self.report(model, found, output_path, epoch, steps)

    def _primary(self, joined: dict[str, float], first: str) -> str:
        """The metric over all collections to compare models by; ``first`` is that of the first collection."""
        return first


class NanoBEIREvaluator(Aggregate):
    """How well a model searches, on thirteen small collections of different kinds: a quick stand-in for BEIR.

    Metrics: those of ``InformationRetrievalEvaluator`` for each collection and over all of them.

    Args:
        dataset_names: which collections; None: all thirteen, or all that the local folder has.
        dataset_id: a data set on the hub, or a local folder; see this module.
        mrr_at_k: see ``InformationRetrievalEvaluator``, also for the other arguments.
        ndcg_at_k: see there.
        accuracy_at_k: see there.
        precision_recall_at_k: see there.
        map_at_k: see there.
        show_progress_bar: see there.
        batch_size: see there.
        write_csv: see there.
        truncate_dim: see there.
        score_functions: see there.
        main_score_function: see there.
        aggregate_fn: makes one number of those of all collections; None: the mean.
        aggregate_key: what the metrics over all are called.
        query_prompts: put before queries: one for all collections, or one by name.
        corpus_prompts: the same for documents.
        write_predictions: see there.

    Raises:
        ChoiceError: an unknown collection; lists those there are.
        DataFormatError: a collection cannot be read; says where it was looked for.
    """

    description = "Nano BEIR"
    settings = ("dataset_names", "dataset_id", "truncate_dim", "query_prompts", "corpus_prompts")

    def __init__(
        self, dataset_names: Sequence[str] | None = None, dataset_id: str | Path = "sentence-transformers/NanoBEIR-en",
        mrr_at_k: Sequence[int] = (10,), ndcg_at_k: Sequence[int] = (10,), accuracy_at_k: Sequence[int] = (1, 3, 5, 10),
        precision_recall_at_k: Sequence[int] = (1, 3, 5, 10), map_at_k: Sequence[int] = (100,),
        show_progress_bar: bool | None = False, batch_size: int | None = None, write_csv: bool = True,
        truncate_dim: int | None = None, score_functions: Mapping[str, Callable[[Any, Any], Any]] | None = None,
        main_score_function: str | None = None, aggregate_fn: Callable[[list[float]], float] | None = None,
        aggregate_key: str = "mean", query_prompts: str | Mapping[str, str] | None = None,
        corpus_prompts: str | Mapping[str, str] | None = None, write_predictions: bool = False,
    ) -> None:  # fmt: skip
        suffix = f"_{truncate_dim}" if truncate_dim else ""
        name = f"NanoBEIR_{aggregate_key}{suffix}"
        super().__init__(name, dataset_names, dataset_id, aggregate_fn, aggregate_key, write_csv)
        self.truncate_dim = truncate_dim
        prompts = [_by_name(prompts, self.dataset_names) for prompts in (query_prompts, corpus_prompts)]
        self.query_prompts, self.corpus_prompts = prompts
        ks = (mrr_at_k, ndcg_at_k, accuracy_at_k, precision_recall_at_k, map_at_k)
        self.evaluators: list[InformationRetrievalEvaluator] = []
        for name in self.dataset_names:
            corpus, queries, relevant, _ = read_dataset(name, dataset_id)
            self.evaluators.append(
                InformationRetrievalEvaluator(
                    queries, corpus, relevant, 50_000, *ks, show_progress_bar, batch_size,
                    f"{DATASETS.get(name.lower(), name)}{suffix}", write_csv, truncate_dim, score_functions,
                    main_score_function, query_prompt=(self.query_prompts or {}).get(name),
                    corpus_prompt=(self.corpus_prompts or {}).get(name), write_predictions=write_predictions,
                )
            )  # fmt: skip

    def _primary(self, joined: dict[str, float], first: str) -> str:
        end = f"_ndcg@{max(self.evaluators[0].ndcg_at_k)}"
        return self.evaluators[0].primary_of(joined, [key.removesuffix(end) for key in joined if key.endswith(end)])


def _by_name(prompts: str | Mapping[str, str] | None, names: list[str]) -> dict[str, str] | None:
    """Prompts by the name of a collection."""
    table = dict.fromkeys(names, prompts) if isinstance(prompts, str) else dict(prompts or {})
    if unknown := set(table) - set(names):
        raise ChoiceError(f"Prompts for {', '.join(sorted(unknown))}, but the collections are: {', '.join(names)}.")
    return None if prompts is None else table


def _names_of(names: Sequence[str] | None, dataset_id: str | Path) -> list[str]:
    """The collections asked for, None for all; a name that is not there, or no names, is a ``ChoiceError``."""
    here = Path(dataset_id)
    known = _local_names(here) if here.is_dir() else list(DATASETS)
    chosen = [names] if isinstance(names, str) else list(known if names is None else names)
    alike = {DATASETS.get(name.lower(), name) for name in known}
    unknown = [name for name in chosen if DATASETS.get(str(name).lower(), name) not in alike]
    if unknown or not chosen:
        what = f"Unknown collection {unknown[0]!r}" if unknown else "No collection was chosen"
        raise ChoiceError(f"{what}. Choose some of: {', '.join(known) or f'none, {here} has no corpus'}.")
    return chosen


def _local_names(folder: Path) -> list[str]:
    """The collections in a local folder."""
    found = {path.parent.name for path in folder.glob("*/corpus.*")}
    return sorted(found | {path.name.partition("-0")[0].partition(".")[0] for path in folder.glob("corpus/*.*")})


def read_dataset(
    name: str, dataset_id: str | Path, *, ranked: bool = False
) -> tuple[dict[str, str], dict[str, str], dict[str, set[str]], dict[str, list[str]]]:
    """Return a collection: corpus and queries by id, relevant ids by query, and with ``ranked`` what BM25 found.

    Raises:
        DataFormatError: a part of it cannot be read; says where it was looked for.
    """
    parts = {part: _read(name, dataset_id, part) for part in ("corpus", "queries", "qrels", *(["bm25"] * ranked))}
    corpus, queries = (
        {key: text for key, text in zip(parts[part]["_id"], parts[part]["text"], strict=True) if text}
        for part in ("corpus", "queries")
    )
    relevant: dict[str, set[str]] = {}
    asked, wanted = (parts["qrels"][column] for column in _COLUMNS["qrels"])
    for query, document, gain in zip(asked, wanted, parts["qrels"].get("score", [1] * len(asked)), strict=True):
        if float(gain) > 0:
            relevant.setdefault(query, set()).add(document)
    found = zip(*(parts["bm25"][column] for column in _COLUMNS["bm25"]), strict=True) if ranked else ()
    return corpus, queries, relevant, {query: list(ids) for query, ids in found}


def _read(name: str, dataset_id: str | Path, part: str) -> _Table:
    """One table of a collection: values by column."""
    folder, split = Path(dataset_id), DATASETS.get(name.lower(), name)
    if folder.is_dir():
        table, where = _read_local(folder, {name, split, name.lower()}, part)
    else:
        load_dataset, where = require("datasets", extra="lab").load_dataset, f"{dataset_id}, {part}, {split}"
        try:
            table = load_dataset(str(dataset_id), part, split=split).to_dict()
        except (OSError, ValueError, KeyError) as error:
            hint = "Check the name and the network, or give a local folder as dataset_id."
            raise DataFormatError(f"Cannot read {where}: {error} {hint}") from error
    if missing := [column for column in _COLUMNS[part] if column not in table]:
        raise DataFormatError(f"{where} lacks the columns {', '.join(missing)}; it has {', '.join(table)}.")
    return table


def _read_local(folder: Path, names: set[str], part: str) -> tuple[_Table, str]:
    """A table in a local folder, and its path; ids stay text."""
    import pandas as pd

    for kind, name in itertools.product(("parquet", "jsonl"), sorted(names)):
        layouts = (f"{name}/{part}.{kind}", f"{part}/{name}.{kind}", f"{part}/{name}-0*.{kind}")
        paths = sorted(path for layout in layouts for path in folder.glob(layout))
        if paths:
            read: Any = pd.read_parquet if kind == "parquet" else partial(pd.read_json, lines=True, dtype=False)
            try:
                return pd.concat(map(read, paths)).to_dict("list"), str(paths[0])
            except (OSError, ValueError) as error:
                raise DataFormatError(f"Cannot read {paths[0]}: {error}") from error
    raise DataFormatError(f"{folder} holds no {'/'.join(sorted(names))} with {part}.parquet or {part}.jsonl.")
