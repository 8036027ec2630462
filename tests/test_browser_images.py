"""The panel of pictures clicked through in real JupyterLab: another query, fewer pictures, other captions, an error."""

import json
import re

from playwright.sync_api import expect

from tests.lab import SHOTS, ask, go_dark

HOSTILE = '<img src=x onerror="window.hacked=1"> red $x^2$ **bold**'
CELL = f"""
import numpy as np
from PIL import Image
from widgets import ImagePanel

hostile = {HOSTILE!r}
COLOURS = ["red", "green", "blue"]

class Colours:
    "A stand-in for a model: a picture is how red, green and blue its pixels are, a text the colours that it names."
    opened = 0
    def encode(self, rows, **options):
        if isinstance(rows, str):
            return np.array([*(colour in rows for colour in COLOURS), 0], np.float32)
        self.opened += len(rows)
        return np.stack([self.seen(np.asarray(Image.open(row).convert("RGB"), np.float32)) for row in rows])
    def seen(self, pixels):
        lead = 2 * pixels - pixels.sum(2, keepdims=True)  # of each channel over the two others
        return np.array([*lead.clip(0).mean((0, 1)), 10])

panel = ImagePanel(model=Colours(), query="red")
panel
"""
FOUND = """
import json
frame = panel.to_frame()
print(json.dumps([frame["caption"].tolist(), panel.query, panel.state, panel.model.opened]))
"""
# The pictures on the page, when the browser has drawn them all.
DRAWN = """grid => Promise.all([...grid.querySelectorAll('img')].map(async image => {
    await image.decode();
    return [image.alt, image.src, image.naturalWidth];
}))"""


def test_a_query_is_typed_and_the_thumbnails_are_those_of_what_was_found(lab):
    SHOTS.mkdir(parents=True, exist_ok=True)
    with lab.open(CELL, name="images") as page:
        panel = page.locator(".wb-panel")
        expect(panel).to_contain_text("Choose a table with files of pictures")
        panel.get_by_role("button", name="Try the example").click()
        grid, pictures = panel.locator(".wb-grid"), panel.locator(".wb-pictures img")
        expect(pictures).to_have_count(6)
        expect(panel.get_by_label("Column", exact=True)).to_have_value("file")
        expect(panel.locator(".wb-status")).to_contain_text("Done")
        red, query, state, opened = json.loads(ask(page, FOUND))
        assert (query, state, opened) == ("red", "done", 79)
        assert "red" in red[0]
        alts, before, widths = zip(*grid.evaluate(DRAWN), strict=True)
        assert (list(alts), set(widths)) == (red, {128})
        assert len(set(before)) == 6
        expect(panel.locator(".wb-caption")).to_contain_text("The 6 of 79 pictures nearest to the query")
        page.screenshot(path=SHOTS / "images.png")

        # Another query needs no press, and no picture is read again.
        panel.get_by_label("Query").fill(" blue ")
        panel.get_by_label("Query").press("Enter")
        expect(pictures.first).to_have_attribute("alt", re.compile("blue"))
        expect(panel.locator(".wb-status")).to_contain_text("Done")
        blue, *others = json.loads(ask(page, FOUND))
        assert others == ["blue", "done", 79]
        alts, after, _ = zip(*grid.evaluate(DRAWN), strict=True)
        assert list(alts) == blue
        assert not {*before} & {*after}
        expect(panel.locator(".wb-table").first).to_contain_text(blue[0])

        # Fewer pictures, and the names of files in place of captions.
        panel.get_by_role("button", name="More").click()
        panel.get_by_label("Pictures").fill("3")
        panel.get_by_label("Pictures").press("Tab")
        expect(pictures).to_have_count(3)
        panel.get_by_label("Captions").select_option("none")
        expect(panel.locator(".wb-stale")).to_be_visible()
        panel.get_by_role("button", name="Run").click()
        expect(pictures.first).to_have_attribute("alt", re.compile(r"^pictures/.*\.png$"))
        expect(panel.locator(".wb-status")).to_contain_text("Done")
        names, _, state, opened = json.loads(ask(page, FOUND))
        assert ([alt for alt, *_ in grid.evaluate(DRAWN)], state, opened) == (names, "done", 2 * 79)

        # An empty query is refused and the pictures stay; markup stays text.
        panel.get_by_label("Query").fill(" ")
        panel.get_by_label("Query").press("Enter")
        expect(panel.locator(".wb-error")).to_contain_text("The query is empty")
        expect(pictures).to_have_count(3)
        panel.get_by_label("Query").fill(HOSTILE)
        panel.get_by_label("Query").press("Enter")
        expect(pictures.first).not_to_have_attribute("alt", names[0])
        panel.get_by_role("tab", name="Code").click()
        expect(panel.locator(".wb-tabs pre")).to_contain_text("<img src=x onerror=")
        expect(panel.locator(".wb-status")).to_contain_text("Done")
        assert ask(page, "print(panel.query == hostile, panel.state)") == "True done"
        assert page.evaluate("window.hacked") is None
        assert panel.evaluate("card => card.scrollWidth <= card.clientWidth")
        go_dark(page)
        page.screenshot(path=SHOTS / "images_dark.png")
