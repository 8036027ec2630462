"""The public sets that the bundled models are trained on, read from a data folder, without what they are judged on."""

import csv
import gzip
import json
import random
import re
from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import DataFormatError

__all__ = ["LANGUAGES", "Paragraph", "PublicData", "beginning", "windows"]

# as STS benchmark and NTREX-128 call them
LANGUAGES = {
    "en": "eng",
    "de": "deu",
    "fr": "fra",
    "es": "spa",
    "it": "ita",
    "pt": "por",
    "nl": "nld",
}
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])|\s+-\s+")


class Paragraph(NamedTuple):
    """A text, and the questions that it answers with where in it the answer starts."""

    article: int
    text: str
    questions: list[tuple[str, int]]


class PublicData:
    """Texts and pairs of the folder ``root``: train splits only, and no text that also stands in a test or dev set.

    Raises:
        DataFormatError: a file is not in the folder.
    """

    def __init__(self, root: str | Path, *, seed: int = 0) -> None:
        self.root, self.seed = Path(root), seed

    def texts(self) -> list[str]:
        """Different texts of all the sets in a random order: sentences, questions, and beginnings of paragraphs."""
        paragraphs = [row.text for row in self.squad]
        questions, answers = zip(*self.medquad, strict=True)
        kinds = {  # what, and how many of them at most
            "STS benchmark": (chain.from_iterable(row[:2] for row in self.sts), 11_000),
            "SNLI": (chain.from_iterable(row[:2] for row in self.snli), 45_000),
            "SQuAD questions": ((q for row in self.squad for q, _ in row.questions), 50_000),
            "SQuAD sentences": (chain.from_iterable(map(_sentences, paragraphs)), 40_000),
            "SQuAD paragraphs": ((beginning(text, 80) for text in paragraphs), 8_000),
            "MedQuAD questions": (questions, 8_000),
            "MedQuAD sentences": (chain.from_iterable(map(_sentences, answers)), 25_000),
            "MedQuAD answers": ((beginning(text, 80) for text in answers), 5_000),
            "Wikipedia sentences": (
                (row["sentence"] for row in self._table("raw_sentences/wikipedia_clinc.tsv.gz")),
                15_000,
            ),
            "NTREX-128": (self._lines("ntrex128/eng.txt.gz"), 2_000),
            "BANKING77": ((row["text"] for row in self._table("banking77/train.tsv.gz")), 10_000),
            "CLINC150": (
                (
                    r["text"]
                    for r in self._table("clinc150/clinc150_full.tsv.gz")
                    if r["split"] in ("train", "oos_train")
                ),
                16_000,
            ),
        }
        draw, chosen = random.Random(self.seed), []  # noqa: S311 (no secret)
        for found, most in kinds.values():
            different = [text for text in dict.fromkeys(found) if len(text.split()) > 1 and self.allowed(text)]
            draw.shuffle(different)
            chosen += different[:most]
        draw.shuffle(chosen)
        return list(dict.fromkeys(chosen))

    def allowed(self, text: str) -> bool:
        """Whether ``text`` stands in no set that is only for judging; letters and digits count, nothing else."""
        return _key(text) not in self._judged

    @cached_property
    def sts(self) -> list[tuple[str, str, float]]:
        """Pairs of the STS benchmark's train split, with scores from 0 to 1."""
        rows = self._table("stsb/en/train.tsv.gz")
        return [
            (row["sentence1"], row["sentence2"], float(row["score"]) / 5)
            for row in rows
            if self.allowed(row["sentence1"]) and self.allowed(row["sentence2"])
        ]

    def sts_dev(self, language: str = "en") -> list[tuple[str, str, float]]:
        """Pairs of its development split in one of ``LANGUAGES``, only to measure with."""
        rows = self._table(f"stsb/{language}/dev.tsv.gz")
        return [(row["sentence1"], row["sentence2"], float(row["score"])) for row in rows]

    @cached_property
    def parallel(self) -> list[tuple[str, ...]]:
        """A sentence in each of ``LANGUAGES``, row by row: NTREX-128, and the STS benchmark's train split."""

        def sides(split: str) -> list[tuple[str, ...]]:
            tables = zip(*(self._table(f"stsb/{language}/{split}.tsv.gz") for language in LANGUAGES), strict=True)
            return [tuple(row[side] for row in rows) for rows in tables for side in ("sentence1", "sentence2")]

        judged = {_key(text) for row in sides("dev") for text in row}
        news = zip(*(self._lines(f"ntrex128/{code}.txt.gz") for code in LANGUAGES.values()), strict=True)
        rows = dict.fromkeys(chain(news, sides("train")))
        return [row for row in rows if self.allowed(row[0]) and judged.isdisjoint(map(_key, row))]

    @cached_property
    def snli(self) -> list[tuple[str, str, str]]:
        """Premise, hypothesis and label of the SNLI subset's train split."""
        rows = self._table("nli/snli_subset.tsv.gz")
        return [
            (row["premise"], row["hypothesis"], row["label"])
            for row in rows
            if row["split"] == "train" and self.allowed(row["premise"]) and self.allowed(row["hypothesis"])
        ]

    @cached_property
    def squad(self) -> list[Paragraph]:
        """Paragraphs of SQuAD's train split with their questions."""
        with self._open("squad/train-v1.1.json.gz") as file:
            articles = json.load(file)["data"]
        return [
            Paragraph(
                number,
                _squeeze(part["context"]),
                [
                    (_squeeze(ask["question"]), ask["answers"][0]["answer_start"])
                    for ask in part["qas"]
                    if self.allowed(ask["question"])
                ],
            )
            for number, article in enumerate(articles)
            for part in article["paragraphs"]
            if self.allowed(part["context"])
        ]

    @cached_property
    def medquad(self) -> list[tuple[str, str]]:
        """Questions and answers of MedQuAD."""
        rows = map(json.loads, self._lines("medquad/medquad.jsonl.gz"))
        return [(_squeeze(row["question"]), _squeeze(row["answer"])) for row in rows]

    @cached_property
    def _judged(self) -> set[str]:
        """Keys of the texts of every set that is there and only for judging."""
        columns = ("sentence1", "sentence2", "text", "title")
        tables = [
            "stsb/en/dev.tsv.gz", "stsb/en/test.tsv.gz", "sick/sick.tsv.gz", "banking77/test.tsv.gz",
            "stackoverflow_titles/stackoverflow.tsv.gz",
        ]  # fmt: skip
        tables = [name for name in tables if (self.root / name).is_file()]
        found = [row[column] for name in tables for row in self._table(name) for column in columns if column in row]
        rows = self._table("clinc150/clinc150_full.tsv.gz")
        found += [row["text"] for row in rows if row["split"] not in ("train", "oos_train")]
        rows = self._table("nli/snli_subset.tsv.gz")
        found += [row[side] for row in rows if row["split"] != "train" for side in ("premise", "hypothesis")]
        for name in sorted(path.name for path in self.root.glob("ir/*")):
            for file in ("corpus", "queries"):
                found += [row["text"] for row in map(json.loads, self._lines(f"ir/{name}/{file}.jsonl.gz"))]
        for path in sorted(self.root.glob("squad/dev-*.json.gz")):
            with self._open(f"squad/{path.name}") as file:
                for part in (part for article in json.load(file)["data"] for part in article["paragraphs"]):
                    found += [part["context"], *(ask["question"] for ask in part["qas"])]
        return set(map(_key, found))

    def _open(self, name: str) -> Any:
        try:
            return gzip.open(self.root / name, "rt", encoding="utf-8", newline="")
        except OSError as error:
            raise DataFormatError(
                f"{self.root / name} cannot be read ({error.strerror}). Give the folder with it."
            ) from error

    def _lines(self, name: str) -> Iterator[str]:
        with self._open(name) as file:
            yield from (line.rstrip("\r\n") for line in file)

    def _table(self, name: str) -> Iterator[dict[str, str]]:
        with self._open(name) as file:
            yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def _key(text: str) -> str:
    """What of ``text`` counts where texts are compared: lower-case letters and digits."""
    return " ".join(re.findall(r"\w+", text.lower()))


def _squeeze(text: str) -> str:
    """``text`` with single spaces."""
    return " ".join(text.split())


def _sentences(text: str) -> list[str]:
    """The sentences of a paragraph, 4 to 60 words each."""
    return [part for part in _SENTENCE_END.split(text) if 4 <= len(part.split()) <= 60]


def beginning(text: str, words: int) -> str:
    """The first ``words`` words."""
    return " ".join(text.split()[:words])


def windows(text: str, words: int) -> list[tuple[int, str]]:
    """A paragraph cut at ends of sentences into parts of about ``words`` words, each with where it starts."""
    parts: list[tuple[int, str]] = []
    start = end = 0
    for stop in [match.end() for match in _SENTENCE_END.finditer(text)] + [len(text)]:
        if end > start and len(text[start:stop].split()) > words:
            parts.append((start, text[start:end].strip()))
            start = end
        end = stop
    return [*parts, (start, text[start:end].strip())]
