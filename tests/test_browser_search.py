"""The search, mining and quantization panels clicked through in real JupyterLab."""

import itertools
import re

from playwright.sync_api import expect

from tests.lab import SHOTS, ask, go_dark

HOSTILE = '<img src=x onerror="window.hacked=1"> parcel $x^2$ **bold**'
SEARCH = f"""
from widgets import SearchPanel
panel = SearchPanel()
hostile = {HOSTILE!r}
panel
"""
HOSTILE_ROWS = [HOSTILE, HOSTILE, "</pre><script>window.hacked=1</script>"] + [
    "w" * 10_000,
    "\u202e\u0634\u202c \U0001f600",
] * 2
MINE = """
from IPython.display import display
import pandas as pd
from widgets import MiningPanel, QuantizationPanel, as_frame
hostile = HOSTILE_ROWS
hostile = pd.DataFrame({"text": hostile, "answer": hostile, "meaning": range(1000, 1000 + len(hostile))})
phrases, answers = (pd.concat([hostile, as_frame(name)], ignore_index=True) for name in ("paraphrases", "faq"))
mining = MiningPanel(phrases, column="text", labels="meaning")
bytewise = QuantizationPanel(answers, column="answer", queries=[hostile["text"][0]] * 3)
display(mining, bytewise)
""".replace("HOSTILE_ROWS", repr(HOSTILE_ROWS))


def test_a_search_draws_the_order_of_rank_and_another_query_draws_its_own(lab):
    SHOTS.mkdir(parents=True, exist_ok=True)
    with lab.open(SEARCH, name="search") as page:
        panel = page.locator(".wb-panel")
        expect(panel).to_contain_text("Choose data under More")
        panel.get_by_role("button", name="More").click()
        panel.get_by_label("Data", exact=True).select_option("faq")
        panel.get_by_label("Candidates", exact=True).fill("8")
        panel.get_by_label("Candidates", exact=True).press("Tab")
        panel.get_by_role("button", name="More").click()
        panel.get_by_label("Query").fill("refund has not shown up yet")
        panel.get_by_label("Query").press("Tab")
        panel.get_by_role("button", name="Run").click()
        labels = panel.locator(".ytick text")
        expect(labels).to_have_count(8)
        ranked = ask(
            page,
            "from workbench import CrossEncoder\n"
            "ids = panel.found.retrieved.ids[0].tolist()\n"
            "texts = [panel.found.texts[name] for name in ids]\n"
            "rows = CrossEncoder('starter-reranker').rank(panel.query, texts)\n"
            "print('|'.join(texts[row['corpus_id']][:12] for row in rows))",
        )
        for place, text in enumerate(ranked.split("|")):
            expect(labels.nth(place)).to_contain_text(text)
            expect(labels.nth(place)).to_contain_text(re.compile(rf"^\s*{place + 1}\D"))
        boxes = [labels.nth(place).bounding_box() for place in range(8)]
        assert all(one["y"] + one["height"] <= two["y"] + 1 for one, two in itertools.pairwise(boxes))
        expect(panel.locator("mark").first).to_have_text(re.compile("refund|shown?", re.IGNORECASE))

        # Another query needs no press; markup in it and in the passages stays text.
        ask(page, "panel.data = [hostile, 'A parcel is late.', 'Nothing of the kind.']")
        panel.get_by_role("button", name="Run").click()
        expect(labels).to_have_count(3)
        panel.get_by_label("Query").fill(HOSTILE)
        panel.get_by_label("Query").press("Enter")
        expect(panel.locator(".wb-table td").nth(1)).to_contain_text("<img src=x onerror=")
        assert ask(page, "print(panel.result.query == hostile, panel.state)") == "True done"

        # Judged answers get a star, and two pipelines stand side by side.
        ask(page, "panel.judgements, panel.other_retriever = {hostile: [0]}, 'bm25'")
        expect(panel.locator(".wb-stale")).to_be_visible()
        panel.get_by_role("button", name="Run").click()
        expect(panel.locator(".wb-figure")).to_have_count(2)
        expect(panel.locator(".wb-figure").nth(1).locator(".barlayer .point")).to_have_count(6)
        expect(panel).to_contain_text("judged answer")
        assert page.evaluate("window.hacked") is None
        assert panel.evaluate("card => card.scrollWidth <= card.clientWidth")
        page.screenshot(path=SHOTS / "search.png")
        go_dark(page)
        page.screenshot(path=SHOTS / "search_dark.png")


def test_a_line_is_moved_and_a_recall_is_asked_for(lab):
    with lab.open(MINE, name="mining") as page:
        mining, bytewise = page.locator(".wb-panel").nth(0), page.locator(".wb-panel").nth(1)
        mining.get_by_role("button", name="Run").click()
        title = mining.locator(".gtitle")
        expect(title).to_contain_text(re.compile(r"score 0\.\d\d or more.* of them right"))
        before = title.text_content()
        handle = mining.locator(".noUi-handle")
        handle.focus()
        for _ in range(5):
            handle.press("ArrowRight")
        expect(title).not_to_contain_text(before)
        now = mining.locator(".widget-readout").text_content()
        expect(title).to_contain_text(f"score {now} or more")  # all five have come
        expect(mining.locator(".wb-status")).to_contain_text("Done")
        same = "mining.threshold == mining._fields['threshold'].value"
        taken = ask(page, f"print(mining.reading['pairs'], len(mining.to_frame()), {same})")
        count, rows, same = taken.split()
        assert (count, same) == (rows, "True")
        expect(title).to_contain_text(re.compile(rf"^{count} of"))
        mining.get_by_role("button", name="Best line").click()
        expect(title).to_contain_text(re.search(r"score 0\.\d\d", before)[0])
        expect(mining.locator(".wb-table").first).to_contain_text("<img src=x onerror=")

        bytewise.get_by_role("button", name="Run").click()
        expect(bytewise.locator(".gtitle")).to_contain_text("of the best are found in")
        assert bytewise.locator(".scatterlayer .point").count() == 30
        ask(page, "bytewise.recall = 0.3")
        expect(bytewise.locator(".gtitle")).to_contain_text("binary")
        assert ask(page, "print(bytewise.best.precision, bytewise.state)") == "binary done"
        assert page.evaluate("window.hacked") is None
        for panel in (mining, bytewise):
            assert panel.evaluate("card => card.scrollWidth <= card.clientWidth"), "a long word stays in its place"
        page.screenshot(path=SHOTS / "mining.png")
        go_dark(page)
        page.screenshot(path=SHOTS / "mining_dark.png")
