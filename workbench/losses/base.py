"""What every loss is: the columns and labels it takes, declared as data, and a pure function of embeddings."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from workbench.losses.joined import joined
from workbench.models.base import Features

__all__ = ["LABELS", "Inputs", "Label", "Loss", "Metric", "metric_name", "needed"]

Metric = Callable[[Any, Any], Tensor]
Label = Literal["none", "score", "binary", "class", "margin", "scores", "embedding", "grades"]

LABELS: dict[str, str] = {
    "none": "none",
    "score": "a number, higher for a better match",
    "binary": "1 or 0: alike or not",
    "class": "a whole number from 0: the class",
    "margin": "the teacher's score of the positive minus that of each negative",
    "scores": "the teacher's scores, one for each text after the first",
    "embedding": "the teacher's vector",
    "grades": "a list: how relevant each document is",
}
"""What a label column may hold, in words."""


@dataclass(frozen=True)
class Inputs:
    """One form of data that a loss takes: its text columns in order, and its label."""

    columns: tuple[str, ...]
    label: Label = "none"
    more: str | None = None  # what further text columns hold, where there may be any number of them

    def __str__(self) -> str:
        columns = [*self.columns, *([f"{self.more}_1 … {self.more}_n"] if self.more else [])]
        return f"({', '.join(columns)}), label: {LABELS[self.label]}"


class Loss(nn.Module):
    """A number to make small. A loss of one's own defines ``inputs`` and ``compute``.

    Args:
        model: the ``SentenceTransformer`` to train.
    """

    inputs: ClassVar[tuple[Inputs, ...]] = ()
    citation: ClassVar[str] = ""  # BibTeX, for the model card
    apart: bool = False  # whether the model must see each column by itself

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, sentence_features: Iterable[Features], labels: Tensor | None = None) -> Tensor:
        """Return the loss of one batch: one dict of features for each text column."""
        return self.compute(self.embed(sentence_features), labels)

    def embed(self, sentence_features: Iterable[Features]) -> list[Tensor]:
        """Return one (batch, dim) tensor for each column; the model sees them together where that saves padding."""
        columns = list(sentence_features)
        if self.apart or (found := joined(columns)) is None:
            return [self.model(features)["sentence_embedding"] for features in columns]
        batches, places = found
        vectors = torch.cat([self.model(batch)["sentence_embedding"] for batch in batches])[places]
        sizes = [len(features["offsets" if "offsets" in features else "input_ids"]) for features in columns]
        return list(torch.split(vectors, sizes))

    def truncate(self, embeddings: list[Tensor], dim: int) -> list[Tensor]:
        """Return the model's vectors cut to ``dim`` dimensions and scaled to length 1 again; for ``MatryoshkaLoss``."""
        return [normalize(vectors[:, :dim], dim=1) for vectors in embeddings]

    def compute(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Return the loss of embeddings, one (batch, dim) tensor for each column."""
        raise NotImplementedError(f"{type(self).__name__} must define compute(embeddings, labels).")

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return {}


def metric_name(metric: Any, table: Any = None) -> str:
    """What a model card calls a metric: its name in a table of choices, else the function's own."""
    for name, choice in vars(table).items() if table is not None else ():
        if choice is metric:
            return f"{table.__name__}.{name}"
    return getattr(metric, "__name__", type(metric).__name__)


def needed(labels: Tensor | None, loss: Loss) -> Tensor:
    """Return the labels, or say that the loss needs some."""
    if labels is None:
        raise ValueError(f"{type(loss).__name__} needs labels; it takes {' or '.join(map(str, loss.inputs))}.")
    return labels
