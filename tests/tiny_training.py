"""Small things to train on: a static model of a few hundred vectors, pairs, and arguments for a run of seconds."""

import torch
from datasets import Dataset

from tests.tiny import made_texts, tokenizer
from workbench import SentenceTransformer
from workbench.models import StaticEmbedding
from workbench.training import SentenceTransformerTrainingArguments

TEXTS = made_texts(96)


def static(seed=0, dim=16):
    """A static model with random vectors."""
    torch.manual_seed(seed)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer(), embedding_dim=dim)], device="cpu")


def pairs(count=32, **labels):
    """Pairs of different texts, and the columns of labels given."""
    return Dataset.from_dict({"anchor": TEXTS[:count], "positive": TEXTS[-count:][::-1], **labels})


def arguments(folder, cls=SentenceTransformerTrainingArguments, **options):
    """Arguments for a short, quiet run on the cpu that saves nothing by itself."""
    usual = {
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-2,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "use_cpu": True,
        "dataloader_pin_memory": False,
    }
    return cls(str(folder), **usual | options)


def losses_of(trainer):
    """The losses that a run has logged, in order."""
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]
