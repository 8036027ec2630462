"""Cross-encoders: the model, and its losses, evaluators and trainer by their familiar addresses."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from workbench.cross_encoder.model import CrossEncoder
    from workbench.cross_encoder.trainer import CrossEncoderTrainer, CrossEncoderTrainingArguments

__all__ = ["CrossEncoder", "CrossEncoderTrainer", "CrossEncoderTrainingArguments"]

_HOMES = {
    "CrossEncoder": "model",
    "CrossEncoderTrainer": "trainer",
    "CrossEncoderTrainingArguments": "trainer",
    "evaluation": "",
    "losses": "",
}

__getattr__, __dir__ = lazy(__name__, _HOMES)
