"""Every notebook runs from top to bottom, with its own parameters and with others, offline and in little memory."""

import ast
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
MEMORY = """
import resource, sys
# On Linux the peak that getrusage knows is inherited from the process that started the kernel; this one is its own.
status = open("/proc/self/status").read() if sys.platform == "linux" else ""
print(status.partition("VmHWM:")[2].split()[0] if status else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
UNIT = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss, in parts of a MiB

OWN = {
    "sentences": ["Ein Satz auf Deutsch.", "<b>markup</b> & $5", "A third one: it's short.", "日本語の文です。"],
    "query": "How do I pay?",
    "documents": ["Payment is by card.", "The office opens at nine."],
}
SEARCH = {"language": "german", "top": 5, "closer": 40, "rows": 1000, "seed": 1}
MINING = {"margin": "distance", "negatives": 1, "relative_margin": 0.1}
FEWER = {"k": 5, "recall": 0.9, "rescore_multiplier": 2}
RUNS = {
    "00_quickstart.ipynb": {"its own": {}, "others": OWN},
    "03_search.ipynb": {"its own": {}, "others": SEARCH},
    "06_mining.ipynb": {"its own": {}, "others": MINING},
    "08_quantization.ipynb": {"its own": {}, "others": FEWER},
}


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Run a notebook with parameters; return its cells by id, what its last cell shows, and its memory in MiB."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def run(name, parameters):
        notebook = nbformat.read(NOTEBOOKS / name, 4)
        notebook.cells.append(nbformat.v4.new_code_cell(MEMORY, id="memory"))
        nbformat.write(notebook, tmp_path / "in.ipynb")
        if not (tmp_path / "data").exists():
            (tmp_path / "data").symlink_to(NOTEBOOKS / "data")
        papermill.execute_notebook(
            tmp_path / "in.ipynb",
            tmp_path / "out.ipynb",
            parameters,
            cwd=tmp_path,
            progress_bar=False,
            store_widget_state=False,
        )
        cells = {cell.id: cell for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells}
        results = ast.literal_eval(cells["results"].outputs[-1]["data"]["text/plain"])
        return cells, results, int(printed(cells["memory"])) / UNIT

    return run


def printed(cell):
    return "".join(output["text"] for output in cell.outputs if output["output_type"] == "stream")


def test_every_notebook_is_run_here():
    assert sorted(RUNS) == sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize(("name", "run"), [(name, run) for name in RUNS for run in RUNS[name]])
def test_a_notebook_runs_in_little_memory_and_warns_of_nothing(name, run, execute):
    cells, results, memory = execute(name, RUNS[name][run])
    assert results
    assert memory < 1024
    outputs = [output for cell in cells.values() for output in cell.get("outputs", [])]
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    assert sum(len(str(output)) for output in outputs) < 100_000


def test_the_quickstart_finds_what_a_person_would(execute):
    cells, results, _ = execute("00_quickstart.ipynb", {})
    assert results["shape"][0] == 3
    weather, sunny, stadium = results["similarities"]
    assert weather[0] == sunny[1] == stadium[2] == 1
    assert weather[1] == sunny[0] > max(weather[2], sunny[2]) + 0.2
    assert set(results["ranking"][:2]) == {0, 1}, "the two sentences about eating come first"
    assert sorted(results["ranking"]) == list(range(9))
    assert results["scores"] == sorted(results["scores"], reverse=True)
    assert printed(cells["rank-show"]).count("\n") >= 10
    first = printed(cells["closest"]).splitlines()[0]
    assert "The weather is lovely today.   |   It's so sunny outside!" in first
    assert "application/vnd.jupyter.widget-view+json" in cells["panel"].outputs[-1]["data"]


def test_the_quickstart_follows_other_parameters(execute):
    cells, results, _ = execute("00_quickstart.ipynb", OWN)
    assert results["shape"][0] == 4
    assert sorted(results["ranking"]) == [0, 1]
    assert set(results["most alike in the panel"]) <= {OWN["query"], *OWN["documents"]}
    assert OWN["query"] in printed(cells["rank-show"])
    assert "The weather" not in str([cell.get("outputs") for cell in cells.values()])


def test_search_finds_codes_by_words_paraphrases_by_meaning_and_most_by_both(execute):
    cells, results, _ = execute("03_search.ipynb", {})
    words, meaning, ranks, scores = results["nDCG"].values()
    assert results["queries"] == 60
    assert min(ranks, scores) > max(words, meaning)
    assert scores > max(words, meaning) + 0.05
    by_kind = {kind: list(values.values()) for kind, values in results["by kind"].items()}
    assert by_kind["number or name"][0] > by_kind["number or name"][1] + 0.2
    assert by_kind["other words"][1] > by_kind["other words"][0] + 0.1
    assert results["compared with"]["question"] > results["compared with"]["answer"]
    assert results["smaller"]["float32"] - results["smaller"]["binary, rescored"] < 0.05
    assert results["smaller"]["binary, rescored"] > results["smaller"]["binary"]
    assert results["closer"]["words (BM25)"] == "coffee-03", "E04 of the Brio, not of the Pilo"
    assert results["the widest walk finds nine of ten"]
    for figure in ("lexical-figure", "approximate-figure", "quantized-figure"):
        assert "application/vnd.plotly.v1+json" in cells[figure].outputs[-1]["data"]


def test_mining_finds_what_was_hidden(execute):
    cells, results, _ = execute("06_mining.ipynb", {})
    assert (results["texts"], results["true pairs"]) == (144, 132)
    assert 0.25 < results["paraphrase F1"]["vectors"] < results["paraphrase F1"]["best pairs"] < 0.6
    assert results["registers F1"]["margin"] > max(0.95, results["registers F1"]["cosine"])
    assert 0.3 < results["english-german F1"] < 0.7, "names and cognates only"
    triplets, false = results["triplets"], results["false negatives"]
    assert false["nearest"] > 0.4 * triplets["nearest"], "most wordings that nobody marked come out as negatives"
    assert false["with a margin"] < 0.1 * triplets["with a margin"]
    assert results["dropped"]["relative_margin"] > 100
    assert "relative_margin dropped" in printed(cells["hard-margin"])


def test_fewer_bytes_find_less_and_scoring_again_wins_back(execute):
    _, results, _ = execute("08_quantization.ipynb", {})
    size, recall = results["bytes per vector"], results["recall"]
    dim = results["shape"][1]
    assert (size["float32"], size["int8"], size["binary"]) == (4 * dim, dim, dim // 8)
    assert recall[f"float32 {dim}"] == 1
    assert recall[f"binary {dim}"] < recall[f"binary {dim} re-scored"] <= 1
    assert recall[f"int8 {dim}"] > 0.9
    assert results["best"][3] < 4 * dim


@pytest.mark.parametrize("name", RUNS)
def test_a_second_run_prints_the_same_text(name, execute, tmp_path):
    execute(name, {})
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-p", "no:cacheprovider", "-q", "--rootdir", tmp_path]
    answer = subprocess.run(
        [*command, "-c", "/dev/null", tmp_path / "out.ipynb"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout[-3000:]
    assert "passed" in answer.stdout
