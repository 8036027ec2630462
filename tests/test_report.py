"""Reports: what is written, that it opens without a network, what a section that fails leaves, and batches."""

import nbformat
import pandas as pd
import pytest
from typer.testing import CliRunner

from workbench.cli import app
from workbench.errors import ChoiceError, DataFormatError, WorkbenchError
from workbench.report import Sections, guess_languages, report_batch, write_report

HOSTILE = [
    "<script>document.title = 'run'</script>",
    "<img src=x onerror=\"document.title='run'\">",
    "</script><script>document.title = 'run'</script>",
    "*stars* _and_ [links](javascript:document.title='run')",
    "$E = mc^2$ \\(x\\) {{ 7 * 7 }}",
    "w" * 10_000,
    "\u202eright to left שלום",
    "🙂🙃 emoji",
]
SUBJECTS = ["bus", "train", "parcel", "letter", "answer", "plane"]
SMALL = """failed = {"map": "No map."} if label == "bad" else {}
results = {"title": f"On <{data.rsplit('/', 1)[-1]}>", "failed": failed}
results"""


@pytest.fixture
def small(tmp_path):
    """A notebook that takes no time."""
    book = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    parameters = 'data = ""\nlabel = ""\nmodels = ["starter"]\nrows = 1'
    check = "if label == 'stop': raise ValueError('There is no column \\'stop\\'.')"
    book.cells = [
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(check),
        nbformat.v4.new_code_cell(SMALL, id="results"),
    ]
    nbformat.write(book, tmp_path / "small.ipynb")
    (tmp_path / "texts.csv").write_text("text\none\ntwo\n", encoding="utf-8")
    return tmp_path


def test_a_report_on_hostile_texts_opens_offline_and_a_section_that_fails_stops_no_other(tmp_path, browser):
    texts = [
        *HOSTILE,
        *(f"The {word} is late again." for word in ["bus", "train", "parcel", "letter", "answer", "plane"]),
    ]
    frame = pd.DataFrame({"id": range(len(texts)), "te<xt": texts, "kind": ["<b>odd</b>"] * 8 + ["late"] * 6})
    frame.to_csv(tmp_path / "te<xts.csv", index=False)
    (tmp_path / "queries.csv").write_text("question,id\nlate train,9\n", encoding="utf-8")
    out = tmp_path / "out" / "report.html"
    result = CliRunner().invoke(
        app,
        [
            "report", str(tmp_path / "te<xts.csv"), "--text", "te<xt", "--label", "kind", "--title", "<i>Odd</i>",
            "--queries", str(tmp_path / "queries.csv"), "--out", str(out), "--format", "html,ipynb",
        ],
    )  # fmt: skip
    assert result.exit_code == 1, result.output
    assert "the section 'search' failed" in result.stderr
    assert "no column 'query'" in result.stderr
    assert out.stat().st_size < 8e6
    kept = nbformat.read(out.with_suffix(".ipynb"), 4).cells
    assert kept[-1].outputs
    assert any(
        "application/vnd.plotly.v1+json" in one.get("data", {}) for cell in kept for one in cell.get("outputs", [])
    )
    asked, problems = [], []
    with browser.new_page(offline=True) as page:
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(out.as_uri())
        page.wait_for_selector(".main-svg")
        assert page.title() == "<i>Odd</i>"
        headings = page.locator("h2").all_inner_texts()
        assert page.locator("p.failed").count() == 1
        assert page.locator("img[src=x]").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert headings[:4] == [
        "What the texts are",
        "What they are about",
        "Which are alike, and which stand alone",
        "How well they are found",
    ]
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert problems == []


def test_search_quality_is_that_of_the_judged_queries_and_models_are_compared(tmp_path):
    report = write_report(
        "faq", tmp_path / "faq.html", text="answer", label="subject", models=["starter", "starter"],
        queries="faq_queries", sections=["search", "models"],
    )  # fmt: skip
    assert report.failed == {}
    found = report.results["search"]
    assert max(found.values()) > 0.3
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert report.results["models"][1]["nearest ten shared with starter"] == "100%"
    text = report.paths[0].read_text("utf-8")
    assert "How models compare" in text
    assert "What they are about" not in text
    assert "To make it again" in text
    assert "--model starter --text answer --label subject --queries faq_queries --sections search,models" in text
    assert text.count('class="wb-figure"') == 2, "ranks, and the quality over all judged queries"


def test_two_texts_are_enough_for_a_map_which_nothing_is_said_of(tmp_path):
    (tmp_path / "two.jsonl").write_text('{"text": "One text."}\n{"text": "Another one."}\n', encoding="utf-8")
    report = write_report(tmp_path / "two.jsonl", tmp_path / "two.html", sections=["map"])
    assert report.failed == {}
    assert report.results["map"] == {"clusters": 2, "trustworthiness": None}


def test_a_batch_keeps_what_is_there_and_goes_on_after_a_failure(small):
    runs = small / "runs.csv"
    runs.write_text(
        "data,out,label\ntexts.csv,a/one.html,\ntexts.csv,stop.html,stop\ntexts.csv,bad.html,bad\n", encoding="utf-8"
    )

    def batch():
        rows = list(report_batch(runs, notebook=small / "small.ipynb"))
        return {path.name: found for path, found in rows}

    first = batch()
    assert not first["one.html"].skipped
    assert isinstance(first["stop.html"], WorkbenchError)
    assert "There is no column 'stop'." in str(first["stop.html"])
    assert not (small / "stop.html").exists()
    assert first["bad.html"].failed == {"map": "No map."}
    written = (small / "a/one.html").stat().st_mtime_ns
    second = batch()
    assert second["one.html"].skipped
    assert (small / "a/one.html").stat().st_mtime_ns == written
    assert not second["bad.html"].skipped, "a report with a gap is made again"
    (small / "texts.csv").write_text("text\nthree\n", encoding="utf-8")
    assert not batch()["one.html"].skipped, "the data have changed"
    page = (small / "a/one.html").read_text("utf-8")
    assert "<title>On &lt;texts.csv&gt;</title>" in page
    assert "<pre>{'title'" not in page, "the dict of results is for programs"


BAD = {
    "an unknown section": ({"sections": ["maps"]}, ChoiceError, "section 'maps'"),
    "an unknown format": ({"formats": ["pdf"]}, ChoiceError, "format 'pdf'"),
    "an unknown parameter": ({"labels": "kind"}, ChoiceError, "parameter 'labels'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_before_a_kernel_starts(case, small):
    options, error, message = BAD[case]
    with pytest.raises(error, match=message):
        write_report("faq", small / "report.html", **options)
    assert not (small / "report.html").exists()


@pytest.mark.parametrize(
    ("text", "message"), [(None, "There is no file"), ("data,label\nfaq,\n", "line 2: every report needs")]
)
def test_a_batch_that_cannot_be_read_says_why(text, message, tmp_path):
    if text:
        (tmp_path / "runs.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataFormatError, match=message):
        list(report_batch(tmp_path / "runs.csv"))


def test_the_command_wants_data_or_a_batch():
    result = CliRunner().invoke(app, ["report"])
    assert result.exit_code == 1
    assert "Name a file of texts, or a file of reports with --batch." in result.stderr


def test_sections_that_are_not_wanted_are_not_run(capsys):
    section, ran = Sections(["facts"]), []
    section("map")(lambda: ran.append("map"))
    section("facts")(lambda: ran.append("facts"))
    assert ran == ["facts"]
    assert section.failed == {}


def test_languages_are_guessed_by_script_and_by_common_words():
    texts = {
        "English": "Where is the book that you have?",
        "German": "Ich weiß nicht, wo das Buch ist.",
        "French": "Je ne sais pas où est le livre, il est dans la maison.",
        "Spanish": "No sé dónde está el libro que lo explica.",
        "Italian": "Non so che libro è, il mio è di carta.",
        "Portuguese": "Não sei onde é o livro, mais um dos meus.",
        "Dutch": "Ik weet niet waar het boek is van je broer.",
        "Chinese or Japanese": "この本はどこですか。",
        "Russian or another in Cyrillic": "Где книга?",
        "unsure": "ok",
    }
    for language, text in texts.items():
        assert guess_languages([text]) == {language: 1}
    assert list(guess_languages([*["ok"] * 3, "It is the end of the day."])) == ["unsure", "English"]
