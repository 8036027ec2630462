"""Hybrid search: several indexes asked the same question, and their answers merged into one list."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from workbench.errors import DataFormatError, choose
from workbench.folders import inside
from workbench.protocols import Embeds, Hits, Index
from workbench.search.dense import DenseIndex
from workbench.search.ids import Ids
from workbench.search.kinds import KINDS
from workbench.search.saved import read_folder, write_folder
from workbench.texts import is_stream

__all__ = ["FUSIONS", "HybridIndex", "fuse"]

_Array = npt.NDArray[Any]


def _ranks(hits: Hits, rank_constant: float) -> _Array:
    """1 / (constant + rank): (queries, k)."""
    return np.broadcast_to(1 / (rank_constant + np.arange(1, hits.ids.shape[1] + 1)), hits.ids.shape)


def _scaled(hits: Hits, rank_constant: float) -> _Array:
    """Scores moved to 1 for the best and 0 for the last that was found; all 1 where they are equal: (queries, k)."""
    scores, found = hits.scores.astype(np.float64), np.isfinite(hits.scores)
    low = scores.min(axis=1, keepdims=True, initial=np.inf, where=found)
    spread = scores.max(axis=1, keepdims=True, initial=-np.inf, where=found) - low
    scaled = np.ones_like(scores)
    np.divide(scores - low, spread, out=scaled, where=found & (spread > 0))
    return scaled


FUSIONS = {"rrf": _ranks, "weighted": _scaled}
"""Ways to merge: "rrf" adds 1 / (constant + rank), "weighted" adds scores scaled to 0 … 1 within each list."""


def fuse(
    hits_list: Sequence[Hits],
    k: int = 10,
    method: str = "rrf",
    weights: Sequence[float] | None = None,
    rank_constant: float = 60,
) -> Hits:
    """Merge what several searches found for the same queries.

    "rrf" (reciprocal rank fusion; Cormack, Clarke and Büttcher, 2009) looks at ranks only, so it needs no tuning and
    joins scores of any scale. "weighted" keeps how far apart the scores are; choose it with weights fitted on judged
    queries. A list in which an id is missing adds nothing for it.

    Args:
        hits_list: one ``Hits`` for each search, all with the same number of queries and one kind of ids.
        k: how many to keep for each query.
        method: one of ``FUSIONS``.
        weights: how much each search counts, from 0 (not at all) up; None: all the same.
        rank_constant: for "rrf": higher makes the first ranks count less against the later ones.

    Returns:
        The merged hits. Of equal scores, what an earlier list found stands first.

    Raises:
        ChoiceError: unknown method; lists the known ones.
        ValueError: nothing to merge, different numbers of queries, kinds of ids, wrong weights, or k below 1.
    """
    points = choose("fusion", method, FUSIONS)
    if not hits_list or len({len(hits) for hits in hits_list}) > 1:
        raise ValueError(f"Got hits for {[len(hits) for hits in hits_list]} queries; expected the same in every list.")
    strings = any(hits.ids.dtype == object for hits in hits_list)
    if strings and any(hits.ids.dtype != object and hits.found.any() for hits in hits_list):
        raise ValueError("Some hits have whole numbers as ids and some have strings. Use the same ids in every index.")
    if k < 1 or not rank_constant >= 0:
        raise ValueError(
            f"k is {k} and rank_constant {rank_constant}; expected k of 1 or more, and no negative constant."
        )
    shares = _shares(weights, len(hits_list))
    if method == "weighted":
        shares = shares / shares.sum()
    queries = len(hits_list[0])
    counted = [np.isfinite(hits.scores) & (share > 0) for share, hits in zip(shares, hits_list, strict=True)]
    found = np.concatenate(counted, axis=1)  # (queries, all)
    gained = [share * points(hits, rank_constant) for share, hits in zip(shares, hits_list, strict=True)]
    names, numbers = _numbered(np.concatenate([hits.ids for hits in hits_list], axis=1)[found])
    query = np.nonzero(found)[0]
    pairs, first, place = np.unique(query * max(1, len(names)) + numbers, return_index=True, return_inverse=True)
    totals = np.bincount(place, np.concatenate(gained, axis=1)[found], len(pairs)).astype(np.float32)
    order = np.lexsort((first, -totals, query[first]))
    query, pairs, totals = query[first][order], pairs[order], totals[order]
    rank = np.arange(len(query)) - np.searchsorted(query, query)  # within its query
    kept = rank < k
    ids = np.full((queries, k), None if strings else -1, object if strings else np.int64)
    scores = np.full((queries, k), -np.inf, np.float32)
    ids[query[kept], rank[kept]] = names[pairs[kept] % max(1, len(names))]
    scores[query[kept], rank[kept]] = totals[kept]
    return Hits(ids, scores)


def _shares(weights: Sequence[float] | None, count: int) -> _Array:
    shares = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != (count,) or not np.isfinite(shares).all() or (shares < 0).any() or not shares.any():
        raise ValueError(f"weights are {weights}; expected {count} numbers from 0 up, not all of them 0.")
    return shares


def _numbered(ids: _Array) -> tuple[_Array, _Array]:
    """The different ids, and for each one its number among them; by hashing, since sorting strings is slow."""
    import pandas as pd

    numbers, names = pd.factorize(ids)
    return np.asarray(names), numbers


class HybridIndex:
    """Several indexes of the same rows, searched together.

    Args:
        parts: the indexes by name, such as ``{"meaning": DenseIndex(model, index), "words": BM25Index()}``. They may be
            filled already, under the same ids.
        method: how their hits are merged, with ``weights`` by name and ``rank_constant``: see ``fuse``.
        depth: how many rows each part is asked for, if not more are wanted anyway.

    Rows and queries are the same for every part (texts, for the two above), or differ: then a mapping gives each part
    its own, such as ``{"meaning": vectors, "words": texts}``.

    Raises:
        ChoiceError: unknown method, or a weight for a part that there is not; lists the known ones.
        ValueError: no parts.
    """

    kind = "hybrid"

    def __init__(
        self,
        parts: Mapping[str, Index],
        *,
        method: str = "rrf",
        weights: Mapping[str, float] | None = None,
        rank_constant: float = 60,
        depth: int = 100,
    ) -> None:
        choose("fusion", method, FUSIONS)
        if not parts:
            raise ValueError("A hybrid index needs parts: pass at least one index by name.")
        for name in weights or ():
            choose("part", name, parts)
        self.parts, self.depth = dict(parts), depth
        self.method, self.weights, self.rank_constant = method, dict(weights or {}), rank_constant

    def add(self, ids: Sequence[Any] | None, rows: Any) -> None:
        """Add rows to every part under ids: whole numbers or strings, each once; None numbers them on.

        Where one part refuses, those before it forget the rows again, as far as they can.
        """
        given = self._given(rows, "rows")
        if len(sizes := {len(part) for part in given.values()}) > 1:
            raise ValueError(f"The parts got different numbers of rows: {sorted(sizes)}.")
        if ids is None:
            ids = range(len(self), len(self) + sizes.pop())
        done: list[Any] = []
        try:
            for name, part in self.parts.items():
                part.add(ids, given[name])
                done.append(part)
        except BaseException:
            for part in done:
                with suppress(AttributeError, NotImplementedError):
                    part.delete(ids)
            raise

    def encode_query(self, queries: Any) -> dict[str, Any]:
        """Return what each part is asked, texts as vectors where it has a model; ``search`` takes it."""
        given = self._given(queries, "queries")
        return {name: getattr(part, "encode_query", _same)(given[name]) for name, part in self.parts.items()}

    def search(self, queries: Any, k: int = 10) -> Hits:
        """Return the k best rows for each query, over all parts."""
        given = self._given(queries, "queries")
        found = [part.search(given[name], max(k, self.depth)) for name, part in self.parts.items()]
        weights = [self.weights.get(name, 1.0) for name in self.parts]
        return fuse(found, k, self.method, weights, self.rank_constant)

    def delete(self, ids: Any) -> None:
        """Delete rows from every part; raises what a part raises that does not have them, or cannot."""
        for part in self.parts.values():
            part.delete(ids)  # type: ignore[attr-defined]

    def save(self, path: str | Path) -> None:
        """Write the parts to a folder, in one step, without their models.

        Raises:
            DataFormatError: the folder holds something else than an index, which is left alone.
        """
        parts = []
        for name, part in self.parts.items():
            bare = part.index if isinstance(part, DenseIndex) else part
            parts.append({"name": name, "kind": bare.kind, "dense": bare is not part})  # type: ignore[attr-defined]
        how = {"method": self.method, "weights": self.weights, "rank_constant": self.rank_constant, "depth": self.depth}
        with write_folder(path, {"kind": self.kind, "count": 0, "settings": how, "parts": parts}, Ids()) as folder:
            for number, part in enumerate(self.parts.values()):
                part.save(folder / str(number))

    @classmethod
    def open(cls, path: str | Path, *, model: Embeds | None = None, **options: Mapping[str, Any]) -> Self:
        """Open an index that ``save`` wrote.

        Args:
            path: its folder.
            model: what encoded the texts of its ``DenseIndex`` parts.
            options: further ones for opening a part, by its name: ``meaning={"ef": 200}``.

        Raises:
            DataFormatError: no index of this kind, or a damaged one.
            ValueError: a part needs a model, and there is none.
        """
        values, _ = read_folder(path, cls.kind)
        try:
            saved = [(str(part["name"]), part["kind"], bool(part["dense"])) for part in values["parts"]]
            settings = dict(values["settings"])
        except (LookupError, TypeError, ValueError) as error:
            raise DataFormatError(f"{path} is damaged ({error!r}). Make the index again.") from error
        parts: dict[str, Index] = {}
        for number, (name, kind, dense) in enumerate(saved):
            module, class_name = choose("kind of index", kind, KINDS)
            part = getattr(import_module(module), class_name).open(inside(path, str(number)), **options.get(name, {}))
            if dense and model is None:
                raise ValueError(
                    f"The part {name!r} searches texts by vectors. Pass model=, the one that encoded them."
                )
            parts[name] = DenseIndex(model, part) if dense and model is not None else part
        try:
            return cls(parts, **settings)
        except (TypeError, ValueError) as error:
            raise DataFormatError(f"{path} has settings that do not fit ({error}). Make the index again.") from error

    def __len__(self) -> int:
        return max(len(part) for part in self.parts.values())

    def _given(self, rows: Any, what: str) -> dict[str, Any]:
        """Rows or queries by part: one text as a list, and a generator read once for all of them."""
        if not isinstance(rows, Mapping):
            shared = [rows] if isinstance(rows, str) else list(rows) if is_stream(rows) else rows
            return dict.fromkeys(self.parts, shared)
        if set(rows) != set(self.parts):
            raise ValueError(f"{what} are given for {sorted(rows)}; expected them for {sorted(self.parts)}.")
        return dict(rows)


def _same(queries: Any) -> Any:
    return queries
