"""What the rooms above ask of each other, as structural types: something that embeds, that scores."""

from typing import Any, Protocol, runtime_checkable

__all__ = ["Embeds", "Scores"]


@runtime_checkable
class Embeds(Protocol):
    """Turns texts into vectors: a ``SentenceTransformer``, or anything with its ``encode``."""

    def encode(self, sentences: Any, *args: Any, **kwargs: Any) -> Any:
        """Return one vector per text: (texts, dimensions)."""


@runtime_checkable
class Scores(Protocol):
    """Scores pairs of texts: a ``CrossEncoder``, or anything with its ``predict``."""

    def predict(self, sentences: Any, *args: Any, **kwargs: Any) -> Any:
        """Return one score, or one row of scores, per pair: (pairs,) or (pairs, labels)."""
