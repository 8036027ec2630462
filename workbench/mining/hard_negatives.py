"""Hard negatives: texts that a model takes for an answer although they are none; propose, filter, sample.

After NV-Retriever (Moreira et al., 2024, arXiv:2407.15831), whose best recipe is ``relative_margin=0.05``.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import ChoiceError, choose
from workbench.mining.negative_tables import OUTPUT_FORMATS, Mined, MiningStatistics
from workbench.mining.neighbours import nearest
from workbench.protocols import Embeds, Hits, Scores
from workbench.similarity import SimilarityFunction
from workbench.texts import as_texts

__all__ = ["SAMPLING", "filter_candidates", "mine_hard_negatives", "propose_candidates", "sample_candidates"]

_Array = npt.NDArray[Any]

_PAIRS = 2**15  # pairs of vectors that are compared at a time
_PROMPTS = {"query": ("query",), "document": ("document", "passage", "corpus")}  # of a model, where none is asked for


def propose_candidates(
    queries: Any,
    documents: Any,
    count: int,
    *,
    metric: str = "cosine",
    backend: str = "exact",
    show: bool | None = None,
) -> Hits:
    """Find the ``count`` nearest documents of every query: (q, dim) and (n, dim) vectors to (q, count) ids, scores."""
    scores, ids = nearest(queries, documents, count, metric=metric, backend=backend, show=show)
    return Hits(ids, scores)


def filter_candidates(
    scores: _Array,
    positive_scores: _Array,
    excluded: _Array,
    *,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
) -> tuple[_Array, dict[str, int]]:
    """Tell which candidates may serve as negatives, and how many each condition has dropped.

    Args:
        scores: (q, k) of the candidates.
        positive_scores: (q,) the lowest score of a positive of each query; margins are measured from it.
        excluded: (q, k) True where a candidate is no candidate at all: a positive, or the filling of a short list.
        absolute_margin: a negative scores at least this much less than the positive.
        relative_margin: ... at least this share of the positive's score less: 0.05 asks for 5 % less.
        max_score: the most a negative may score.
        min_score: the least it may score.

    Returns:
        (q, k) True where a candidate is kept; and for each condition the candidates that it was the first to drop.
    """
    positive = positive_scores[:, None]
    bounds: dict[str, tuple[float | None, Callable[[Any], Any]]] = {
        "absolute_margin": (absolute_margin, lambda margin: scores + margin <= positive),
        "relative_margin": (relative_margin, lambda margin: scores <= positive - np.abs(positive) * margin),
        "max_score": (max_score, lambda most: scores <= most),
        "min_score": (min_score, lambda least: scores >= least),
    }
    kept, dropped = ~excluded, {}
    for name, (bound, holds) in bounds.items():
        if bound is not None:
            passed = kept & holds(np.float32(bound))
            dropped[name] = int(kept.sum() - passed.sum())
            kept = passed
    return kept, dropped


def sample_candidates(
    scores: _Array,
    kept: _Array,
    count: int,
    *,
    range_min: int = 0,
    range_max: int | None = None,
    strategy: str = "top",
    seed: int = 0,
) -> _Array:
    """Choose ``count`` candidates of every query.

    Args:
        scores: (q, k) of the candidates.
        kept: (q, k) True where a candidate may be chosen.
        count: how many to choose.
        range_min: how many of the best that are kept to pass over.
        range_max: the rank among those that are kept to stop at; None: the last.
        strategy: a key of ``SAMPLING``.
        seed: of "random": the same candidates and seed give the same choice.

    Returns:
        (q, count) columns of the chosen, best first; -1 where fewer were left.
    """
    draw = choose("sampling strategy", strategy, SAMPLING)
    order = np.argsort(np.where(kept, -scores, np.inf), axis=1, kind="stable")[:, range_min:range_max]
    left = np.take_along_axis(kept, order, axis=1)  # those that are kept stand first
    places = np.sort(draw(left, count, seed), axis=1)
    places = np.pad(places, ((0, 0), (0, count - places.shape[1])), constant_values=left.shape[1])
    chosen: _Array = np.take_along_axis(np.pad(order, ((0, 0), (0, 1)), constant_values=-1), places, axis=1)
    return chosen


def _first(left: _Array, count: int, seed: int) -> _Array:
    places = np.broadcast_to(np.arange(min(count, left.shape[1])), (len(left), min(count, left.shape[1])))
    return np.where(left[:, :count], places, left.shape[1])


def _any(left: _Array, count: int, seed: int) -> _Array:
    lots = np.where(left, np.random.default_rng(seed).random(left.shape), np.inf)
    places = np.argsort(lots, axis=1)[:, :count]
    return np.where(np.take_along_axis(left, places, axis=1), places, left.shape[1])


SAMPLING = {"top": _first, "random": _any}
"""How negatives are chosen among those that are left: the best, or any, by a seed."""


def mine_hard_negatives(
    dataset: Any,
    model: Embeds,
    anchor_column_name: str | None = None,
    positive_column_name: str | None = None,
    corpus: Any = None,
    cross_encoder: Scores | None = None,
    range_min: int = 0,
    range_max: int | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    num_negatives: int = 3,
    sampling_strategy: str = "top",
    query_prompt_name: str | None = None,
    query_prompt: str | None = None,
    corpus_prompt_name: str | None = None,
    corpus_prompt: str | None = None,
    include_positives: bool = False,
    output_format: str = "triplet",
    output_scores: bool = False,
    batch_size: int | None = 32,
    faiss_batch_size: int = 16384,
    use_faiss: bool = False,
    use_multi_process: list[str] | bool = False,
    verbose: bool = True,
    cache_folder: str | Path | None = None,
    as_triplets: bool | None = None,
    margin: float | None = None,
    *,
    store: Any = None,
    seed: int = 0,
    return_statistics: bool = False,
) -> Any:
    """Add hard negatives to (anchor, positive) pairs: texts close to the anchor that are not among its positives.

    Rows with the same anchor are one query with several positives. Its candidates are the nearest texts of the corpus
    without those positives; conditions drop some, ranks are counted among the rest, and some of them are taken. An
    anchor that is itself in the corpus is a candidate like any other; ``absolute_margin=0`` drops it.

    Args:
        dataset: a ``datasets.Dataset`` of pairs.
        model: makes the vectors; compared by its ``similarity_fn_name``, scaled to length 1.
        anchor_column_name: None: the first column.
        positive_column_name: None: the second column.
        corpus: texts to find negatives in, besides all positives.
        cross_encoder: scores all candidates and positives anew, in one call; ranks and conditions then go by it.
        range_min: how many of the nearest candidates to pass over, since they may be positives that nobody marked.
        range_max: the rank to stop at; None: as many as needed, ten times as many where a condition may drop some.
        max_score: the most a negative may score.
        min_score: the least it may score.
        absolute_margin: how much less than the lowest positive of the query it must score.
        relative_margin: the same as a share of that positive's score.
        num_negatives: negatives of each query.
        sampling_strategy: "top" takes the best that are left; "random" any of them, by ``seed``.
        query_prompt_name: prompt of the anchors, as in ``encode``.
        query_prompt: the same, as text.
        corpus_prompt_name: prompt of the corpus.
        corpus_prompt: the same, as text.
        include_positives: let positives be candidates, for a first-stage ranking to evaluate re-rankers on; the format
            is then "n-tuple".
        output_format: a key of ``OUTPUT_FORMATS``: "triplet" (anchor, positive, negative); "n-tuple" (anchor, positive,
            negative_1, ...), rows with fewer negatives left out; "labeled-pair" (anchor, text, label); "labeled-list"
            (anchor, texts, labels).
        output_scores: add a column of scores, or put it in the place of the labels.
        batch_size: of ``encode`` and ``predict``.
        faiss_batch_size: accepted for older code: the search is always in blocks.
        use_faiss: find the candidates with FAISS; they are the same.
        use_multi_process: encode in worker processes: True, or a list of devices.
        verbose: show progress and print the statistics.
        cache_folder: folder of an ``EmbeddingStore``, made if need be, so that no text is encoded twice.
        as_triplets: the older name of "triplet" (True) and "n-tuple" (False).
        margin: the older name of ``absolute_margin``.
        store: an open ``EmbeddingStore``, in place of ``cache_folder``.
        seed: of "random": the same data and seed give the same negatives. The reference package draws with Python's
            global generator instead.
        return_statistics: return (dataset, ``MiningStatistics``).

    Returns:
        A ``datasets.Dataset``, its queries in order of their first row.

    Raises:
        ChoiceError: an unknown column, format or strategy; lists the known ones.
        TextTypeError: a row is not text; names its index and type.
        ValueError: no rows, or numbers that leave no room for ``num_negatives``.
    """
    if as_triplets is not None:
        output_format = "triplet" if as_triplets else "n-tuple"
        _deprecated("as_triplets", f"output_format={output_format!r}")
    if margin is not None:
        absolute_margin = margin
        _deprecated("margin", "absolute_margin")
    if output_format == "n-tuple-scores":
        output_format, output_scores = "n-tuple", True
        _deprecated("output_format='n-tuple-scores'", "output_format='n-tuple', output_scores=True")
    arrange = choose("output format", "n-tuple" if include_positives else output_format, OUTPUT_FORMATS)
    choose("sampling strategy", sampling_strategy, SAMPLING)
    names, (anchors, answers) = _columns(dataset, anchor_column_name, positive_column_name)
    queries = list(dict.fromkeys(anchors))
    documents = list(dict.fromkeys([*(() if corpus is None else as_texts(corpus, name="corpus")[0]), *answers]))
    owners, positives, most = _group(anchors, answers, queries, documents)

    conditions = {"absolute_margin": absolute_margin, "relative_margin": relative_margin, "max_score": max_score}
    if range_max is None:
        spare = any(bound is not None for bound in conditions.values())
        range_max = range_min + num_negatives * (10 if spare else 1) + most
    _check_ranks(range_min, range_max, num_negatives)

    options = {"batch_size": batch_size, "show_progress_bar": verbose}
    prompts = (query_prompt_name, query_prompt), (corpus_prompt_name, corpus_prompt)
    with _pool(model, use_multi_process) as pool, _store(store, cache_folder) as kept_vectors:
        query_vectors, document_vectors = (
            _encode(model, kept_vectors, task, texts, options | pool | {"prompt_name": name, "prompt": prompt})
            for task, texts, (name, prompt) in zip(("query", "document"), (queries, documents), prompts, strict=True)
        )
    metric = str(getattr(model, "similarity_fn_name", "cosine"))
    hits = propose_candidates(
        query_vectors,
        document_vectors,
        min(range_max + most, len(documents)),
        metric=metric,
        backend="faiss" if use_faiss else "exact",
        show=verbose,
    )
    is_positive = np.isin(
        np.arange(len(queries))[:, None] * len(documents) + hits.ids, owners * len(documents) + positives
    )
    excluded = (hits.ids < 0) | (is_positive & (not include_positives))
    if cross_encoder is None:
        scores, positive_scores = hits.scores, _compare(query_vectors, document_vectors, owners, positives, metric)
    else:
        scores, positive_scores = _rescore(
            cross_encoder, queries, documents, hits.ids, excluded, owners, positives, options
        )
    lowest = np.minimum.reduceat(positive_scores, np.searchsorted(owners, np.arange(len(queries))))
    kept, dropped = filter_candidates(scores, lowest, excluded, min_score=min_score, **conditions)
    columns = sample_candidates(
        scores, kept, num_negatives, range_min=range_min, range_max=range_max, strategy=sampling_strategy, seed=seed
    )
    found = columns >= 0
    mined = Mined(
        names,
        queries,
        documents,
        owners,
        positives,
        positive_scores,
        np.where(found, np.take_along_axis(hits.ids, columns, axis=1), -1),
        np.where(found, np.take_along_axis(scores, columns, axis=1), -np.inf),
    )
    table, wanted = arrange(mined, output_scores)
    statistics = MiningStatistics.of(mined, int((~excluded).sum()), dropped, wanted - len(table[names[0]]))
    if verbose:
        print(statistics)
    from datasets import Dataset

    result = Dataset.from_dict(table)
    return (result, statistics) if return_statistics else result


def _deprecated(old: str, new: str) -> None:
    warnings.warn(f"{old} is deprecated: use {new}.", DeprecationWarning, stacklevel=3)


def _columns(dataset: Any, anchor: str | None, positive: str | None) -> tuple[tuple[str, str], list[list[str]]]:
    """The names and the texts of the two columns of a data set."""
    known = list(getattr(dataset, "column_names", None) or ())
    if len(known) < 2:
        raise ValueError(f"dataset has the columns {known}; it needs two: anchors and positives.")
    names = anchor or known[0], positive or next(name for name in known if name != (anchor or known[0]))
    if unknown := [name for name in names if name not in known]:
        raise ChoiceError(f"Unknown column {unknown[0]!r}. Choose one of: {', '.join(map(repr, known))}.")
    if not len(dataset):
        raise ValueError("dataset has no rows: there is nothing to find negatives for.")
    return names, [as_texts(dataset[name][:], name=f"column {name!r}")[0] for name in names]


def _group(
    anchors: list[str], answers: list[str], queries: list[str], documents: list[str]
) -> tuple[_Array, _Array, int]:
    """Each pair once, as positions of query and document in order of queries; and the most rows any query has."""
    query_of, document_of = ({text: i for i, text in enumerate(texts)} for texts in (queries, documents))
    owners = np.fromiter((query_of[text] for text in anchors), np.int64, len(anchors))
    positives = np.fromiter((document_of[text] for text in answers), np.int64, len(answers))
    _, first = np.unique(owners * len(documents) + positives, return_index=True)
    first.sort()  # the pairs in the order of their rows ...
    first = first[np.argsort(owners[first], kind="stable")]  # ... query by query
    return owners[first], positives[first], int(np.bincount(owners).max())


def _check_ranks(range_min: int, range_max: int, count: int) -> None:
    if count < 1:
        raise ValueError(f"num_negatives is {count}; it must be at least 1.")
    if range_min < 0:
        raise ValueError(f"range_min is {range_min}; it must be at least 0.")
    if range_max - range_min < count:
        raise ValueError(
            f"Ranks from {range_min} to {range_max} hold {max(0, range_max - range_min)} candidates, too few for "
            f"{count} negatives. Raise range_max, or lower range_min or num_negatives."
        )


@contextmanager
def _pool(model: Any, devices: list[str] | bool) -> Iterator[dict[str, Any]]:
    """The option of ``encode`` that names worker processes, started and stopped here, or no option."""
    if not devices:
        yield {}
        return
    pool = model.start_multi_process_pool(None if devices is True else devices)
    try:
        yield {"pool": pool}
    finally:
        model.stop_multi_process_pool(pool)


@contextmanager
def _store(store: Any, folder: str | Path | None) -> Iterator[Any]:
    """The open store of vectors, one of our own in ``folder``, or None."""
    if store is not None or folder is None:
        yield store
        return
    from workbench.store import EmbeddingStore

    Path(folder).mkdir(parents=True, exist_ok=True)
    with EmbeddingStore(Path(folder) / "embeddings.sqlite") as own:
        yield own


def _encode(model: Any, store: Any, task: str, texts: list[str], options: dict[str, Any]) -> Any:
    """Vectors of length 1, of questions or of documents, from the store where there is one."""
    options = options | {"normalize_embeddings": True, "convert_to_numpy": True}
    if store is None:
        return getattr(model, f"encode_{task}", model.encode)(texts, **options)
    if hasattr(model, f"encode_{task}"):  # what that method would ask of encode
        options["task"] = task
        if options["prompt_name"] is None and options["prompt"] is None:
            options["prompt"] = next((model.prompts[name] for name in _PROMPTS[task] if name in model.prompts), "")
    return store.encode(model, texts, **options)


def _compare(queries: Any, documents: Any, owners: _Array, positives: _Array, metric: str) -> _Array:
    """The score of each positive with its query: (pairs,)."""
    score = SimilarityFunction.to_similarity_pairwise_fn(metric)
    found = np.empty(len(owners), np.float32)
    for start in range(0, len(owners), _PAIRS):
        part = slice(start, start + _PAIRS)
        found[part] = score(queries[owners[part]], documents[positives[part]]).cpu().numpy()
    return found


def _rescore(
    cross_encoder: Scores,
    queries: list[str],
    documents: list[str],
    ids: _Array,
    excluded: _Array,
    owners: _Array,
    positives: _Array,
    options: dict[str, Any],
) -> tuple[_Array, _Array]:
    """Scores of the candidates (q, k), -inf where excluded, and of the positives (pairs,), from one call."""
    rows = np.concatenate([np.nonzero(~excluded)[0], owners]).tolist()
    columns = np.concatenate([ids[~excluded], positives]).tolist()
    pairs = [(queries[row], documents[column]) for row, column in zip(rows, columns, strict=True)]
    found = np.asarray(cross_encoder.predict(pairs, **options), np.float32)
    if found.shape != (len(pairs),):
        raise ValueError(
            f"cross_encoder gave scores of shape {found.shape} for {len(pairs)} pairs; one each is needed."
        )
    scores = np.full(ids.shape, -np.inf, np.float32)
    scores[~excluded] = found[: -len(owners)]
    return scores, found[-len(owners) :]
