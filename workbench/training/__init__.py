"""Training: one trainer for both model classes, its arguments, samplers and checks. Names load on first use."""

from workbench._lazy import lazy

_HOMES = dict.fromkeys(
    ["BatchSamplers", "DefaultBatchSampler", "GroupByLabelBatchSampler", "MultiDatasetBatchSamplers",
     "NoDuplicatesBatchSampler", "ProportionalBatchSampler", "RoundRobinBatchSampler"],
    "samplers",
)  # fmt: skip

__all__ = [
    "BatchSamplers", "DefaultBatchSampler", "GroupByLabelBatchSampler", "MultiDatasetBatchSamplers",
    "NoDuplicatesBatchSampler", "ProportionalBatchSampler", "RoundRobinBatchSampler",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOMES)
