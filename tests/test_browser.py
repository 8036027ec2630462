"""The quickstart clicked through in real JupyterLab: run all, change the texts, press Run, see a new heatmap."""

import re

from playwright.sync_api import expect

from tests.lab import ROOT, SHOTS, ask, go_dark

# Whether each number in a cell has the ink that fits the colour of its cell, in place of the theme's.
OWN_INK = "texts => texts.map(text => text.style.fill !== '' && getComputedStyle(text).fill === text.style.fill)"
HOSTILE = '<img src=x onerror="window.hacked=1"> costs $5 and $6'


def test_the_quickstart_runs_and_its_panel_draws_other_texts(lab):
    SHOTS.mkdir(parents=True, exist_ok=True)
    with lab.open(ROOT / "notebooks" / "00_quickstart.ipynb") as page:
        click_through(page)


def click_through(page):
    panel = page.locator(".wb-panel")
    title, labels = panel.locator(".gtitle"), panel.locator(".ytick text")
    expect(title).to_contain_text("are most alike, at 0.")
    expect(labels).to_have_count(10)
    expect(labels.first).to_contain_text("A man is eating pasta.")
    expect(panel.locator(".textpoint")).to_have_count(100)
    assert all(panel.locator(".textpoint text").evaluate_all(OWN_INK))
    panel.evaluate("card => card.scrollIntoView()")
    page.screenshot(path=SHOTS / "quickstart.png")

    # Other texts: an old result says that it is old, Run draws a new one, and markup stays text.
    panel.locator("textarea").first.fill(f"Where is my parcel?\nMy parcel has not come.\n{HOSTILE}\nTwo cats sleep.")
    panel.locator("textarea").first.blur()
    expect(panel.locator(".wb-stale")).to_be_visible()
    run = panel.get_by_role("button", name="Run")
    run.click()
    expect(labels).to_have_count(4)
    expect(title).to_contain_text("Texts 1 and 2 are most alike")
    expect(labels.nth(2)).to_contain_text("<img src=x onerror=")
    expect(panel.locator(".wb-status")).to_contain_text(re.compile(r"Done at .* with starter"))
    assert page.evaluate("window.hacked") is None

    # Both texts and the score on hover.
    cells = panel.locator(".heatmaplayer").bounding_box()
    page.mouse.move(cells["x"] + cells["width"] * 0.4, cells["y"] + cells["height"] * 0.1)
    hover = panel.locator(".hoverlayer .hovertext")
    expect(hover).to_contain_text(
        re.compile(r"Where is my parcel\?.*My parcel has not come\..*cosine similarity 0\.\d\d")
    )

    # A click lays two texts side by side; a filter, without Run, leaves cells empty.
    page.mouse.move(cells["x"] + cells["width"] * 0.6, cells["y"] + cells["height"] * 0.9)
    expect(hover).to_contain_text("Two cats sleep.")
    page.mouse.down()
    page.mouse.up()
    sides = panel.locator(".wb-pair div")
    expect(sides.nth(0)).to_have_text("Two cats sleep.")
    expect(sides.nth(1)).to_have_text(HOSTILE)
    assert ask(page, "print(panel.pair)") == "(4, 3)"
    expect(panel.locator(".textpoint")).to_have_count(16)
    panel.get_by_role("slider").press("End")
    panel.get_by_role("slider").press("ArrowLeft")
    expect(panel.locator(".textpoint")).to_have_count(4)
    assert ask(page, "print(panel.threshold > 0.98, panel.pair)") == "True (4, 3)"
    panel.get_by_label("Similarity").select_option("all four, side by side")
    expect(panel.locator(".heatmaplayer")).to_have_count(4)
    panel.get_by_label("Similarity").select_option("cosine similarity")
    expect(panel.locator(".heatmaplayer")).to_have_count(1)

    # The texts stay readable in the dark.
    light = title.evaluate("text => getComputedStyle(text).fill")
    go_dark(page)
    page.wait_for_function(
        "light => getComputedStyle(document.querySelector('.wb-panel .gtitle')).fill !== light", arg=light
    )
    assert title.evaluate("text => getComputedStyle(text).fill") == panel.evaluate(
        "card => getComputedStyle(card).color"
    )
    assert all(panel.locator(".textpoint text").evaluate_all(OWN_INK))
    page.screenshot(path=SHOTS / "panel_dark.png")

    # An input that cannot be used is one line, and the last result stays.
    panel.locator("textarea").first.fill("a single text")
    run.click()
    expect(panel.locator(".wb-error")).to_have_text("There is only one text. Give two or more, one a line.")
    expect(labels).to_have_count(4)
    expect(run).to_be_enabled()
