"""Rows of a data set to what a loss takes: token batches for a sentence encoder, plain columns for a cross-encoder."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from workbench.encoding import prefixed
from workbench.models.base import Features, InputModule
from workbench.tokens import TokenRows
from workbench.training.columns import VALID_LABEL_COLUMNS

__all__ = ["DATASET", "PairCollator", "SentenceCollator", "TokenCache"]

DATASET = "dataset_name"  # the column that says which data set a row is from
_CACHED = 2**26  # tokens kept across epochs: 256 MB

Prompts = str | Mapping[str, Any] | None


class PairCollator:
    """Columns as lists, labels as a tensor: a cross-encoder's losses put the pairs together themselves."""

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Turn rows into {"features": columns, "labels", "dataset_name", "rows"}."""
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        name = columns.pop(DATASET, [None])[0]
        labels = next((columns.pop(label) for label in VALID_LABEL_COLUMNS if label in columns), None)
        batch = {"features": self.features(columns, name), "labels": _tensor(labels), DATASET: name}
        return {**batch, "rows": rows}

    def features(self, columns: dict[str, list[Any]], dataset: str | None) -> list[Any]:
        """Return what the loss gets for each column."""
        return list(columns.values())


class SentenceCollator(PairCollator):
    """One dict of features for each text column, tokenised in one call, and once for all epochs.

    Args:
        model: the ``SentenceTransformer`` that the features are for.
        prompts: put before the texts: one for all, by column, by data set, or by data set and column.
    """

    def __init__(self, model: Any, prompts: Prompts = None) -> None:
        self.prompts = prompts
        self._first = model[0]
        self._knows_tokens = (
            isinstance(self._first, InputModule) and type(self._first).token_rows is not InputModule.token_rows
        )
        self._cache = TokenCache(self._first) if self._knows_tokens else None
        self._length = model.prompt_length  # of a prompt that pooling leaves out

    def features(self, columns: dict[str, list[Any]], dataset: str | None) -> list[Any]:
        """Tokenise the texts of all columns."""
        prompts = {name: self.prompt(name, dataset) for name in columns}
        texts = {
            name: [prefixed(prompts[name], text) for text in column] if prompts[name] else column
            for name, column in columns.items()
        }
        made = self._tokenised(list(texts.values()))
        for features, prompt in zip(made, prompts.values(), strict=True):
            if length := self._length(prompt):
                features["prompt_length"] = length
        return made

    def _tokenised(self, columns: list[list[Any]]) -> list[Features]:
        if self._cache is None:
            return [self._first.tokenize(column) for column in columns]
        rows = self._cache.rows([text for column in columns for text in column])
        return [self._first.collate(rows, part) for part in np.split(np.arange(len(rows)), len(columns))]

    def prompt(self, column: str, dataset: str | None) -> str:
        """Return the prompt for a column of a data set: "" where there is none."""
        prompt: Any = self.prompts or ""
        for key in (dataset, column):
            if isinstance(prompt, Mapping):
                prompt = prompt.get(key, prompt if key == dataset and column in prompt else "")
        return prompt if isinstance(prompt, str) else ""


class TokenCache:
    """The tokens of every text met so far, so that later epochs tokenise nothing.

    Args:
        block: the model's first block.
        limit: most tokens to keep; texts that come later are tokenised each time.
    """

    def __init__(self, block: InputModule, limit: int = _CACHED) -> None:
        self._block, self._limit = block, limit
        self._places: dict[str, int] = {}
        self._starts = _Growing(np.int64)
        self._columns: dict[str, _Growing] = {}

    def rows(self, texts: list[str]) -> TokenRows:
        """Return the token rows of texts."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._places]
        if fresh:
            found = self._block.token_rows(fresh)
            used = self._starts.data[self._starts.size - 1] if self._places else 0
            if used + found.starts[-1] > self._limit:
                return self._block.token_rows(texts)
            if not self._places:
                self._starts.extend(found.starts[:1])
            self._places |= {text: len(self._places) + place for place, text in enumerate(fresh)}
            self._starts.extend(found.starts[1:] + used)
            for name, flat in found.columns.items():
                self._columns.setdefault(name, _Growing(flat.dtype)).extend(flat)
        places = np.fromiter((self._places[text] for text in texts), np.int64, len(texts))
        starts = self._starts.data[places]
        lengths = self._starts.data[places + 1] - starts
        own = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        index = np.repeat(starts - own[:-1], lengths) + np.arange(own[-1])
        return TokenRows({name: column.data[index] for name, column in self._columns.items()}, own)


class _Growing:
    """An array that things are put behind; its space doubles when it is full."""

    def __init__(self, dtype: Any) -> None:
        self.data: npt.NDArray[Any] = np.empty(1024, dtype)
        self.size = 0

    def extend(self, values: npt.NDArray[Any]) -> None:
        stop = self.size + len(values)
        if stop > len(self.data):
            self.data = np.concatenate([self.data[: self.size], np.empty(max(stop, self.size), self.data.dtype)])
        self.data[self.size : stop] = values
        self.size = stop


def _tensor(labels: Iterable[Any] | None) -> Any:
    if labels is None:
        return None
    values = list(labels)
    if values and isinstance(values[0], torch.Tensor):
        return torch.stack(values)
    try:
        return torch.as_tensor(np.asarray(values))
    except (TypeError, ValueError):  # lists of different lengths: a label for each document of a query
        return [torch.as_tensor(value) for value in values]
