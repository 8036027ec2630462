"""Retrieve and re-rank: find passages for a query, then see what a second look at them moves."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import traitlets as tr

from widgets._data import as_frame, is_data
from widgets._pickers import DataPanel, Model, ModelPicker, load_model, load_reranker, model_name
from widgets._slope_figure import metrics_figure, slope_figure
from widgets._theme import count, cut
from workbench.errors import WorkbenchError, choose
from workbench.texts import as_texts

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from workbench.search import Reranked

__all__ = ["SearchPanel"]

_RETRIEVERS = {"dense": "meaning (vectors)", "bm25": "words (BM25)", "hybrid": "both, merged by rank"}
_K = 10  # of nDCG@10 and MRR@10
_Judgements = dict[str, dict[str, float]]


@dataclass(frozen=True, eq=False)
class _Pipeline:
    """What one retriever and re-ranker made of a query, and of all judged ones."""

    name: str
    found: "Reranked"
    metrics: dict[str, dict[str, float]]  # by stage; empty without judgements

    def order(self) -> list[str]:
        """The ids, best first."""
        return [name for name, _ in next(iter(self.found.reranked))]


@dataclass(frozen=True, eq=False)
class _Found:
    """One query, searched by one pipeline, or by two to compare."""

    query: str
    words: list[str]
    pipelines: tuple[_Pipeline, ...]
    top: int
    texts: dict[str, str]
    gains: dict[str, float]
    documents: int
    blank: int
    judged: int

    def plain(self) -> "Reranked":
        """Return what the first pipeline found; the second is ``panel.other``."""
        return self.pipelines[0].found

    def figure(self) -> "go.Figure":
        """Return the slope chart: retrieved against re-ranked, or the final order of one pipeline against the other."""
        last, found = self.pipelines[-1], self.pipelines[-1].found
        two = len(self.pipelines) == 2
        before = self.pipelines[0].order() if two else [name for name, _ in next(iter(found.retrieved))]
        names = (f"A · {self.pipelines[0].name}", f"B · {last.name}") if two else ("retrieved", "re-ranked")
        return slope_figure(
            self.texts,
            before,
            last.order(),
            self.top,
            scores=dict(next(iter(found.reranked))),
            judged=[name for name, gain in self.gains.items() if gain > 0],
            names=names,
        )

    def measured(self) -> dict[str, dict[str, float]]:
        """Return nDCG and MRR over the judged queries: pipeline and stage → metric → value."""
        letters = "AB" if len(self.pipelines) == 2 else [""]
        return {
            f"{letter} {one.name}, {stage}".strip(): values
            for letter, one in zip(letters, self.pipelines, strict=True)
            for stage, values in one.metrics.items()
        }

    def frame(self) -> "pd.DataFrame":
        """Return the passages in their new order: ranks, scores, gains, and the rank in the other pipeline."""
        frame = self.plain().to_frame().drop(columns=["query", "text of query"])
        frame = frame[["rank", "text", "score", "retrieval rank", "retrieval score", "moved", "id"]]
        if self.gains:
            frame.insert(2, "judged", [f"★ {gain:g}" if (gain := self.gains.get(name)) else "" for name in frame["id"]])
        if len(self.pipelines) == 2:
            ranks = {name: str(rank) for rank, name in enumerate(self.pipelines[1].order(), 1)}
            frame.insert(1, "rank in B", [ranks.get(name, "–") for name in frame["id"]])
        return frame

    def caption(self) -> str:
        """Return how to read the chart, what the pipelines score, and how long they took."""
        metric = f"nDCG@{_K}"
        quality = ", ".join(
            f"{one.name} {' → '.join(f'{values[metric]:.2f}' for values in one.metrics.values())}"
            for one in self.pipelines
            if one.metrics
        )
        scored = (
            f" {metric} (how well the top ten are ordered, 1 is perfect), retrieved → re-ranked, over "
            if quality
            else ""
        )
        scored += f"{count(self.judged)} judged queries: {quality}." if quality else ""
        seconds = self.plain().seconds
        times = ", ".join(f"{stage} {1000 * taken:,.0f} ms" for stage, taken in seconds.items())
        lines = "two pipelines" if len(self.pipelines) == 2 else "two stages"
        return (
            f"Lines join the ranks of a passage in the {lines}; ▲ and ▼ say by how many it moved, gold ★ marks judged "
            f"answers.{scored} Scores of two stages have different scales: compare ranks. This query: {times}."
        )

    def facts(self) -> dict[str, object]:
        """Return what was searched, how, how long it took, and how good it is."""
        import workbench

        found = {
            "Passages searched": f"{count(self.documents)}, {count(self.blank)} more without text left out",
            "Passages shown": f"those among the first {self.top} of either order, of {len(self.texts)} found",
            "Model": " against ".join(one.name for one in self.pipelines),
            "Judged queries": count(self.judged) if self.judged else "none: quality is not measured",
        }
        for one in self.pipelines:
            times = [f"{stage} {1000 * taken:,.1f} ms" for stage, taken in one.found.seconds.items()]
            found[f"Time of {one.name}"] = " · ".join(times)
        for name, values in self.measured().items():
            found[f"Quality of {name}"] = " · ".join(f"{metric} {value:.4f}" for metric, value in values.items())
        return {**found, "Made with": f"sentence-workbench {workbench.__version__}"}


class SearchPanel(DataPanel):
    """Search passages, put what was found in a better order, and see and measure what moved.

    Vectors and words are indexed once for the same documents and model; another query only asks.

    Args:
        documents: a mapping from id to text, or whatever ``DataPanel`` takes.
        report: show figure and table in place of controls; None asks the environment variable ``WORKBENCH_REPORT``.
        inputs: any of the attributes below.

    Attributes:
        data: the documents; ``column`` is what is searched.
        ids: the column of their ids; "" takes "id" if there is one, or else numbers the rows from 0.
        query: what is asked.
        queries: examples that the query box offers; judged ones come by themselves.
        judgements: query → its relevant ids, or id → gain; or a table, file or bundled set with columns query, id, gain.
        retriever: "dense" (with ``model``), "bm25" or "hybrid".
        reranker: a cross-encoder by name or as an object; "" keeps the retriever's order.
        candidates: how many passages the re-ranker gets.
        top: how many ranks to show.
        language: of the words, for BM25; "" keeps them as they are.
        other_retriever: with ``other_model`` and ``other_reranker`` a second pipeline to compare with; "" is none.
    """

    title = "Search and re-rank"
    purpose = "Find passages, then see what the re-ranker moves."
    first_step = "Choose data under More, write a query above, and press Run."
    inputs = (
        "data", "column", "ids", "query", "queries", "judgements", "retriever", "model", "reranker", "candidates", "top",
        "language", "other_retriever", "other_model", "other_reranker",
    )  # fmt: skip
    live = ("query", "queries", "top")
    columns = ("column", "ids")
    example = {  # noqa: RUF012 - the base class declares it as a class variable
        "data": "faq", "column": "answer", "judgements": "faq_queries", "query": "How do I reset my password?",
    }  # fmt: skip

    ids = tr.Unicode("")
    query = tr.Unicode("")
    queries = tr.List(tr.Unicode())
    judgements = tr.Any()
    retriever = tr.Unicode("hybrid")
    model = Model("starter")
    reranker = Model("starter-reranker", "predict")
    candidates = tr.Int(20, min=1, max=1000)
    top = tr.Int(10, min=1, max=25)
    language = tr.Unicode("english")
    other_retriever = tr.Unicode("")
    other_model = Model("starter")
    other_reranker = Model("", "predict")

    def __init__(self, documents: Any = None, *, report: bool | None = None, **inputs: Any) -> None:
        self._kept: tuple[dict[str, str], dict[Any, Any]] = ({}, {})  # documents, and what was made of them
        if isinstance(documents, Mapping) and not is_data(documents):
            documents = [{"id": name, "text": text} for name, text in documents.items()]
            inputs = {"column": "text", "ids": "id", **inputs}
        given = {} if documents is None else {"data": documents}
        super().__init__(report=report, **given, **inputs)

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

    @tr.default("judgements")
    def _no_judgements(self) -> _Judgements:
        return {}

    @tr.validate("judgements")
    def _check_judgements(self, proposal: Any) -> _Judgements:
        return _judgements(proposal["value"])

    @tr.validate("queries")
    def _check_queries(self, proposal: Any) -> list[str]:
        return as_texts(proposal["value"], name="queries")[0]

    @tr.validate("retriever", "other_retriever")
    def _check_retriever(self, proposal: Any) -> str:
        name: str = proposal["value"]
        if name or proposal["trait"].name == "retriever":
            choose("retriever", name, _RETRIEVERS)
        return name

    @tr.validate("language")
    def _check_language(self, proposal: Any) -> str:
        from workbench.search.bm25 import LANGUAGES

        name: str = proposal["value"]
        if name:
            choose("language", name, dict.fromkeys(LANGUAGES))
        return name

    @tr.observe("queries", "judgements")
    def _offer_queries(self, change: Any) -> None:
        self._box.options = [cut(query, 200) for query in dict.fromkeys([*self.queries, *self.judgements])][:200]

    def _controls(self) -> tuple[list[widgets.Widget], list[widgets.Widget]]:
        from workbench.search.bm25 import LANGUAGES

        menu, kinds = widgets.Dropdown, [(label, name) for name, label in _RETRIEVERS.items()]
        self._box = widgets.Combobox(
            description="Query", continuous_update=False, placeholder="Ask, or pick an example"
        )
        first = menu(description="Retriever", options=kinds)
        other = menu(description="Compare with", options=[("nothing", ""), *kinds])
        top = widgets.BoundedIntText(description="Ranks to show", min=1, max=25)
        candidates = widgets.BoundedIntText(description="Candidates", min=1, max=1000)
        words = menu(description="Language of words", options=[("any", ""), *((name, name) for name in LANGUAGES)])
        bound = {"query": self._box, "retriever": first, "other_retriever": other, "top": top}
        for name, control in {**bound, "candidates": candidates, "language": words}.items():
            tr.link((self, name), (control, "value"))
        judged = widgets.Text(description="Judgements: a file or a bundled set", continuous_update=False)
        judged.observe(lambda change: self.pick("judgements", change["new"].strip()), "value")
        models, others = ModelPicker(self), ModelPicker(self, "other_model", label="Its model")
        rerankers = ModelPicker(self, "reranker", "cross-encoder", "Re-ranker")
        rest = ModelPicker(self, "other_reranker", "cross-encoder", "Its re-ranker")
        for picker, trait in ((rerankers, "reranker"), (rest, "other_reranker")):
            self.fill(
                picker.menu, [("none", ""), *picker.menu.options[: len(picker.menu.options)]], getattr(self, trait)
            )
        (sets, columns, upload), path = self._data_controls()
        self._box.layout.flex = "1 1 100%"
        shown = [self._box, first, models.menu, rerankers.menu, top]
        compare = [other, others.menu, rest.menu]
        return shown, [sets, columns, upload, *path, judged, candidates, words, *compare, models.other, rerankers.other]

    # The run.

    def _amount(self, inputs: dict[str, Any]) -> tuple[int, str]:
        return len(inputs["texts"]), "passage" if len(inputs["texts"]) == 1 else "passages"

    def _compute(self, inputs: dict[str, Any]) -> _Found:
        documents = _documents(inputs)
        query = inputs["query"].strip()
        if not documents:
            raise WorkbenchError("There are no passages to search. Choose data under More, or pass documents.")
        if not query:
            raise WorkbenchError("The query is empty. Write a question, or pick one of the examples.")
        if self._kept[0] != documents:
            self._kept = (documents, {})
        sides = [""] + ["other_"] * bool(inputs["other_retriever"])
        made = tuple(self._pipeline(inputs, side, query, *self._kept) for side in sides)
        texts = {name: text for one in made for name, text in one.found.texts.items()}
        gains, blank = inputs["judgements"].get(query, {}), len(inputs["texts"]) - len(documents)
        judged = sum(any(gain > 0 for gain in known.values()) for known in inputs["judgements"].values())
        words = _words(query, inputs["language"])
        return _Found(query, words, made, inputs["top"], texts, gains, len(documents), blank, judged)

    def _pipeline(
        self, inputs: dict[str, Any], side: str, query: str, documents: dict[str, str], kept: dict[Any, Any]
    ) -> _Pipeline:
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
        judged, candidates, language = inputs["judgements"], inputs["candidates"], inputs["language"]
        parts: dict[str, Any] = {}
        if kind != "bm25":
            encoder = ("dense", _version(model))
            parts["meaning"] = once(encoder, lambda: DenseIndex(load_model(model), open_index("exact")), fill=True)
        if kind != "dense":
            parts["words"] = once(("bm25", language), lambda: BM25Index(language or None), fill=True)
        index = HybridIndex(parts) if kind == "hybrid" else next(iter(parts.values()))
        second = once(("second", _version(reranker)), lambda: load_reranker(reranker)) if reranker else None
        search = RetrieveRerank(index, documents, second)
        how = (kind, _version(model), _version(reranker), language, candidates, repr(judged))
        runs = {"candidates": candidates, "judgements": list(judged.values())}
        metrics = once(how, lambda: search.run(list(judged), **runs).metrics(_K)) if judged else {}
        found = search.run(query, candidates, judgements=[judged.get(query, {})])
        name = " + ".join(filter(None, [kind, model_name(model) if kind != "bm25" else "", model_name(reranker)]))
        return _Pipeline(name, found, metrics if reranker else dict(list(metrics.items())[:1]))

    def _code(self, inputs: dict[str, Any]) -> str:
        documents = "".join(f"    {name!r}: {text!r},\n" for name, text in _documents(inputs).items())
        judged = "".join(f"    {query!r}: {gains!r},\n" for query, gains in inputs["judgements"].items())
        parts = []
        for side, result in [("", "result")] + [("other_", "other")] * bool(inputs["other_retriever"]):
            kind, model, reranker = (inputs[side + name] for name in ("retriever", "model", "reranker"))
            dense = f"DenseIndex(SentenceTransformer({model_name(model)!r}), open_index('exact'))"
            words = f"BM25Index({inputs['language'] or None!r})"
            index = {"dense": dense, "bm25": words, "hybrid": f"HybridIndex({{'meaning': {dense}, 'words': {words}}})"}
            second = f", CrossEncoder({model_name(reranker)!r})" if reranker else ""
            gains = ", judgements=[judgements.get(query, {})]" if judged else ""
            parts.append(
                f"index = {index[kind]}\n"
                f"index.add(list(documents), list(documents.values()))\n"
                f"search = RetrieveRerank(index, documents{second})\n"
                f"{result} = search.run(query, {inputs['candidates']}{gains})\n"
            )
            if judged:
                run = f"search.run(list(judgements), {inputs['candidates']}, judgements=list(judgements.values()))"
                parts.append(f"print({run}.metrics({_K}))\n")
        return (
            f"from workbench import CrossEncoder, SentenceTransformer\n"
            f"from workbench.search import BM25Index, DenseIndex, HybridIndex, RetrieveRerank, open_index\n\n"
            f"documents = {{\n{documents}}}\n"
            f"{f'judgements = {{{chr(10)}{judged}}}{chr(10)}' if judged else ''}"
            f"query = {inputs['query'].strip()!r}\n\n{''.join(parts)}"
            f"print(result.to_frame({inputs['top']}))\n"
        )

    def _figures(self, result: Any) -> "list[go.Figure]":
        measured = result.measured()
        return [result.figure()] + ([metrics_figure(measured)] if measured else [])


def _documents(inputs: dict[str, Any]) -> dict[str, str]:
    """The passages that hold text, by id."""
    frame, texts, column = inputs["frame"], inputs["texts"], inputs["ids"]
    if frame is None:
        return {}
    if column:
        choose("column", column, dict.fromkeys(frame.columns))
    elif "id" in frame.columns and frame["id"].is_unique and inputs["column"] != "id":
        column = "id"
    names = [str(name) for name in (frame[column] if column else range(len(texts)))]
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise WorkbenchError(f"Two passages have the id {twice!r} in column {column!r}. Choose a column of unique ids.")
    return {name: text for name, text in zip(names, texts, strict=True) if text.strip()}


def _version(model: Any) -> Any:
    """A model, and when its folder was written, if it is one: it may be another one by now."""
    path = Path(model) if isinstance(model, str) and model else None
    return model, path.stat().st_mtime_ns if path and path.is_dir() else 0


def _judgements(given: Any) -> _Judgements:
    """Judgements in any of the accepted forms, as query → id → gain.

    Raises:
        WorkbenchError: a table without the columns that it needs, or something else altogether.
    """
    if not isinstance(given, str | Path) and not is_data(given):
        if not isinstance(given, Mapping) or any(isinstance(known, str) for known in given.values()):
            kind = type(given).__name__
            raise WorkbenchError(f"judgements are of type {kind}; expected query → its ids, or query → id → gain.")
        graded = {
            str(query): known if isinstance(known, Mapping) else dict.fromkeys(known, 1)
            for query, known in given.items()
        }
        return {query: {str(name): float(gain) for name, gain in known.items()} for query, known in graded.items()}
    if given == "":
        return {}
    frame = as_frame(given)
    if missing := {"query", "id"} - set(frame.columns):
        raise WorkbenchError(
            f"The judgements have no column {sorted(missing)[0]!r}; expected query, id and perhaps gain."
        )
    gains = frame["gain"] if "gain" in frame.columns else [1.0] * len(frame)
    found: _Judgements = {}
    for query, name, gain in zip(frame["query"], frame["id"], gains, strict=True):
        found.setdefault(str(query).strip(), {})[str(name)] = float(gain)
    return found


def _words(query: str, language: str) -> list[str]:
    """The words of a query that a table marks: not those that nearly every text holds."""
    import re

    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    words = list(dict.fromkeys(re.findall(r"\w+", query.casefold())))
    rare = [word for word in words if word not in ENGLISH_STOP_WORDS and len(word) > 1]
    return (rare if language == "english" else [word for word in words if len(word) > 3]) or words
