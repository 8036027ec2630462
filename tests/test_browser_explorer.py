"""The explorer clicked through in real JupyterLab: a lasso, a click, a search and a group of points."""

import io
import json
import re

import numpy as np
from PIL import Image
from playwright.sync_api import expect

from tests.lab import SHOTS, ask, go_dark

SCRIPT = '<img src=x onerror="window.hacked=1">'
HOSTILE = [
    f"the train is late {words}"
    for words in (
        SCRIPT, "</pre><script>window.hacked=1</script>", "**bold** $x^2$ [link](javascript:window.hacked=1)",
        "w" * 10_000, "\u202e\u0634\u0643\u0631\u0627\u202c \U0001f600",
    )
]  # fmt: skip
CELL = (
    f"""
HOSTILE, COLUMN = {HOSTILE!r}, {SCRIPT!r}
"""
    + """
from widgets import Explorer, as_frame
frame = as_frame("sentences").drop(columns="text").assign(**{COLUMN: as_frame("sentences")["text"]})
frame.loc[range(len(HOSTILE)), COLUMN] = HOSTILE
panel = Explorer(frame, text=COLUMN, colour="subject", projection="pca")
panel.run()
panel
"""
)
INSIDE = """
import json, numpy as np
places = panel.result.maps[""].coordinates
box = panel._map.layout
inside = (places[:, 0] > {x0}) & (places[:, 0] < {x1}) & (places[:, 1] > {y0}) & (places[:, 1] < {y1})
print(json.dumps([panel.result.rows[inside].tolist(), panel.selected]))
"""
# Where the map lies on the page, and what its axes show: the browser may show more than Python asked for.
PLACE = """() => {
    const figure = document.querySelector('.wb-panel .js-plotly-plot');
    const { xaxis: x, yaxis: y } = figure._fullLayout, box = figure.getBoundingClientRect();
    return { left: box.x + x._offset, top: box.y + y._offset, width: x._length, height: y._length,
             x: x.range, y: y.range, full: box.width, traces: figure._fullData.map(trace => trace.type) };
}"""
# How many points keep their colour, and how many shapes of a lasso are drawn.
KEPT = """(({ _fullData: traces, _fullLayout: layout }) => {
    const kept = traces.map(trace => trace.selectedpoints).filter(Boolean);
    return `${kept.length ? kept.reduce((sum, { length }) => sum + length, 0) : 'all'} in ${layout.selections.length}`;
})(document.querySelector('.wb-panel .js-plotly-plot'))"""
# By how many pixels the longest name of a menu is wider than the menu has room for.
EXCESS = """menu => {
    const { font, paddingLeft, paddingRight } = getComputedStyle(menu);
    const pen = document.createElement('canvas').getContext('2d');
    pen.font = font;
    const widths = [...menu.options].map(({ text }) => pen.measureText(text).width);
    return Math.max(...widths) - (menu.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight));
}"""


def colours(page, place):
    """The pixels of the map, (height, width, 3)."""
    clip = {"x": place["left"], "y": place["top"], "width": place["width"], "height": place["height"]}
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"), dtype=float)


def test_a_lasso_holds_its_rows_and_a_search_rings_the_nearest(lab):
    SHOTS.mkdir(parents=True, exist_ok=True)
    with lab.open(CELL, name="explorer") as page:
        panel = page.locator(".wb-panel")
        expect(panel.locator(".gtitle")).to_contain_text("12 values of subject")
        for menu in ("Data", "Column", "Colour by"):
            assert panel.get_by_label(menu, exact=True).evaluate(EXCESS) <= 0, "a long name is not cut"
        panel.evaluate("card => card.scrollIntoView()")
        page.wait_for_function(f"() => ({PLACE})().full > 800")  # the map has taken the width of the card
        assert panel.locator(".wb-list").bounding_box()["height"] < 40, "a list of nothing takes no room"
        place = page.evaluate(PLACE)
        assert "scattergl" in place["traces"]
        drawn = colours(page, place)
        assert drawn.std() > 10, "a canvas without WebGL stays blank"

        # A lasso around a rectangle of the map.
        left, top = place["left"] + place["width"] * 0.2, place["top"] + place["height"] * 0.1
        right, bottom = place["left"] + place["width"] * 0.55, place["top"] + place["height"] * 0.5
        page.mouse.move(left, top)
        page.mouse.down()
        for x, y in ((right, top), (right, bottom), (left, bottom), (left, top + 1)):
            page.mouse.move(x, y, steps=8)
        page.mouse.up()
        said = panel.locator(".wb-list")
        expect(said).to_contain_text(re.compile(r"^\s*[1-9].* of 6\s000 texts selected"))
        across, down = place["x"][1] - place["x"][0], place["y"][1] - place["y"][0]
        edges = {
            "x0": place["x"][0] + 0.2 * across, "x1": place["x"][0] + 0.55 * across,
            "y0": place["y"][1] - 0.5 * down, "y1": place["y"][1] - 0.1 * down,
        }  # fmt: skip
        expected, selected = map(set, json.loads(ask(page, INSIDE.format(**edges))))
        assert len(expected) > 100
        assert len(expected ^ selected) < 0.03 * len(expected), "all but those at the edge, to a pixel"
        assert int(ask(page, "print(len(panel.selection))")) == len(selected)
        grey = np.ptp(colours(page, place), axis=2)
        assert (grey > 60).mean() < 0.8 * (np.ptp(drawn, axis=2) > 60).mean(), "what is outside has lost its colour"

        # A search, by keyboard.
        panel.get_by_label("Search").fill("the train is late")
        panel.get_by_label("Search").press("Enter")
        expect(said).to_contain_text("Nearest to “the train is late”")
        expect(said).to_contain_text("train")
        rings = "document.querySelector('.wb-panel .js-plotly-plot')._fullData.at(-1)"
        page.wait_for_function(f"{rings}.x.length === 10")
        expect(panel.locator(".annotation-text").get_by_text("10", exact=True)).to_be_visible()
        red = colours(page, place) - [209, 36, 47]
        assert (np.abs(red).max(axis=2) < 30).sum() > 50, "rings lie above the points"
        page.screenshot(path=SHOTS / "explorer.png")

        # Texts that would be more than text, in the list, on the map and in the tables.
        panel.get_by_label("Search").fill(f"the train is late {SCRIPT}")
        panel.get_by_label("Search").press("Enter")
        expect(said.locator("tr", has_text=SCRIPT)).to_have_count(1)
        expect(said).to_contain_text(f"Nearest to “the train is late {SCRIPT}”")
        panel.get_by_role("button", name="Outliers").click()
        expect(said).to_contain_text("wwwwww")
        assert page.evaluate("window.hacked") is None
        assert panel.evaluate("card => card.scrollWidth <= card.clientWidth"), "a long word stays in its place"

        # A group from the menu; then nothing.
        panel.get_by_label("Select", exact=True).select_option("music")
        expect(said).to_contain_text("500 of 6\u202f000 texts selected")
        assert ask(page, "print(*panel.selection['subject'].unique())") == "music"
        page.wait_for_function(f"{KEPT} === '500 in 0'")
        panel.get_by_role("button", name="Clear").click()
        expect(said).to_contain_text(re.compile(r"^\s*0 of 6\s000 texts selected"))
        page.wait_for_function(f"{KEPT} === 'all in 0'")
        colourful = (np.ptp(colours(page, place), axis=2) > 60).mean()
        assert colourful > 0.95 * (np.ptp(drawn, axis=2) > 60).mean(), "all have their colours again"
        go_dark(page)
        expect(panel.locator(".gtitle")).to_be_visible()
        page.screenshot(path=SHOTS / "explorer_dark.png")
