"""The panel of pictures without a browser: what it finds and shows, what it keeps, and what it refuses."""

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.test_blocks import tiny_clip
from tests.tiny_panel import HOSTILE, TAGS, press, tags_shown
from widgets import ImagePanel, picture_figure
from widgets._picture_figure import picture_grid, thumbnail
from workbench import SentenceTransformer, models
from workbench.errors import ImageError, WorkbenchError

COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220), "purple": (180, 20, 180)}


class Colours:
    """A stand-in for a model: a picture is its mean colour, and a text is the colour that it names."""

    def __init__(self):
        self.opened = 0

    def encode(self, rows, **options):
        if isinstance(rows, str):
            return np.array(COLOURS.get(rows, (1, 1, 1)), np.float32)
        self.opened += len(rows)
        return np.stack([np.asarray(Image.open(path).convert("RGB"), np.float32).mean((0, 1)) for path in rows])


@pytest.fixture
def table(tmp_path):
    for name, colour in COLOURS.items():
        Image.new("RGB", (300, 200), colour).save(tmp_path / f"{name}.png")
    frame = pd.DataFrame({"file": [f"{name}.png" for name in COLOURS], "words": [f"All {name}." for name in COLOURS]})
    frame.to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


@pytest.fixture
def panel(table):
    return ImagePanel(table, column="file", caption="words", model=Colours(), query="red", top=3)


class Shown(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.images, self.tags = [], set()
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert not [name for name, _ in attributes if name.startswith("on") or name == "href"]
        if tag == "img":
            self.images.append(dict(attributes))


def test_the_nearest_pictures_come_first_with_their_scores_and_words(panel):
    found = panel.run()
    assert [one["row"] for one in found] == [0, 3, 1]
    red, purple = (np.array(COLOURS[name]) for name in ("red", "purple"))
    assert found[1]["score"] == pytest.approx(red @ purple / np.linalg.norm(red) / np.linalg.norm(purple), abs=1e-5)
    assert panel.to_frame()["caption"].tolist() == ["All red.", "All purple.", "All green."]
    assert panel.to_frame()["rank"].tolist() == [1, 2, 3]
    shown = Shown(panel._grid.value)
    assert [one["alt"] for one in shown.images] == ["All red.", "All purple.", "All green."]
    assert shown.tags == {"ol", "li", "img", "span", "b", "bdi"}
    figure = panel.to_figure()
    assert len(figure.layout.images) == 3
    assert figure.layout.title.text == "Nearest to “red”"


def test_a_thumbnail_is_a_small_picture_of_the_same(table):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (900, 700, 3), dtype=np.uint8))
    uri = thumbnail(noise)
    assert len(uri) < 70_000
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    assert max(Image.open(io.BytesIO(base64.b64decode(data))).size) == 128


def test_another_query_is_answered_at_once_and_opens_no_picture_again(panel):
    panel.run()
    panel.query, panel.top = "blue", 2
    assert panel.state == "done"
    assert [one["row"] for one in panel.result.plain()] == [2, 3]
    assert panel.model.opened == 4
    panel.caption = ""
    assert panel.state == "stale"
    panel.run()
    assert panel.to_frame()["caption"].tolist() == ["blue.png", "purple.png"]


def test_a_run_that_is_cancelled_while_it_is_shown_leaves_the_thumbnails_of_the_one_before(panel, monkeypatch):
    panel.run()
    thumbnails, code = panel._grid.value, panel._code

    def cancelled(inputs):
        panel.cancel()
        return code(inputs)

    monkeypatch.setattr(panel, "_code", cancelled)
    panel.query = "blue"
    assert panel.result.query == "red"
    assert panel._grid.value == thumbnails
    assert "Cancelled" in panel._status.value


def test_the_code_finds_the_same_and_parameters_survive_json(table, tmp_path, capsys):
    tiny_clip(tmp_path / "plain")
    SentenceTransformer(modules=[models.CLIPModel(str(tmp_path / "plain"))], device="cpu").save(str(tmp_path / "model"))
    panel = ImagePanel(table, column="file", model=str(tmp_path / "model"), query="a red one", top=4)
    panel.run()
    capsys.readouterr()
    made = {}
    exec(compile(panel.to_code(), "code", "exec"), made)
    assert [hit["corpus_id"] for hit in made["hits"]] == [one["row"] for one in panel.result.plain()]
    assert len(capsys.readouterr().out.splitlines()) == 4
    again = ImagePanel.from_parameters(json.loads(json.dumps(panel.parameters)))
    assert again.parameters == panel.parameters
    assert again.run() == panel.result.plain()


def test_pictures_may_be_a_list_of_files_and_the_bundled_ones(table):
    files = [str(table.parent / f"{name}.png") for name in COLOURS]
    panel = ImagePanel(files, model=Colours(), query="green", top=1)
    assert panel.run()[0]["row"] == 1
    panel.data, panel.column, panel.caption = "captions", "file", "caption"
    assert panel.run()[0]["file"].startswith("pictures/")
    assert panel.to_frame()["caption"][0].endswith(".")


def test_what_is_wrong_is_said_and_the_last_result_stays(panel, table):
    panel.run()
    before = panel.result
    (table.parent / "green.png").write_bytes(b"no picture")
    panel.model = "nowhere/" + "none"
    tiny = table.parent / "plain"
    tiny_clip(tiny)
    panel.model = SentenceTransformer(modules=[models.CLIPModel(str(tiny))], device="cpu")
    with pytest.raises(ImageError, match=r"Row 1: .*green\.png cannot be read"):
        panel.run()
    assert panel.state == "error"
    assert panel.result is before
    with pytest.raises(WorkbenchError, match="The query is empty"):
        panel.query = "  "
    panel.data = None
    with pytest.raises(WorkbenchError, match="There are no pictures yet"):
        panel.run()
    with pytest.raises(WorkbenchError, match="type int"):
        panel.model = 3


def test_the_form_follows_the_inputs_and_sets_them(panel):
    query = next(one for one in panel.children[1].children if getattr(one, "description", "") == "Query")
    assert query.value == "red"
    press(panel)
    assert panel.state == "done"
    query.value = " blue "
    assert (panel.query, panel.state) == ("blue", "done")
    query.value = ""
    assert panel.query == "blue"
    assert "The query is empty" in panel._status.value
    panel.query = "green"
    assert query.value == "green"
    panel._fields["caption"].value = ""
    assert panel.caption == ""
    panel._fields["model"].value = "some/folder"
    assert panel.model == "some/folder"


def test_no_report_on_texts_is_offered_for_pictures(panel):
    shown = [getattr(part, "description", "") for part in panel._buttons.children]
    assert "Run" in shown
    assert "Report" not in shown


def test_hostile_words_stay_text(table):
    frame = pd.DataFrame({"file": [str(table.parent / "red.png")] * len(HOSTILE), "words": HOSTILE})
    panel = ImagePanel(frame, column="file", caption="words", model=Colours(), query=HOSTILE[0], top=7)
    panel.run()
    assert Shown(panel._grid.value).tags == {"ol", "li", "img", "span", "b", "bdi"}
    assert all(len(one["alt"]) <= 200 for one in Shown(panel._grid.value).images)
    assert tags_shown(panel) <= TAGS
    assert "<script" not in panel.to_figure().to_json()
    assert Shown(picture_grid(["' onerror='x"], [0.5], ["a' onerror='x"])).images[0]["alt"] == "a' onerror='x"


def test_a_report_shows_the_pictures_and_their_table(table, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    panel = ImagePanel(table, column="file", caption="words", model=Colours(), query="red", report=True)
    page = panel._repr_mimebundle_()["text/html"]
    assert "All purple." in page
    assert len(shown[1].layout.images) == 4
    assert picture_figure([], [], [], "none").layout.height > 0
    assert Path(panel.parameters["data"]) == table
