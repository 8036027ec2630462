"""The ids of an index's rows: whole numbers or strings, each once, in the order in which the rows came."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Ids"]

_Array = npt.NDArray[Any]
_Places = npt.NDArray[np.int64]


class Ids:
    """Says which id the row at a place has, and at which place an id is; numbers take eight bytes each.

    Where a row was deleted and its place stays empty, the id is -1, or None among strings.

    Args:
        values: the id at every place: int64, or object that holds strings.
    """

    def __init__(self, values: _Array | None = None) -> None:
        self._parts = [np.zeros(0, np.int64) if values is None else values]
        self._count()

    def _count(self) -> None:
        values = self.all
        self.places = len(values)
        self._gone = int(np.count_nonzero(_empty(values)))
        self._next = 0 if self.strings else int(values.max(initial=-1)) + 1
        self._place = {name: place for place, name in enumerate(values) if name is not None} if self.strings else {}

    def __len__(self) -> int:
        return self.places - self._gone

    @property
    def strings(self) -> bool:
        """Whether the ids are strings."""
        return self._parts[0].dtype == object

    @property
    def all(self) -> _Array:
        """The id at every place: (places,)."""
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0]

    def check(self, ids: Any, rows: int) -> _Array:
        """Return ids for so many new rows, without adding them; None numbers them on.

        Raises:
            TypeError: an id that is neither a whole number nor a string; strings beside numbers.
            ValueError: negative or repeated ids, or not one for each row.
        """
        if ids is None and self.places and self.strings:
            raise TypeError("The rows of this index have strings as ids: pass one for each new row.")
        new = np.arange(self._next, self._next + rows) if ids is None else _array(ids)
        if len(new) != rows:
            raise ValueError(f"There are {len(new)} ids for {rows} rows; pass one for each.")
        if self.places and rows and (new.dtype == object) != self.strings:
            kinds = ("strings", "whole numbers") if self.strings else ("whole numbers", "strings")
            raise TypeError("The rows of this index have {} as ids, the new ones {}. Use one kind.".format(*kinds))
        if repeated := self._repeated(new):
            shown = ", ".join(map(repr, repeated[:5]))
            raise ValueError(f"{len(repeated)} ids came before, such as {shown}. Each can be there once.")
        return new

    def _repeated(self, new: _Array) -> list[Any]:
        if new.dtype == object:
            counts: dict[str, int] = {}
            for name in new:
                counts[name] = counts.get(name, 0) + 1
            return [name for name, count in counts.items() if count > 1 or name in self._place]
        ordered = np.sort(new)
        again = [ordered[1:][ordered[1:] == ordered[:-1]]]
        if len(new) and ordered[0] < self._next:  # the usual new ids, above all others, need no look at those
            again.append(new[np.isin(new, self.all)])
        repeated: list[int] = np.unique(np.concatenate(again)).tolist()
        return repeated

    def append(self, ids: _Array) -> None:
        """Add ids that ``check`` returned, at the next places."""
        self._parts = [*self._parts, ids] if self.places else [ids]
        if self.strings:
            self._place.update(zip(ids, range(self.places, self.places + len(ids)), strict=True))
        else:
            self._next = max(self._next, int(ids.max(initial=-1)) + 1)
        self.places += len(ids)

    def at(self, places: _Places) -> _Array:
        """Return the ids at places of any shape; where a place is -1, that is -1, or None among strings."""
        nothing = None if self.strings else -1
        found = self.all[places] if self.places else np.full(places.shape, nothing, self.all.dtype)
        found[places < 0] = nothing
        return found

    def find(self, ids: Any) -> _Places:
        """Return the places of ids; raises ``KeyError`` for one that is not there."""
        wanted = _array(ids)
        if self.strings:
            places = np.unique([self._place.get(name, -1) for name in wanted]).astype(np.int64)
            unknown: Any = [name for name in wanted if name not in self._place]
        else:
            places = np.flatnonzero(np.isin(self.all, wanted))
            unknown = np.setdiff1d(wanted, self.all[places]).tolist()
        if unknown:
            raise KeyError(f"No row has the id {unknown[0]!r}.")
        return places

    def remove(self, places: _Places, *, close: bool) -> None:
        """Forget the ids at places; with ``close`` the ids behind them move up, as their rows did."""
        values = self.all.copy()
        values[places] = None if self.strings else -1
        self._parts = [values[~_empty(values)] if close else values]
        self._count()


def _empty(values: _Array) -> npt.NDArray[np.bool_]:
    empty: npt.NDArray[np.bool_] = values == None if values.dtype == object else values < 0  # noqa: E711 (each value)
    return empty


def _array(ids: Any) -> _Array:
    """Ids as an array: int64, or object that holds strings."""
    if isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype.kind in "iu":
        numbers = ids.astype(np.int64)
    else:
        rows = [ids] if isinstance(ids, (str, int)) else list(ids)
        kind: type = str if rows and isinstance(rows[0], str) else int
        for place, row in enumerate(rows):
            if not isinstance(row, str if kind is str else (int, np.integer)) or isinstance(row, bool):
                raise TypeError(f"ids[{place}] is {row!r:.50}; ids are whole numbers or strings, all of one kind.")
        if kind is str:
            names = np.empty(len(rows), object)
            names[:] = rows
            return names
        try:
            numbers = np.array(rows, np.int64)
        except OverflowError as error:
            raise ValueError("Whole numbers as ids go up to 2**63 - 1. Use strings for larger ones.") from error
    if len(numbers) and (lowest := int(numbers.min())) < 0:
        raise ValueError(f"Whole numbers as ids begin at 0; {lowest} is below.")
    return numbers
