"""Rows of a data set to what a loss takes: token batches for a sentence encoder, plain columns for a cross-encoder."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from workbench.encoding import prefixed
from workbench.models.base import Features, InputModule
from workbench.texts import slices
from workbench.tokens import TokenRows
from workbench.training.columns import VALID_LABEL_COLUMNS

__all__ = ["COPY", "DATASET", "PairCollator", "Rows", "SentenceCollator", "TokenCache"]

DATASET = "dataset_name"  # the column that says which data set a row is from
COPY = "is_copy"  # the column that says that another process has the rows of this batch, too
_CACHED = 2**26  # tokens kept across epochs: 256 MB
_AT_ONCE = 512  # texts tokenised at a time: what a tokenizer returns takes a hundred times the room of its ids

_ByColumn = str | Mapping[str, Any] | None  # one value for all, by column, by data set, or by data set and column


@dataclass(frozen=True)
class Rows(Sequence[dict[str, Any]]):
    """The rows of a batch, kept by column: each is made when it is asked for, and nothing moves their tensors."""

    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def __getitem__(self, row: Any) -> Any:
        return {name: column[row] for name, column in self.columns.items()}

    def __str__(self) -> str:
        return "; ".join(f"{self[row]!r:.200}" for row in range(min(3, len(self))))


class PairCollator:
    """Columns as lists, labels as a tensor: a cross-encoder's losses put the pairs together themselves."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Turn rows into {"features": columns, "labels", "dataset_name", "is_copy", "rows"}."""
        if not isinstance(rows, Rows):
            rows = Rows({name: [row[name] for row in rows] for name in rows[0]})
        columns = dict(rows.columns)
        name, is_copy = columns.pop(DATASET, [None])[0], COPY in columns
        columns.pop(COPY, None)
        labels = next((columns.pop(label) for label in VALID_LABEL_COLUMNS if label in columns), None)
        batch = {"features": self.features(columns, name), "labels": _tensor(labels), DATASET: name}
        return {**batch, COPY: is_copy, "rows": rows}

    def features(self, columns: dict[str, list[Any]], dataset: str | None) -> list[Any]:
        """Return what the loss gets for each column."""
        return list(columns.values())


class SentenceCollator(PairCollator):
    """One dict of features for each text column, tokenised in one call, and once for all epochs.

    Args:
        model: the ``SentenceTransformer`` that the features are for.
        prompts: put before the texts: one for all, by column, by data set, or by data set and column.
        routes: the route through a model with a ``Router``, given in the same forms.
    """

    def __init__(self, model: Any, prompts: _ByColumn = None, routes: _ByColumn = None) -> None:
        self.prompts, self.routes = prompts, routes
        self._first = model[0]
        self._reads_routes = dict in getattr(self._first, "accepts", ())
        cached = isinstance(self._first, InputModule) and not self._reads_routes
        cached = cached and type(self._first).token_rows is not InputModule.token_rows
        self._cache = TokenCache(self._first) if cached else None
        self._length = model.prompt_length  # of a prompt that pooling leaves out

    def features(self, columns: dict[str, list[Any]], dataset: str | None) -> list[Any]:
        """Tokenise the texts of all columns."""
        prompts = [_value(self.prompts, name, dataset) for name in columns]
        routes = [_value(self.routes, name, dataset) for name in columns]
        texts = [
            [prefixed(prompt, text) for text in column] if prompt else column
            for prompt, column in zip(prompts, columns.values(), strict=True)
        ]
        if self._reads_routes:
            texts = [
                [{route: text} for text in column] if route else column
                for route, column in zip(routes, texts, strict=True)
            ]
        made = self._tokenised(texts)
        for features, prompt, route in zip(made, prompts, routes, strict=True):
            if length := self._length(prompt):
                features["prompt_length"] = length
            if route:
                features["task"] = route
        return made

    def _tokenised(self, columns: list[list[Any]]) -> list[Features]:
        if self._cache is None:
            return [self._first.tokenize(column) for column in columns]
        rows = self._cache.rows([text for column in columns for text in column])
        return [self._first.collate(rows, part) for part in np.split(np.arange(len(rows)), len(columns))]


def _value(table: _ByColumn, column: str, dataset: str | None) -> str:
    """What a table says for a column of a data set: "" where it says nothing."""
    if isinstance(table, str):
        return table
    found: Any = table.get(dataset or "", table.get(column, "")) if table else ""
    return found if isinstance(found, str) else str(found.get(column, ""))


class TokenCache:
    """The tokens of every text met so far, so that later epochs tokenise nothing.

    Args:
        block: the model's first block.
        limit: most tokens to keep; texts that come later are tokenised each time.
    """

    def __init__(self, block: InputModule, limit: int = _CACHED) -> None:
        self._block, self._limit = block, limit
        self._is_full = False
        self._places: dict[str, int] = {}
        self._starts = array("q", [0])
        self._columns: dict[str, bytearray] = {}  # of int32

    def rows(self, texts: list[str]) -> TokenRows:
        """Return the token rows of texts."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._places]
        if fresh and self._is_full:
            return self._block.token_rows(texts)
        for part in slices(fresh, _AT_ONCE):
            found = self._block.token_rows(part)
            self._places |= {text: len(self._places) + place for place, text in enumerate(part)}
            self._starts.frombytes((self._starts[-1] + found.starts[1:]).tobytes())
            for name, flat in found.columns.items():
                self._columns.setdefault(name, bytearray()).extend(flat.tobytes())
            self._is_full = self._starts[-1] > self._limit
        places = np.fromiter((self._places[text] for text in texts), np.int64, len(texts))
        # No view of what grows outlives its line: Python lets nothing grow that is looked at.
        starts = np.frombuffer(self._starts, np.int64)[places]
        lengths = np.frombuffer(self._starts, np.int64)[places + 1] - starts
        own = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        index = np.repeat(starts - own[:-1], lengths) + np.arange(own[-1])
        return TokenRows({name: np.frombuffer(flat, np.int32)[index] for name, flat in self._columns.items()}, own)


def _tensor(labels: Iterable[Any] | None) -> Any:
    if labels is None:
        return None
    values = list(labels)
    if values and isinstance(values[0], torch.Tensor):
        return torch.stack(values)
    try:
        tensor = torch.as_tensor(np.asarray(values))
    except (TypeError, ValueError):  # lists of different lengths: a label for each document of a query
        return [torch.as_tensor(value) for value in values]
    return tensor.float() if tensor.dtype == torch.float64 else tensor
