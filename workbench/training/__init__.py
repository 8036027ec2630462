"""Training: one trainer for both model classes, its arguments, samplers and checks. Names load on first use."""

from workbench._lazy import lazy

_HOMES = {
    **dict.fromkeys(["CrossEncoderTrainingArguments", "SentenceTransformerTrainingArguments"], "arguments"),
    **dict.fromkeys(["check_columns", "loss_table", "suggest_losses"], "columns"),
    **dict.fromkeys(
        ["BatchSamplers", "DefaultBatchSampler", "GroupByLabelBatchSampler", "MultiDatasetBatchSamplers",
         "NoDuplicatesBatchSampler", "ProportionalBatchSampler", "RoundRobinBatchSampler"],
        "samplers",
    ),
    **dict.fromkeys(["CrossEncoderTrainer", "SentenceTransformerTrainer", "Trainer"], "trainer"),
    "trial_table": "trials",
}  # fmt: skip

__all__ = [
    "BatchSamplers", "CrossEncoderTrainer", "CrossEncoderTrainingArguments", "DefaultBatchSampler",
    "GroupByLabelBatchSampler", "MultiDatasetBatchSamplers", "NoDuplicatesBatchSampler", "ProportionalBatchSampler",
    "RoundRobinBatchSampler", "SentenceTransformerTrainer", "SentenceTransformerTrainingArguments", "Trainer",
    "check_columns", "loss_table", "suggest_losses", "trial_table",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOMES)
