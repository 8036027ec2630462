"""The encode panel and the pickers that all panels share, without a browser."""

import json
import re
import threading

import datasets
import numpy as np
import pandas as pd
import pytest

from tests.test_panel import HOSTILE, Bags, press, tags
from widgets import EncodePanel, as_frame
from widgets._data import bundled_sets
from widgets._encode_figure import random_cosines, vectors_figure
from widgets._models import known_models, load_model, load_reranker, model_facts, model_prompts
from widgets._theme import CATEGORIES, SYMBOLS
from workbench import CrossEncoder, EmbeddingStore, SentenceTransformer
from workbench.errors import Cancelled, ChoiceError, TextTypeError, WorkbenchError
from workbench.quantization import quantize_embeddings

TEXTS = ["the cat sat", "sat the cat", "the cat sat", "", "an invoice for March", "a dog"]


@pytest.fixture
def bags():
    return Bags()


class Plain(Bags):
    """A model that takes the options of ``encode`` that the panel has, and remembers them."""

    def encode(self, texts, **options):
        self.options = options
        vectors = super().encode([text or "nothing" for text in texts])
        return vectors[:, : options.get("truncate_dim")]


# What a run makes.


def test_run_returns_the_vectors_of_the_model_a_row_for_each_row_of_the_data(tiny_folder):
    panel = EncodePanel(TEXTS, model=tiny_folder)
    assert panel.embeddings is None
    found = panel.run()
    np.testing.assert_allclose(found, SentenceTransformer(tiny_folder).encode(TEXTS), atol=1e-6)
    assert panel.embeddings is found
    assert panel.state == "done"
    press(panel)
    np.testing.assert_array_equal(panel.embeddings, found)


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_precision_prompt_width_and_length_are_those_of_encode(precision, tiny_folder):
    how = {"prompt": "cat: ", "truncate_dim": 16}
    panel = EncodePanel(TEXTS, model=tiny_folder, normalize=True, precision=precision, **how)
    model = SentenceTransformer(tiny_folder)
    vectors = model.encode(TEXTS, normalize_embeddings=True, **how)
    np.testing.assert_array_equal(panel.run(), quantize_embeddings(vectors, precision))
    np.testing.assert_allclose(panel.result.norms(), np.linalg.norm(vectors, axis=1), atol=1e-6)
    assert panel.result.facts()["Prompt"] == "'cat: '"


def test_repeated_texts_and_texts_with_one_vector_come_first_in_the_table():
    model = Plain()
    panel = EncodePanel(["a b", "x", "b a", "y", "a b"], model=model)
    panel.run()
    frame = panel.to_frame()
    assert frame["row"].tolist() == [0, 2, 4, 1, 3]
    assert frame["same as"].tolist() == ["", "vector of row 0", "text of row 0", "", ""]
    facts = panel.result.facts()
    assert facts["Repeated texts"] == facts["Other texts with the vector of another"] == "1"
    expected = np.linalg.norm(model.encode(["a b", "b a", "a b", "x", "y"]), axis=1)
    np.testing.assert_allclose(frame["length"], expected, rtol=1e-6)


def test_tokens_that_do_not_fit_are_counted_with_the_prompt(tiny_folder):
    texts = ["short", "word " * 100]
    panel = EncodePanel(texts, model=tiny_folder, prompt="word word ")
    panel.run()
    model = SentenceTransformer(tiny_folder)
    counts = model.token_counts([f"word word {text}" for text in texts])
    expected = int(np.maximum(counts - model.max_seq_length, 0).sum())
    assert expected > 0
    assert panel.result.facts()["Tokens cut"] == f"{expected} of 1 texts"
    frame = panel.to_frame()
    assert frame["tokens"].tolist() == sorted(counts.tolist(), reverse=True), "those that were cut come first"


def test_the_store_encodes_no_text_twice_and_gives_the_same_vectors(tmp_path, tiny_folder):
    path = tmp_path / "vectors.db"
    panel = EncodePanel(TEXTS, model=tiny_folder, store=str(path))
    first = panel.run()
    assert panel.result.facts()["Store"] == "0 of 5 texts were there"
    panel.data = [*TEXTS, "new"]
    second = panel.run()
    assert panel.result.facts()["Store"] == "5 of 6 texts were there"
    np.testing.assert_array_equal(second[:-1], first)
    with EmbeddingStore(path) as store:
        assert len(store) == 6


def test_a_store_for_a_model_without_a_name_is_refused_and_so_is_no_text(bags, tmp_path):
    with pytest.raises(WorkbenchError, match="Only vectors of named models"):
        EncodePanel(TEXTS, model=bags, store=str(tmp_path / "x.db")).run()
    with pytest.raises(WorkbenchError, match="There are no texts"):
        EncodePanel(model=bags).run()
    assert bags.calls == 0


def test_a_vector_that_is_not_finite_is_an_error_that_names_its_row(monkeypatch):
    monkeypatch.setattr(Plain, "encode", lambda self, texts: np.array([[1.0, 0]] * 5 + [[np.nan, 1]]))
    with pytest.raises(WorkbenchError, match="row 5 a vector that is not finite"):
        EncodePanel(TEXTS, model=Plain()).run()


def test_an_estimate_says_time_and_memory_without_a_result_and_is_cancelled_like_a_run(tiny_folder):
    panel = EncodePanel([f"text {number}" for number in range(50)], model=tiny_folder, precision="ubinary")
    found = panel.estimate()
    assert 16 <= found["tried"] <= 50
    assert found["seconds"] > 0
    assert found["megabytes"] == pytest.approx(50 * panel.run().shape[1] / 1e6)
    slow = Plain()
    panel = EncodePanel(TEXTS, model=slow)
    press(panel, panel._guess)
    assert "6 texts will take" in panel._status.value
    assert panel.state == "empty"
    slow.began.clear()
    slow.go_on.clear()
    panel._guess.click()
    assert slow.began.wait(30)
    assert panel.state == "running"
    panel._cancel.click()
    assert panel.state == "empty"
    slow.go_on.set()
    with pytest.raises(WorkbenchError, match="no texts"):
        EncodePanel(model=slow).estimate()


def test_an_estimate_of_much_work_stops_after_about_a_second(monkeypatch):
    clock = iter(np.arange(0, 1000, 0.3))  # each of two readings a part
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    found = EncodePanel([f"text {number}" for number in range(5000)], model=Plain()).estimate()
    assert found["tried"] == 16 + 32 + 64 + 128
    assert found["seconds"] == pytest.approx(4 * 0.3 / 240 * 5000)


def test_cancel_answers_at_once_and_keeps_the_last_result():
    model = Plain()
    panel = EncodePanel(TEXTS, model=model)
    good = panel.run()
    model.began.clear()
    model.go_on.clear()
    stopped = threading.Timer(0, lambda: (model.began.wait(30), panel.cancel(), model.go_on.set()))
    panel.data = TEXTS[:2]
    stopped.start()
    with pytest.raises(Cancelled):
        panel.run()
    stopped.join()
    assert panel.embeddings is good
    assert panel.state == "stale"
    assert panel.run().shape == (2, 64)


# Code, parameters, reports.


@pytest.mark.parametrize("kind", ["bundled", "path", "texts", "frame", "dataset"])
def test_the_code_runs_and_makes_the_same_vectors_and_parameters_the_same_panel(kind, tmp_path, tiny_folder):
    frame = pd.DataFrame({"n": [1, 2, 3], "words": ["a cat", None, 'it\'s a "dog"\n\\ ok'], "other": ["x", "y", "z"]})
    frame.to_csv(tmp_path / "words.csv", index=False)
    given = {
        "bundled": "english_german",
        "path": tmp_path / "words.csv",
        "texts": TEXTS,
        "frame": frame,
        "dataset": datasets.Dataset.from_pandas(frame),
    }[kind]
    options = {"column": "words"} if kind in ("path", "frame", "dataset") else {}
    how = {"prompt": "it's ", "precision": "int8", "truncate_dim": 8, "normalize": True}
    for store in ("", str(tmp_path / "vectors.db")):
        panel = EncodePanel(given, model=tiny_folder, store=store, **how, **options)
        panel.run()
        names = {}
        exec(compile(panel.to_code(), "code", "exec"), names)
        np.testing.assert_array_equal(names["embeddings"], panel.embeddings)
        parameters = json.loads(json.dumps(panel.parameters))
        twin = EncodePanel.from_parameters(parameters)
        assert twin.parameters == parameters
        np.testing.assert_array_equal(twin.run(), panel.embeddings)
    if kind in ("frame", "dataset"):
        assert list(parameters["data"][0]) == ["words"], "only the column that is read"


def test_report_mode_shows_figure_and_table_and_no_controls(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    bundle = EncodePanel([HOSTILE[0], *TEXTS], model=Plain(), report=True)._repr_mimebundle_()
    assert len(shown) == 2
    assert "Left: where all vectors" in bundle["text/html"]
    assert "&lt;img src=x" in bundle["text/html"]
    assert "button" not in bundle["text/html"]


def test_hostile_texts_models_and_columns_stay_text(bags):
    name = '<img src=x onerror="window.hacked=1">'
    panel = EncodePanel(pd.DataFrame({name: HOSTILE}), model=Plain(), prompt=name)
    panel.run()
    panel.model = '<script>alert("model")</script>'
    pages = [page.value for page in panel._tabs.children]
    ours = {"div", "p", "table", "thead", "tbody", "tr", "th", "td", "bdi", "details", "summary", "pre"}
    for page in [*pages, panel._guide.value, panel._below.value, panel._status.value]:
        assert {tag for tag, _ in tags(page)} <= ours
    assert "&lt;img src=x" in pages[0]


# The form.


def test_every_control_sets_its_input_and_follows_it(bags):
    panel = EncodePanel("faq", model=bags)
    for label, name, value in (
        ("Prompt before each text", "prompt", "query: "),
        ("Precision", "precision", "int8"),
        ("Dimensions (0: all)", "truncate_dim", 12),
        ("Length of vectors", "normalize", True),
        ("Keep vectors in a file", "store", "x.db"),
        ("Column", "column", "question"),
    ):
        control, before = panel._fields[name], getattr(panel, name)
        assert control.description == label
        control.value = value
        assert getattr(panel, name) == value
        setattr(panel, name, before)
        assert control.value == (before or control.value if name == "column" else before or type(value)())
    assert panel._fields["precision"].options[:2] == (("float32", "float32"), ("int8", "int8"))
    panel._fields["data"].value = "paraphrases"
    assert (panel.data, panel.column) == ("paraphrases", "text")
    panel.data = TEXTS
    assert panel._fields["data"].value == ""
    assert panel._fields["data"].options[0] == ("list, 6 rows", "")


def test_an_empty_panel_runs_its_example_on_one_click():
    panel = EncodePanel(model=Plain())
    assert panel.state == "empty"
    press(panel, panel._card.children[0].children[1])
    assert (panel.state, panel.data, panel.column) == ("done", "faq", "question")
    assert panel.embeddings.shape == (256, 64)


def test_wrong_inputs_are_refused_and_the_old_ones_stay(bags):
    panel = EncodePanel(TEXTS, model=bags)
    for name, value, error, message in (
        ("precision", "float8", ChoiceError, "'float32', 'int8'"),
        ("truncate_dim", 0, WorkbenchError, "give a number of dimensions"),
        ("data", "no-such-set", ChoiceError, "'faq'"),
        ("data", "missing.csv", WorkbenchError, "There is no file missing.csv. Paths begin at"),
        ("data", pd.DataFrame({"n": [1]}), WorkbenchError, "No column of this data holds text; it has n."),
        ("data", pd.DataFrame({"text": []}), WorkbenchError, "This data has no rows."),
        ("data", ["a", 3], TextTypeError, "Row 1 is int"),
        ("data", 7, TextTypeError, "data"),
        ("model", 3, WorkbenchError, "model is of type int"),
        ("column", "title", ChoiceError, "'text'"),
    ):
        with pytest.raises(error, match=re.escape(message)):
            setattr(panel, name, value)
    assert (panel.data, panel.column, panel.precision) == (TEXTS, "text", "float32")
    panel.pick("data", "no-such-set")
    assert panel.state == "error"
    assert "Unknown data set" in panel._status.value


# Pickers.


def test_an_upload_is_read_by_the_ending_of_its_name_and_a_bad_one_is_one_line(bags):
    panel = EncodePanel(model=bags)
    content = pd.DataFrame({"words": ["one", "NA"]}).to_csv(index=False).encode()
    panel._take_upload(({"name": "w.csv", "content": memoryview(content)},))
    assert panel.data["words"].tolist() == ["one", "NA"], "only an empty field is a gap"
    assert (panel.column, panel._columns.layout.display) == ("words", "")
    for name, bad, message in (
        ("w.exe", b"x", "Unknown kind of file"),
        ("w.csv", b"", "w.csv cannot be read: No columns to parse from file. Expected lines of UTF-8"),
        ("w.csv", b"\xff\xfe\x00", "w.csv cannot be read"),
        ("w.parquet", b"nothing", "w.parquet cannot be read"),
        ("w.jsonl", b"{not json}", "w.jsonl cannot be read"),
    ):
        panel._take_upload(({"name": name, "content": memoryview(bad)},))
        assert panel.state == "error"
        assert message in panel._status.value
    assert panel.column == "words"


def test_texts_in_json_lines_that_look_like_numbers_or_dates_stay_texts(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "007", "date": "2020-01-01"}\n')
    assert as_frame(path).to_dict("records") == [{"text": "007", "date": "2020-01-01"}]


def test_data_may_be_records_and_columns_get_strings_for_names():
    assert as_frame([{"a": "x", 1: 2}]).columns.tolist() == ["a", "1"]
    with pytest.raises(WorkbenchError, match="Two columns are called '1'"):
        as_frame(pd.DataFrame([[1, 2]], columns=[1, "1"]))


def test_every_bundled_set_opens_in_the_panel(bags):
    assert "faq" in bundled_sets()
    for name in bundled_sets():
        assert len(EncodePanel(name, model=bags).texts_in_column) > 50


def test_data_that_is_taken_away_empties_the_panel(bags):
    panel = EncodePanel("faq", model=bags)
    panel.data = None
    assert (panel.column, panel.texts_in_column, panel.state) == ("", [], "empty")


def test_models_are_listed_with_where_they_are_and_what_is_known_of_them():
    assert ("starter (bundled)", "starter") in known_models()
    assert known_models("cross-encoder")[0] == ("starter-reranker (bundled)", "starter-reranker")
    labels = dict(known_models(everywhere=True))
    assert any("(download, 438 MB)" in label for label in labels)
    assert len(labels) > len(known_models())
    assert model_facts("starter").startswith("256 dimensions · any length · 7.7 MB · en · apache-2.0")
    assert model_facts("starter").endswith("on this machine")
    assert "downloaded when it runs" in model_facts("sentence-transformers/LaBSE")
    assert "no facts" in model_facts("somebody/something")
    assert "of type Bags" in model_facts(Bags())


def test_prompts_are_those_of_the_folder_or_those_that_are_published(tiny, tmp_path):
    assert model_prompts("intfloat/e5-small-v2") == {"query": "query: ", "document": "passage: "}
    assert model_prompts("starter") == {}
    SentenceTransformer(modules=list(tiny), prompts={"ask": "ask: "}).save(tmp_path / "m")
    assert model_prompts(str(tmp_path / "m")) == {"ask": "ask: "}
    panel = EncodePanel(TEXTS, model=tmp_path / "m")
    assert panel._fields["prompt"].options == ("ask: ",)


def test_models_are_loaded_once_for_all_panels():
    assert load_model("starter") is load_model("starter")
    assert isinstance(load_reranker("starter-reranker"), CrossEncoder)
    assert load_reranker("starter-reranker") is load_reranker("starter-reranker")
    assert load_model(own := Bags()) is own


def test_two_panels_run_on_one_model_at_once():
    panels = [EncodePanel([f"{number} {word}" for number in range(300)], model="starter") for word in ("a", "b")]
    threads = [threading.Thread(target=panel.run) for panel in panels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for panel in panels:
        np.testing.assert_allclose(panel.embeddings, load_model("starter").encode(panel.data), atol=1e-6)


def test_a_picker_offers_what_was_named_and_sets_its_own_trait(bags):
    panel = EncodePanel(TEXTS, model=bags)
    menu, other = panel._fields["model"], panel._fields["model by name"]
    other.value = " somewhere/else "
    assert panel.model == menu.value == "somewhere/else"
    menu.value = "starter"
    assert panel.model == "starter"


# The figure.


def test_bars_count_every_vector_and_every_pair():
    norms, cosines = np.random.default_rng(0).uniform(1, 2, 500), np.linspace(-1, 1, 77)
    figure = vectors_figure(norms, cosines)
    assert [sum(trace.y) for trace in figure.data] == [500, 77]
    assert "<b>Lengths run from 1 to 2</b>" in figure.layout.title.text
    assert ">Two texts at random are 0.00 alike<" in figure.layout.title.text
    even = vectors_figure(np.ones(9) + 1e-7 * np.arange(9), cosines)
    assert max(even.data[0].y) == 9
    assert "<b>All 9 vectors have length 1</b>" in even.layout.title.text
    assert "random" not in vectors_figure(np.ones(1), np.zeros(0)).layout.title.text


def test_random_pairs_never_pair_a_text_with_itself():
    unit = np.eye(3, dtype=np.float32)
    assert np.abs(random_cosines(unit)).max() == 0
    assert len(random_cosines(unit[:1])) == 0
    np.testing.assert_array_equal(random_cosines(unit[:2] + 1), random_cosines(unit[:2] + 1))


def test_there_are_as_many_symbols_as_colours_for_categories():
    assert len(CATEGORIES) == len(SYMBOLS) == len(set(SYMBOLS)) == len(set(CATEGORIES)) == 8
