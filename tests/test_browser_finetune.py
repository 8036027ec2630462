"""Fine-tuning clicked through in real JupyterLab: suggestions, live curves, pause, cancel, result; curves that stay."""

import re

from playwright.sync_api import expect

from tests.lab import SHOTS, ask, go_dark

CELL = """
import threading, time
import pandas as pd
from widgets import FinetunePanel, as_frame
from widgets._models import load_model
from workbench import SentenceTransformer

class Slow(SentenceTransformer):
    "The starter, but each step takes a while."
    def forward(self, *args, **kwargs):
        time.sleep(0.03)
        return super().forward(*args, **kwargs)

frame = as_frame("faq")[["question", "answer"]].head(80)
frame.loc[0, "question"] = '<img src=x onerror="window.hacked=1"> **bold** $x^2$'
frame.loc[1, "answer"] = "</pre><script>window.hacked=1</script>" + "w" * 10_000
panel = FinetunePanel(frame, model=Slow(modules=list(load_model("starter"))), batch_size=16, epochs=500)
panel
"""
LIVE = """
from widgets import FinetunePanel, LiveCurves
code = FinetunePanel("faq", epochs=10).to_code()
exec(code)
"""
POINTS = "path => path.getAttribute('d').split('L').length"


def test_a_model_is_trained_watched_paused_cancelled_and_looked_at(lab):
    SHOTS.mkdir(parents=True, exist_ok=True)
    with lab.open(CELL, name="finetune", height=1700) as page:
        panel = page.locator(".wb-panel")
        expect(panel).to_contain_text("▸ MultipleNegativesRankingLoss")
        expect(panel).to_contain_text("every other positive in the batch is a negative")
        run, cancel, hold = (panel.get_by_role("button", name=name) for name in ("Run", "Cancel", "Pause"))

        # A long run: its curve grows, stands still when paused, and stops when cancelled.
        run.click()
        line = panel.locator(".scatterlayer .trace path.js-line").first
        page.wait_for_function(
            "document.querySelector('.wb-panel path.js-line')?.getAttribute('d')?.split('L').length > 3"
        )
        expect(panel.locator(".gtitle")).to_contain_text("of 2\u202f000 steps")
        page.screenshot(path=SHOTS / "finetune_running.png")
        hold.click()
        expect(panel.get_by_role("button", name="Continue")).to_be_visible()
        assert ask(page, "print(panel._live.paused)") == "True"
        panel.get_by_role("button", name="Continue").click()
        expect(panel.get_by_role("button", name="Pause")).to_be_visible()
        assert line.evaluate(POINTS) > 3
        cancel.click()
        expect(panel.locator(".wb-status")).to_contain_text("Cancelled after", timeout=2_000)
        ended = (
            "end = time.monotonic() + 2\nwhile time.monotonic() < end and panel._live.ended > time.monotonic() - 0.5:"
        )
        assert ask(page, ended + "\n    time.sleep(0.05)\nprint(time.monotonic() < end, panel.state)") == "True empty"
        assert page.evaluate("window.hacked") is None

        # Twenty steps, to the end.
        panel.get_by_role("button", name="More").click()
        panel.get_by_label("Epochs").fill("5")
        panel.get_by_label("Epochs").press("Tab")
        panel.get_by_label("Learning rate (0: usual)").fill("0.05")
        panel.get_by_label("Learning rate (0: usual)").press("Tab")
        expect(panel).to_contain_text("20 steps")
        run.press("Enter")
        expect(panel.locator(".wb-status")).to_contain_text(re.compile(r"Done at .* with Slow"))
        expect(panel.locator(".gtitle")).to_contain_text("in 20 steps")
        expect(panel.locator(".legend")).to_contain_text("nDCG@10")
        assert panel.locator(".scatterlayer .trace path.point").count() > 160
        assert panel.locator("path.js-line").nth(1).evaluate(POINTS) > 10
        said = ask(page, "h = panel.history.dropna(subset='loss')\nprint(len(h), panel.to_frame().shape)")
        assert said == "20 (80, 4)"
        expect(panel.locator(".wb-table").last).to_contain_text("to train on")
        assert page.evaluate("window.hacked") is None
        assert panel.evaluate("card => card.scrollWidth <= card.clientWidth"), "a long word stays in its place"
        panel.get_by_label("Folder, or organization/name on the hub").fill("kept")
        panel.get_by_role("button", name="Save").click()
        expect(panel.locator(".wb-status")).to_contain_text("Kept: kept")
        page.screenshot(path=SHOTS / "finetune.png")
        go_dark(page)
        expect(panel.locator(".gtitle")).to_be_visible()
        page.screenshot(path=SHOTS / "finetune_dark.png")


def test_curves_grow_in_their_cell_and_are_still_there_when_the_notebook_is_opened_again(lab):
    with lab.open(LIVE, name="curves", height=700) as page:
        output = page.locator(".jp-OutputArea-output")
        expect(output.locator(".gtitle")).to_contain_text("The loss fell from")
        expect(output.locator(".legend")).to_contain_text("nDCG@10")
        expect(output).to_have_count(1)
        assert output.locator("path.js-line").nth(1).evaluate(POINTS) > 10
        page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty")
        page.goto(f"{lab.address}/curves.ipynb?reset")
        # JupyterLab keeps a picture of the figure in the file, and shows that.
        expect(page.locator(".jp-OutputArea-output img.plot-img")).to_have_attribute(
            "src", re.compile("^data:image/png")
        )
