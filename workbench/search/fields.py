"""Values that a search engine keeps beside each vector, declared by name and kind, and filters by them."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from workbench.errors import choose

__all__ = ["Condition", "Fields"]

Condition = tuple[str, str, Any]
"""A field, one of ``==``, ``in``, ``>``, ``>=``, ``<``, ``<=``, and a value (for ``in`` a list of them)."""

_KINDS: dict[str, tuple[type, ...]] = {  # and the types that a value may have
    "keyword": (str,),
    "text": (str,),
    "integer": (int,),
    "float": (float, int),
    "boolean": (bool,),
}
_RANGES = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class Fields:
    """The fields of an index.

    Args:
        kinds: each field's kind, by its name.
        known: the kinds that the engine has.

    Raises:
        ChoiceError: an unknown kind; lists the known ones.
        ValueError: a name that an engine would not take.
    """

    def __init__(self, kinds: Mapping[str, str], known: Collection[str]) -> None:
        for name, kind in kinds.items():
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", name) or name in ("id", "vector"):
                raise ValueError(
                    f"{name!r} cannot name a field: use up to 64 letters, digits and _, a letter first, and neither "
                    "'id' nor 'vector'."
                )
            choose("kind of field", kind, dict.fromkeys(known))
        self.kinds = dict(kinds)

    def rows(self, metadata: Any, count: int) -> list[dict[str, Any]]:
        """Return ``metadata``, for each of ``count`` rows its values by field, checked; None is no value.

        Raises:
            ChoiceError: an unknown field; lists the known ones.
            ValueError: not one mapping for each row, or values of another kind; names the row.
        """
        if metadata is None:
            return [{}] * count
        rows = list(metadata)
        if len(rows) != count:
            raise ValueError(f"{len(rows)} rows of metadata for {count} rows; give one to each.")
        return [self._row(row, position) for position, row in enumerate(rows)]

    def _row(self, row: Any, position: int) -> dict[str, Any]:
        if not isinstance(row, Mapping):
            raise ValueError(f"metadata at position {position} is {type(row).__name__}; expected field → value.")
        try:
            return {name: self._value(name, value) for name, value in row.items() if value is not None}
        except ValueError as error:
            raise type(error)(f"metadata at position {position}: {error}") from None

    def _value(self, field: str, value: Any) -> Any:
        kind = choose("field", field, self.kinds)
        plain = value.item() if isinstance(value, np.generic) else value
        if not isinstance(plain, _KINDS[kind]) or (isinstance(plain, bool) and kind != "boolean"):
            raise ValueError(f"{field} is {value!r} ({type(value).__name__}); it is a field of the kind {kind!r}.")
        if kind != "keyword" and isinstance(plain, (int, float)) and not -(2.0**63) <= plain < 2.0**63:
            raise ValueError(f"{field} is {plain}; expected a number of 64 bits.")
        return plain

    def conditions(self, chosen: Mapping[str, Any] | None) -> list[Condition]:
        """Read a filter: conditions that must all hold.

        ``{"lang": "en", "year": {"gte": 2000, "lt": 2010}, "topic": ["art", "music"]}`` asks for one value, a range,
        and any of some values.

        Raises:
            ChoiceError: an unknown field or end of a range; lists the known ones.
            ValueError: not a mapping, values of another kind, or none.
        """
        if chosen is not None and not isinstance(chosen, Mapping):
            raise ValueError(f"filter is {type(chosen).__name__}; expected field → value, list of values, or range.")
        exact = {name: kind for name, kind in self.kinds.items() if kind != "text"}
        found: list[Condition] = []
        for field, value in (chosen or {}).items():
            choose("field to filter by", field, exact)
            if isinstance(value, Collection) and not isinstance(value, str) and not len(value):
                raise ValueError(f"The filter by {field!r} is empty. Give a value, or leave the field out.")
            if isinstance(value, Mapping):
                ends = [(choose("end of a range", end, _RANGES), limit) for end, limit in value.items()]
                found += [(field, sign, self._value(field, limit)) for sign, limit in ends]
            elif isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
                found.append((field, "in", [self._value(field, one) for one in value]))
            else:
                found.append((field, "==", self._value(field, value)))
        return found
