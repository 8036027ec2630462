"""Panels without a browser: traits, buttons, states, hostile texts, and every way to take the result along."""

import json
import re
import threading
import time
import zlib
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from widgets import HeatmapPanel, cluster_order, comparison_figure, frame_html, similarity_figure
from widgets._theme import count, cut, duration, in_figure, ink_on, one_line, wrap
from workbench import SentenceTransformer
from workbench.errors import Cancelled, ChoiceError, ModelNotFoundError, TextTypeError, WorkbenchError
from workbench.progress import track

TEXTS = ["the cat sat", "the cat sat down", "invoices for March", "an invoice for March"]
HOSTILE = [
    '<img src=x onerror="window.hacked=1">',
    "</pre><script>window.hacked=1</script>",
    "<b>bold</b><br><a href='javascript:alert(1)'>link</a>",
    "%{x} %{customdata} {{braces}} $E=mc^2$ and $x$",
    "'; DROP TABLE texts; --\x00\x1b[31m\u202egnp.exe",
    "line one\nline two\ttab",
]


class Bags:
    """A stand-in for a model: random vectors of words, summed. It can be held up, and can fail."""

    def __init__(self, error=None):
        self.error, self.calls = error, 0
        self.began, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def encode(self, texts):
        self.calls += 1
        if self.error is not None:
            raise self.error
        rows = []
        with track(len(texts), unit="tokens", desc="encode") as bar:
            for text in texts:
                seeds = [zlib.crc32(word.encode()) for word in text.split()]
                rows.append(sum(np.random.default_rng(seed).normal(size=64) for seed in seeds))
                self.began.set()
                assert self.go_on.wait(30)
                bar.update(1)
        return np.array(rows, dtype=np.float32)


@pytest.fixture
def bags():
    return Bags()


@pytest.fixture
def panel(bags):
    return HeatmapPanel(TEXTS, model=bags)


def cosines(vectors):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def press(panel, button=None):
    """Click a button, by default Run, and wait until the panel has come to rest."""
    rested = threading.Event()
    panel.observe(lambda change: rested.set() if change["new"] != "running" else None, "state")
    (button or panel._run).click()
    assert rested.wait(30)


def everything_shown(panel):
    """All HTML that the panel has put on the page."""
    return [
        widget.value
        for widget in (panel._note, panel._status, panel._below, panel._sides, *panel._tabs.children)
        if isinstance(widget.value, str)
    ]


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def tags(page):
    parser = Tags()
    parser.feed(page)
    return parser.seen


# The result.


def test_run_returns_the_similarities_and_keeps_everything_as_attributes(panel, bags):
    assert panel.embeddings is None
    assert panel.similarities is None
    found = panel.run()
    np.testing.assert_allclose(found, cosines(bags.encode(TEXTS)), atol=1e-6)
    np.testing.assert_array_equal(panel.similarities, found)
    assert panel.embeddings.shape == (4, 64)
    assert panel.state == "done"
    assert re.search(r"Done at \d\d:\d\d:\d\d in [\w. ]+ s, with Bags, 64 dimensions", panel._status.value)


def test_the_run_button_does_what_run_does(panel, bags):
    press(panel)
    assert panel.state == "done"
    by_button = panel.similarities
    np.testing.assert_array_equal(panel.run(), by_button)
    assert bags.calls == 2


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("cosine", cosines),
        ("dot", lambda v: v @ v.T),
        ("euclidean", lambda v: -np.linalg.norm(v[:, None] - v[None], axis=2)),
        ("manhattan", lambda v: -np.abs(v[:, None] - v[None]).sum(axis=2)),
    ],
)
def test_each_similarity_is_the_one_of_its_formula(function, expected, bags):
    panel = HeatmapPanel(TEXTS, model=bags, similarity=function)
    np.testing.assert_allclose(panel.run(), expected(bags.encode(TEXTS)), rtol=1e-5, atol=1e-4)
    assert panel.to_figure().data[0].zmax >= panel.similarities.max() - 1e-4


def test_the_table_lists_each_pair_once_best_first(panel):
    similarities = panel.run()
    frame = panel.to_frame()
    assert len(frame) == 6
    assert frame["similarity"].is_monotonic_decreasing
    best = frame.iloc[0]
    assert best["text 1"] == TEXTS[best["no. 1"] - 1]
    assert best["similarity"] == pytest.approx(similarities[best["no. 1"] - 1, best["no. 2"] - 1])
    assert len(panel.to_frame(limit=2)) == 2
    assert f"{best['similarity']:.4f}" in panel._tabs.children[0].value


def test_figure_and_table_before_the_first_run_say_what_to_do(panel):
    for view in (panel.to_figure, panel.to_frame):
        with pytest.raises(WorkbenchError, match=r"Press Run, or call run\(\)"):
            view()


def test_a_model_that_is_named_is_loaded_and_code_without_the_panel_makes_the_same_result(monkeypatch, tiny_folder):
    shown = []
    monkeypatch.setattr(go.Figure, "show", lambda figure: shown.append(figure))
    for view in (
        {"order": "as given", "threshold": 0.5},
        {"order": "by cluster"},
        {"order": "by cluster", "documents": TEXTS[::-1]},
        {"documents": TEXTS[:2], "threshold": 0.25, "similarity": "euclidean"},
        {"similarity": "all four", "order": "by cluster", "documents": TEXTS},
        {"similarity": "all four"},
    ):
        panel = HeatmapPanel([*TEXTS, 'it\'s "quoted" \\ \n on two lines'], model=tiny_folder, **view)
        panel.run()
        names = {}
        exec(compile(panel.to_code(), "code", "exec"), names)
        np.testing.assert_allclose(names["similarities"], panel.similarities, atol=1e-6)
        assert shown.pop().to_json() == panel.to_figure().to_json()


def test_the_code_is_that_of_the_shown_result_also_when_inputs_have_changed(panel):
    assert repr(TEXTS[0]) in panel.to_code()
    panel.run()
    panel.texts = ["something", "else"]
    assert repr(TEXTS[0]) in panel.to_code()
    panel.run()
    assert repr(TEXTS[0]) not in panel.to_code()


def test_parameters_go_through_json_and_make_the_same_panel(tiny_folder):
    panel = HeatmapPanel(TEXTS, model=tiny_folder, similarity="dot", order="by cluster")
    parameters = json.loads(json.dumps(panel.parameters))
    given = {"texts": TEXTS, "model": str(tiny_folder), "similarity": "dot", "order": "by cluster"}
    assert parameters == {**given, "documents": [], "threshold": None}
    twin = HeatmapPanel.from_parameters(parameters)
    np.testing.assert_array_equal(twin.run(), panel.run())
    assert HeatmapPanel.from_parameters(parameters, similarity="cosine").similarity == "cosine"


def test_the_parameters_of_a_model_object_name_it(panel, bags):
    assert panel.parameters["model"] == "Bags"
    HeatmapPanel.from_parameters(panel.parameters, model=bags).run()


# Inputs.


def test_an_empty_panel_says_what_to_do_and_runs_its_example_on_one_click(bags):
    panel = HeatmapPanel(model=bags)
    assert panel.state == "empty"
    assert "one a line" in panel._card.children[0].children[0].value
    press(panel, panel._card.children[0].children[1])
    assert panel.state == "done"
    assert panel.texts == HeatmapPanel.example["texts"]


def test_text_area_and_texts_follow_each_other(panel):
    assert panel._fields["texts"].value == "\n".join(TEXTS)
    panel._fields["texts"].value = " first \n\n   \nsecond\r\n"
    assert panel.texts == ["first", "second"]
    assert panel._fields["texts"].value == " first \n\n   \nsecond\r\n"
    panel.texts = ["with\na break", "plain"]
    assert panel._fields["texts"].value == "with a break\nplain"
    assert panel.texts == ["with\na break", "plain"]


@pytest.mark.parametrize(("name", "value"), [("similarity", "dot"), ("order", "by cluster")])
def test_a_picker_and_its_trait_follow_each_other(panel, name, value):
    picker = panel._fields[name]
    before = getattr(panel, name)
    setattr(panel, name, value)
    assert picker.value == value
    picker.value = before
    assert getattr(panel, name) == before


def test_the_model_picker_offers_what_is_at_hand_and_any_other_model_can_be_named(panel, bags, tiny_folder):
    assert ("Bags", bags) in panel._fields["model"].options
    panel.model = "starter"
    assert panel._fields["model"].value == "starter"
    panel._fields["model"].value = bags
    assert panel.model is bags
    other = panel._fields["model by name"]
    other.value = f" {tiny_folder} "
    assert panel.model == panel._fields["model"].value == str(tiny_folder)
    other.value = "  "
    assert panel.model == str(tiny_folder)


def test_more_inputs_fold_out_and_in(panel):
    more, rest = panel.children[1].children[-1], panel.children[2]
    assert rest.layout.display == "none"
    more.value = True
    assert rest.layout.display == ""
    more.value = False
    assert rest.layout.display == "none"


@pytest.mark.parametrize("wrong", [{"similarity": "cosin"}, {"order": "random"}, {"column": "title"}])
def test_an_unknown_choice_lists_the_choices(wrong, bags):
    with pytest.raises(ChoiceError, match=r"Choose one of: ('cosine', 'dot'|'as given', 'by cluster'|'text')"):
        HeatmapPanel(pd.DataFrame({"text": TEXTS}), model=bags, **wrong)


def test_inputs_of_the_wrong_type_are_refused_at_once(panel):
    with pytest.raises(TextTypeError, match="Row 1 is None"):
        panel.texts = ["a", None]
    with pytest.raises(WorkbenchError, match="model is of type int"):
        panel.model = 3
    assert panel.texts == TEXTS


def test_texts_may_be_any_iterable_and_lone_surrogates_are_replaced(panel):
    panel.texts = (text for text in ("one", "\ud800 two"))
    assert panel.texts == ["one", "\ufffd two"]
    panel.texts = pd.Series(TEXTS)
    assert panel.texts == TEXTS


def test_blank_texts_are_left_out_and_the_facts_say_so(bags):
    panel = HeatmapPanel(["", "the cat", "  \n", "a dog", "the cat"], model=bags)
    assert panel.run().shape == (3, 3)
    facts = panel.result.facts()
    assert facts["Left out"] == "2 without text"
    assert facts["Texts shown"] == "all 3, 1 of them repeated"


def test_a_data_frame_gives_its_text_columns_and_can_be_swapped(bags):
    data = pd.DataFrame({"number": [1, 2, 3], "title": ["a cat", None, "a dog"], 7: ["x y", "y z", "z"]})
    panel = HeatmapPanel(data, model=bags)
    assert panel.column == "title"
    assert panel.texts == ["a cat", "", "a dog"]
    assert panel._fields["column"].options == ("title", "7")
    assert panel._fields["column"].layout.display == ""
    panel._fields["column"].value = "7"
    assert panel.texts == ["x y", "y z", "z"]
    panel.run()
    panel.data = pd.DataFrame({"body": ["new", "texts"], "7": ["seven", "eight"]})
    assert panel.column == "7"
    assert panel.texts == ["seven", "eight"]
    assert panel.state == "stale"
    panel.data = pd.DataFrame({"other": ["p", "q"]})
    assert panel.column == panel._fields["column"].value == "other"
    assert panel.run().shape == (2, 2)


def test_a_column_that_mixes_text_and_numbers_is_refused_in_the_form_with_one_line(bags):
    panel = HeatmapPanel(pd.DataFrame({"good": TEXTS, "mixed": ["a", 1, 2.5, "b"]}), model=bags)
    panel._fields["column"].value = "mixed"
    assert panel.state == "error"
    assert "Row 1 is int (1)" in panel._status.value
    assert panel.texts == TEXTS


def test_a_table_without_rows_is_only_its_note():
    page = frame_html(pd.DataFrame({"text": []}), "No pairs of <b>texts</b>.")
    assert "<table" not in page
    assert "No pairs of &lt;b&gt;texts&lt;/b&gt;." in page


def test_data_without_text_says_what_to_do():
    with pytest.raises(WorkbenchError, match=r"No column of this data holds text.*astype\(str\)"):
        HeatmapPanel(pd.DataFrame({"number": [1, 2]}))


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "dataset"])
def test_data_comes_from_files_and_data_sets_too(kind, tmp_path, bags):
    import datasets

    frame, path = pd.DataFrame({"id": range(4), "title": TEXTS}), tmp_path / f"texts.{kind}"
    writers = {
        "csv": lambda: frame.to_csv(path, index=False),
        "tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "parquet": lambda: frame.to_parquet(path),
        "dataset": lambda: None,
    }
    writers[kind]()
    data = datasets.Dataset.from_pandas(frame) if kind == "dataset" else path
    assert HeatmapPanel(data, column="title", model=bags).texts == TEXTS


def test_an_unknown_kind_of_file_lists_the_known_ones(tmp_path):
    with pytest.raises(ChoiceError, match=r"'\.xls'.*'\.csv', '\.tsv', '\.jsonl', '\.parquet'"):
        HeatmapPanel(tmp_path / "texts.xls")


# States.


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "There are no texts. Give two or more, one a line."),
        (["  ", ""], "There are no texts. Give two or more, one a line."),
        (["one"], "There is only one text. Give two or more, one a line."),
        (
            [f"text {n}" for n in range(2001)],
            "There are 2\u202f001 texts; a heatmap shows 2\u202f000 at most. Give fewer",
        ),
    ],
)
def test_an_input_that_cannot_be_used_is_one_line_and_the_last_result_stays(panel, texts, message):
    good = panel.run()
    figure = panel._plots[0].outputs
    panel.texts = texts
    assert panel.state == "stale"
    with pytest.raises(WorkbenchError, match=re.escape(message)):
        panel.run()
    press(panel)
    assert panel.state == "error"
    assert message in panel._status.value
    assert "<details" not in panel._status.value
    np.testing.assert_array_equal(panel.similarities, good)
    assert panel._plots[0].outputs == figure
    assert panel.texts == texts
    panel.texts = TEXTS
    assert panel.state == "done"


def test_a_model_that_is_not_found_is_one_line_with_the_details_folded(panel):
    panel.model = "no-such-model"
    with pytest.raises(ModelNotFoundError):
        panel.run()
    line, _, folded = panel._status.value.partition("<details>")
    assert "No model &#x27;no-such-model&#x27; was found: check its name" in line
    assert "\n" not in line
    assert "Tried, in order" in folded
    assert not panel._run.disabled


def test_an_error_of_the_model_is_named_with_its_traceback_folded():
    panel = HeatmapPanel(TEXTS, model=Bags(ValueError("bad <b>weights</b>\nsecond line")))
    press(panel)
    line, _, folded = panel._status.value.partition("<details>")
    assert "ValueError: bad &lt;b&gt;weights&lt;/b&gt;" in line
    assert "second line" not in line
    assert "Traceback" in folded
    assert [tag for tag, _ in tags(panel._status.value)] == ["div", "details", "summary", "pre"]
    with pytest.raises(ValueError, match="bad"):
        panel.run()


def test_vectors_that_are_not_finite_are_an_error_that_names_the_text(monkeypatch, panel, bags):
    monkeypatch.setattr(Bags, "encode", lambda self, texts: np.array([[1, 0], [0, np.nan], [1, 1], [0, 1]]))
    with pytest.raises(WorkbenchError, match="text 2 a vector that is not finite"):
        panel.run()


def test_a_view_that_fails_leaves_the_last_result_as_it_was(monkeypatch, panel):
    panel.run()
    shown = everything_shown(panel)[2:]
    panel.texts = TEXTS[:2]
    with monkeypatch.context() as patched:
        patched.setattr(type(panel.result), "caption", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            panel.run()
    assert panel.similarities.shape == (4, 4)
    assert everything_shown(panel)[2:] == shown


def test_while_it_runs_the_panel_says_how_far_it_is_and_cannot_run_twice(panel, bags):
    bags.go_on.clear()
    panel._run.click()
    assert bags.began.wait(30)
    assert panel.state == "running"
    assert panel._run.disabled
    assert not panel._cancel.disabled
    assert panel._bar.layout.display == ""
    panel._run.click()
    with pytest.raises(WorkbenchError, match="still running"):
        panel.run()
    rested = threading.Event()
    panel.observe(lambda change: rested.set(), "state")
    notes = []
    panel._note.observe(lambda change: notes.append(change["new"]), "value")
    bags.go_on.set()
    assert rested.wait(30)
    assert panel.state == "done"
    assert notes[0] == "1 of 4 texts"
    assert panel._bar.layout.display == "none"
    assert bags.calls == 1


def test_cancel_answers_at_once_and_keeps_the_last_result(panel, bags):
    good = panel.run()
    bags.began.clear()
    bags.go_on.clear()
    panel.texts = TEXTS[:2]
    panel._run.click()
    assert bags.began.wait(30)
    begun = time.monotonic()
    panel._cancel.click()
    assert time.monotonic() - begun < 2
    assert panel.state == "stale"
    assert not panel._run.disabled
    assert panel._cancel.disabled
    assert re.search(r"Cancelled after .* The result below is the one from before\.", panel._status.value)
    bags.go_on.set()
    np.testing.assert_array_equal(panel.similarities, good)
    assert panel.run().shape == (2, 2)
    assert panel.state == "done"


def test_a_run_that_was_cancelled_never_shows_its_late_result(panel, bags):
    bags.go_on.clear()
    panel._run.click()
    assert bags.began.wait(30)
    worker = next(thread for thread in threading.enumerate() if "_quietly" in thread.name)
    panel.cancel()
    panel.cancel()
    bags.go_on.set()
    worker.join(30)
    assert panel.result is None
    assert panel.state == "empty"


def test_run_raises_cancelled_when_another_thread_cancels_it(panel, bags):
    bags.go_on.clear()

    def stop():
        bags.began.wait(30)
        panel.cancel()
        bags.go_on.set()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Cancelled):
        panel.run()
    thread.join()
    assert panel.state == "empty"


def test_an_interrupted_cell_frees_the_panel(panel, bags):
    bags.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        panel.run()
    assert panel.state == "empty"
    assert not panel._run.disabled
    assert "Cancelled" in panel._status.value


def test_an_input_changed_after_the_run_makes_the_result_stale_until_it_is_changed_back(panel):
    panel.run()
    panel.texts = TEXTS[:3]
    assert panel.state == "stale"
    assert "An input has changed" in panel._status.value
    assert "wb-old" in panel._card._dom_classes
    panel.texts = TEXTS
    assert panel.state == "done"
    assert "wb-old" not in panel._card._dom_classes


def test_an_input_changed_during_the_run_makes_the_result_stale_when_it_comes(panel, bags):
    bags.go_on.clear()
    panel._run.click()
    assert bags.began.wait(30)
    rested = threading.Event()
    panel.observe(lambda change: rested.set(), "state")
    panel._fields["texts"].value = "other\ntexts"
    assert panel.state == "running"
    bags.go_on.set()
    assert rested.wait(30)
    assert panel.state == "stale"
    assert panel.similarities.shape == (4, 4)


def test_nothing_moves_when_a_result_is_renewed(panel):
    panel.run()
    height, children = panel._plots[0].layout.height, panel._card.children
    panel.texts = TEXTS[::-1]
    panel.run()
    assert panel._plots[0].layout.height == height
    assert panel._card.children == children


def test_texts_longer_than_the_model_reads_are_counted_in_caption_and_facts(tiny):
    panel = HeatmapPanel(["short", "word " * 100, "long " * 70], model=tiny)
    panel.run()
    assert "2 of the texts are longer than the model reads" in panel._below.value
    assert panel.result.facts()["Cut"] == "2 longer than the model reads"


def test_a_folder_is_read_again_each_time(tiny_folder, tmp_path, tiny):
    first, second = SentenceTransformer(tiny_folder), SentenceTransformer(tiny_folder)
    for weights in second.parameters():
        weights.data.mul_(0.5).add_(0.01)
    first.save(tmp_path / "model")
    panel = HeatmapPanel(TEXTS, model=tmp_path / "model")
    before = panel.run()
    second.save(tmp_path / "model")
    assert np.abs(panel.run() - before).max() > 1e-4


# Two lists, views of one result, and two texts side by side.


def test_documents_are_compared_with_the_texts_and_have_an_order_of_their_own(bags):
    documents = ["an invoice", "the dog sat", "a cat"]
    panel = HeatmapPanel(TEXTS, documents=documents, model=bags, order="by cluster")
    found = panel.run()
    left, right = bags.encode(TEXTS), bags.encode(documents)
    expected = left @ right.T / np.outer(np.linalg.norm(left, axis=1), np.linalg.norm(right, axis=1))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    frame = panel.to_frame()
    assert list(frame) == ["text no.", "text", "document no.", "document", "similarity"]
    assert len(frame) == 12
    assert frame["similarity"].iloc[0] == pytest.approx(expected.max())
    figure = panel.to_figure()
    rows, columns = panel.result.orders
    np.testing.assert_allclose(figure.data[0].z, expected[np.ix_(rows, columns)], atol=1e-6)
    assert sorted(columns) == [0, 1, 2]
    assert documents[columns[0]] in figure.data[0].x[0]
    assert "document" in figure.layout.title.text
    assert HeatmapPanel(["one text"], documents=documents, model=bags).run().shape == (1, 3)


def test_a_model_with_sides_encodes_texts_as_queries_and_documents_as_documents(tiny_folder):
    model = SentenceTransformer(tiny_folder, prompts={"query": "cat ", "document": "invoice "})
    panel = HeatmapPanel(TEXTS, documents=TEXTS[::-1], model=model)
    expected = model.similarity(model.encode_query(TEXTS), model.encode_document(TEXTS[::-1])).numpy()
    np.testing.assert_allclose(panel.run(), expected, atol=1e-6)
    assert np.abs(HeatmapPanel(TEXTS, model=model).run() - expected[:, ::-1]).max() > 1e-3


def test_similarity_order_and_threshold_are_redrawn_at_once_without_the_model(panel, bags):
    panel.run()
    calls = bags.calls
    panel.similarity = "dot"
    vectors = panel.embeddings
    np.testing.assert_allclose(panel.similarities, vectors @ vectors.T, rtol=1e-5, atol=1e-4)
    panel.order = "by cluster"
    panel.similarity = "cosine"
    panel._fields["threshold"].value = 0.5
    assert panel.threshold == 0.5
    assert bags.calls == calls
    assert panel.state == "done"
    shown = np.array(panel.to_figure().data[0].z)
    np.testing.assert_array_equal(np.isnan(shown), panel.similarities[np.ix_(*panel.result.orders)] < 0.5)
    assert np.isnan(shown).any()
    assert len(panel.to_figure().data[1].text) == np.isfinite(shown).sum()
    assert panel.to_frame()["similarity"].min() >= 0.5
    assert panel.result.facts()["Cells shown"] == f"{np.isfinite(shown).sum()} of 16"
    panel._fields["threshold"].value = panel._fields["threshold"].min
    assert panel.threshold is None
    panel.texts = TEXTS[:2]
    panel.similarity = "dot"
    assert panel.state == "stale", "other texts wait for Run"
    assert bags.calls == calls


def test_a_threshold_above_everything_leaves_an_empty_table_and_no_error(panel):
    panel.run()
    panel.threshold = 5.0
    assert panel.state == "done"
    assert panel.to_frame().empty


def test_all_four_similarities_stand_side_by_side_and_the_title_says_how_far_they_agree(panel):
    panel.similarity = "all four"
    panel.run()
    figure, vectors = panel.to_figure(), panel.embeddings
    expected = [
        cosines(vectors),
        vectors @ vectors.T,
        -np.linalg.norm(vectors[:, None] - vectors[None], axis=2),
        -np.abs(vectors[:, None] - vectors[None]).sum(axis=2),
    ]
    for trace, values in zip(figure.data, expected, strict=True):
        np.testing.assert_allclose(trace.z, values, rtol=1e-4, atol=1e-3)
    assert "agree on 6 of the 6" in figure.layout.title.text, "all pairs of four texts are among the first twenty"
    frame = panel.to_frame()
    for name, values in zip(("cosine", "dot", "euclidean", "manhattan"), expected, strict=True):
        found = values[frame["no. 1"] - 1, frame["no. 2"] - 1]
        np.testing.assert_allclose(frame[name], found, rtol=1e-4, atol=1e-3)
    assert frame["cosine"].is_monotonic_decreasing


def test_how_far_four_similarities_agree_is_counted_by_brute_force():
    vectors = np.random.default_rng(0).normal(size=(12, 3)) * np.arange(1, 13)[:, None]
    title = comparison_figure(vectors).layout.title.text
    tables = [
        cosines(vectors),
        vectors @ vectors.T,
        -np.linalg.norm(vectors[:, None] - vectors[None], axis=2),
        -np.abs(vectors[:, None] - vectors[None]).sum(axis=2),
    ]
    pairs = [(i, j) for i in range(12) for j in range(i + 1, 12)]
    best = [set(sorted(pairs, key=lambda pair: -table[pair])[:20]) for table in tables]
    agreed = len(set.intersection(*best))
    assert agreed < 20
    assert f"agree on {agreed} of the 20" in title


def test_a_click_on_a_cell_shows_both_texts_side_by_side_with_their_four_similarities(panel):
    panel.order = "by cluster"
    with pytest.raises(WorkbenchError, match="no result yet"):
        panel.pair = (1, 2)
    panel.run()
    best = panel.to_frame().iloc[0]
    assert panel.pair == (best["no. 1"], best["no. 2"])
    order = panel.result.orders[0]
    panel._clicks.point = [0, 3]
    assert panel.pair == (order[0] + 1, order[3] + 1)
    shown = panel._sides.value
    assert shown.index(TEXTS[order[0]]) < shown.index(TEXTS[order[3]])
    for similarity in ("cosine", "dot", "euclidean", "manhattan"):
        panel.similarity = similarity
        assert f"{panel.similarities[order[0], order[3]]:.4f}</bdi>" in shown
        assert panel.pair == (order[0] + 1, order[3] + 1)
    panel._numbers[0].value = 1
    panel._numbers[1].value = 4
    assert panel.pair == (1, 4)
    with pytest.raises(WorkbenchError, match="texts 1 to 4"):
        panel.pair = (5, 1)
    panel.texts = TEXTS[:2]
    panel.run()
    assert panel.pair == (1, 2)
    assert [number.max for number in panel._numbers] == [2, 2]


def test_a_thousand_texts_are_drawn_within_two_seconds(bags):
    vectors = np.random.default_rng(0).normal(size=(1000, 64)).astype(np.float32)
    model = type("Given", (), {"encode": lambda self, texts: vectors})()
    panel = HeatmapPanel([f"text {number}" for number in range(1000)], model=model)
    begun = time.process_time()
    panel.run()
    assert time.process_time() - begun < 2


def test_an_argument_that_no_input_has_is_refused():
    with pytest.raises(TypeError, match="no input 'modell'; it has texts, documents, model"):
        HeatmapPanel(TEXTS, modell="starter")


# Hostile texts.


def test_hostile_texts_stay_text_in_all_html(bags):
    panel = HeatmapPanel([*HOSTILE, *HOSTILE], model=bags)
    panel.run()
    panel.model = '<script>alert("model")</script>'
    with pytest.raises(ModelNotFoundError):
        panel.run()
    ours = {"div", "p", "table", "thead", "tbody", "tr", "th", "td", "bdi", "details", "summary", "pre"}
    for page in everything_shown(panel):
        for tag, attributes in tags(page):
            assert tag in ours
            assert set(attributes) <= {"class", "role", "dir"}
    assert "&lt;img src=x" in panel._tabs.children[0].value


def test_hostile_texts_stay_text_in_the_figure(bags):
    panel = HeatmapPanel(HOSTILE, model=bags)
    panel.run()
    figure = panel.to_figure()
    labels = [*figure.data[0].x, *figure.layout.yaxis.ticktext, figure.layout.title.text]
    for label in labels:
        assert {tag for tag, _ in tags(label)} <= {"b", "br", "span"}
        assert "$" not in label
        assert not re.search("[\x00-\x1f\u202a-\u202e]", label)
    assert any("&lt;img src=x onerror=" in label for label in labels)
    assert "%{" not in figure.data[0].hovertemplate.replace("%{x}", "").replace("%{y}", "").replace("%{z:.2f}", "")


def test_long_texts_open_whole_in_the_table_and_huge_ones_are_cut_even_there(bags):
    panel = HeatmapPanel(["word " * 60, "x" * 1_000_000, "short"], model=bags)
    panel.run()
    page = panel._tabs.children[0].value
    assert page.count("<details>") == 4
    assert "word " * 59 in page
    assert len(page) < 40_000
    assert len(panel.to_figure().to_json()) < 20_000


# The figure.


def test_cosine_has_one_scale_for_all_figures_and_a_wider_one_only_where_values_are_below_zero():
    for lowest, scale in ((0.3, (0, 1)), (0.0, (0, 1)), (-0.05, (0, 1)), (-0.4, (-1, 1))):
        heatmap = similarity_figure(["a", "b"], np.array([[1, lowest], [lowest, 1]])).data[0]
        assert (heatmap.zmin, heatmap.zmax) == scale
    assert heatmap.colorbar.ticktext[0] == "\u22121 opposite"


def test_distances_end_at_zero_and_dot_products_at_a_round_number():
    far = -np.array([[0, 37.0], [37.0, 0]])
    for function in ("euclidean", "manhattan"):
        heatmap = similarity_figure(["a", "b"], far, function).data[0]
        assert (heatmap.zmin, heatmap.zmax) == (-50, 0)
        assert heatmap.colorbar.ticktext == (
            "\u221250 far apart",
            f"negative {function.capitalize()} distance",
            "0 same",
        )
    heatmap = similarity_figure(["a", "b"], np.array([[130.0, 4], [4, 90]]), "dot").data[0]
    assert (heatmap.zmin, heatmap.zmax) == (0, 200)
    same = similarity_figure(["a", "a"], np.zeros((2, 2)), "euclidean").data[0]
    assert same.zmin < same.zmax == 0


def test_values_stand_in_the_cells_up_to_twelve_texts():
    matrix = np.eye(12) * 0.9994 - 0.0004
    figure = similarity_figure([f"t{n}" for n in range(12)], matrix)
    assert figure.data[1].mode == "text"
    assert set(figure.data[1].text) == {"1.00", "0.00"}
    assert len(similarity_figure([f"t{n}" for n in range(13)], np.eye(13)).data) == 1


def test_text_on_every_colour_passes_wcag_aa():
    from plotly.colors import sample_colorscale

    from widgets._theme import DIVERGING, SEQUENTIAL

    def luminance(channels):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    for scale in (DIVERGING, SEQUENTIAL):
        for colour in sample_colorscale(scale, list(np.linspace(0, 1, 101))):
            ground = luminance([float(part) / 255 for part in re.findall(r"[\d.]+", colour)])
            ink = {"#000000": 0.0, "#ffffff": 1.0}[ink_on(colour)]
            assert (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05) >= 4.5


def test_the_title_says_which_texts_are_most_alike():
    matrix = np.array([[1, 0.2, 0.1], [0.2, 1, 0.7123], [0.1, 0.7123, 1]])
    title = similarity_figure(["one", "two", "three & more"], matrix).layout.title.text
    assert title.startswith("<b>Texts 2 and 3 are most alike, at 0.71</b>")
    assert "three &amp; more" in title


def test_clusters_stand_side_by_side_and_labels_move_with_their_rows():
    vectors = np.array([[1, 0], [0, 1], [0.98, 0.1], [0.1, 0.99], [0.97, 0.2]])
    matrix = cosines(vectors)
    order = cluster_order(matrix)
    assert {frozenset(order[:3]), frozenset(order[:2])} & {frozenset({0, 2, 4}), frozenset({1, 3})}
    figure = similarity_figure(list("abcde"), matrix, order=order)
    labels = [re.sub(r"<.*?>|[\u2068\u2069]", "", label).split() for label in figure.layout.yaxis.ticktext]
    assert labels == [["abcde"[row], str(row + 1)] for row in order]
    np.testing.assert_allclose(np.array(figure.data[0].z), matrix[np.ix_(order, order)], atol=1e-6)


@pytest.mark.parametrize("number", [2, 26, 27, 60, 61, 500])
def test_labels_are_cut_few_and_never_more_than_their_rows(number):
    texts = [f"{n} " + "a rather long sentence that goes on and on and on" for n in range(number)]
    axes = similarity_figure(texts, np.eye(number)).layout
    assert len(axes.yaxis.ticktext) <= min(number, 60)
    assert len(axes.yaxis.ticktext) > min(number, 60) / 5
    plain = [re.sub(r"<.*?>|[\u2068\u2069]", "", label).rpartition("  ")[0] for label in axes.yaxis.ticktext]
    assert max(map(len, plain)) <= 40
    assert all(label.endswith("…") for label in plain)


def test_two_thousand_texts_give_a_figure_without_a_text_for_each_cell(bags):
    texts = [f"ticket {n}: " + "the customer writes at length about the matter " * 5 for n in range(2000)]
    panel = HeatmapPanel(texts, order="by cluster")
    panel.model = type(
        "Fast", (), {"encode": lambda self, rows: np.random.default_rng(0).normal(size=(len(rows), 16))}
    )()
    panel.run()
    figure = panel.to_figure()
    assert len(figure.data) == 1
    assert figure.data[0].text is None
    assert figure.data[0].customdata is None
    assert len(figure.to_json()) < 4 * 2000**2 * 4 / 3 + 3e6
    assert len(panel.to_frame()) == 1000
    assert len(panel._tabs.children[0].value) < 50_000
    assert len(panel._tabs.children[1].value) < 10_000


# Reports and words.


def test_report_mode_shows_figure_and_table_and_no_controls(monkeypatch, bags):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    monkeypatch.setenv("WORKBENCH_REPORT", "1")
    panel = HeatmapPanel([*TEXTS, HOSTILE[0]], model=bags)
    bundle = panel._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert [type(part) for part in shown][1] is go.Figure
    assert "Similarity heatmap" in shown[0].data
    for part in ("the cat sat down", "Each cell compares", "5, 0 of them repeated", "&lt;img src=x"):
        assert part in bundle["text/html"]
    assert "button" not in bundle["text/html"]


def test_outside_a_report_the_panel_is_a_widget_with_a_short_name(panel):
    bundle = panel._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/plain"] == "<HeatmapPanel: 4 texts, empty>"


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 40, "short"),
        ("  many \n\n kinds\tof   space ", 40, "many kinds of space"),
        ("one two three", 9, "one two…"),
        ("one two three", 13, "one two three"),
        ("unbreakable", 6, "unbre…"),
        ("日本語の文章", 12, "日本語の文章"),
        ("日本語の文章", 11, "日本語の文…"),
        ("e\u0301" * 5, 5, "e\u0301" * 5),
        ("", 5, ""),
    ],
)
def test_texts_are_cut_at_a_word_by_the_width_they_take(text, width, expected):
    assert cut(text, width) == expected


def test_wrapped_texts_lose_nothing_before_the_last_line():
    text = " ".join(f"word{n}" for n in range(100))
    lines = wrap(text, 30, 4)
    assert len(lines) == 4
    assert all(len(line) <= 30 for line in lines)
    assert text.startswith(" ".join(lines)[:-1])
    assert wrap("short") == ["short"]


def test_marks_that_reorder_text_and_controls_are_taken_out():
    assert one_line("a\u202eb\u2066c\x00d\r\ne") == "a b c d e"
    assert in_figure("<b>$&") == "&lt;b&gt;&#36;&amp;"


def test_numbers_are_written_as_people_read_them():
    assert [count(n) for n in (7, 1234, 2_000_000)] == ["7", "1\u202f234", "2\u202f000\u202f000"]
    assert [duration(s) for s in (0.01, 0.44, 9.96, 12, 99.6, 180)] == [
        "under 0.1 s",
        "0.4 s",
        "10 s",
        "12 s",
        "2 min",
        "3 min",
    ]


def test_a_model_that_was_loaded_by_its_name_is_shared_with_the_panel_under_this_name(tiny_folder):
    model = SentenceTransformer(tiny_folder)
    panel = HeatmapPanel(TEXTS, model=model)
    panel.run()
    assert panel.model is model
    assert panel.parameters["model"] == str(tiny_folder)
    assert f"SentenceTransformer({str(tiny_folder)!r}" in panel.to_code()
    assert "with " + str(tiny_folder)[:10] in panel._status.value
    for other in (SentenceTransformer(tiny_folder, truncate_dim=8), SentenceTransformer(modules=list(model))):
        assert other.loaded_from is None
        assert HeatmapPanel(TEXTS, model=other).parameters["model"] == "SentenceTransformer"


@pytest.mark.parametrize(
    ("name", "value"),
    [("truncate_dim", 8), ("prompts", {"query": "q: "}), ("max_seq_length", 5), ("default_prompt_name", "x")],
)
def test_a_model_that_was_set_otherwise_since_is_no_longer_the_one_of_its_name(tiny_folder, name, value):
    model = SentenceTransformer(tiny_folder)
    before = getattr(model, name)
    setattr(model, name, value)
    assert model.loaded_from is None
    setattr(model, name, before)
    assert model.loaded_from == str(tiny_folder)
