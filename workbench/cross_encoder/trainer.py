"""The trainer of cross-encoders at its familiar address, handed on from ``workbench.training``."""

from workbench.training.arguments import CrossEncoderTrainingArguments
from workbench.training.trainer import CrossEncoderTrainer

__all__ = ["CrossEncoderTrainer", "CrossEncoderTrainingArguments"]
