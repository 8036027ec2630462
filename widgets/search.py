"""Retrieve and re-rank: find passages for a query, then see what a second look at them moves."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import plotly.graph_objects as go
import traitlets as tr

from widgets._data import as_frame, is_data
from widgets._data_panel import DataPanel
from widgets._fields import Choice, Column, Model, Texts
from widgets._found import Found, K, Pipeline, query_words
from widgets._models import load_model, load_reranker, model_name
from widgets._slope_figure import metrics_figure
from widgets._theme import cut
from workbench.errors import WorkbenchError
from workbench.search.bm25 import LANGUAGES

if TYPE_CHECKING:
    from workbench.search import Reranked

__all__ = ["SearchPanel"]

_RETRIEVERS = {"dense": "meaning (vectors)", "bm25": "words (BM25)", "hybrid": "both, merged by rank"}
_ORDERS = {"rrf": "both, by ranks", "weighted": "both, by scores"}
_Judgements = dict[str, dict[str, float]]


class _Judged(tr.TraitType[Any, Any]):
    """A trait for judgements, in any of the accepted forms."""

    def validate(self, obj: Any, value: Any) -> _Judgements:
        """Bring them into one form, or refuse them."""
        return _judgements(value)


class SearchPanel(DataPanel[Found]):
    """Search passages, put what was found in a better order, and see and measure what moved.

    Vectors and words are indexed once for the same documents and model; another query only asks.

    Args:
        documents: a mapping from id to text, or whatever ``DataPanel`` takes.
        report: show figure and table in place of controls; None asks the environment variable ``WORKBENCH_REPORT``.
        inputs: any of the attributes below.

    Attributes:
        data: the documents; ``column`` is what is searched.
        ids: the column of their ids, "id" if there is one; "" numbers the rows from 0. Ids are compared as strings.
        query: what is asked.
        queries: examples that the query box offers; judged ones come by themselves.
        judgements: query → its relevant ids, or id → gain; or a table, file or bundled set with columns query, id and
            gain. They mark the answers and measure each pipeline.
        retriever: "dense" (with ``model``), "bm25" or "hybrid".
        reranker: a cross-encoder by name or as an object; "" keeps the retriever's order.
        fusion: whether the retriever has a say in the last order: "" (no), "rrf" or "weighted"; see ``RetrieveRerank``.
        candidates: how many passages the re-ranker gets.
        top: how many ranks to show.
        language: of the words, for BM25; "" keeps them as they are.
        other_retriever: with ``other_model`` and ``other_reranker`` a second pipeline to compare with; "" is none.
    """

    title = "Search and re-rank"
    purpose = "Find passages, then see what the re-ranker moves."
    first_step = "Choose data under More, write a query above, and press Run."
    inputs = (
        "data", "column", "ids", "query", "queries", "judgements", "candidates", "fusion", "language", "retriever",
        "model", "reranker", "top", "other_retriever", "other_model", "other_reranker",
    )  # fmt: skip
    live = ("query", "queries", "top")
    form = ("query", "retriever", "model", "reranker", "top")
    unit = "passage"
    example = {  # noqa: RUF012 - the base class declares it as a class variable
        "data": "faq", "column": "answer", "judgements": "faq_queries", "query": "contents arrived broken",
    }  # fmt: skip

    ids = Column()
    query = tr.Unicode("").tag(
        label="Query", kind=widgets.Combobox, placeholder="Ask, or pick an example", layout={"flex": "1 1 100%"}
    )
    queries = Texts()
    judgements = _Judged({})
    candidates = tr.Int(20, min=1, max=1000).tag(label="Candidates")
    fusion = Choice("", _ORDERS, none="the re-ranker alone").tag(label="Order by")
    language = Choice("english", LANGUAGES, none="any").tag(label="Language of words")
    retriever = Choice("hybrid", _RETRIEVERS).tag(label="Retriever")
    model = Model("starter").tag(label="Model")
    reranker = Model("starter-reranker", "predict", kind="cross-encoder", none=True).tag(
        label="Re-ranker", layout={"flex": "2 1 220px"}
    )
    top = tr.Int(10, min=1, max=25).tag(label="Ranks to show", layout={"flex": "1 1 90px"})
    other_retriever = Choice("", _RETRIEVERS, none="nothing").tag(label="Compare with")
    other_model = Model("starter").tag(label="Its model")
    other_reranker = Model("", "predict", kind="cross-encoder", none=True).tag(label="Its re-ranker")

    def __init__(self, documents: Any = None, **inputs: Any) -> None:
        self._kept: tuple[dict[str, str], dict[Any, Any]] = ({}, {})  # documents, and what was made of them
        if isinstance(documents, Mapping) and not is_data(documents):
            documents = [{"id": name, "text": text} for name, text in documents.items()]
            inputs = {"column": "text", "ids": "id", **inputs}
        super().__init__(**({} if documents is None else {"data": documents}), **inputs)

    @property
    def found(self) -> "Reranked | None":
        """What the pipeline of the last run found; None before."""
        return None if self.result is None else self.result.pipelines[0].found

    @property
    def other(self) -> "Reranked | None":
        """What the pipeline found that it was compared with, if any."""
        return self.result.pipelines[1].found if self.result and len(self.result.pipelines) == 2 else None

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """nDCG@10 and MRR@10 over all judged queries, by pipeline and stage; empty without judgements."""
        return {} if self.result is None else self.result.measured()

    # Inputs, from Python and from the form.

    @tr.observe("data")
    def _take_data(self, change: Any) -> None:
        super()._take_data(change)
        self.ids = self.ids or ("id" if "id" in self.known_columns() else "")

    @tr.observe("queries", "judgements")
    def _offer_queries(self, change: Any) -> None:
        offered = list(dict.fromkeys([*self.queries, *self.judgements]))[:200]
        self._fields["query"].options = [cut(query, 200) for query in offered]

    def _controls(self) -> dict[str, Any]:
        judged = widgets.Text(description="Judgements: a file or a bundled set", continuous_update=False)
        judged.observe(lambda change: self.pick("judgements", change["new"].strip()), "value")
        return {**super()._controls(), "judgements": judged}

    # The run.

    def _compute(self, inputs: dict[str, Any]) -> Found:
        documents = _documents(inputs)
        query = inputs["query"].strip()
        if not documents:
            raise WorkbenchError("There are no passages to search. Choose data under More, or pass documents.")
        if not query:
            raise WorkbenchError("The query is empty. Write a question, or pick one of the examples.")
        inputs = {**inputs, "judgements": _fitting(inputs)}
        if self._kept[0] != documents:
            self._kept = (documents, {})
        sides = [""] + ["other_"] * bool(inputs["other_retriever"])
        made = tuple(self._pipeline(inputs, side, query, *self._kept) for side in sides)
        texts = {name: text for one in made for name, text in one.found.texts.items()}
        gains, blank = inputs["judgements"].get(query, {}), len(inputs["texts"]) - len(documents)
        judged = sum(any(gain > 0 for gain in known.values()) for known in inputs["judgements"].values())
        words = query_words(query, inputs["language"])
        return Found(query, words, made, inputs["top"], texts, gains, len(documents), blank, judged)

    def _pipeline(
        self, inputs: dict[str, Any], side: str, query: str, documents: dict[str, str], kept: dict[Any, Any]
    ) -> Pipeline:
        """Search with what is kept of these documents, and keep what is new: indexes, re-rankers, metrics."""
        from workbench.search import BM25Index, DenseIndex, HybridIndex, RetrieveRerank, open_index

        def once(key: Any, make: Any, *, fill: bool = False) -> Any:
            if key not in kept:
                made = make()
                if fill:
                    made.add(list(documents), list(documents.values()))
                kept[key] = made  # when it is whole
            return kept[key]

        kind, model, reranker = (inputs[side + name] for name in ("retriever", "model", "reranker"))
        candidates, language = inputs["candidates"], inputs["language"]
        judged = {asked: known for asked, known in inputs["judgements"].items() if max(known.values(), default=0) > 0}
        parts: dict[str, Any] = {}
        if kind != "bm25":
            encoder = ("dense", _version(model))
            parts["meaning"] = once(encoder, lambda: DenseIndex(load_model(model), open_index("exact")), fill=True)
        if kind != "dense":
            parts["words"] = once(("bm25", language), lambda: BM25Index(language or None), fill=True)
        index = HybridIndex(parts) if kind == "hybrid" else next(iter(parts.values()))
        second = once(("second", _version(reranker)), lambda: load_reranker(reranker)) if reranker else None
        search = RetrieveRerank(index, documents, second, fusion=inputs["fusion"] or None)
        how = (kind, _version(model), _version(reranker), inputs["fusion"], language, candidates, repr(judged))
        runs = {"candidates": candidates, "judgements": list(judged.values())}
        metrics = once(how, lambda: search.run(list(judged), **runs).metrics(K)) if judged else {}
        found = search.run(query, candidates, judgements=[judged.get(query, {})])
        name = " + ".join(filter(None, [kind, model_name(model) if kind != "bm25" else "", model_name(reranker)]))
        return Pipeline(name, found, metrics if reranker else dict(list(metrics.items())[:1]))

    def _code(self, inputs: dict[str, Any]) -> str:
        judged = "".join(f"    {query!r}: {gains!r},\n" for query, gains in _fitting(inputs).items())
        names = f"map(str, frame[{inputs['ids']!r}])" if inputs["ids"] else "map(str, range(len(texts)))"
        parts = []
        for side, result in (("", "result"), ("other_", "other"))[: 1 + bool(inputs["other_retriever"])]:
            kind, model, reranker = (inputs[side + name] for name in ("retriever", "model", "reranker"))
            dense = f"DenseIndex(SentenceTransformer({model_name(model)!r}), open_index('exact'))"
            words = f"BM25Index({inputs['language'] or None!r})"
            index = {"dense": dense, "bm25": words, "hybrid": f"HybridIndex({{'meaning': {dense}, 'words': {words}}})"}
            second = f", CrossEncoder({model_name(reranker)!r})" if reranker else ""
            second += f", fusion={inputs['fusion']!r}" if reranker and inputs["fusion"] else ""
            every = f"{inputs['candidates']}, judgements=list(judgements.values())"
            parts += [
                f"index = {index[kind]}",
                "index.add(list(documents), list(documents.values()))",
                f"search = RetrieveRerank(index, documents{second})",
                f"{result} = search.run(query, {inputs['candidates']})",
                f"print({result}.to_frame({inputs['top']}))",
                *([f"print(search.run(list(judgements), {every}).metrics({K}))"] if judged else []),
            ]
        return (
            "from widgets import as_frame\n"
            "from workbench import CrossEncoder, SentenceTransformer\n"
            "from workbench.search import BM25Index, DenseIndex, HybridIndex, RetrieveRerank, open_index\n\n"
            f"{self._data_code(inputs)}"
            f"documents = {{name: text for name, text in zip({names}, texts, strict=True) if text.strip()}}\n"
            f"query = {inputs['query'].strip()!r}\n"
            + (f"judgements = {{\n{judged}}}\n" if judged else "")
            + "\n".join(["", *parts, ""])
        )

    def _figures(self, result: Found) -> list[go.Figure]:
        measured = result.measured()
        return [result.figure()] + ([metrics_figure(measured)] if measured else [])


def _documents(inputs: dict[str, Any]) -> dict[str, str]:
    """The passages that hold text, by id."""
    names, column = _names(inputs), inputs["ids"]
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise WorkbenchError(f"Two passages have the id {twice!r} in column {column!r}. Choose a column of unique ids.")
    return {name: text for name, text in zip(names, inputs["texts"], strict=True) if text.strip()}


def _names(inputs: dict[str, Any]) -> list[str]:
    """The ids of the passages; without a column of ids, their places."""
    column = inputs["ids"]
    return [str(name) for name in (inputs["frame"][column] if column else range(len(inputs["texts"])))]


def _fitting(inputs: dict[str, Any]) -> _Judgements:
    """The judgements, or none if all of them are on other passages: then there is nothing to measure."""
    names, judgements = set(_names(inputs)), inputs["judgements"]
    return {} if all(names.isdisjoint(known) for known in judgements.values()) else judgements


def _version(model: Any) -> Any:
    """A model, and when its folder was written, if it is one: it may be another one by now."""
    path = Path(model) if isinstance(model, str) and model else None
    return model, path.stat().st_mtime_ns if path and path.is_dir() else 0


def _judgements(given: Any) -> _Judgements:
    """Judgements in any of the accepted forms, as query → id → gain.

    Raises:
        WorkbenchError: a table without the columns that it needs, a gain that is no number, or something else.
    """
    if given is None or (isinstance(given, str) and not given):
        return {}
    if isinstance(given, Mapping) and not any(isinstance(known, str) for known in given.values()):
        graded = {q: known if isinstance(known, Mapping) else dict.fromkeys(known, 1) for q, known in given.items()}
        rows = [(query, name, gain) for query, known in graded.items() for name, gain in known.items()]
    elif isinstance(given, str) or is_data(given):
        frame = as_frame(given)
        if missing := {"query", "id"} - set(frame.columns):
            raise WorkbenchError(
                f"The judgements have no column {min(missing)!r}; expected query, id and perhaps gain."
            )
        gains = frame["gain"] if "gain" in frame.columns else [1] * len(frame)
        rows = list(zip(frame["query"], frame["id"], gains, strict=True))
    else:
        kind = type(given).__name__
        raise WorkbenchError(f"judgements are of type {kind}; expected query → its ids, or query → id → gain.")
    found: _Judgements = {}
    for query, name, gain in rows:
        try:
            found.setdefault(str(query).strip(), {})[str(name)] = value = float(gain)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise WorkbenchError(f"The gain of {name!r} for the query {query!r} is {gain!r}; expected a number.")
    return found
