"""What the rooms expect of each other: something that embeds texts, that scores pairs, that finds nearest rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = ["Embeds", "Hits", "Index", "Scores"]


class Embeds(Protocol):
    """Turns texts into vectors, as ``SentenceTransformer`` does."""

    def encode(self, sentences: Any, **options: Any) -> Any:
        """Return (texts, dim) vectors."""


class Scores(Protocol):
    """Scores pairs of texts, as ``CrossEncoder`` does."""

    def predict(self, sentences: Any, **options: Any) -> Any:
        """Return one score for each pair, higher for a better match."""


@dataclass(frozen=True)
class Hits:
    """What a search found: for each query its best rows, best first.

    Where fewer than k rows were found, the rest of a line is filled up: id -1 (None among string ids), score -inf.
    """

    ids: npt.NDArray[Any]  # (queries, k): int64, or object where ids are strings
    scores: npt.NDArray[np.float32]  # (queries, k): higher is better; distances are negated

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[list[tuple[Any, float]]]:
        """Yield for each query its (id, score) pairs, without the filling."""
        for ids, scores, found in zip(self.ids.tolist(), self.scores.tolist(), self.found.tolist(), strict=True):
            yield list(zip(ids[:found], scores[:found], strict=True))

    @property
    def found(self) -> npt.NDArray[np.int64]:
        """How many rows were found for each query: (queries,)."""
        counts: npt.NDArray[np.int64] = np.isfinite(self.scores).sum(axis=1)
        return counts


@runtime_checkable
class Index(Protocol):
    """Finds the nearest rows; ``workbench.search.open_index`` makes one. Rows are vectors, or texts for ``bm25``."""

    def add(self, ids: Sequence[Any] | None, rows: Any) -> None:
        """Add rows under ids: whole numbers or strings, each once; None numbers them on."""

    def search(self, queries: Any, k: int = 10) -> Hits:
        """Return the k best rows for each query."""

    def save(self, path: str | Path) -> None:
        """Write the index to a folder, in one step."""

    def __len__(self) -> int: ...
