"""Facts about well-known public models, from ``registry.tsv``, for pickers and lists; nothing is loaded or asked."""

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

__all__ = ["MODELS", "ModelFacts", "facts"]


@dataclass(frozen=True)
class ModelFacts:
    """What is published about a model. None means that it is not known here; a length of None, that none is set."""

    name: str
    kind: str  # "bi-encoder" or "cross-encoder"
    dimensions: int | None  # of the vectors; None for a cross-encoder, which gives scores
    max_seq_length: int | None  # tokens, special tokens included
    size_mb: float | None  # the weights in float32, in units of 10^6 bytes; as they lie on disk for what came along
    languages: str  # codes, or "multilingual" and how many
    license: str | None
    note: str
    query_prompt: str | None  # to be put before queries
    document_prompt: str | None  # to be put before documents
    source: str  # the page of these facts
    scores: Mapping[str, float] = field(default_factory=dict, hash=False)  # percent; the key is measure and source

    def speaks(self, language: str) -> bool:
        """Whether the model was made for a language, given by its code. Multilingual models count for every one."""
        return self.languages.startswith("multilingual") or language.lower() in self.languages.split(", ")


def facts(name: str) -> ModelFacts | None:
    """Return what is known of the model ``name``, given with or without its organization; None if nothing is.

    >>> facts("all-MiniLM-L6-v2").dimensions
    384
    """
    old = re.sub(r"-L-(\d)", r"-L\1", name)  # the cross-encoders' names were once spelled …-L-6-v2
    found = (row for wanted in (name, old) for row in MODELS.values() if wanted in (row.name, row.name.split("/")[-1]))
    return next(found, None)


def _read(path: Path) -> dict[str, ModelFacts]:
    """The rows of the table: the columns that are no field of ``ModelFacts`` are scores."""
    kinds: dict[str, Callable[[str], Any]] = {"dimensions": int, "max_seq_length": int, "size_mb": float}
    columns = [column.name for column in fields(ModelFacts) if column.name != "scores"]
    found = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            known: dict[str, Any] = {name: kinds.get(name, str)(row[name]) if row[name] else None for name in columns}
            scores = {name: float(value) for name, value in row.items() if value and name not in columns}
            found[row["name"]] = ModelFacts(**known, scores=scores)
    return found


MODELS = _read(Path(__file__).with_name("registry.tsv"))
