"""Confidence intervals of metrics by the bootstrap: rows drawn again and again (Efron and Tibshirani, 1993)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.evaluation.base import Samples

__all__ = ["draws", "interval"]

_BLOCK = 2**22  # numbers of one block of draws: 32 MiB


def draws(samples: Samples, count: int = 1000, *, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Return the metrics of ``count`` samples of the rows, drawn with replacement: (count,) by metric.

    All draws of a block are computed at once, in bounded memory. The same seed draws the same rows, so that the numbers
    of two models on the same data can be subtracted draw by draw.

    Raises:
        ValueError: count is below 1.
    """
    if count < 1:
        raise ValueError(f"count is {count}; draw at least one sample.")
    rng, parts = np.random.default_rng(seed), []
    most = max(1, _BLOCK // max(samples.rows, 1))
    for start in range(0, count, most):
        block = min(most, count - start)
        drawn = rng.integers(samples.rows, size=(block, samples.rows)) + samples.rows * np.arange(block)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=block * samples.rows).reshape(block, samples.rows)
        parts.append(samples.values(counts))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def interval(value: float, values: Any, level: float = 0.95) -> tuple[float, float]:
    """Return what the middle ``level`` of the draws lies between, moved so that their mean is ``value``.

    The move matters where repeated rows flatter a metric, as they do a V-measure of small classes; a metric that is a
    mean over the rows it leaves in place. Draws without a value are left out; NaN without any.

    Raises:
        ValueError: level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1, such as 0.95.")
    known = np.asarray(values)[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2]) + (value - known.mean())
    return float(low), float(high)
