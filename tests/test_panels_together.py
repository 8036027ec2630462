"""Panels that share: two at once on one model, and several printed by one notebook that nobody watches."""

import threading

import nbformat
import numpy as np
import papermill
import pytest

from tests.lab import ROOT
from tests.tiny_panel import HOSTILE
from widgets import EncodePanel, HeatmapPanel, MiningPanel
from widgets._models import load_model

WORDS = ["train", "late", "cat", "music", "loud", "garden", "seed", "invoice"]
ONE = [f"{a} {b}" for a in WORDS for b in WORDS]
OTHER = [f"{a} and {b} in March" for a in WORDS for b in WORDS[:4]]
REPORT = """
import pandas as pd
from widgets import MiningPanel, QuantizationPanel, SearchPanel, as_frame
hostile = pd.DataFrame({"text": HOSTILE, "answer": HOSTILE, "meaning": range(1000, 1000 + len(HOSTILE))})
hostile["id"] = hostile.index.map("hostile {}".format)
phrases, answers = (pd.concat([hostile, as_frame(name)], ignore_index=True) for name in ("paraphrases", "faq"))
""".replace("HOSTILE", repr([HOSTILE[0], *HOSTILE]))
PANELS = {
    "search": "SearchPanel(answers, column='answer', query=hostile['text'][0] + ' refund', candidates=5)",
    "mining": "MiningPanel(phrases, column='text', labels='meaning')",
    "bytes": "QuantizationPanel(answers, column='answer')",
}


@pytest.mark.parametrize("model", ["an object", "a name"])
def test_two_panels_at_once_on_one_model_find_what_each_finds_alone(model, tiny):
    model = tiny if model == "an object" else "starter"
    loaded = load_model(model)
    one, other = loaded.encode(ONE), loaded.encode(OTHER)
    panels = [EncodePanel(ONE, model=model), HeatmapPanel(OTHER, model=model), MiningPanel(ONE, model=model)]
    barrier, found = threading.Barrier(len(panels)), {}

    def work(place):
        barrier.wait(30)
        found[place] = [panels[place].run() for _ in range(3)]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(panels))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [panel.state for panel in panels] == ["done"] * len(panels)
    for vectors, similarities in zip(found[0], found[1], strict=True):
        np.testing.assert_allclose(vectors, one, atol=1e-5)
        unit = other / np.linalg.norm(other, axis=1, keepdims=True)
        np.testing.assert_allclose(similarities, unit @ unit.T, atol=1e-5)
    alone = MiningPanel(ONE, model=model)
    alone.run()
    np.testing.assert_allclose(panels[2].to_frame()["score"], alone.to_frame()["score"], atol=1e-5)


def test_panels_in_a_notebook_that_nobody_watches_print_figure_and_table(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("WORKBENCH_REPORT", "1")
    book = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(REPORT),
            *(nbformat.v4.new_code_cell(code, id=name) for name, code in PANELS.items()),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(book, tmp_path / "in.ipynb")
    papermill.execute_notebook(
        tmp_path / "in.ipynb", tmp_path / "out.ipynb", cwd=tmp_path, progress_bar=False, store_widget_state=False
    )
    for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells[1:]:
        shown = [output["data"] for output in cell.outputs if "data" in output]
        assert [output for output in cell.outputs if output.get("name") == "stderr"] == []
        assert sum("application/vnd.plotly.v1+json" in data for data in shown) >= 1
        assert not any("application/vnd.jupyter.widget-view+json" in data for data in shown), "no controls"
        pages = "".join(data.get("text/html", "") for data in shown)
        assert "wb-caption" in pages
        assert "wb-table" in pages
        assert "<img" not in pages
        assert "<script>window.hacked" not in pages
    assert "&lt;img src=x" in "".join(str(cell.outputs) for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells[1:3])
