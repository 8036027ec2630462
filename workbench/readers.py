"""Examples from files: scored pairs, entailment, labelled texts, parallel files and triplets, plain or gzipped."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TextIO

from workbench.errors import DataFormatError

__all__ = [
    "InputExample", "LabelSentenceReader", "NLIDataReader", "PairedFilesReader", "STSBenchmarkDataReader",
    "STSDataReader", "TripletReader", "lines_of", "open_text",
]  # fmt: skip


class InputExample:
    """One row: texts, and a label (a number, or a vector of a teacher).

    Args:
        guid: a name for the row.
        texts: the texts, in the order that a loss takes them.
        label: what a loss compares with.
    """

    def __init__(self, guid: str = "", texts: Sequence[str] | None = None, label: Any = 0) -> None:
        self.guid = guid
        self.texts = texts
        self.label = label

    def __repr__(self) -> str:
        return f"<InputExample> label: {self.label}, texts: {'; '.join(map(str, self.texts or []))}"


@contextmanager
def open_text(path: str | Path) -> Iterator[TextIO]:
    """Open a text file in UTF-8, unpacked when its name ends in ``.gz``.

    Raises:
        DataFormatError: it is not gzipped, cut short, or not UTF-8.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    raw = gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115 (closed by the wrapper below)
    with io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
        try:
            yield file
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataFormatError(f"{path} is no whole gzip file ({error}). Download it again.") from error
        except UnicodeDecodeError as error:
            raise DataFormatError(f"{path} is not UTF-8 ({error.reason}). Save it as UTF-8.") from error


def lines_of(path: str | Path) -> Iterator[str]:
    """Yield the lines of a text file, without their ends."""
    with open_text(path) as file:
        for line in file:
            yield line.rstrip("\r\n")


class _Table:
    """Rows of a file of separated columns, as examples; a row that is short or no number is named by its line."""

    def __init__(self, folder: str | Path, delimiter: str, quoting: Any, has_header: bool = False) -> None:
        self.dataset_folder = Path(folder)
        self.delimiter = delimiter
        self.quoting = quoting
        self.has_header = has_header

    def get_examples(self, filename: str, max_examples: int = 0) -> list[InputExample]:
        """Read a file of the folder.

        Args:
            filename: the file's name; ``.gz`` is unpacked.
            max_examples: read no more than these; 0 reads all.

        Raises:
            DataFormatError: a row lacks a column or holds a wrong value; names file and line.
        """
        path = self.dataset_folder / filename
        return list(islice(self._examples(path, filename), max_examples or None))

    def _examples(self, path: Path, filename: str) -> Iterator[InputExample]:
        with open_text(path) as file:
            table = csv.reader(file, delimiter=self.delimiter, quoting=self.quoting)
            number = 0
            try:
                for row in islice(table, int(self.has_header), None):
                    if row:  # not a blank line
                        yield self._example(row, filename, number)
                        number += 1
            except (IndexError, ValueError, csv.Error) as error:
                if isinstance(error, UnicodeDecodeError):
                    raise
                _refuse(path, table.line_num, error, self.delimiter)

    def _example(self, row: list[str], filename: str, number: int) -> InputExample:
        raise NotImplementedError


class STSDataReader(_Table):
    """Pairs of texts with a score, one a line; scores are brought to 0 to 1.

    Args:
        dataset_folder: where the files are.
        s1_col_idx: the column of the first text, from 0.
        s2_col_idx: the column of the second.
        score_col_idx: the column of the score.
        delimiter: what stands between columns.
        quoting: how ``csv`` reads quotation marks; by default they are letters like others.
        normalize_scores: bring ``min_score`` … ``max_score`` to 0 … 1.
        min_score: the lowest score.
        max_score: the highest.
    """

    def __init__(
        self,
        dataset_folder: str | Path,
        s1_col_idx: int = 0,
        s2_col_idx: int = 1,
        score_col_idx: int = 2,
        delimiter: str = "\t",
        quoting: int = csv.QUOTE_NONE,
        normalize_scores: bool = True,
        min_score: float = 0,
        max_score: float = 5,
    ) -> None:
        super().__init__(dataset_folder, delimiter, quoting)
        if normalize_scores and not min_score < max_score:
            raise ValueError(f"min_score is {min_score} and max_score {max_score}; the first must be the lower.")
        self.columns = (s1_col_idx, s2_col_idx)
        self.score_col_idx = score_col_idx
        self.normalize_scores = normalize_scores
        self.min_score, self.max_score = min_score, max_score

    def _example(self, row: list[str], filename: str, number: int) -> InputExample:
        score = float(row[self.score_col_idx])
        if self.normalize_scores:
            score = (score - self.min_score) / (self.max_score - self.min_score)
        return InputExample(f"{filename}{number}", [row[column] for column in self.columns], score)


class STSBenchmarkDataReader(STSDataReader):
    """The files of the STS benchmark: texts in columns 5 and 6, scores from 0 to 5 in column 4."""

    def __init__(
        self,
        dataset_folder: str | Path,
        s1_col_idx: int = 5,
        s2_col_idx: int = 6,
        score_col_idx: int = 4,
        delimiter: str = "\t",
        quoting: int = csv.QUOTE_NONE,
        normalize_scores: bool = True,
        min_score: float = 0,
        max_score: float = 5,
    ) -> None:
        super().__init__(
            dataset_folder, s1_col_idx, s2_col_idx, score_col_idx, delimiter, quoting, normalize_scores, min_score,
            max_score,
        )  # fmt: skip


class TripletReader(_Table):
    """Triplets of texts (anchor, positive, negative), one a line.

    Args:
        dataset_folder: where the files are.
        s1_col_idx: the column of the anchor, from 0.
        s2_col_idx: the column of the positive.
        s3_col_idx: the column of the negative.
        has_header: leave out the first line.
        delimiter: what stands between columns.
        quoting: how ``csv`` reads quotation marks; by default they are letters like others.
    """

    def __init__(
        self,
        dataset_folder: str | Path,
        s1_col_idx: int = 0,
        s2_col_idx: int = 1,
        s3_col_idx: int = 2,
        has_header: bool = False,
        delimiter: str = "\t",
        quoting: int = csv.QUOTE_NONE,
    ) -> None:
        super().__init__(dataset_folder, delimiter, quoting, has_header)
        self.columns = (s1_col_idx, s2_col_idx, s3_col_idx)

    def _example(self, row: list[str], filename: str, number: int) -> InputExample:
        return InputExample(texts=[row[column] for column in self.columns])


class LabelSentenceReader(_Table):
    """Texts with a label, one a line; labels are numbered as they first appear, and ``label_map`` keeps their numbers.

    Args:
        folder: where the files are.
        label_col_idx: the column of the label, from 0.
        sentence_col_idx: the column of the text.
        separator: what stands between columns.
    """

    def __init__(
        self, folder: str | Path, label_col_idx: int = 0, sentence_col_idx: int = 1, separator: str = "\t"
    ) -> None:
        super().__init__(folder, separator, csv.QUOTE_NONE)
        self.label_col_idx, self.sentence_col_idx = label_col_idx, sentence_col_idx
        self.label_map: dict[str, int] = {}

    def _example(self, row: list[str], filename: str, number: int) -> InputExample:
        sentence = row[self.sentence_col_idx]
        label = self.label_map.setdefault(row[self.label_col_idx], len(self.label_map))
        return InputExample(f"{filename}-{number}", [sentence], label)


class PairedFilesReader:
    """Line i of each file belongs together, as the texts of a row with the label 1.

    Args:
        filepaths: the files; ``.gz`` is unpacked.
    """

    def __init__(self, filepaths: Sequence[str | Path]) -> None:
        self.filepaths = filepaths

    def get_examples(self, max_examples: int = 0) -> list[InputExample]:
        """Read the rows, at most ``max_examples`` of them; 0 reads all."""
        rows = islice(_parallel(self.filepaths), max_examples or None)
        return [InputExample(str(number), list(row), 1) for number, row in enumerate(rows)]


class NLIDataReader:
    """Entailment pairs from the files ``s1.NAME``, ``s2.NAME`` and ``labels.NAME`` of a folder, as ``train.gz``.

    Args:
        dataset_folder: where the files are.
    """

    labels: ClassVar[dict[str, int]] = {"contradiction": 0, "entailment": 1, "neutral": 2}

    def __init__(self, dataset_folder: str | Path) -> None:
        self.dataset_folder = Path(dataset_folder)

    def get_examples(self, filename: str, max_examples: int = 0) -> list[InputExample]:
        """Read the pairs of a split, at most ``max_examples`` of them; 0 reads all."""
        paths = [self.dataset_folder / f"{part}.{filename}" for part in ("s1", "s2", "labels")]
        found = []
        for number, (first, second, label) in enumerate(islice(_parallel(paths), max_examples or None)):
            try:
                found.append(InputExample(f"{filename}-{number}", [first, second], self.map_label(label)))
            except ValueError as error:
                raise DataFormatError(f"{paths[2]}, line {number + 1}: {error}") from error
        return found

    @classmethod
    def get_labels(cls) -> dict[str, int]:
        """Return the number of each label."""
        return dict(cls.labels)

    def get_num_labels(self) -> int:
        """Return how many labels there are."""
        return len(self.labels)

    def map_label(self, label: str) -> int:
        """Return the number of a label."""
        if (known := self.labels.get(label.strip().lower())) is None:
            raise ValueError(f"the label is {label!r}; it must be one of: {', '.join(self.labels)}.")
        return known


def _parallel(paths: Sequence[str | Path]) -> Iterator[tuple[str, ...]]:
    """Line i of every file together; files of different length are refused."""
    for number, row in enumerate(zip_longest(*map(lines_of, paths))):
        if None in row:
            short, long = (
                next(path for path, line in zip(paths, row, strict=True) if (line is None) == over)
                for over in (True, False)
            )
            raise DataFormatError(f"{short} ends after line {number}, but {long} goes on: line i of both is one row.")
        yield row


def _refuse(path: Path, line: int, error: Exception, delimiter: str) -> NoReturn:
    what = f"too few columns between {delimiter!r}" if isinstance(error, IndexError) else str(error)
    raise DataFormatError(f"{path}, line {line}: {what}. Mend the line, or name other columns.") from error
