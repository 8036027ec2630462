"""The search panel without a browser: what it finds, how it moves, what it keeps, and what it refuses."""

import json
import os
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from tests.tiny_panel import HOSTILE, TAGS, Bags, Longest, press, tags_shown
from widgets import SearchPanel, metrics_figure, slope_figure
from widgets._theme import marked
from workbench import CrossEncoder
from workbench.errors import Cancelled, ChoiceError, WorkbenchError
from workbench.metrics import mrr_at_k, ndcg_at_k
from workbench.search import fuse

PAGES = {
    "a": "Reset your password on the sign-in page.",
    "b": "Invoices are kept for ten years, since the law asks for it and we obey the law.",
    "c": "A parcel takes three days.",
    "d": "Where is my parcel? Follow it on the page of the carrier, whose link is in our message.",
    "e": "Coffee that is cold has waited too long.",
}
JUDGED = {"where is my parcel": {"d": 2, "c": 1}, "reset a password": ["a"]}


@pytest.fixture
def bags():
    return Bags()


@pytest.fixture
def panel(bags):
    return SearchPanel(PAGES, query="where is my parcel", judgements=JUDGED, model=bags, reranker=Longest())


def code_of(panel):
    names = {}
    exec(compile(panel.to_code(), "code", "exec"), names)
    return names


def labels(figure):
    return list(figure.layout.yaxis.ticktext)


def test_the_order_on_the_right_is_that_of_rank_and_the_code_makes_the_same():
    panel = SearchPanel(PAGES, query="where is my parcel", judgements=JUDGED, candidates=5)
    panel.run()
    ids = panel.found.retrieved.ids[0].tolist()
    ranked = CrossEncoder("starter-reranker").rank(panel.query, [PAGES[name] for name in ids if name])
    assert panel.to_frame()["id"].tolist() == [ids[row["corpus_id"]] for row in ranked]
    texts = [label.rpartition("\u2068")[2][:12] for label in labels(panel.to_figure())]
    assert texts == [PAGES[name][:12] for name in panel.to_frame()["id"]]
    made = code_of(panel)["result"]
    assert made.reranked.ids.tolist() == panel.found.reranked.ids.tolist()
    np.testing.assert_allclose(made.reranked.scores, panel.found.reranked.scores, atol=1e-6)


@pytest.mark.parametrize("fusion", ["rrf", "weighted"])
def test_the_last_order_may_be_one_that_both_stages_have_a_say_in(panel, fusion):
    panel.run()
    alone = panel.found
    panel.set_trait("fusion", fusion)
    assert panel.state == "stale"
    panel.run()
    assert list(panel.found.retrieved) == list(alone.retrieved)
    joined = fuse([alone.retrieved, alone.reranked], 5, fusion, rank_constant=10)
    assert panel.to_frame()["id"].tolist() == [name for name, _ in next(iter(joined))]
    assert SearchPanel.from_parameters(panel.parameters | {"model": "starter", "reranker": ""}).fusion == fusion
    with pytest.raises(ChoiceError, match="'rrf', 'weighted'"):
        panel.fusion = "mean"


def test_the_code_of_a_joined_order_makes_the_same():
    panel = SearchPanel(PAGES, query="where is my parcel", fusion="rrf", candidates=5)
    panel.run()
    assert code_of(panel)["result"].reranked.ids.tolist() == panel.found.reranked.ids.tolist()


def test_the_metrics_are_those_of_the_judged_queries(panel):
    panel.run()
    values = panel.metrics["hybrid + Bags + Longest, re-ranked"]
    gains = []
    for query, known in JUDGED.items():
        panel.query = query
        known = known if isinstance(known, dict) else dict.fromkeys(known, 1)
        gains.append([known.get(name, 0) for name in panel.to_frame()["id"]] + [0] * (5 - len(panel.to_frame())))
    assert values["nDCG@10"] == pytest.approx(ndcg_at_k(gains, [[2, 1], [1, 0]], 10))
    assert values["MRR@10"] == pytest.approx(mrr_at_k(gains, 10))
    assert f"{values['nDCG@10']:.2f}" in panel.result.caption()


def test_another_query_encodes_no_document_again_and_needs_no_press(panel, bags):
    panel.run()
    bags.seen.clear()
    panel.query = "cold coffee"
    assert panel.state == "done"
    assert panel.result.query == "cold coffee"
    assert bags.seen == ["cold coffee"]
    panel.retriever = "dense"
    assert panel.state == "stale"
    panel.run()
    assert not set(PAGES.values()) & set(bags.seen)
    panel.data = [*PAGES.values(), "Another page."]
    panel.run()
    assert "Another page." in bags.seen


def test_another_model_or_a_folder_written_anew_encodes_the_documents_again(panel, tmp_path, monkeypatch):
    monkeypatch.setattr("widgets.search.load_model", lambda name: models[name])
    models = {str(tmp_path): Bags()}
    panel.model, panel.retriever = str(tmp_path), "dense"
    for modified, texts in ((1, len(PAGES)), (1, 0), (2, len(PAGES))):
        models[str(tmp_path)].seen.clear()
        os.utime(tmp_path, (modified, modified))
        panel.run()
        assert len(set(PAGES.values()) & set(models[str(tmp_path)].seen)) == texts


def test_two_pipelines_stand_side_by_side_with_both_metrics(panel):
    panel.set_trait("other_retriever", "bm25")
    panel.run()
    assert panel.other.retrieved.ids[0].tolist()[:2] == ["d", "c"]
    assert list(panel.metrics) == [
        "A hybrid + Bags + Longest, retrieved",
        "A hybrid + Bags + Longest, re-ranked",
        "B bm25, retrieved",
    ]
    assert all(set(values) == {"nDCG@10", "MRR@10"} for values in panel.metrics.values())
    figures = panel._figures(panel.result)
    assert len(figures) == 2
    assert [note.text for note in figures[0].layout.annotations] == [
        "<b>A · hybrid + Bags + Longest</b>",
        "<b>B · bm25</b>",
    ]
    assert panel.to_frame()["rank in B"].tolist().count("not found") == 3
    panel.model, panel.reranker = "starter", ""
    panel.run()
    made = code_of(panel)
    assert made["other"].reranked.ids.tolist() == panel.other.reranked.ids.tolist()
    assert made["result"].reranked.ids.tolist() == panel.found.reranked.ids.tolist()


@pytest.mark.parametrize("kind", ["dense", "bm25", "hybrid"])
def test_parameters_survive_json_and_make_the_same_panel(kind, tmp_path):
    frame = pd.DataFrame({"page": list(PAGES.values()), "id": range(5), "more": 1.5})
    for given in (frame, list(PAGES.values()), "faq", Path("notebooks/data/faq.csv")):
        panel = SearchPanel(
            given, query="parcel", queries=["parcel", "law"], judgements={"parcel": ["3"]}, retriever=kind, reranker="",
            candidates=4, top=3, language="german", other_retriever="bm25", other_model="starter",
        )  # fmt: skip
        kept = json.loads(json.dumps(panel.parameters))
        again = SearchPanel.from_parameters(kept)
        assert again.parameters == panel.parameters
        panel.run(), again.run()
        assert again.found.reranked.ids.tolist() == panel.found.reranked.ids.tolist()


def test_judgements_of_other_passages_give_no_metrics_rather_than_zeros(panel):
    panel.judgements = {"where is my parcel": ["17"]}
    panel.run()
    assert panel.metrics == {}
    assert panel.result.facts()["Judged queries"] == "none on these passages: quality is not measured"
    assert "judgements" not in panel.to_code()
    panel.judgements = {"where is my parcel": ["17", "d"]}
    panel.run()
    assert panel.metrics


def test_judgements_come_as_mappings_tables_files_and_bundled_sets(tmp_path):
    table = pd.DataFrame({"query": ["q", "q", "p"], "id": [1, 2, 1], "gain": [2, 1, 0]})
    table.to_csv(tmp_path / "judged.csv", index=False)
    expected = {"q": {"1": 2.0, "2": 1.0}, "p": {"1": 0.0}}
    assert SearchPanel(judgements=None).judgements == {}
    for given in (table, tmp_path / "judged.csv", str(tmp_path / "judged.csv"), {"q": {1: 2, 2: 1}, "p": {1: 0}}):
        assert SearchPanel(judgements=given).judgements == expected
    assert SearchPanel(judgements=table.drop(columns="gain")).judgements["q"] == {"1": 1.0, "2": 1.0}
    bundled = SearchPanel(judgements="faq_queries")
    assert len(bundled.judgements) > 20
    assert next(iter(bundled._fields["query"].options)) == next(iter(bundled.judgements))


def change_and_run(panel, change):
    for name, value in change.items():
        setattr(panel, name, value)
    panel.run()


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"query": "  "}, WorkbenchError, "The query is empty"),
        ({"data": None}, WorkbenchError, "no passages"),
        (
            {"data": [{"id": 1, "text": "one"}, {"id": 1, "text": "two"}]},
            WorkbenchError,
            "Two passages have the id '1'",
        ),
        ({"ids": "nowhere"}, ChoiceError, "nowhere"),
        ({"retriever": "sparse"}, ChoiceError, "'dense', 'bm25', 'hybrid'"),
        ({"retriever": ""}, ChoiceError, "'dense', 'bm25', 'hybrid'"),
        ({"other_retriever": "sparse"}, ChoiceError, "'dense', 'bm25', 'hybrid'"),
        ({"language": "klingon"}, ChoiceError, "english"),
        ({"judgements": {"q": "abc"}}, WorkbenchError, "expected query → its ids"),
        ({"judgements": 5}, WorkbenchError, "of type int"),
        ({"judgements": pd.DataFrame({"query": ["q"]})}, WorkbenchError, "no column 'id'"),
        ({"judgements": {"q": {"a": "much"}}}, WorkbenchError, "gain"),
        ({"reranker": 3}, WorkbenchError, "predict"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_fix_and_the_last_result_stays(panel, change, error, said):
    panel.run()
    before = panel.result
    with pytest.raises(error, match=said):
        change_and_run(panel, change)
    assert panel.result is before
    assert panel.state in ("done", "error")


def test_the_buttons_run_cancel_and_show_the_example(panel, bags):
    press(panel)
    assert panel.state == "done"
    bags.go_on.clear(), bags.began.clear()
    panel.data = list(PAGES.values())
    panel._run.click()
    assert bags.began.wait(30)
    panel._cancel.click()
    assert panel.state == "stale"
    assert "Cancelled" in panel._status.value
    bags.go_on.set()
    press(panel)
    assert panel.state == "done"
    assert panel.found.retrieved.found[0] == 5


def test_cancelling_ends_a_run_with_an_error_of_its_own(panel, bags):
    bags.go_on.clear()
    ended = []

    def run():
        try:
            panel.run()
        except Cancelled as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert bags.began.wait(30)
    panel.cancel()
    bags.go_on.set()
    thread.join(30)
    assert len(ended) == 1
    assert panel.state == "empty"


def test_the_form_follows_the_inputs_and_sets_them(panel):
    panel._fields["query"].value = "cold coffee"
    assert panel.query == "cold coffee"
    panel.reranker = ""
    assert panel._fields["reranker"].value == ""
    assert ("none", "") in panel._fields["reranker"].options
    panel._fields["reranker"].value = "starter-reranker"
    assert panel.reranker == "starter-reranker"
    panel._fields["judgements"].value = "faq_queries"
    assert len(panel.judgements) > 20
    panel._fields["judgements"].value = "no_such_set"
    assert panel.state == "error"
    assert "no_such_set" in panel._status.value


def test_hostile_texts_stay_text_everywhere():
    hostile = [text.replace("\x00", "") for text in HOSTILE]
    panel = SearchPanel(
        hostile,
        query=hostile[0] + " script bold",
        judgements={text: ["1"] for text in hostile},
        model=Bags(),
        reranker=Longest(),
    )
    panel.run()
    assert tags_shown(panel) <= TAGS
    figure = panel.to_figure().to_json()
    assert "<img" not in figure
    assert "<script" not in figure
    assert "mark" in tags_shown(panel)


def test_only_words_of_the_query_are_marked_and_the_rest_is_escaped():
    assert marked("Parcels & <b>parcel</b>", ["parcel"]) == (
        "<mark>Parcels</mark> &amp; &lt;b&gt;<mark>parcel</mark>&lt;/b&gt;"
    )
    assert marked("the parcelled of it", ["parcel", "it"]) == "the <mark>parcelled</mark> of <mark>it</mark>"
    assert marked("item", ["it"]) == "item"


def test_no_passage_found_is_a_result_too(bags):
    panel = SearchPanel(PAGES, query="xylophone", retriever="bm25", reranker="")
    assert len(panel.run().texts) == 0
    assert "Nothing was found" in panel.to_figure().layout.title.text
    assert len(panel.to_frame()) == 0


# The figure.


def test_labels_of_the_slope_chart_never_meet_and_every_line_joins_the_two_ranks_of_one_passage():
    rng = np.random.default_rng(0)
    texts = {name: f"passage {name} " * 20 for name in range(60)}
    before, after = rng.permutation(60).tolist(), rng.permutation(60).tolist()
    figure = slope_figure(texts, before, after, 10, judged=[after[0]])
    assert isinstance(figure, go.Figure)
    shown = set(before[:10]) | set(after[:10])
    left = sorted((name for name in shown), key=before.index)
    right = sorted((name for name in shown), key=after.index)
    assert figure.layout.yaxis.tickvals == tuple(range(1, len(right) + 1))
    pixels = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
    low, high = figure.layout.yaxis.range
    assert pixels / (low - high) >= 24, "a row is higher than a line of 13 px text"
    segments = set()
    for line in figure.data[:3]:
        segments |= set(zip(line.y[0::3], line.y[1::3], strict=True))
    assert segments == {(left.index(name) + 1, right.index(name) + 1) for name in shown}
    stars = next(trace for trace in figure.data if trace.marker.symbol == "star")
    assert stars.y[-1] == 1
    assert f"rank {before.index(after[0]) + 1}" in stars.customdata[0]
    assert [int(label.split("<b>")[1].split("</b>")[0]) for label in figure.layout.yaxis.ticktext] == [
        after.index(name) + 1 for name in right
    ]


def test_a_passage_of_one_side_has_no_line():
    figure = slope_figure({"a": "x", "b": "y", "c": "z"}, ["a", "b"], ["c", "a"], names=("one", "other"))
    assert sum(len(line.y) for line in figure.data[:3]) == 3
    assert " new" in figure.layout.yaxis.ticktext[0]
    assert "was not one" in figure.layout.title.text


def test_metrics_are_bars_from_0_to_1_and_the_title_names_the_best():
    figure = metrics_figure({"<b>A": {"nDCG@10": 0.5, "MRR@10": 0.4}, "B": {"nDCG@10": 0.75, "MRR@10": 0.2}})
    assert [list(bar.x) for bar in figure.data] == [[0.5, 0.75], [0.4, 0.2]]
    assert figure.layout.title.text.endswith(">B</span>")
    assert "&lt;b&gt;A" in figure.data[0].y
