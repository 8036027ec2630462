"""The arguments of training cross-encoders by their published address."""

from workbench.training import CrossEncoderTrainingArguments

__all__ = ["CrossEncoderTrainingArguments"]
