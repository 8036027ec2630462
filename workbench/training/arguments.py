"""What a training run is told: the Hugging Face arguments, and how batches, prompts and warm-up are made here."""

import warnings
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from workbench.devices import bfloat16_is_faster
from workbench.training.samplers import BatchSamplers, MultiDatasetBatchSamplers

__all__ = ["CrossEncoderTrainingArguments", "SentenceTransformerTrainingArguments"]

_ByColumn = str | dict[str, str] | dict[str, dict[str, str]] | None


@dataclass
class SentenceTransformerTrainingArguments(TrainingArguments):
    """``transformers.TrainingArguments``, and how batches, prompts and warm-up are made.

    Args:
        prompts: put before the texts: one for all, by column, by data set, or by data set and column.
        batch_sampler: "batch_sampler", "no_duplicates", "group_by_label", or a function that makes a sampler from
            (dataset, batch_size, drop_last, valid_label_columns, generator, seed).
        multi_dataset_batch_sampler: "proportional", "round_robin", or a function that makes a sampler from
            (dataset, batch_samplers, generator, seed).
        router_mapping: the route of each column through a model with a ``Router``, in the forms of ``prompts``.
        learning_rate_mapping: a learning rate of their own for parameters whose names a regular expression finds.
        warmup_ratio: the share of the steps in which the learning rate rises; the older name of a ``warmup_steps``
            below 1.

    Raises:
        ChoiceError: an unknown sampler; lists the known ones.
    """

    prompts: _ByColumn = field(default=None, metadata={"help": "Prompts: one, by column, by data set, or by both."})
    batch_sampler: Any = field(default="batch_sampler", metadata={"help": "How rows are put into batches."})
    multi_dataset_batch_sampler: Any = field(
        default="proportional", metadata={"help": "How batches of several data sets follow each other."}
    )
    router_mapping: _ByColumn = field(default=None, metadata={"help": "Routes: by column, by data set, or by both."})
    learning_rate_mapping: dict[str, float] | None = field(
        default=None, metadata={"help": "Learning rates by regular expression of parameters' names."}
    )
    warmup_ratio: float | None = field(default=None, metadata={"help": "Share of the steps spent on warm-up."})

    def __post_init__(self) -> None:
        if self.warmup_ratio is not None:
            if not 0 <= self.warmup_ratio <= 1:
                raise ValueError(f"warmup_ratio is {self.warmup_ratio}; it must be from 0 to 1.")
            self.warmup_steps = self.warmup_steps or self.warmup_ratio
        self.asked_metric = self.metric_for_best_model  # before transformers fills it in
        super().__post_init__()  # type: ignore[no-untyped-call]
        config: Any = self.accelerator_config
        if config.dispatch_batches is None:  # accelerate would cut the batches of a stream
            config.dispatch_batches = False
        if self.fp16 and self.device.type == "cpu":
            raise ValueError("fp16 needs a GPU, and training would run on the cpu here: leave fp16 off.")
        if self.bf16 and self.device.type == "cpu" and not bfloat16_is_faster():
            warnings.warn("bf16 is slower than float32 on this processor: leave bf16 off.", stacklevel=3)
        if not callable(self.batch_sampler):
            self.batch_sampler = BatchSamplers(self.batch_sampler)
        if not callable(self.multi_dataset_batch_sampler):
            self.multi_dataset_batch_sampler = MultiDatasetBatchSamplers(self.multi_dataset_batch_sampler)


@dataclass
class CrossEncoderTrainingArguments(SentenceTransformerTrainingArguments):
    """The arguments of ``SentenceTransformerTrainingArguments``, for training a ``CrossEncoder``."""
