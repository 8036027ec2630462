"""The similarity functions by their published address."""

from workbench.similarity import SimilarityFunction

__all__ = ["SimilarityFunction"]
