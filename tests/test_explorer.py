"""The explorer without a browser: the map, what the mouse picks, search, lists, hostile texts, and bounded messages."""

import inspect
import json
import time
import zlib

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from ipywidgets.widgets.widget import _remove_buffers

from widgets import Explorer, ExplorerPanel, Groups, map_figure
from widgets._live_map import LiveMap
from widgets._map_figure import GL_FROM, hover_texts, label_shifts
from widgets._theme import CATEGORIES, OTHER
from workbench.clustering import Clusters
from workbench.errors import ChoiceError, WorkbenchError
from workbench.progress import track
from workbench.projection import Projection, neighbour_overlap

SUBJECTS = {
    "trains": ["train", "platform", "ticket", "seat", "station"],
    "cooking": ["soup", "pepper", "simmer", "onion", "kitchen"],
    "music": ["cello", "song", "stage", "drummer", "melody"],
}
HOSTILE = [
    '<img src=x onerror="window.hacked=1">',
    "</p><script>window.hacked=1</script>",
    "%{x} %{customdata} $E=mc^2$ **bold**",
    "word" * 2500,
    "\u202egnp.exe \u05e9\u05dc\u05d5\u05dd 🙂🙂",
]


class Words:
    """A stand-in for a model: random vectors of words, summed."""

    def __init__(self, dim=32):
        self.dim, self.calls = dim, 0

    def encode(self, texts):
        self.calls += 1
        rows = []
        with track(len(texts), unit="tokens", desc="Encoding") as bar:
            for text in texts:
                seeds = [zlib.crc32(word.encode()) for word in text.split()]
                rows.append(sum(np.random.default_rng(seed).normal(size=self.dim) for seed in seeds))
                bar.update(1)
        return np.array(rows, dtype=np.float32)


def frame(rows=60, seed=0):
    draw, names = np.random.default_rng(seed), list(SUBJECTS)
    subjects = [names[i % 3] for i in range(rows)]
    messages = [" ".join(draw.choice(SUBJECTS[subject], 3)) for subject in subjects]
    return pd.DataFrame({"message": messages, "subject": subjects, "length": draw.normal(size=rows)})


@pytest.fixture
def data():
    return frame()


@pytest.fixture
def panel(data):
    panel = Explorer(data, text="message", model=Words(), projection="pca", clustering_settings={"n_clusters": 3})
    panel.run()
    return panel


def event(panel, kind, rows, side=0):
    """What the browser sends when a lasso holds rows of one map, or a point is clicked."""
    found = {"trace_indexes": [], "point_indexes": [], "xs": [], "ys": []}
    for place, trace in enumerate(panel._map.data):
        if trace.customdata is None or (trace.xaxis or "x") != ("x2" if side else "x"):
            continue
        for point in np.flatnonzero(np.isin(trace.customdata, rows)).tolist():
            found["trace_indexes"].append(place)
            found["point_indexes"].append(point)
            found["xs"].append(float(trace.x[point]))
            found["ys"].append(float(trace.y[point]))
    lasso = {"type": "lasso", "selector_state": {"xs": [0, 1], "ys": [0, 1]}}
    message = {"event_type": kind, "points": found, "device_state": None}
    panel._map._js2py_pointsCallback = message | ({"selector": lasso} if kind == "plotly_selected" else {})


GONE = {
    "event_type": "plotly_selected",
    "points": {"trace_indexes": [], "point_indexes": [], "xs": [], "ys": []},
    "device_state": None,
    "selector": None,
}  # fmt: skip


def kept_in_colour(live):
    """The rows of the first map that are not grey; None where nothing is selected."""
    traces = [trace for trace in live.data if trace.customdata is not None and trace.xaxis in (None, "x")]
    if all(trace.selectedpoints is None for trace in traces):
        return None
    return sorted(int(row) for trace in traces for row in np.asarray(trace.customdata)[list(trace.selectedpoints)])


# The map.


def test_the_figure_draws_each_row_once_in_the_colour_and_symbol_of_its_group(panel, data):
    panel.colour = "subject"
    figure = panel.to_figure()
    assert type(figure) is go.Figure
    rows = np.concatenate([trace.customdata for trace in figure.data])
    assert sorted(rows) == list(range(60))
    for trace, colour in zip(figure.data, CATEGORIES, strict=False):
        assert trace.marker.color == colour
        assert set(data["subject"][trace.customdata]) == {trace.name.split()[0]}
        places = panel.result.maps[""].coordinates[trace.customdata]
        np.testing.assert_array_equal(np.stack([trace.x, trace.y], 1), places)
    assert len({trace.marker.symbol for trace in figure.data}) == 3
    assert "60 of 60 rows shown" in figure.layout.title.text
    assert f"trustworthiness {panel.result.maps[''].trustworthiness:.2f}" in figure.layout.title.text


def flat(n, draw=None):
    draw = draw or np.random.default_rng(0)
    return Projection(draw.normal(size=(n, 2)).astype(np.float32), "umap", {}, 7, n, 0, 0.91, n)


def test_svg_draws_few_points_and_webgl_many():
    for number, kind in ((GL_FROM - 1, "scatter"), (GL_FROM, "scattergl")):
        figure = map_figure({"": flat(number)}, Groups.of(["a"] * number, "kind"))
        assert {trace.type for trace in figure.data} == {kind}


def test_beyond_eight_groups_come_the_others_in_grey_and_rows_of_none():
    values = pd.Series([f"v{i}" for i in range(10) for _ in range(20 - i)] + [None, None])
    groups = Groups.of(values, "kind")
    figure = map_figure({"": flat(len(values))}, groups, total=1000)
    assert [trace.marker.color for trace in figure.data] == [*CATEGORIES, OTHER, OTHER]
    assert [len(trace.x) for trace in figure.data] == [20, 19, 18, 17, 16, 15, 14, 13, 12 + 11, 2]
    assert figure.data[8].name.startswith("2 others")
    assert figure.data[9].name.startswith("no kind")
    assert f"{len(values)} of 1\u202f000 rows shown · UMAP, seed 7" in figure.layout.title.text


def test_many_numbers_become_five_ranges():
    groups = Groups.of(np.arange(100.0), "length")
    assert len(groups.names) == 5
    assert np.bincount(groups.codes).tolist() == [20] * 5


def test_the_title_says_how_the_texts_spread_also_where_all_values_differ_or_none_is_frequent():
    names = [f"v{i}" for i in range(300)]
    expected = {
        "2 values of kind; the largest, “\u2068a\u2069”, holds 75%": ["a", "a", "a", "b"],
        "300 values of kind, each of a single text: these colours show no groups": names,
        "300 values of kind; the largest, “\u2068v0\u2069”, holds 2 texts": [*names, "v0"],
        "1 value of kind; the largest, “\u2068a\u2069”, holds 50%": ["a", None],
    }
    for title, values in expected.items():
        figure = map_figure({"": flat(len(values))}, Groups.of(values, "kind"))
        assert figure.layout.title.text.startswith(f"<b>{title}</b>")


def test_topics_are_called_by_the_words_that_set_them_apart(data):
    labels = data["subject"].map({"trains": 0, "cooking": 1, "music": 2})
    groups = Groups.topics(Clusters.of(labels), data["message"].tolist())
    for name, words in zip(groups.names, SUBJECTS.values(), strict=True):
        assert set(name.split(" ", 1)[1].split(", ")) <= set(words)


def test_labels_never_lie_over_each_other_or_outside_of_the_map():
    draw = np.random.default_rng(0)
    for _ in range(50):
        middles = draw.uniform(0, [640, 470], (8, 2)).astype(np.float32) * draw.choice([0.2, 1])
        widths = draw.uniform(40, 200, 8)
        boxes = []
        for middle, wide, shift in zip(middles, widths, label_shifts(middles, widths, 640, 470), strict=True):
            if shift is not None:
                x, y = middle + shift
                assert x - wide / 2 > -1
                assert x + wide / 2 < 641
                assert all(abs(x - a) > (wide + w) / 2 - 2 or abs(y - b) > 18 for a, b, w in boxes)
                boxes.append((x, y, wide))
        assert len(boxes) >= 4


def test_a_label_stands_at_a_row_of_its_group(panel):
    panel.colour = "subject"
    figure = panel.to_figure()
    labels = {note.text: (note.x, note.y) for note in figure.layout.annotations if note.name == "label"}
    assert set(labels) == set(SUBJECTS)
    for trace in figure.data:
        x, y = labels[trace.name.split()[0]]
        assert (np.float32(x), np.float32(y)) in set(zip(trace.x, trace.y, strict=True))


# What the mouse picks.


def test_the_callback_that_these_tests_drive_is_still_plotlys():
    assert "_js2py_pointsCallback" in go.FigureWidget.class_traits()
    assert LiveMap._handler_js2py_pointsCallback is not go.FigureWidget._handler_js2py_pointsCallback
    assert hasattr(LiveMap(go.Figure(go.Scatter(customdata=[0])), print, print), "_batch_trace_edits")
    assert {"_send_relayout_msg", "_send_restyle_msg"} <= set(dir(go.FigureWidget))


def test_a_lasso_selects_its_rows_and_the_rest_turns_grey(panel, data):
    event(panel, "plotly_selected", [3, 8, 41])
    assert panel.selected == [3, 8, 41]
    pd.testing.assert_frame_equal(panel.selection[list(data)], data.iloc[[3, 8, 41]])
    assert kept_in_colour(panel._map) == [3, 8, 41]
    assert "3 of 60 texts selected" in panel._list.value
    event(panel, "plotly_deselect", [])
    assert panel.selected == []
    assert kept_in_colour(panel._map) is None


def assert_rings_only(data):
    assert "selectedpoints" not in data


def test_the_lasso_goes_first_and_all_colours_are_sent_again_when_it_has_gone(panel, monkeypatch):
    sent = []
    monkeypatch.setattr(panel._map, "_send_relayout_msg", lambda data: sent.append(data))
    monkeypatch.setattr(panel._map, "_send_restyle_msg", lambda data, trace_indexes: sent.append((data, trace_indexes)))
    monkeypatch.setattr(panel._map, "_send_update_msg", lambda data, *a, **k: assert_rings_only(data))
    event(panel, "plotly_selected", [1, 2, 3])
    assert sent[:1] == [{"selections": []}]
    colours, traces = sent[-1]
    assert traces == list(range(len(panel._map.data)))
    assert sum(len(kept) for kept in colours["selectedpoints"] if kept is not None) == 3
    sent.clear()
    panel._map._js2py_pointsCallback = GONE
    assert panel.selected == [1, 2, 3]
    assert [data for data, _ in sent] == [colours]


def test_python_selects_rows_by_number_and_by_truth(panel, data):
    panel.selection = np.array([9, 4, 4])
    assert panel.selected == [4, 9]
    assert kept_in_colour(panel._map) == [4, 9]
    panel.selection = data["subject"] == "music"
    assert panel.selection["subject"].unique().tolist() == ["music"]
    assert len(panel.selection) == 20


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([60], "there are rows 0 to 59"),
        ([-1], "rows 0 to 59"),
        (["a"], "whole numbers"),
        ([True], "one for each of 60"),
    ],
)
def test_rows_that_are_not_there_are_refused(panel, rows, message):
    panel.selection = [1]
    with pytest.raises(WorkbenchError, match=message):
        panel.selection = rows
    assert panel.selected == [1]


def test_a_click_shows_the_true_neighbours_of_a_point(panel):
    vectors = panel.result.vectors[0]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    event(panel, "plotly_click", [7])
    scores = unit @ unit[7]
    scores[7] = -2
    near = panel.neighbours(7)
    np.testing.assert_allclose(near["similarity"], np.sort(scores)[::-1][:10], atol=1e-5)
    assert 7 not in set(near["row"])
    assert "Nearest to row 7" in panel._list.value
    np.testing.assert_array_equal(panel._map._rings[0].x, panel.result.maps[""].coordinates[near["row"], 0])


def test_a_group_of_the_menu_is_selected_by_keyboard(panel):
    panel.colour = "subject"
    code = dict(panel._picker.options)["music"]
    panel._picker.value = code
    assert set(panel.selection["subject"]) == {"music"}
    button = panel._tools.children[2]
    button.click()
    assert panel.selected == []
    assert dict(panel._picker.options)["a group …"] == panel._picker.value


# Search and lists.


def test_the_search_box_rings_the_nearest_texts(panel):
    panel._search.value = "platform ticket"
    expected = panel.result.find("platform ticket")
    assert panel._lists.value == "Nearest"
    np.testing.assert_array_equal(panel._map._rings[0].x, panel.result.maps[""].coordinates[expected["row"], 0])
    names = [note for note in panel._map.layout.annotations if note not in panel._map._names]
    assert [note.text for note in names] == [f"<b>{place}</b>" for place in range(1, 11)]
    assert [note.x for note in names] == panel._map._rings[0].x.tolist()
    assert expected["text"][0] in panel._list.value
    assert set(expected["text"].str.split().explode()) & {"platform", "ticket"}


def test_a_search_in_given_vectors_needs_the_model_that_made_them(data):
    words = Words()
    vectors = words.encode(data["message"])
    own = Explorer(data, "message", embeddings=vectors, model=words, projection="pca")
    own.run()
    assert own.find("soup onion")["similarity"][0] > 0.5
    for other in (Words(16), np.random.default_rng(0).normal(size=vectors.shape)):
        panel = Explorer(data, "message", embeddings=other if isinstance(other, np.ndarray) else vectors,
                         model=words if isinstance(other, np.ndarray) else other, projection="pca")  # fmt: skip
        panel.run()
        with pytest.raises(WorkbenchError, match="name the model that made them"):
            panel.find("soup")
        panel._search.value = "soup"
        assert panel.state == "error"
        assert "name the model that made them" in panel._status.value


def test_outliers_and_duplicates_are_those_of_brute_force():
    texts = [*frame(30)["message"], "something quite different here", "ticket train seat", "ticket train seat"]
    panel = Explorer(texts, model=Words(), projection="pca")
    panel.run()
    vectors = panel.result.vectors[0]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = unit @ unit.T
    np.fill_diagonal(scores, -2)
    means = np.sort(scores, axis=1)[:, -5:].mean(axis=1)
    assert panel.outliers(3)["row"].tolist() == np.argsort(means)[:3].tolist()
    assert panel.outliers(1)["row"][0] == 30
    twins = panel.duplicates()
    first, second = twins["row 1"].to_numpy(), twins["row 2"].to_numpy()
    assert (31, 32) in set(zip(first.tolist(), second.tolist(), strict=True))
    np.testing.assert_allclose(scores[first, second], twins["similarity"], atol=1e-5)
    assert (first < second).all()
    for kind in ("Outliers", "Duplicates", "Nearest", "Selection"):
        panel._lists.value = kind
        assert panel._list.value


# Two maps.


@pytest.mark.parametrize("linked", [True, False])
def test_two_maps_share_what_is_selected(data, linked):
    words = Words()
    panel = Explorer(data, "message", model=words, after=Words(16), linked=linked, projection="pca")
    panel.run()
    event(panel, "plotly_selected", [5, 6], side=1)
    assert panel.selected == [5, 6]
    assert kept_in_colour(panel._map) == [5, 6]
    before, after = panel.result.vectors
    kept = neighbour_overlap(before, after, 10)
    np.testing.assert_allclose(panel.to_frame()["nearest kept"], kept)
    assert f"{kept.mean():.0%} of the nearest texts" in panel.to_figure().layout.title.text
    assert (panel.to_figure().layout.xaxis2.matches == "x") is linked


def test_rows_that_did_not_move_stay_where_they_are(data):
    vectors = Words().encode(data["message"])
    panel = Explorer(data, "message", embeddings=vectors, after=vectors.copy(), projection="pca")
    found = panel.run()
    np.testing.assert_array_equal(found[["x", "y"]], found[["x after", "y after"]])


# The contract of every panel.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("projection", "som"), ("clustering", "magic"), ("colour", "nothing"), ("clustering_settings", {"x": 1}),
        ("clustering_settings", {"n_clusters": "8"}), ("clustering_settings", {"n_clusters": 2.5}),
        ("embeddings", [["a"]]), ("embeddings", Words()),
    ],
)  # fmt: skip
def test_an_input_that_cannot_be_used_is_refused_at_once(panel, name, value):
    with pytest.raises(WorkbenchError):
        setattr(panel, name, value)
    assert panel.state == "done"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": [" ", ""]}, "A map needs two texts or more; this column holds 0"),
        ({"data": ["one", ""]}, "needs two texts or more; this column holds 1"),
        ({"embeddings": np.zeros((5, 4))}, "embeddings have 5 rows, the data 60"),
        ({"embeddings": "gone.npy"}, "cannot be read"),
        ({"clustering_settings": {"n_clusters": 99}}, "expected 1 to 60"),
    ],
)
def test_a_run_that_fails_is_one_line_and_the_last_result_stays(panel, changes, message):
    good = panel.result
    for name, value in changes.items():
        setattr(panel, name, value)
    with pytest.raises(WorkbenchError, match=message):
        panel.run()
    assert panel.state == "error"
    assert message in panel._status.value
    assert panel.result is good
    event(panel, "plotly_selected", [3])
    assert len(panel.selection) == 1


def test_another_colour_comes_at_once_and_keeps_the_selection(panel):
    panel.selection = [2, 4]
    calls = panel.model.calls
    panel.colour = "subject"
    assert panel.state == "done"
    assert panel.result.groups.what == "subject"
    assert panel.model.calls == calls
    assert panel.selected == kept_in_colour(panel._map) == [2, 4]


def test_other_data_forgets_the_selection_and_a_column_that_is_gone(panel):
    panel.colour = "subject"
    panel.selection = [2, 4]
    panel.data = frame(30, seed=1)[["message"]]
    assert panel.colour == ""
    panel.run()
    assert panel.selected == []
    assert len(panel.to_frame()) == 30


def test_a_named_model_is_not_asked_again_for_other_clusters(tiny_folder, data, monkeypatch):
    calls = []
    monkeypatch.setattr("widgets._exploration.load_model", lambda model: calls.append(model) or Words())
    panel = Explorer(data, "message", model="starter", projection="pca")
    panel.run()
    panel.clustering = "agglomerative"
    panel.run()
    assert len(calls) == 1
    assert panel.result.clusters.method == "agglomerative"
    panel.seed = 3
    panel.run()
    assert len(calls) == 2


def test_the_knobs_follow_the_method_and_set_its_settings(panel):
    panel.clustering = "communities"
    assert panel.clustering_settings == {}
    threshold, least = panel._knobs["clustering"].children
    assert (threshold.value, least.value) == (0.75, 10)
    threshold.value = 0.4
    assert panel.clustering_settings == {"threshold": 0.4}
    panel._knobs["clustering"].children[1].value = 4
    panel.run()
    assert panel.result.clusters.settings["min_community_size"] == 4


@pytest.mark.parametrize("more", [{}, {"colour": "subject"}, {"after": "tiny", "linked": False}, {"after": "tiny"}])
def test_the_code_runs_as_printed_and_makes_the_same_figure(tiny_folder, data, more, monkeypatch):
    monkeypatch.setattr(go.Figure, "show", lambda figure: None)
    after = {"after": str(tiny_folder)} if "after" in more else {}
    panel = Explorer(data, "message", model=tiny_folder, projection="pca", most=50, **more | after)
    panel.run()
    names = {}
    exec(compile(panel.to_code(), "code", "exec"), names)
    assert names["figure"].to_json() == panel.to_figure().to_json()


def test_parameters_go_through_json_and_make_the_same_panel(data):
    words, vectors = Words(), Words().encode(data["message"])
    settings = {"projection": "pca", "clustering": "agglomerative", "clustering_settings": {"n_clusters": 4}}
    panel = Explorer(
        data, "message", colour="subject", model=words, embeddings=vectors, after=words, seed=3, **settings
    )
    parameters = json.loads(json.dumps(panel.parameters))
    assert parameters["model"] == parameters["after"] == "Words"
    twin = ExplorerPanel.from_parameters(parameters, model=words, after=words)
    columns = ["message", "subject", "cluster", "topic"]
    pd.testing.assert_frame_equal(twin.run()[columns], panel.run()[columns])


def test_hostile_texts_stay_texts(data):
    texts = [*HOSTILE, *data["message"]]
    panel = Explorer(
        pd.DataFrame({"text": texts, "<b>kind</b>": [*HOSTILE, *data["subject"]]}),
        text="text", colour="<b>kind</b>", model=Words(), projection="pca",
    )  # fmt: skip
    panel.run()
    panel.selection = range(10)
    shown = [panel._list.value, panel._below.value, *(tab.value for tab in panel._tabs.children)]
    panel._search.value = HOSTILE[0]
    shown.append(panel._list.value)
    drawn = json.dumps(panel.to_figure().to_plotly_json(), default=lambda array: array.tolist())
    for page in (*shown, drawn):
        assert "<img" not in page
        assert "<script" not in page
    assert "<b>kind</b>" not in drawn.replace("<b>kind</b> ·", "")
    assert max(len(text) for trace in panel.to_figure().data for text in trace.hovertext) < 700


def test_hover_texts_are_cut_to_fit_a_message_and_left_out_where_too_many():
    assert len(hover_texts(["x y " * 500] * 10)[0]) <= 260
    assert sum(map(len, hover_texts(["x y " * 500] * 15_000))) < 1_300_000
    assert len(hover_texts(["a text"] * 50_000)) == 0


def test_a_map_of_fifty_thousand_rows_is_a_small_message_and_a_selection_one_lookup():
    n = 50_000
    data = pd.DataFrame({"text": [f"text {i % 500} of many" for i in range(n)], "kind": np.arange(n) % 12})
    groups = Groups.of(data["kind"].map("kind {}".format), "kind")
    begin = time.process_time()
    figure = map_figure({"": flat(n)}, groups, data["text"].tolist())
    live = LiveMap(figure, lambda rows: None, lambda row: None)
    assert time.process_time() - begin < 1.5
    state, _, buffers = _remove_buffers(live.get_state())
    state.pop("_esm")
    assert len(json.dumps(state, default=str)) < 30_000
    assert sum(memoryview(part).nbytes for part in buffers) == 12 * n  # x and y as float32, the row as int32


def test_selecting_half_of_fifty_thousand_rows_takes_a_moment(monkeypatch):
    n = 50_000
    vectors = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    monkeypatch.setattr("widgets._exploration._JUDGED", 100)
    panel = Explorer([f"text {i % 700}" for i in range(n)], embeddings=vectors, projection="pca")
    panel.run()
    begin = time.process_time()
    panel.selection = np.arange(0, n, 2)
    assert len(panel.selection) == n // 2
    assert time.process_time() - begin < 0.3


def test_a_sample_is_shown_and_said(data):
    panel = Explorer(data, "message", model=Words(), projection="pca", most=20)
    panel.run()
    assert len(panel.to_frame()) == 20
    assert "20 of 60 rows shown" in panel.to_figure().layout.title.text
    left_out = sorted(set(range(60)) - set(panel.result.rows.tolist()))[0]
    with pytest.raises(WorkbenchError, match="left out of the map"):
        panel.selection = [left_out]


def test_cancel_keeps_the_last_result_and_the_panel_runs_again(panel):
    good = panel.result

    class Cancelling(Words):
        def encode(self, texts):
            panel.cancel()
            return super().encode(texts)

    words, panel.model = panel.model, Cancelling()
    with pytest.raises(WorkbenchError, match="cancelled"):
        panel.run()
    assert panel.result is good
    panel.model = words
    panel.run()
    assert panel.state == "done"


def test_a_late_result_of_a_cancelled_run_leaves_the_map_of_the_next_run_alone(panel, monkeypatch):
    views = panel._views

    def views_and_then_late_ones(result):
        made = views(result)
        views(result)  # as a run does that was cancelled while it computed, before it finds that out
        return made

    monkeypatch.setattr(panel, "_views", views_and_then_late_ones)
    panel.run()
    assert panel._map in panel._card.children


def test_the_signature_names_every_input_and_settings_may_come_before_their_method(data):
    named = inspect.signature(Explorer).parameters
    assert list(named)[:3] == ["data", "text", "column"]
    assert set(named) == {*Explorer.inputs, "text", "report"}
    assert named["projection"].default == "umap"
    panel = Explorer(data, clustering_settings={"min_samples": 3}, clustering="hdbscan")
    assert panel.clustering_settings == {"min_samples": 3}


def test_an_unknown_column_lists_those_there_are(data):
    with pytest.raises(ChoiceError, match="'message', 'subject'"):
        Explorer(data, text="body")


def test_an_empty_panel_draws_nothing_and_says_what_to_do():
    panel = Explorer()
    assert panel.state == "empty"
    for view in (panel.to_figure, lambda: panel.selection, lambda: panel.find("a"), panel.outliers):
        with pytest.raises(WorkbenchError, match=r"Press Run, or call run\(\)"):
            view()
