"""The encode panel clicked through in real JupyterLab: upload, estimate, progress, cancel, result, hostile words."""

import json

from playwright.sync_api import expect

from tests.lab import SHOTS, ask, go_dark, keep_busy

HOSTILE = [
    '<img src=x onerror="window.hacked=1">',
    "</pre><script>window.hacked=1</script>",
    "**bold** $x^2$ [link](javascript:window.hacked=1)",
    "x" * 10_000,
    "\u202e\u0634\u0643\u0631\u0627\u202c \U0001f600",
]
CELL = """
import threading, time
from widgets import EncodePanel
from widgets._models import load_model

class Held:
    "The starter, which waits in the middle of its work until it is let go."
    def __init__(self):
        self.go_on = threading.Event()
        self.go_on.set()
    def encode(self, texts, **options):
        from workbench.progress import track
        with track(len(texts), unit="texts", desc="encode") as bar:
            bar.update(len(texts) // 2)
            while not self.go_on.wait(0.05):
                bar.update(0)
        return load_model("starter").encode(texts, **options)

held = Held()
panel = EncodePanel(model=held)
panel
"""


def test_a_table_is_uploaded_encoded_and_looked_at(lab):
    SHOTS.mkdir(parents=True, exist_ok=True)
    with lab.open(CELL, name="encode") as page:
        panel = page.locator(".wb-panel")
        expect(panel).to_contain_text("Pick a bundled set above")

        # A file of hostile texts: they become rows, and stay texts.
        rows = "".join(json.dumps({"words": text}) + "\n" for text in [*HOSTILE, HOSTILE[0]])
        with page.expect_file_chooser() as chooser:
            panel.get_by_role("button", name="Upload").click()
        chooser.value.set_files({"name": "rows.jsonl", "mimeType": "application/jsonl", "buffer": rows.encode()})
        expect(panel.get_by_label("Column")).to_have_value("words")
        expect(panel).to_contain_text("6 texts")
        assert panel.locator(".wb-form").first.bounding_box()["height"] < 150, "the form has two rows"
        panel.get_by_role("button", name="Estimate").click()
        expect(panel.locator(".wb-status")).to_contain_text("6 texts will take")
        panel.get_by_role("button", name="Run").click()
        expect(panel.locator(".gtitle")).to_contain_text("Two texts at random are")
        assert panel.locator(".barlayer .point path").count() > 10
        expect(panel.locator(".wb-table").first).to_contain_text("text of row 0")
        assert ask(page, "print(panel.embeddings.shape, panel.state)") == "(6, 256) done"
        assert page.evaluate("window.hacked") is None
        assert panel.evaluate("card => card.scrollWidth <= card.clientWidth"), "a long word stays in its place"

        # A run that is under way says how far it is, and stops when asked; the last result stays.
        ask(page, "held.go_on.clear()")
        panel.get_by_label("Data").select_option("faq")
        panel.get_by_role("button", name="Run").click()
        expect(panel).to_contain_text("128 of 256 texts")
        panel.get_by_role("button", name="Cancel").click()
        expect(panel.locator(".wb-status")).to_contain_text("Cancelled after", timeout=2_000)
        expect(panel.locator(".gtitle")).to_be_visible()
        ask(page, "held.go_on.set()")

        # With a picked model and other settings, by the keyboard alone.
        panel.get_by_label("Model", exact=True).select_option("starter (bundled)")
        expect(panel).to_contain_text("256 dimensions · any length")
        panel.get_by_label("Precision").select_option("ubinary")
        keep_busy(page)  # so that the page holds the second change back, but not the press of Run after it
        for number in ("16", "32"):
            panel.get_by_label("Dimensions").fill(number)
            panel.get_by_label("Dimensions").press("Tab")
        panel.get_by_role("button", name="Run").press("Enter")
        expect(panel.locator(".wb-status")).to_contain_text("with starter, 32 dimensions")
        said = ask(page, "print(panel.embeddings.shape, panel.embeddings.dtype, panel.column, panel.state)")
        assert said == "(256, 4) uint8 answer done"
        page.screenshot(path=SHOTS / "encode.png")

        # A report (of one section, for speed) lies beside the notebook, and a link opens it.
        ask(page, "import functools; panel.write_report = functools.partial(panel.write_report, sections=['facts'])")
        panel.get_by_role("button", name="Report").click()
        expect(panel.locator(".wb-actions")).to_contain_text("parts written")
        link = panel.get_by_role("link", name="report.html")
        expect(link).to_be_visible()
        answer = page.request.get(link.evaluate("link => link.href"))
        assert answer.ok
        assert "What the texts are" in answer.text()
        assert panel.evaluate("card => card.scrollWidth <= card.clientWidth")
        go_dark(page)
        page.screenshot(path=SHOTS / "encode_dark.png")
