"""Translated sentences of two files: found, written whole or not at all, and in bounded memory."""

import csv
import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from workbench import cli
from workbench.errors import Cancelled, ChoiceError, ColumnsError, DataFormatError
from workbench.mining import bitext_files, bitext_mining, mine_bitext_files

DATA = Path(__file__).parents[1] / "notebooks" / "data"
RUNNER = CliRunner()


class Meanings:
    """Texts that begin with one number share a direction, whatever follows; it counts what it is asked to encode."""

    def __init__(self, dim=64):
        self.table, self.asked = np.random.default_rng(0).normal(size=(100_000, dim)).astype(np.float32), []

    def encode(self, sentences, **options):
        self.asked.append(len(sentences))
        return self.table[[int(text.split()[0]) for text in sentences]]


def write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def pairs_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["source"], row["target"]) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


@pytest.fixture
def two(tmp_path):
    """Meanings 0 to 79 on one side, 40 to 119 on the other, in another order; and the true pairs."""
    order = np.random.default_rng(1).permutation(np.arange(40, 120))
    source = write(tmp_path / "a.txt", [f"{number} one" for number in range(80)])
    target = write(tmp_path / "b.txt", [f"{number} zwei" for number in order])
    return source, target, {(f"{number} one", f"{number} zwei") for number in range(40, 80)}


def test_the_known_translations_are_found_best_first_and_no_others(two, tmp_path):
    source, target, gold = two
    out = tmp_path / "new" / "pairs.tsv"
    assert mine_bitext_files(source, target, out, Meanings(), threshold=1.5) == 40
    assert set(pairs_of(out)) == gold
    scores = pd.read_csv(out, sep="\t").score
    assert scores.is_monotonic_decreasing
    assert scores.min() >= 1.5
    assert [path.name for path in out.parent.iterdir()] == ["pairs.tsv"]


def test_the_bundled_translations_are_found_as_the_function_of_lists_finds_them(tmp_path):
    from workbench import SentenceTransformer

    model, table = SentenceTransformer("starter"), pd.read_csv(DATA / "english_german.csv", keep_default_na=False)
    source, target = (write(tmp_path / f"{name}.txt", table[name]) for name in table)
    count = mine_bitext_files(source, target, tmp_path / "out.tsv", model)
    expected = bitext_mining(model, [x for x in table.english if x], [x for x in table.german if x])
    assert count == len(expected)
    assert pairs_of(tmp_path / "out.tsv") == list(zip(expected.source_text, expected.target_text, strict=True))


@pytest.mark.parametrize("language", ["de", "fr", "es"])
def test_a_bilingual_model_finds_the_parallel_sentences_of_each_language(tmp_path, language):
    table = pd.read_csv(DATA / "parallel.csv").drop_duplicates("en").drop_duplicates(language)
    place = {" ".join(text.split()): row for row, text in enumerate(table.en)}
    place |= {" ".join(text.split()): row for row, text in enumerate(table[language])}

    class Translator(Meanings):
        def encode(self, sentences, **options):
            return super().encode([str(place[text]) for text in sentences])

    source, target = (write(tmp_path / name, table[name]) for name in ("en", language))
    mine_bitext_files(source, target, tmp_path / "out.tsv", Translator())
    found = pairs_of(tmp_path / "out.tsv")
    assert len(found) == len(table) > 140
    assert all(place[a] == place[b] for a, b in found)


def test_blank_and_repeated_lines_are_left_out_and_tabs_become_spaces(tmp_path):
    source = write(tmp_path / "a.txt", ["", "1 x", "2 a\tb", "1 x", "   ", " 1 x "])
    with gzip.open(tmp_path / "b.txt.gz", "wt", encoding="utf-8") as file:
        file.write('2 "quoted\n1 y\n\n')
    model = Meanings()
    assert mine_bitext_files(source, tmp_path / "b.txt.gz", tmp_path / "out.tsv", model, k=1) == 2
    assert sorted(pairs_of(tmp_path / "out.tsv")) == [("1 x", "1 y"), ("2 a b", '2 "quoted')]
    assert model.asked == [2, 2]


def test_the_table_is_the_same_when_little_is_held_at_a_time(two, tmp_path, monkeypatch):
    source, target, _ = two
    mine_bitext_files(source, target, tmp_path / "whole.tsv", Meanings())
    monkeypatch.setattr(bitext_files, "_LINES", 7)
    monkeypatch.setattr(bitext_files, "_PAIRS", 9)
    model = Meanings()
    mine_bitext_files(source, target, tmp_path / "parts.tsv", model)
    assert max(model.asked) == 7
    assert (tmp_path / "parts.tsv").read_text() == (tmp_path / "whole.tsv").read_text()


def test_vectors_and_texts_are_not_held_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(bitext_files, "_LINES", 200)
    monkeypatch.setattr(bitext_files, "_PAIRS", 500)
    monkeypatch.setattr(bitext_files, "mine_bitext", lambda a, b, *_, **__: [(1.0, n, n) for n in range(len(a))])
    lines = [f"{number} {'x' * 3000}" for number in range(2500)]
    source, target = (write(tmp_path / name, lines) for name in "ab")
    model = Meanings(256)
    tracemalloc.start()
    mine_bitext_files(source, target, tmp_path / "out.tsv", model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 7 * 2**20 < 2 * len(lines) * 3000 / 2  # far below the texts of both sides, not to speak of vectors


def test_work_that_is_stopped_leaves_the_table_of_before(two, tmp_path, monkeypatch):
    source, target, _ = two
    out = write(tmp_path / "pairs.tsv", ["kept"])

    def stop(*_):
        raise Cancelled("stopped")

    monkeypatch.setattr(bitext_files, "_texts", stop)
    with pytest.raises(Cancelled):
        mine_bitext_files(source, target, out, Meanings())
    assert out.read_text() == "kept\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt", "pairs.tsv"]


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (None, DataFormatError, "There is no file"),
        (b"", ColumnsError, "holds no sentence"),
        (b"\n \n\t\n", ColumnsError, "holds no sentence"),
        (b"1 \xff\xfe", DataFormatError, "not UTF-8"),
    ],
)
def test_a_file_without_sentences_is_refused_before_anything_is_encoded(two, tmp_path, content, error, says):
    bad, model = tmp_path / "bad.txt", Meanings()
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(error, match=says):
        mine_bitext_files(two[0], bad, tmp_path / "out.tsv", model)
    assert not model.asked
    assert not (tmp_path / "out.tsv").exists()


def test_an_unknown_margin_is_refused_before_anything_is_encoded(two, tmp_path):
    model = Meanings()
    with pytest.raises(ChoiceError, match="'ratio'"):
        mine_bitext_files(*two[:2], tmp_path / "out.tsv", model, margin="wide")
    with pytest.raises(ValueError, match="k is 0"):
        mine_bitext_files(*two[:2], tmp_path / "out.tsv", model, k=0)
    assert not model.asked


def test_the_command_writes_the_table_and_says_how_many(two, tmp_path):
    source, target, _ = two
    arguments = ["mine-bitext", str(source), str(target), "--out", str(tmp_path / "out.tsv")]
    result = RUNNER.invoke(cli.app, [*arguments, "--retrieval", "intersection"])
    assert result.exit_code == 0, result.output
    count = len(pairs_of(tmp_path / "out.tsv"))
    assert count > 0
    assert f"{count} pairs are in" in result.output
    for wrong, says in (
        (["--model", "no-such-model"], "no-such-model"),
        (["--margin", "wide"], "'ratio', 'distance', 'absolute'"),
    ):
        failed = RUNNER.invoke(cli.app, [*arguments, *wrong])
        assert failed.exit_code == 1
        assert says in failed.stderr
    missing = RUNNER.invoke(cli.app, ["mine-bitext", "none.txt", str(target), "--out", str(tmp_path / "x.tsv")])
    assert missing.exit_code == 1
    assert "There is no file none.txt" in missing.stderr
