"""The quantization panel without a browser: what it measures, what it keeps, and what it refuses."""

import json

import numpy as np
import plotly.graph_objects as go
import pytest

from tests.tiny_panel import HOSTILE, TAGS, Bags, press, tags_shown
from widgets import QuantizationPanel, tradeoff_figure
from workbench.errors import WorkbenchError
from workbench.search import quantization_tradeoff

WORDS = ["red", "blue", "cat", "dog", "moon", "sun", "runs", "sleeps", "eats", "old", "new", "big", "small"]
TEXTS = [f"{WORDS[i % 13]} {WORDS[(i * 5 + i // 13) % 13]} {WORDS[(i * 7 + 3) % 13]}" for i in range(60)]
ASKED = ["the red cat", "an old moon", "dog eats"]


@pytest.fixture
def bags():
    return Bags()


@pytest.fixture
def panel(bags):
    return QuantizationPanel(TEXTS, model=bags, queries=ASKED, k=5)


def test_it_measures_what_the_library_measures(panel):
    found = panel.run()
    expected = quantization_tradeoff(Bags().encode(ASKED), Bags().encode(TEXTS), k=5)
    assert [row.recall for row in found.rows] == [row.recall for row in expected.rows]
    assert [row.bytes for row in found.rows] == [row.bytes for row in expected.rows]
    assert panel.best.recall >= 0.95
    assert panel.best.bytes_per_vector == min(row.bytes_per_vector for row in found.rows if row.recall >= 0.95)
    frame = panel.to_frame()
    assert frame["keeps 0.95"].tolist().count("★ smallest") == 1
    assert (frame["re-scored"] == "yes").tolist() == [row.rescore for row in found.rows]
    assert ((frame["keeps 0.95"] != "") == (frame["recall@5"] >= 0.95)).all()


def test_another_wanted_recall_moves_the_line_and_measures_nothing(panel):
    panel.run()
    before = panel.result.tradeoff
    panel.recall = 0.2
    assert panel.state == "done"
    assert panel.result.tradeoff is before
    assert panel.best == before.best(0.2)
    line = panel.to_figure().layout.shapes[0]
    assert line.y0 == line.y1 == 0.2


def test_other_settings_encode_nothing_again_and_other_texts_do(panel, bags):
    panel.run()
    bags.seen.clear()
    panel.k, panel.rescore_multiplier = 3, 2
    assert panel.state == "stale"
    assert panel.run().k == 3
    assert bags.seen == []
    panel.queries = ["the sun"]
    panel.run()
    assert "the sun" in bags.seen


def test_without_queries_some_texts_are_held_back_to_ask_and_it_says_so(panel, bags):
    panel.queries = []
    found = panel.run()
    assert (found.queries, found.vectors) == (12, 48)
    assert "12 of the texts were held back" in panel.result.caption()
    assert sorted(bags.seen) == sorted(TEXTS)


@pytest.mark.parametrize("queries", [[], ["Where is my money?", "lost parcel"]])
def test_the_code_measures_the_same(queries, monkeypatch):
    monkeypatch.setattr(go.Figure, "show", lambda self: None)
    panel = QuantizationPanel("faq", column="answer", queries=queries, k=4, recall=0.8)
    panel.run()
    made = {}
    exec(compile(panel.to_code(), "code", "exec"), made)
    assert [row.recall for row in made["tradeoff"].rows] == [row.recall for row in panel.result.tradeoff.rows]


def test_parameters_survive_json(panel):
    panel.model, panel.recall, panel.rescore_multiplier = "starter", 0.5, 3
    again = QuantizationPanel.from_parameters(json.loads(json.dumps(panel.parameters)))
    assert again.parameters == panel.parameters
    assert [row.recall for row in again.run().rows] == [row.recall for row in panel.run().rows]


def test_too_few_texts_are_refused_and_the_last_result_stays(panel):
    panel.run()
    before = panel.result
    panel.data = TEXTS[:5]
    with pytest.raises(WorkbenchError, match="Recall needs 20 texts or more to mean anything; this column holds 5"):
        panel.run()
    assert panel.state == "error"
    assert panel.result is before
    panel.data = None
    with pytest.raises(WorkbenchError, match="this column holds 0"):
        panel.run()


def test_the_form_follows_the_inputs_and_sets_them(panel, bags):
    assert panel._fields["queries"].value == "\n".join(ASKED)
    panel._fields["queries"].value = "one question\n\nanother"
    assert panel.queries == ["one question", "another"]
    press(panel)
    assert panel.state == "done"
    bags.go_on.clear(), bags.began.clear()
    panel.queries = ["a third"]
    panel._run.click()
    assert bags.began.wait(30)
    panel._cancel.click()
    assert panel.state == "stale"
    bags.go_on.set()
    press(panel)
    assert panel.result.tradeoff.queries == 1


def test_hostile_texts_stay_text():
    texts = [text.replace("\x00", "") + str(row) for text in HOSTILE for row in range(4)]
    panel = QuantizationPanel(texts, model=Bags(), queries=texts[:3])
    panel.run()
    assert tags_shown(panel) <= TAGS
    assert "<img" not in panel.to_figure().to_json()


def test_the_figure_has_a_point_for_each_setting_by_size_and_by_time():
    rng = np.random.default_rng(0)
    made = quantization_tradeoff(rng.normal(size=(5, 32)), rng.normal(size=(50, 32)), k=3)
    figure = tradeoff_figure(made, 0.9)
    for axis, name in (("x", "bytes_per_vector"), ("x2", "milliseconds")):
        points = [point for trace in figure.data if trace.xaxis == axis for point in zip(trace.x, trace.y, strict=True)]
        assert sorted(points) == sorted((getattr(row, name), row.recall) for row in made.rows)
    assert {trace.marker.symbol for trace in figure.data} == {
        "circle-open",
        "square-open",
        "square",
        "diamond-open",
        "diamond",
    }
