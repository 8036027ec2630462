"""The trainer of bi-encoders by its published address."""

from workbench.training import SentenceTransformerTrainer

__all__ = ["SentenceTransformerTrainer"]
