"""The Report button: what a panel hands to the report, where it goes, and how it ends."""

import json
import threading

import pandas as pd
import pytest

import workbench.report
from tests.tiny_panel import HOSTILE, Bags, press, tags_shown
from tests.tiny_training import static
from widgets import EncodePanel, Explorer, FinetunePanel, HeatmapPanel, MiningPanel, QuantizationPanel, SearchPanel
from widgets._parts import each
from workbench.errors import Cancelled, WorkbenchError
from workbench.progress import track
from workbench.report import Report

FRAME = pd.DataFrame({"message": [*HOSTILE, None], "kind": list("abcdabcd"), "other": range(8)})


@pytest.fixture
def written(tmp_path, monkeypatch):
    """What reports were asked for; none is made."""
    asked = []

    def write(data, out, **parameters):
        with track(2, unit="cells", desc="write") as bar:
            bar.update(1)
            asked.append((data, out, parameters))
            bar.update(1)
        out.write_text("a page")
        return Report([out], {}, 0.1)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workbench.report, "write_report", write)
    return asked


def button(panel):
    return next(one for one in each(panel) if getattr(one, "description", "") == "Report")


def test_the_button_hands_over_data_column_label_and_model_and_shows_a_link(written, tmp_path):
    panel = Explorer(FRAME, "message", colour="kind", model="starter")
    press(panel, button(panel))
    (data, out, parameters) = written[0]
    titled = {"title": f"Report on {len(HOSTILE)} texts of column message"}
    assert parameters == {"text": "message", "label": "kind", "models": ["starter"], **titled}
    assert out.name == "report.html"
    rows = [json.loads(line) for line in (tmp_path / data).read_text("utf-8").splitlines()]
    assert [row["kind"] for row in rows] == list("abcdabcd")
    assert [row["message"] for row in rows] == [*HOSTILE, None]
    assert "other" not in rows[0]
    assert "<a href='report.html'" in panel._written.outputs[0]["data"]["text/html"]
    assert panel.state == "empty", "there is still no result"
    press(panel, button(panel))
    assert written[1][1].name == "report_2.html", "the first one stays"


@pytest.mark.parametrize(
    ("panel", "label"),
    [
        (EncodePanel("faq", column="answer"), ""),
        (SearchPanel("faq", column="answer"), ""),
        (QuantizationPanel("faq", column="answer"), ""),
        (MiningPanel("paraphrases", column="text", labels="meaning"), "meaning"),
        (FinetunePanel("support_messages", column="message", label="intent"), "intent"),
        (FinetunePanel("scored_pairs", column="sentence1", second="sentence2", label="score"), ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_bundled_data_is_named_and_python_does_what_the_button_does(panel, label, written, tmp_path):
    path = panel.write_report(tmp_path / "page.html", sections=["facts"])
    assert path.read_text() == "a page"
    expected = {"text": panel.column, "label": label, "models": ["starter"], "sections": ["facts"]}
    assert written == [(panel.data, path, expected)]
    assert not list(tmp_path.glob("*.jsonl"))


def test_a_title_says_how_many_texts_of_which_column_unless_one_is_given(written):
    EncodePanel(["one", " "], model="starter").write_report()
    EncodePanel(pd.DataFrame({"message": ["a"] * 1200})).write_report()
    EncodePanel(["one"]).write_report(title="Mine")
    titles = ["Report on 1 text", "Report on 1\u202f200 texts of column message", "Mine"]
    assert [parameters["title"] for _, _, parameters in written] == titles


def test_what_cannot_be_reported_on_is_one_line_and_leaves_nothing_behind(written, tmp_path, monkeypatch):
    panel = EncodePanel(["a", "b"], model=Bags())
    with pytest.raises(WorkbenchError, match="Set model to a name"):
        panel.write_report()
    assert "Set model to a name" in panel._status.value
    assert panel.state == "error"
    with pytest.raises(WorkbenchError, match="no texts to report on"):
        EncodePanel().write_report()
    panel.model = "starter"
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkbenchError, match="could not be written"):
        panel.write_report(tmp_path / "file" / "page.html")

    def fail(*given, **parameters):
        raise WorkbenchError(f"No report was written: {HOSTILE[0]}")

    monkeypatch.setattr(workbench.report, "write_report", fail)
    press(panel, button(panel))
    assert panel.state == "error"
    assert not {"img", "script"} & tags_shown(panel)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_report_shows_its_progress_and_can_be_cancelled(written, tmp_path, monkeypatch):
    panel = EncodePanel(["a", "b"], model="starter")
    notes, inside, go_on = [], threading.Event(), threading.Event()
    panel._note.observe(lambda change: notes.append(change["new"]), "value")

    def slow(*given, **parameters):
        with track(5, unit="cells", desc="write") as bar:
            bar.update(0)
            inside.set()
            assert go_on.wait(30)
            bar.update(1)

    monkeypatch.setattr(workbench.report, "write_report", slow)
    caught = []

    def work():
        try:
            panel.write_report()
        except Cancelled as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(30)
    assert "0 of 5 parts written" in notes
    with pytest.raises(WorkbenchError, match="still running"):
        panel.write_report()
    panel.cancel()
    assert panel.state == "empty"
    assert "Cancelled" in panel._status.value
    go_on.set()
    thread.join(30)
    assert caught
    assert list(tmp_path.iterdir()) == []


def test_a_heatmap_hands_over_both_lists_and_says_which_text_is_of_which(written, tmp_path):
    panel = HeatmapPanel(HOSTILE)
    press(panel, button(panel))
    panel.documents = ["a page", HOSTILE[0]]
    panel.write_report()
    (first, _, given), (second, _, labelled) = written
    number = len(HOSTILE)
    assert given == {"text": "text", "label": "", "models": ["starter"], "title": f"Report on {number} texts"}
    assert labelled == given | {"label": "list", "title": f"Report on {number + 2} texts"}
    rows = [[json.loads(row) for row in (tmp_path / name).read_text().splitlines()] for name in (first, second)]
    assert rows[0] == [{"text": text} for text in HOSTILE]
    assert [row["text"] for row in rows[1]] == [*HOSTILE, "a page", HOSTILE[0]]
    assert [row["list"] for row in rows[1]] == ["texts"] * len(HOSTILE) + ["documents"] * 2
    with pytest.raises(WorkbenchError, match="no texts to report on"):
        HeatmapPanel().write_report()


def test_a_report_of_what_is_trained_on_leaves_the_last_result_as_it_is(written, monkeypatch):
    panel = FinetunePanel("faq", model=static(), epochs=1)
    panel.run()
    panel.model = "starter"
    shown = panel._card.children
    panel.write_report()
    assert panel._card.children == shown
    assert panel._hold.disabled

    def fail(*given, **parameters):
        assert panel._card.children == shown, "also while it is written"
        raise WorkbenchError("No report was written.")

    monkeypatch.setattr(workbench.report, "write_report", fail)
    with pytest.raises(WorkbenchError, match="No report was written"):
        panel.write_report()
    assert panel._card.children == shown
    assert panel.state == "error"
