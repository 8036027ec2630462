"""The mining panel without a browser: pairs, the line, what it reads, and what it refuses."""

import json

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from tests.tiny_panel import HOSTILE, TAGS, Bags, press, tags_shown
from widgets import MiningPanel, mining_figure
from workbench.errors import ChoiceError, WorkbenchError
from workbench.metrics import best_f1

FRAME = pd.DataFrame(
    {
        "text": ["red cats sleep", "cats sleep red", "", "buy new shoes", "buy shoes", "new moon", None, "old moon"],
        "other": ["rote cats", "sleep red", "x", "new shoes buy", "shoes buy", "", "y", "old old moon"],
        "group": [1, 1, 2, 3, 3, 4, 2, 5],
    }
)


@pytest.fixture
def panel():
    return MiningPanel(FRAME, column="text", labels="group", model=Bags())


def brute_force(texts, bags):
    """Cosines of all pairs of texts, by row."""
    kept = {row: bags.encode([text])[0] for row, text in enumerate(texts) if isinstance(text, str) and text}
    return {
        (i, j): float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        for i, a in kept.items()
        for j, b in kept.items()
        if i < j
    }


def test_paraphrases_are_all_pairs_by_cosine_and_rows_are_those_of_the_data(panel):
    panel.run()
    found = {(row.i, row.j): row.score for row in panel.result.pairs.itertuples()}
    expected = brute_force(FRAME["text"], Bags())
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[pair] for pair in expected], list(expected.values()), atol=1e-5)
    first = panel.to_frame().iloc[0]
    assert (first["i"], first["j"], first["text i"], first["true"]) == (0, 1, "red cats sleep", "✓")


def test_the_line_stands_where_f1_is_best_and_moves_with_the_threshold(panel):
    panel.run()
    pairs = panel.result.pairs
    f1, precision, recall, threshold = best_f1(pairs["score"], pairs["true"], positives=2)
    assert panel.result.threshold == threshold
    assert panel.reading["F1"] == pytest.approx(f1)
    assert (panel.reading["precision"], panel.reading["recall"]) == pytest.approx((precision, recall))
    panel._fields["threshold"].value = round(float(pairs["score"].min()) + 0.01, 2)
    assert panel.threshold == panel._fields["threshold"].value
    assert panel.state == "done", "the line is live"
    taken = pairs[pairs["score"] >= panel.threshold]
    assert panel.reading == pytest.approx(
        {
            "pairs": len(taken),
            "precision": taken["true"].mean(),
            "recall": 1.0,
            "F1": 2 * 2 / (len(taken) + 2),
        }
    )
    assert len(panel.to_frame()) == len(taken)
    assert f"{taken['true'].mean():.0%} of them right" in panel.to_figure().layout.title.text
    panel._actions()[0].click()
    assert panel.threshold is None
    assert panel.result.threshold == threshold


def test_translations_are_found_across_two_columns_and_judged_by_their_rows():
    panel = MiningPanel("english_german", column="english", partner="german", threshold=1.2)
    panel.run()
    taken = panel.to_frame()
    assert panel.reading["precision"] == (taken["i"] == taken["j"]).mean() > 0.8
    assert panel.reading["recall"] == (taken["i"] == taken["j"]).sum() / 40
    panel.aligned = False
    assert panel.state == "stale"
    panel.run()
    assert set(panel.reading) == {"pairs"}


@pytest.mark.parametrize("inputs", [{"labels": "meaning"}, {"threshold": 0.6}, {}])
def test_the_code_takes_the_same_pairs(inputs, monkeypatch):
    monkeypatch.setattr(go.Figure, "show", lambda self: None)
    panel = MiningPanel("paraphrases", column="text", **inputs)
    panel.run()
    made = {}
    exec(compile(panel.to_code(), "code", "exec"), made)
    np.testing.assert_allclose(made["taken"]["score"], panel.to_frame()["score"])
    assert made["taken"]["i"].tolist() == panel.to_frame()["i"].tolist()


def test_the_code_of_translations_takes_the_same_pairs(monkeypatch):
    monkeypatch.setattr(go.Figure, "show", lambda self: None)
    panel = MiningPanel("registers", column="plain", partner="formal", margin="distance")
    panel.run()
    made = {}
    exec(compile(panel.to_code(), "code", "exec"), made)
    assert made["taken"]["source_text"].tolist() == panel.to_frame()["text i"].tolist()
    assert made["taken"]["target_text"].tolist() == panel.to_frame()["text j"].tolist()


def test_parameters_survive_json(panel):
    panel.threshold, panel.margin, panel.aligned, panel.model = 0.5, "distance", False, "starter"
    again = MiningPanel.from_parameters(json.loads(json.dumps(panel.parameters)))
    assert again.parameters == panel.parameters
    np.testing.assert_allclose(again.run()["score"], panel.run()["score"])


@pytest.mark.parametrize(
    ("name", "value", "error", "said"),
    [
        ("partner", "nowhere", ChoiceError, "nowhere"),
        ("labels", "nowhere", ChoiceError, "nowhere"),
        ("margin", "wide", ChoiceError, "ratio"),
        ("threshold", float("nan"), WorkbenchError, "finite"),
        ("data", ["only one"], WorkbenchError, "need two texts or more"),
        ("data", None, WorkbenchError, "need two texts or more"),
    ],
)
def test_what_cannot_be_used_is_refused_and_the_last_result_stays(panel, name, value, error, said):
    panel.run()
    before = panel.result
    with pytest.raises(error, match=said):
        set_and_run(panel, name, value)
    assert panel.result is before


def set_and_run(panel, name, value):
    setattr(panel, name, value)
    panel.run()


def test_the_buttons_and_other_data(panel):
    press(panel)
    assert panel.state == "done"
    panel.data = pd.DataFrame({"text": FRAME["text"], "new": FRAME["group"]})
    assert (panel.labels, panel.state) == ("", "stale")
    press(panel)
    assert "true" not in panel.to_frame()
    assert [value for _, value in panel._fields["labels"].options] == ["", "text", "new"]
    panel._fields["labels"].value = "new"
    assert panel.labels == "new"


def test_hostile_texts_stay_text():
    texts = [text.replace("\x00", "") for text in HOSTILE]
    panel = MiningPanel(pd.DataFrame({"<b>text": texts}), labels="<b>text", model=Bags(), threshold=-1.0)
    panel.run()
    assert tags_shown(panel) <= TAGS
    assert "<img" not in panel.to_figure().to_json()


def test_the_figure_shows_shares_of_each_kind_and_both_curves():
    rng = np.random.default_rng(0)
    scores, true = rng.random(500), rng.random(500) < 0.3
    figure = mining_figure(scores, 0.5, true, 200)
    bars, curves = figure.data[:2], figure.data[2:]
    assert [sum(bar.customdata) for bar in bars] == [(~true).sum(), true.sum()]
    assert [sum(bar.y) for bar in bars] == pytest.approx([100, 100])
    at = 10
    taken = scores >= curves[0].x[at]
    assert curves[0].y[at] == pytest.approx(true[taken].mean())
    assert curves[1].y[at] == pytest.approx(true[taken].sum() / 200)
    assert [bar.marker.pattern.shape for bar in bars] == ["", "/"]
    assert len(mining_figure(scores, 0.5).data) == 1
