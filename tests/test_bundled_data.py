"""The data that come along: complete, clean, balanced, as their README says, and no leak from one set into another."""

import csv
import re
import runpy
from datetime import date
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from workbench import SentenceTransformer

DATA = Path(__file__).parents[1] / "notebooks" / "data"
COLUMNS = {
    "abstracts": "title abstract topic",
    "captions": "file caption",
    "english_german": "english german",
    "faq": "id subject question answer",
    "faq_queries": "query kind id gain",
    "paraphrases": "text meaning",
    "parallel": "en de fr es",
    "questions": "text subject",
    "registers": "plain formal",
    "scored_pairs": "sentence1 sentence2 score kind",
    "sentences": "text subject",
    "support_messages": "message intent channel date",
}
LEAST = {"abstracts": 400, "captions": 60, "faq": 250, "parallel": 150, "scored_pairs": 300, "support_messages": 600}
WHOLE = {"abstracts", "captions", "faq", "parallel", "scored_pairs", "support_messages", "sentences", "questions"}
SHOP = {
    "faq",
    "faq_queries",
    "paraphrases",
    "registers",
    "support_messages",
}  # these speak of the same things, as the README says
LETTERS = {"de": "äöüß", "fr": "àâçèéêëîïôùûœ", "es": "áéíñóú¿¡"}


@cache
def table(name):
    return pd.read_csv(DATA / f"{name}.csv", keep_default_na=name not in WHOLE)


def readme():
    """What the table of the README says: file → cells."""
    lines = (DATA / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row for row in rows}


def test_there_are_no_other_tables():
    assert {path.stem for path in DATA.glob("*.csv")} == set(COLUMNS)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_table_is_what_the_readme_says(name):
    data = table(name)
    assert list(data.columns) == COLUMNS[name].split()
    row = readme()[f"{name}.csv"]
    assert int(row[1].split()[0]) == len(data) >= LEAST.get(name, 1)
    assert [word for word in re.findall(r"`(\w+)`", row[2]) if word in data.columns] == list(data.columns)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_file_is_plain_utf_8_without_stray_characters(name):
    text = (DATA / f"{name}.csv").read_bytes().decode("utf-8")
    assert "\r" not in text
    assert "\ufffd" not in text
    assert "\ufeff" not in text
    assert len({len(row) for row in csv.reader(text.splitlines())}) == 1
    cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
    assert [cell for cell in cells if cell != cell.strip() or "  " in cell] == []


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_nothing_is_missing_or_written_twice(name):
    data = table(name)
    assert not (data == "").any(axis=None)
    keys = {"scored_pairs": ["sentence1", "sentence2"], "faq": ["question"]}.get(name, list(data.columns[:1]))
    assert not data[keys].apply(lambda column: column.str.casefold()).duplicated().any()
    for column in {"answer", "abstract", "caption", "de", "fr", "es"} & set(data.columns):
        assert data[column].is_unique


@pytest.mark.parametrize(
    ("name", "label", "classes", "least"),
    [("support_messages", "intent", 12, 50), ("faq", "subject", 8, 32), ("abstracts", "topic", 10, 40)],
)
def test_labels_are_balanced(name, label, classes, least):
    counts = table(name)[label].value_counts()
    assert len(counts) == classes
    assert counts.min() >= least
    assert counts.max() <= 1.1 * counts.min()


def test_support_messages_are_as_untidy_as_people():
    data = table("support_messages")
    assert set(data["channel"]) == {"chat", "e-mail", "phone", "social"}
    assert {date.fromisoformat(day).year for day in data["date"]} == {2025}
    words = data["message"].str.split().str.len()
    assert words.min() <= 2
    assert words.max() >= 35
    assert (~data["message"].str[0].str.isupper()).mean() > 0.4, "many begin with a small letter"
    assert data["message"].str.contains("[\U0001f300-\U0001faff]").sum() >= 15, "emoji now and then"


def test_queries_are_judged_in_grades_and_name_pages_that_exist():
    judged = table("faq_queries")
    assert judged["query"].nunique() == 60
    assert set(judged["id"]) <= set(table("faq")["id"])
    assert set(judged["gain"]) == {1, 2}
    assert not judged.duplicated(["query", "id"]).any()
    assert (judged.groupby("query")["gain"].max() == 2).all(), "every query has an answer"
    assert (judged.groupby("query")["kind"].nunique() == 1).all()
    assert (judged.groupby("query").size() > 1).mean() > 0.5, "most have several judged pages"


def test_scores_cover_the_whole_range_and_half_of_the_pairs_are_hard():
    data = table("scored_pairs")
    assert data["score"].min() == 0
    assert data["score"].max() == 5
    assert np.histogram(data["score"], bins=5, range=(0, 5))[0].min() >= 35
    assert 0.45 <= (data["kind"] == "plain").mean() <= 0.55
    assert data["kind"].value_counts().min() >= 20
    assert not {tuple(pair) for pair in data[["sentence1", "sentence2"]].to_numpy()} & {
        tuple(pair) for pair in data[["sentence2", "sentence1"]].to_numpy()
    }, "no pair is there in both directions"


def test_words_alone_do_not_solve_the_hard_pairs():
    data = table("scored_pairs")
    encoder = SentenceTransformer("starter")
    ours = [encoder.encode(data[column].tolist(), normalize_embeddings=True) for column in ("sentence1", "sentence2")]
    data = data.assign(cosine=(ours[0] * ours[1]).sum(1), hard=data["kind"] != "plain")
    plain, hard = (part["cosine"].corr(part["score"], "spearman") for _, part in data.groupby("hard"))
    assert plain > 0.6
    assert hard < plain - 0.3


def test_translations_are_in_their_languages_and_well_typeset():
    data = table("parallel")
    for language, letters in LETTERS.items():
        assert data[language].str.contains(f"[{letters}]").mean() > 0.3
        assert (data[language] != data["en"]).all()
    for column in data.columns:
        assert data[column].str.endswith((".", "!", "?")).all()
        assert not data[column].str.contains("'", regex=False).any() or column == "en"
    assert (data["es"].str.count(r"\?") == data["es"].str.count("¿")).all()
    assert (data["es"].str.count("!") == data["es"].str.count("¡")).all()
    assert not data["fr"].str.contains(r"(?<!\u202f)[?!;]").any(), "French sets a narrow space before ? and !"
    assert (data["en"].str.contains(r"\?") == data["fr"].str.contains(r"\?")).all()
    assert (data["en"].str.contains(r"\?") == data["de"].str.contains(r"\?")).all()
    ratio = data[["de", "fr", "es"]].map(len).div(data["en"].str.len(), axis=0)
    assert ratio.min(axis=None) > 0.4
    assert ratio.max(axis=None) < 2.2


def test_abstracts_are_paragraphs():
    words = table("abstracts")["abstract"].str.split().str.len()
    assert words.min() >= 40
    assert words.max() <= 90


def test_pictures_are_small_and_drawn_anew_pixel_by_pixel(tmp_path):
    data = table("captions")
    assert {path.name for path in (DATA / "pictures").iterdir()} == {Path(file).name for file in data["file"]}
    assert sum((DATA / file).stat().st_size for file in data["file"]) <= 400_000
    runpy.run_path(str(DATA / "make_pictures.py"))["main"](tmp_path)
    assert (tmp_path / "captions.csv").read_bytes() == (DATA / "captions.csv").read_bytes()
    seen = set()
    for file in data["file"]:
        with Image.open(DATA / file) as old, Image.open(tmp_path / file) as new:
            assert old.size == (160, 160)
            pixels = np.asarray(old.convert("RGB"), dtype=int)
            assert np.abs(pixels - np.asarray(new.convert("RGB"), dtype=int)).mean() < 2, file
        seen.add(pixels.tobytes())
    assert len(seen) == len(data), "no two pictures are the same"


def test_no_text_is_nearly_repeated_within_a_set_or_leaks_into_another():
    encoder = SentenceTransformer("starter")
    columns = {
        "abstracts": ["abstract"], "captions": ["caption"], "english_german": ["english"],
        "faq": ["question", "answer"], "faq_queries": ["query"], "parallel": ["en"], "paraphrases": ["text"],
        "questions": ["text"], "registers": ["plain", "formal"], "scored_pairs": ["sentence1", "sentence2"],
        "sentences": ["text"], "support_messages": ["message"],
    }  # fmt: skip
    texts = {name: pd.unique(table(name)[keys].melt()["value"].dropna()).tolist() for name, keys in columns.items()}
    vectors = {name: encoder.encode(rows, normalize_embeddings=True) for name, rows in texts.items()}
    for name in ("abstracts", "parallel", "support_messages"):
        near = np.triu(vectors[name] @ vectors[name].T, 1)
        assert near.max() < 0.95, [texts[name][row] for row in np.unravel_index(near.argmax(), near.shape)]
    for one, other in combinations(columns, 2):
        if {one, other} <= SHOP or {one, other} == {"sentences", "questions"}:
            continue
        near = vectors[one] @ vectors[other].T
        row, place = np.unravel_index(near.argmax(), near.shape)
        assert near[row, place] < 0.97, (texts[one][row], texts[other][place])
