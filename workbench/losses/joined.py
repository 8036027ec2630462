"""All columns of a batch as one: their rows in batches of like length, so that little work goes into padding."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn.functional import pad

from workbench.batching import plan
from workbench.devices import token_budget
from workbench.models.base import Features

__all__ = ["joined"]

_FLAT, _PADDED = {"input_ids", "offsets"}, {"input_ids", "attention_mask", "token_type_ids"}


def joined(columns: Sequence[Features]) -> tuple[list[Features], Tensor] | None:
    """Return batches with the rows of all columns, and where among these each row is; None for other kinds of columns.

    Args:
        columns: one dict of features for each: flat ``input_ids`` with ``offsets``, or rows padded at the right.
    """
    first = columns[0]
    tensors = {name for name, value in first.items() if torch.is_tensor(value)}
    others = {name: value for name, value in first.items() if name not in tensors}
    alike = all(one.keys() == first.keys() and all(one[key] == others[key] for key in others) for one in columns)
    if alike and tensors == _FLAT:
        ids = torch.cat([one["input_ids"] for one in columns])
        starts = np.cumsum([0, *(len(one["input_ids"]) for one in columns)]).tolist()
        offsets = torch.cat([one["offsets"] + start for one, start in zip(columns, starts, strict=False)])
        return [{**others, "input_ids": ids, "offsets": offsets}], torch.arange(len(offsets), device=ids.device)
    if not alike or not {"input_ids", "attention_mask"} <= tensors <= _PADDED:
        return None
    mask = _stacked([one["attention_mask"] for one in columns])
    if not mask[:, 0].all():  # padded at the left
        return None
    lengths = mask.sum(1).cpu().numpy()
    padding = (one["input_ids"][one["attention_mask"] == 0] for one in columns)
    fill = {"input_ids": next((int(found[0]) for found in padding if len(found)), 0)}
    whole = {name: _stacked([one[name] for one in columns], fill.get(name, 0)) for name in tensors}
    # Processes that train together must call the model equally often: each calls it once.
    alone = not (distributed.is_available() and distributed.is_initialized())
    parts = plan(lengths, budget=token_budget(mask.device) // 4) if alone else [np.arange(len(lengths))]
    batches = [
        {**others, **{name: rows[index, : max(1, lengths[index].max())] for name, rows in whole.items()}}
        for index in parts
    ]
    return batches, torch.from_numpy(np.argsort(np.concatenate(parts))).to(mask.device)


def _stacked(columns: Sequence[Tensor], fill: int = 0) -> Tensor:
    """The rows of all columns, as wide as the widest: (all rows, tokens)."""
    width = max(column.shape[1] for column in columns)
    return torch.cat([pad(column, (0, width - column.shape[1]), value=fill) for column in columns])
