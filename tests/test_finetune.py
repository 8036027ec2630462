"""The panel that fine-tunes, and the curves of a run: figures, live HTML, a printed table, every input and button."""

import html.parser
import json
import threading
import time

import numpy as np
import pandas as pd
import pytest
import traitlets

from tests.tiny_training import TEXTS, arguments, pairs, static
from widgets import FinetunePanel, LiveCurves
from widgets._curves import curves_figure, curves_html, explained, main_metric, smooth
from workbench import SentenceTransformer, SentenceTransformerTrainer
from workbench.errors import Cancelled, WorkbenchError
from workbench.losses import MultipleNegativesRankingLoss
from workbench.training import suggest_evaluator

PATIENCE = 60  # seconds
HOSTILE = "<script>alert(1)</script> <img src=x onerror=alert(1)> $x$ **bold** \u202e" + "w" * 10_000
ROWS = [
    {"step": 0, "eval_cosine_ndcg@10": 0.25, "eval_loss": 3.0},
    *({"step": step, "loss": 3 - step / 10, "learning_rate": 0.1} for step in range(1, 10)),
    {"step": 10, "loss": 2.0, "learning_rate": 0.0, "eval_cosine_ndcg@10": 0.75, "eval_loss": 2.5},
]


def frame(count=40):
    return pd.DataFrame({"question": TEXTS[:count], "answer": TEXTS[-count:][::-1]})


@pytest.fixture
def panel():
    return FinetunePanel(frame(), model=static(), epochs=2, batch_size=8)


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# Curves.


def test_smoothing_is_the_weighted_mean_of_all_values_so_far():
    values = np.random.default_rng(0).normal(size=20)
    kept = 1 - 2 / 11
    for place, found in enumerate(smooth(values, 10)):
        weights = kept ** np.arange(place, -1, -1)
        assert found == pytest.approx(np.average(values[: place + 1], weights=weights), abs=1e-12)
    assert smooth([]).shape == (0,)
    np.testing.assert_allclose(smooth([2.0] * 5), 2.0)


def test_the_figure_has_the_loss_twice_and_what_was_measured_on_an_axis_of_its_own():
    figure = curves_figure(ROWS, total=20)
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces) == ["loss", "loss, smoothed", "loss, held out", "nDCG@10"]
    assert traces["loss"].opacity < 0.5 < traces["loss, smoothed"].line.width
    assert list(traces["loss"].x) == list(range(1, 11))
    np.testing.assert_allclose(traces["loss, smoothed"].y, smooth(traces["loss"].y))
    assert (list(traces["nDCG@10"].x), list(traces["nDCG@10"].y)) == ([0, 10], [0.25, 0.75])
    assert traces["nDCG@10"].yaxis == "y2"
    assert traces["nDCG@10"].marker.symbol != traces["loss, held out"].marker.symbol
    assert figure.layout.xaxis.range == (0, 20)
    assert "fell from 2.90 to" in figure.layout.title.text
    assert "10 of 20 steps" in figure.layout.title.text
    assert "nDCG@10 0.250 → 0.750" in figure.layout.title.text


def test_a_long_run_is_drawn_with_few_points_of_the_same_mean():
    rows = [{"step": step, "loss": float(step)} for step in range(1, 100_001)]
    loss = curves_figure(rows).data[0]
    assert len(loss.x) == 400
    np.testing.assert_allclose(np.diff(loss.y), 250)
    assert np.mean(loss.y) == pytest.approx(50_000.5)


def test_a_run_that_has_logged_nothing_or_one_step_is_drawn_too():
    for rows in ([], ROWS[:1], ROWS[1:2]):
        assert curves_figure(rows).layout.title.text
        assert "<svg" in curves_html(rows)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["eval_loss"], ""),
        (["eval_sts_pearson_cosine", "eval_sts_spearman_cosine"], "eval_sts_spearman_cosine"),
        (["eval_cosine_accuracy@1", "eval_cosine_ndcg@10"], "eval_cosine_ndcg@10"),
        (["eval_own"], "eval_own"),
    ],
)
def test_the_most_telling_metric_is_drawn(names, expected):
    assert main_metric([dict.fromkeys(names, 1.0) | {"step": 1}]) == expected
    assert "eval_" not in explained(expected)


class Points(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.lines, self.tags = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "polyline":
            self.lines.append(
                [[float(part) for part in pair.split(",")] for pair in dict(attributes)["points"].split()]
            )


def test_the_html_draws_the_same_curves_inside_its_frame():
    loss, smoothed, metric = Points(curves_html(ROWS, total=20)).lines
    assert [point[0] for point in loss] == [50 * step for step in range(1, 11)]
    assert [point[1] for point in loss] == sorted(point[1] for point in loss), "it falls"
    assert loss[0][1] == 10
    assert loss[-1][1] == 190
    assert len(smoothed) == 10
    assert metric == [[0, 190], [500, 10]]


def test_a_metric_of_a_hostile_name_stays_text():
    rows = [{"step": step, "loss": 1.0, "eval_<script>x</script>": 0.5} for step in (1, 2)]
    assert "script" not in Points(curves_html(rows)).tags
    assert "<script>" not in curves_figure(rows).to_json()


# The callback.


class Display:
    """What a notebook shows through a display id."""

    def __init__(self, monkeypatch):
        self.shown = []
        monkeypatch.setattr("IPython.display.display", self.display)

    def display(self, bundle, *, raw, display_id):
        assert raw
        assert display_id
        self.shown.append(bundle)
        return self

    def update(self, bundle, *, raw):
        assert raw
        self.shown.append(bundle)


def train(curves, folder, **options):
    model = static()
    options = {"max_steps": 20, "eval_strategy": "steps", "eval_steps": 10, "eval_on_start": True} | options
    trainer = SentenceTransformerTrainer(
        model,
        arguments(folder, **options),
        pairs(),
        loss=MultipleNegativesRankingLoss(model),
        evaluator=suggest_evaluator(pairs(8)),
        callbacks=[curves],
    )
    trainer.train()


def test_curves_are_renewed_in_one_place_and_become_a_figure_at_the_end(tmp_path, monkeypatch, capsys):
    display = Display(monkeypatch)
    curves = LiveCurves(live=True, every=0)
    train(curves, tmp_path)
    assert len(display.shown) > 20
    assert [len(Points(bundle["text/html"]).lines[0]) for bundle in display.shown[1:4]] == [0, 1, 2]
    figures = ["application/vnd.plotly.v1+json" in bundle for bundle in display.shown]
    assert figures == [False] * (len(figures) - 1) + [True]
    json.dumps(display.shown)
    display.shown.clear()
    curves.show()
    assert "application/vnd.plotly.v1+json" in display.shown[0], "shown again in another cell, whole"
    display.shown.clear()
    train(LiveCurves(live=True, every=PATIENCE), tmp_path)
    assert len(display.shown) == 3, "the empty frame, the first rows and the last ones"
    assert capsys.readouterr().out == ""


def test_where_nobody_watches_a_plain_table_is_printed(tmp_path, capsys):
    curves = LiveCurves()
    train(curves, tmp_path, max_steps=200, eval_steps=100)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["step", "loss", "learning_rate", "cosine_ndcg@10"]
    rows = [line.split() for line in lines[1:]]
    assert rows[0][0] == "0"
    assert [int(row[0]) for row in rows][-1] == 200
    assert [row[0] for row in rows if len(row) == 4] == ["100", "200"]
    assert 15 <= len(rows) <= 26
    logged = {row["step"]: row for row in curves.rows}
    assert all(float(row[1]) == pytest.approx(logged[int(row[0])]["loss"], rel=1e-5) for row in rows[1:])


# The panel: inputs.


def test_columns_are_guessed_and_losses_come_with_reasons(panel):
    assert (panel.column, panel.second, panel.third, panel.label) == ("question", "answer", "", "")
    assert next(iter(panel.suggestions())) == "MultipleNegativesRankingLoss"
    assert "every other positive" in panel._guide.value
    assert "▸ MultipleNegativesRankingLoss" in panel._guide.value
    assert TEXTS[0] in panel._guide.value
    assert panel._fields["loss"].options[0] == ("suggested: MultipleNegativesRankingLoss", "")
    assert "GISTEmbedLoss" not in panel.suggestions(), "it wants a second model"
    assert panel.preview().columns.tolist() == ["question", "answer"]


def test_other_data_is_guessed_anew_and_the_same_columns_stay(panel):
    panel.loss = "CachedMultipleNegativesRankingLoss"
    panel.column, panel.second = "answer", "question"
    panel.data = frame(20)
    assert (panel.column, panel.second) == ("answer", "question")
    assert panel.loss == "CachedMultipleNegativesRankingLoss"
    panel.data = pd.DataFrame({"one": TEXTS[:20], "other": TEXTS[20:40], "score": np.linspace(0, 1, 20)})
    assert (panel.column, panel.second, panel.label, panel.loss) == ("one", "other", "score", "")
    assert next(iter(panel.suggestions())) == "CoSENTLoss"
    panel.data = pd.DataFrame({"text": TEXTS[:20], "kind": ["a", "b"] * 10})
    assert (panel.column, panel.second, panel.label) == ("text", "", "kind")
    assert next(iter(panel.suggestions())) == "BatchAllTripletLoss"
    panel.data = None
    assert panel._guide.value == ""


@pytest.mark.parametrize("name", ["second", "third", "label", "loss"])
def test_a_menu_and_its_input_follow_each_other(panel, name):
    menu = panel._fields[name]
    value = "CachedMultipleNegativesRankingLoss" if name == "loss" else "question"
    menu.value = value
    assert getattr(panel, name) == value
    setattr(panel, name, "")
    assert menu.value == ""


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("second", "nothing", "Unknown column 'nothing'"),
        ("label", "nothing", "Unknown column 'nothing'"),
        ("loss", "NoLoss", "Unknown loss 'NoLoss'"),
        ("map", "flat", "Unknown map 'flat'"),
    ],
)
def test_an_unknown_choice_lists_the_known_ones(panel, name, value, said):
    with pytest.raises(WorkbenchError, match=said):
        setattr(panel, name, value)


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("batch_size", 1), ("negatives", 6), ("held_out", 0.95)])
def test_numbers_have_bounds(panel, name, value):
    with pytest.raises(traitlets.TraitError):
        setattr(panel, name, value)


def test_settings_say_how_many_steps_there_will_be(panel):
    assert "8 steps" in panel._note.value
    panel.negatives = 2
    assert "16 steps" in panel._note.value
    panel.epochs = 1
    assert "8 steps" in panel._note.value
    assert repr(panel) == "<FinetunePanel: 8 steps, empty>"


def test_a_preview_shows_mined_negatives_and_an_estimate(panel):
    panel.negatives = 1
    rows = panel.preview()
    assert rows.columns.tolist() == ["question", "answer", "negative"]
    assert not any(row.answer == row.negative for row in rows.itertuples())
    look = next(child for child in panel.children[1].children if child.description == "Preview")
    look.click()
    wait_until(lambda: not look.disabled)
    assert "negative" in panel._guide.value
    assert "8 steps, about" in panel._guide.value
    assert 0 < panel.estimate() < PATIENCE
    assert panel.state == "empty", "nothing was trained"


# The panel: runs.


def test_a_run_trains_a_copy_and_shows_what_changed(panel):
    before = panel.model.encode(TEXTS[:5])
    panel.epochs, panel.learning_rate = 10, 0.1
    plain = panel.run()
    assert panel.state == "done"
    np.testing.assert_array_equal(panel.model.encode(TEXTS[:5]), before)
    assert not np.allclose(panel.trained.encode(TEXTS[:5]), before)
    losses = panel.history["loss"].dropna()
    assert losses.iloc[-5:].mean() < losses.iloc[:5].mean()
    evaluator_says = [row for row in plain["history"] if "eval_cosine_ndcg@10" in row]
    assert len(evaluator_says) == 6
    assert plain["after"]["cosine_ndcg@10"] == evaluator_says[-1]["eval_cosine_ndcg@10"]
    table = panel.to_frame()
    assert sorted(table["text"]) == sorted(TEXTS[:40])
    assert table["of 10 neighbours kept"].is_monotonic_increasing
    assert (table["nearest before"] != table["text"]).all()
    figure = panel.to_figure()
    names = [trace.name for trace in figure.data]
    assert names == ["loss", "loss, smoothed", "nDCG@10", "before", "after", "changed most"]
    assert len(figure.data[3].x) == 40
    assert "nDCG@10" in figure.layout.title.text
    assert "held out" in panel.result.caption()
    facts = panel.result.facts()
    assert facts["Rows"] == "32 to train on, 8 held out"
    assert "→" in facts["cosine_ndcg@10"]


def test_neighbours_in_the_table_are_those_of_the_vectors(panel):
    model = panel.model
    panel.run()
    texts = panel.result.texts
    unit = model.encode(texts, normalize_embeddings=True)
    scores = unit @ unit.T - 2 * np.eye(len(texts))
    table = panel.to_frame().set_index("text")
    assert [table.loc[text, "nearest before"] for text in texts] == [texts[row.argmax()] for row in scores]


@pytest.mark.parametrize(
    ("data", "metric"),
    [
        ({"a": TEXTS[:30], "b": TEXTS[30:60], "score": np.linspace(0, 1, 30)}, "spearman_cosine"),
        ({"a": TEXTS[:30], "b": TEXTS[30:60], "label": [0, 1] * 15}, "cosine_ap"),
        ({"text": TEXTS[:40], "kind": ["one", "two"] * 20}, "cosine_ndcg@10"),
        ({"anchor": TEXTS[:30], "positive": TEXTS[30:60], "negative": TEXTS[60:90]}, "cosine_ndcg@10"),
    ],
)
def test_every_kind_of_data_is_trained_on_and_measured(data, metric):
    panel = FinetunePanel(pd.DataFrame(data), model=static(), epochs=1, batch_size=8)
    assert metric in panel.run()["after"]


@pytest.mark.parametrize("source", ["a frame", "a file", "with negatives"])
def test_the_code_makes_the_same_model(tmp_path, monkeypatch, source, capsys):
    monkeypatch.chdir(tmp_path)
    static().save_pretrained("model")
    frame(24).to_csv("pairs.csv", index=False)
    data = "pairs.csv" if source == "a file" else frame(24)
    panel = FinetunePanel(data, model="model", epochs=2, batch_size=8, negatives=int(source == "with negatives"))
    panel.run()
    names = {}
    exec(compile(panel.to_code(), "code", "exec"), names)
    np.testing.assert_allclose(names["model"].encode(TEXTS[:20]), panel.trained.encode(TEXTS[:20]), atol=1e-6)
    assert len(names["figure"].data) >= 3
    kept = SentenceTransformer("finetuned/model").encode(TEXTS[:20])
    np.testing.assert_allclose(kept, panel.trained.encode(TEXTS[:20]), atol=1e-6)
    assert "cosine_ndcg@10" in capsys.readouterr().out


def test_parameters_make_the_same_panel_again(tmp_path):
    static().save_pretrained(tmp_path / "model")
    options = {"model": str(tmp_path / "model"), "epochs": 1, "batch_size": 8, "learning_rate": 0.01, "seed": 3}
    panel = FinetunePanel(frame(24).assign(more=1), column="answer", second="question", held_out=0.5, **options)
    parameters = json.loads(json.dumps(panel.parameters))
    again = FinetunePanel.from_parameters(parameters)
    assert again.parameters == panel.parameters
    assert (again.column, again.second, again.held_out) == ("answer", "question", 0.5)
    assert again.run()["after"] == panel.run()["after"]


def test_an_input_changed_after_the_run_makes_the_result_old(panel):
    panel.run()
    panel.epochs = 3
    assert panel.state == "stale"
    panel.epochs = 2
    assert panel.state == "done"


CANNOT = [
    ({"loss": "CoSENTLoss"}, "needs"),
    ({"second": ""}, "give nothing to measure"),
    ({"second": "question"}, "each once"),
    ({"label": "answer", "negatives": 1, "second": ""}, "Hard negatives are mined for pairs without labels"),
    ({"model": "missing-model"}, "missing-model"),
    ({"data": None}, "There is no data yet"),
]


def test_what_cannot_be_trained_is_one_line_and_the_last_result_stays(panel):
    good = panel.run()
    for change, said in CANNOT:
        before = {name: getattr(panel, name) for name in change}
        for name, value in change.items():
            setattr(panel, name, value)
        with pytest.raises((WorkbenchError, OSError), match=said):
            panel.run()
        assert panel.state == "error"
        assert "wb-error" in panel._status.value
        assert panel.result.plain() == good
        assert panel._tabs in panel._card.children
        assert not panel._run.disabled
        assert panel._hold.disabled
        for name, value in before.items():
            setattr(panel, name, value)
    assert panel.state == "done"


class Slow(SentenceTransformer):
    """A model whose forward takes a while."""

    def forward(self, *args, **kwargs):
        time.sleep(0.02)
        return super().forward(*args, **kwargs)


@pytest.fixture
def endless(panel):
    panel.model = Slow(modules=list(static()))
    panel.epochs = 50
    return panel


def test_cancel_stops_a_run_within_two_seconds_and_the_panel_runs_again(endless):
    panel = endless
    before = {thread.ident for thread in threading.enumerate()}
    panel._run.click()
    wait_until(lambda: len(panel.history) > 3)
    assert panel.state == "running"
    assert panel._plot in panel._card.children, "the curves are shown while they grow"
    wait_until(lambda: panel._plot.outputs[0]["data"]["application/vnd.plotly.v1+json"]["data"][0]["x"])
    begun = time.monotonic()
    panel._cancel.click()
    assert panel.state == "empty"
    wait_until(lambda: not {thread.ident for thread in threading.enumerate()} - before)
    assert time.monotonic() - begun < 2
    assert "Cancelled" in panel._status.value
    assert panel._plot not in panel._card.children
    panel.epochs = 1
    panel.run()
    assert panel.state == "done"


def test_pause_holds_a_run_and_a_paused_run_can_be_cancelled(endless):
    panel = endless
    errors = []

    def run():
        try:
            panel.run()
        except Cancelled as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: len(panel.history) > 3)
    panel.pause()
    assert panel._hold.description == "Continue"
    time.sleep(0.3)  # more than a step
    there = len(panel.history)
    time.sleep(0.3)
    assert len(panel.history) == there
    panel.resume()
    wait_until(lambda: len(panel.history) > there + 2)
    panel._hold.value = True
    begun = time.monotonic()
    panel.cancel()
    thread.join(PATIENCE)
    assert time.monotonic() - begun < 2
    assert len(errors) == 1
    assert (panel._hold.value, panel._hold.description, panel._hold.disabled) == (False, "Pause", True)


# The panel: what is kept and shown.


def test_save_and_push_keep_the_trained_model(panel, tmp_path, monkeypatch):
    where, save, push = panel._keep.children
    with pytest.raises(WorkbenchError, match="no result yet"):
        panel.save(tmp_path)
    panel.run()
    assert panel._keep in panel._card.children
    where.value = str(tmp_path / "<b>kept")
    save.click()
    assert "Kept: " in panel._status.value
    assert "<b>" not in panel._status.value
    again = SentenceTransformer(tmp_path / "<b>kept")
    np.testing.assert_allclose(again.encode(TEXTS[:3]), panel.trained.encode(TEXTS[:3]), atol=1e-6)
    (tmp_path / "file").write_text("")
    where.value = str(tmp_path / "file" / "inside")
    save.click()
    assert "could not be kept" in panel._status.value
    pushed = []
    monkeypatch.setattr(type(panel.trained), "push_to_hub", lambda model, name: pushed.append(name) or "the-address")
    where.value = " organization/name "
    push.click()
    assert pushed == ["organization/name"]
    assert "the-address" in panel._status.value


def test_hostile_text_stays_text_everywhere():
    data = frame(20)
    data.loc[0, "question"], data.loc[1, "answer"] = HOSTILE, HOSTILE
    data = data.rename(columns={"answer": "<img src=x onerror=alert(1)>"})
    panel = FinetunePanel(data, column="question", model=static(), epochs=1, batch_size=8)
    panel.second = "<img src=x onerror=alert(1)>"
    panel.run()
    pages = [panel._guide.value, panel._status.value, panel._below.value, *(tab.value for tab in panel._tabs.children)]
    for page in pages:
        assert not Points(page).tags & {"script", "img"}
        assert len(page) < 60_000
    assert "<script" not in panel.to_figure().to_json()
    assert "$" not in str(panel.to_figure().data[3].customdata)


def test_a_report_shows_the_figure_and_the_table(panel, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *args, **kwargs: shown.extend(args))
    report = FinetunePanel(frame(24), model=static(), epochs=1, batch_size=8, report=True)
    bundle = report._repr_mimebundle_()
    assert "nearest before" in bundle["text/html"]
    assert any(getattr(one, "data", None) for one in shown)


def test_the_example_trains_on_bundled_data():
    panel = FinetunePanel()
    assert panel.state == "empty"
    panel._on_example()
    wait_until(lambda: panel.state != "running")
    assert panel.state == "done"
    assert (panel.data, panel.column, panel.label) == ("support_messages", "message", "intent")
    before, after = (panel.result.plain()[when]["cosine_ndcg@10"] for when in ("before", "after"))
    assert after > before + 0.1
