"""Data to train on: any table as a data set of columns, and data sets that make their rows while they are read."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset, IterableDataset

from workbench._optional import require
from workbench.errors import ColumnsError, DataFormatError, choose
from workbench.readers import InputExample, lines_of, open_text
from workbench.training.samplers import NoDuplicatesBatchSampler

__all__ = [
    "DenoisingAutoEncoderDataset", "NoDuplicatesDataLoader", "ParallelSentencesDataset", "SentenceLabelDataset",
    "SentencesDataset", "as_dataset", "delete_words",
]  # fmt: skip

# A word with the space before it, a sign, or one letter of a script that is written without spaces.
_WORDS = re.compile(r"\s*(?:[\u3040-\u30ff\u3400-\u9fff]|(?:(?![\u3040-\u30ff\u3400-\u9fff])\w)+|[^\w\s])")


def as_dataset(data: Any) -> Any:
    """Return a ``datasets.Dataset`` of what a person may have, or a dict of them.

    Args:
        data: a pandas DataFrame; a path of a CSV, TSV, JSON, JSONL (each also gzipped) or Parquet file; a list of dicts
            or of ``InputExample``; a dict of columns; or a dict of any of these by name. A data set of ``datasets`` is
            returned as it is. Empty cells of a CSV file are missing values; "None" and "NA" are texts.

    Raises:
        DataFormatError: a file is damaged, or its rows are of different length; names the line.
        ChoiceError: a file of an unknown kind; lists the known ones.
        ColumnsError: anything else that is no table.
    """
    datasets = require("datasets", extra="lab")
    kinds = ("Dataset", "IterableDataset", "DatasetDict", "IterableDatasetDict")
    if isinstance(data, tuple(getattr(datasets, kind) for kind in kinds)):
        return data
    if isinstance(data, (str, PathLike)):
        path = Path(data)
        return choose("kind of file", path.name.lower().removesuffix(".gz").rpartition(".")[2], _FILES)(path)
    if hasattr(data, "to_parquet"):  # a DataFrame
        return datasets.Dataset.from_pandas(data, preserve_index=False)
    if isinstance(data, Mapping):
        if any(_is_table(value) for value in data.values()):
            return {name: as_dataset(value) for name, value in data.items()}
        return _from_columns(data)
    if isinstance(data, Sequence) and len(data):
        if all(isinstance(row, Mapping) for row in data):
            return _from_rows(data)
        if all(isinstance(row, InputExample) for row in data):
            return _from_rows([_row(example) for example in data])
    raise ColumnsError(
        f"as_dataset takes a DataFrame, a path, a list of dicts or of InputExample, or a dict of columns; not "
        f"{'an empty list' if isinstance(data, Sequence) and not len(data) else type(data).__name__}."
    )


def _is_table(value: Any) -> bool:
    """Whether a value of a dict is a table of its own, and no column."""
    if isinstance(value, (str, PathLike, Mapping)) or hasattr(value, "column_names") or hasattr(value, "to_parquet"):
        return True
    return isinstance(value, list) and bool(value) and isinstance(value[0], (Mapping, InputExample))


def _from_columns(columns: Mapping[str, Any]) -> Any:
    datasets = require("datasets", extra="lab")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ColumnsError(f"Columns must be of one length; found {lengths or 'no columns'}.")
    try:
        return datasets.Dataset.from_dict({name: list(column) for name, column in columns.items()})
    except (TypeError, ValueError) as error:  # pyarrow's errors are kinds of these
        raise ColumnsError(f"A column holds values of more than one type ({error}). Make them alike first.") from error


def _from_rows(rows: Sequence[Mapping[str, Any]]) -> Any:
    names = dict.fromkeys(name for row in rows for name in row)
    return _from_columns({name: [row.get(name) for row in rows] for name in names})


def _row(example: InputExample) -> dict[str, Any]:
    label = example.label.tolist() if hasattr(example.label, "tolist") else example.label
    return {**{f"sentence_{place}": text for place, text in enumerate(example.texts or [])}, "label": label}


def _separated(delimiter: str) -> Callable[[Path], Any]:
    def read(path: Path) -> Any:
        import pandas as pd

        with open_text(path) as file:
            try:
                table = pd.read_csv(file, sep=delimiter, keep_default_na=False, na_values=[""], index_col=False)
            except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
                raise DataFormatError(f"{path}: {str(error).strip()}. Mend the file, or quote the text.") from error
        return as_dataset(table)

    return read


def _json_lines(path: Path) -> Any:
    rows = []
    for number, line in enumerate(lines_of(path), 1):
        if line.strip():
            rows.append(_parsed(line, f"{path}, line {number}"))
            if not isinstance(rows[-1], dict):
                raise DataFormatError(f"{path}, line {number}: expected an object {{…}}, found {line:.40}")
    if not rows:
        raise DataFormatError(f"{path} holds no rows.")
    return _from_rows(rows)


def _json(path: Path) -> Any:
    with open_text(path) as file:
        text = file.read()
    if text.lstrip()[:1] == "{":
        try:
            return as_dataset(json.loads(text))
        except json.JSONDecodeError:
            return _json_lines(path)
    return as_dataset(_parsed(text, str(path)))


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataFormatError(f"{where} is no JSON: {error}.") from error


def _parquet(path: Path) -> Any:
    datasets, parquet = require("datasets", extra="lab"), require("pyarrow.parquet", extra="lab")
    with path.open("rb") as file:
        try:
            table = parquet.read_table(file)
        except (OSError, ValueError) as error:  # pyarrow's errors are kinds of these
            raise DataFormatError(f"{path} is no Parquet file, or damaged: {error}") from error
    kept = [name for name in table.column_names if not name.startswith("__index_level_")]
    return datasets.Dataset(table.select(kept).replace_schema_metadata(None))


_FILES: dict[str, Callable[[Path], Any]] = {
    "csv": _separated(","),
    "tsv": _separated("\t"),
    "jsonl": _json_lines,
    "json": _json,
    "parquet": _parquet,
}


def delete_words(text: str, ratio: float, rng: np.random.Generator) -> str:
    """Delete each word of a text with probability ``ratio``; one is always left. Spaces and signs stay with words.

    The noise of TSDAE (Wang et al. 2021, arXiv:2104.06979), with words found by a pattern, in any script.
    """
    words = _WORDS.findall(text)
    if not words:
        return text
    kept = rng.random(len(words)) >= ratio
    if not kept.any():
        kept[rng.integers(len(words))] = True
    return "".join(word for word, stays in zip(words, kept, strict=True) if stays).strip()


class DenoisingAutoEncoderDataset(Dataset[InputExample]):
    """Pairs (a text with noise, the text), noise drawn anew each time; for ``DenoisingAutoEncoderLoss``.

    Args:
        sentences: the texts.
        noise_fn: makes noise; by default each word is deleted with probability 0.6.
        seed: decides the noise of the default.
    """

    def __init__(
        self, sentences: Sequence[str], noise_fn: Callable[[str], str] | None = None, *, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self.sentences = sentences
        self.noise_fn = noise_fn or (lambda text: self.delete(text, rng=rng))

    def __getitem__(self, index: int) -> InputExample:
        text = self.sentences[index]
        return InputExample(texts=[self.noise_fn(text), text])

    def __len__(self) -> int:
        return len(self.sentences)

    @staticmethod
    def delete(text: str, del_ratio: float = 0.6, rng: np.random.Generator | None = None) -> str:
        """Delete words; see ``delete_words``."""
        return delete_words(text, del_ratio, rng or np.random.default_rng())


class SentencesDataset(Dataset[InputExample]):
    """A list of examples as a torch data set; kept for older code.

    Args:
        examples: the examples.
        model: not used.
    """

    def __init__(self, examples: Sequence[InputExample], model: Any = None) -> None:
        self.examples = examples

    def __getitem__(self, index: int) -> InputExample:
        return self.examples[index]

    def __len__(self) -> int:
        return len(self.examples)


class SentenceLabelDataset(IterableDataset[InputExample]):
    """Examples in random order, ``samples_per_label`` of one label after each other: batches for triplet losses.

    Give it to a loader whose batch size is a multiple of ``samples_per_label``. Each pass has an order of its own.

    Args:
        examples: examples with classes as labels; a label with fewer rows than ``samples_per_label`` is left out.
        samples_per_label: how many of a label stand together.
        with_replacement: draw from all rows of a label each time; otherwise no row comes twice in a pass.
        seed: decides the order.
    """

    def __init__(
        self, examples: Sequence[InputExample], samples_per_label: int = 2, with_replacement: bool = False, *,
        seed: int = 0,
    ) -> None:  # fmt: skip
        rows: dict[Any, list[int]] = {}
        for row, example in enumerate(examples):
            rows.setdefault(example.label, []).append(row)
        self.examples = examples
        self.samples_per_label = samples_per_label
        self.with_replacement = with_replacement
        self._rows = [np.array(group) for group in rows.values() if len(group) >= samples_per_label]
        self._rng = np.random.default_rng(seed)
        if not self._rows:
            raise ValueError(f"No label has {samples_per_label} examples; {len(rows)} labels were found.")

    def __iter__(self) -> Iterator[InputExample]:
        rng, size = self._rng, self.samples_per_label
        left = [rng.permutation(rows) for rows in self._rows]
        while any(len(rows) >= size for rows in left):
            for label in rng.permutation(len(left)):
                rows = left[label]
                if len(rows) >= size:
                    left[label] = rows[size:]
                    chosen = rng.choice(self._rows[label], size, False) if self.with_replacement else rows[:size]
                    yield from (self.examples[row] for row in chosen)

    def __len__(self) -> int:
        size = self.samples_per_label
        return sum(len(rows) // size * size for rows in self._rows)


class NoDuplicatesDataLoader:
    """Batches of examples in which no text comes twice, however it is capitalised; for losses with in-batch negatives.

    Args:
        train_examples: the examples, each with as many texts.
        batch_size: examples in a batch; what fills no batch is left out of a pass.
        seed: decides the order, together with the number of the pass.
    """

    def __init__(self, train_examples: Sequence[InputExample], batch_size: int, *, seed: int = 0) -> None:
        self.train_examples = train_examples
        self.batch_size = batch_size
        self.collate_fn: Callable[[list[InputExample]], Any] | None = None
        if len(counts := {len(example.texts or []) for example in train_examples}) > 1:
            raise ValueError(f"Examples hold {sorted(counts)} texts; each must hold as many.")
        texts = zip(*([str(text).strip().lower() for text in one.texts or []] for one in train_examples), strict=True)
        columns = {str(place): list(column) for place, column in enumerate(texts)}
        self._sampler = NoDuplicatesBatchSampler(_from_columns(columns), batch_size, drop_last=True, seed=seed)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._sampler:
            examples = [self.train_examples[row] for row in batch]
            yield self.collate_fn(examples) if self.collate_fn else examples
        self._sampler.set_epoch(self._sampler.epoch + 1)

    def __len__(self) -> int:
        return len(self._sampler)


class ParallelSentencesDataset(Dataset[InputExample]):
    """Translations with the teacher's vector of their source, for ``MSELoss``: a student learns languages.

    Reimers and Gurevych 2020, arXiv:2004.09813. Vectors are made as rows are asked for, a hundred sources at once.

    Args:
        student_model: not used; kept for older code.
        teacher_model: gives vectors: anything with ``encode``.
        batch_size: texts that the teacher encodes together.
        use_embedding_cache: keep the vectors, so that no source is encoded twice.
        seed: decides the order.
    """

    def __init__(
        self, student_model: Any, teacher_model: Any, batch_size: int = 8, use_embedding_cache: bool = True, *,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self.teacher_model = teacher_model
        self.batch_size = batch_size
        self.use_embedding_cache = use_embedding_cache
        self.datasets: list[list[tuple[str, list[str]]]] = []  # of each file: sources with all their forms
        self._turns: list[int] = []  # which data set each source of a round is from
        self._places: list[int] = []
        self._vectors: dict[str, npt.NDArray[Any]] = {}
        self._ready: list[InputExample] = []
        self._rng = np.random.default_rng(seed)

    def load_data(
        self,
        filepath: str | Path,
        weight: int = 100,
        max_sentences: int | None = None,
        max_sentence_length: int | None = 128,
    ) -> None:
        """Add a file with a source and its translations on each line, between tabs; see ``add_dataset``."""
        rows = (line.strip().split("\t") for line in lines_of(filepath))
        self.add_dataset(rows, weight, max_sentences, max_sentence_length)

    def add_dataset(
        self,
        parallel_sentences: Any,
        weight: int = 100,
        max_sentences: int | None = None,
        max_sentence_length: int | None = 128,
    ) -> None:
        """Add rows (source, translation, …).

        Args:
            parallel_sentences: the rows; those of one source are put together.
            weight: how many sources each round takes from here.
            max_sentences: take no more sources than these.
            max_sentence_length: leave out rows with a text of more letters.
        """
        forms: dict[str, dict[str, None]] = {}
        for row in parallel_sentences:
            if row and row[0] and not (max_sentence_length and max(map(len, row)) > max_sentence_length):
                forms.setdefault(row[0], {}).update(dict.fromkeys(text for text in row if text))
                if max_sentences and len(forms) >= max_sentences:
                    break
        if forms:
            self._turns += [len(self.datasets)] * weight
            self._places.append(0)
            self.datasets.append([(source, list(texts)) for source, texts in forms.items()])

    def __len__(self) -> int:
        return sum(len(texts) for rows in self.datasets for _, texts in rows)

    def __getitem__(self, index: int) -> InputExample:
        """Return the next row, whatever ``index`` is."""
        if not self._ready:
            self._make_round()
        return self._ready.pop()

    def _make_round(self) -> None:
        if not self._turns:
            raise ValueError("There are no sentences: call load_data or add_dataset first.")
        rows = [self._next(number) for number in self._turns]
        wanted = list(dict.fromkeys(source for source, _ in rows if source not in self._vectors))
        fresh = self.teacher_model.encode(wanted, batch_size=self.batch_size, show_progress_bar=False) if wanted else []
        self._vectors.update(zip(wanted, fresh, strict=True))
        made = [InputExample(texts=[text], label=self._vectors[source]) for source, texts in rows for text in texts]
        if not self.use_embedding_cache:
            self._vectors.clear()
        self._ready = [made[place] for place in self._rng.permutation(len(made))]

    def _next(self, number: int) -> tuple[str, list[str]]:
        rows, place = self.datasets[number], self._places[number]
        self._places[number] = (place + 1) % len(rows)
        found = rows[place]
        if place + 1 == len(rows):
            self.datasets[number] = [rows[place] for place in self._rng.permutation(len(rows))]
        return found
