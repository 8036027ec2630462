"""Small adapters: LoRA on attention, with weights that are not zero, so that each of them changes the vectors."""

from peft import LoraConfig

from tests.tiny import made_texts

TEXTS = made_texts(12)
PAIRS = [("a man is eating food", "the girl plays guitar"), ("the cat", "a dog on bread")]


def lora(**options):
    """A LoRA of rank 4 on queries and values."""
    return LoraConfig(**{"r": 4, "target_modules": ["query", "value"], "init_lora_weights": False} | options)
