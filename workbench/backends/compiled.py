"""A transformers model as an engine runs it, in the place of the torch module: the same inputs, the same outputs."""

import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor, nn

from workbench.backends.engines import BACKENDS, data_files
from workbench.errors import ModelFormatError
from workbench.folders import inside

__all__ = ["Compiled"]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
_TOKENS = ("token_embeddings", "last_hidden_state")  # what exporters call the vectors of tokens
_WEIGHTS = ("config.json", "*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model*.json")


class Compiled(nn.Module):
    """Token vectors, or the logits of a classifier, computed by an engine. It has no weights to train or to move.

    Args:
        backend: a key of ``BACKENDS``.
        path: the exported model.
        config: the model's configuration.
        source: the model's folder, which ``save`` copies.
        head: whether it is a classifier.
        options: see ``Backend.options``.

    Raises:
        ModelFormatError: the file is damaged, or is not a model of this kind or size.
        UnsafeModelError: its weights lie outside its folder.
        ChoiceError: an unknown provider; lists those of this machine.
        DependencyError: the engine is not installed; says what to install.
    """

    def __init__(
        self,
        backend: str,
        path: Path,
        config: Any,
        source: Path,
        head: bool,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.backend, self.path, self.config, self.source, self.head = backend, path, config, source, head
        self._options, self._digest = options, ""
        self._session = BACKENDS[backend].open(path, options)
        inputs, outputs = self._session.inputs, self._session.outputs
        wanted = ("logits",) if head else _TOKENS
        output = next((name for name in wanted if name in outputs), None)
        if output is None or "input_ids" not in inputs or not set(inputs) <= set(_INPUTS):
            raise ModelFormatError(
                f"{path} takes {', '.join(inputs)} and gives {', '.join(outputs)}. Expected: input_ids and some of "
                f"{', '.join(_INPUTS[1:])}, to {' or '.join(wanted)}."
            )
        self._output = output
        self.training = False
        self._probe()

    def _probe(self) -> None:
        """Run two rows of three tokens, which shows files of another model and those of fixed sizes."""
        config, ids = self.config, torch.zeros((2, 3), dtype=torch.long)
        text = getattr(config, "text_config", None) or config
        width = config.num_labels if self.head else getattr(text, "hidden_size", None) or text.d_model
        expected = (2, width) if self.head else (2, 3, width)
        try:
            shape: object = tuple(self._compute(ids).shape)
        except Exception as error:  # the engines' own kinds
            shape = f"{type(error).__name__}: {error!s:.200}"
        if shape != expected:
            raise ModelFormatError(
                f"{self.path} gives {shape} for 2 rows of 3 tokens; its config.json says {expected}."
            )

    @property
    def dtype(self) -> torch.dtype:
        """The type of what comes out."""
        return torch.float32

    @property
    def base_model(self) -> Self:
        """The model itself."""
        return self

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Return (token vectors (rows, tokens, width),), or an object with ``logits``, (rows, labels)."""
        out = self._compute(input_ids, attention_mask, token_type_ids)
        return SimpleNamespace(logits=out) if self.head else (out,)

    def _compute(self, ids: Tensor, mask: Tensor | None = None, types: Tensor | None = None) -> Tensor:
        mask = torch.ones_like(ids) if mask is None else mask
        given = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": torch.zeros_like(ids) if types is None else types,
            "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
        }
        arrays = {
            name: np.ascontiguousarray(given[name].cpu().numpy(), dtype=np.int64) for name in self._session.inputs
        }
        return torch.from_numpy(self._session.run(arrays, self._output)).float().to(ids.device)

    def train(self, mode: bool = True) -> Self:
        """Stay as it is; training needs the torch model."""
        if mode:
            raise ValueError(
                f"A model of the backend {self.backend!r} cannot be trained. Load it with backend='torch'."
            )
        return self

    def extra_repr(self) -> str:
        """Name the file and what is in it: two files never pass for the same model."""
        if not self._digest:
            parts = [sha256(file.read_bytes()).hexdigest() for file in [self.path, *data_files(self.path)]]
            self._digest = sha256("".join(parts).encode()).hexdigest()[:32]
        return f"{self.backend}, {self.path.name}, sha256={self._digest}"

    def save(self, folder: Path) -> None:
        """Write to ``folder`` what the model's folder holds of it (torch's weights, other exports) and this export."""
        for pattern in (*_WEIGHTS, *(f"{backend.folder}/*" for backend in BACKENDS.values())):
            for file in self.source.glob(pattern):
                name = file.relative_to(self.source).as_posix()
                if inside(self.source, name).is_file():
                    _copy(file, folder / name)
        self.add_to(folder)

    def add_to(self, folder: Path) -> None:
        """Write this export to a model's folder; weights beside it come first, so that no export is half there."""
        for file in [*data_files(self.path), self.path]:
            target = folder / BACKENDS[self.backend].folder / file.name
            fresh = target.with_name(f".{target.name}.{uuid4().hex}")
            try:
                _copy(file, fresh)
                fresh.replace(target)
            finally:
                fresh.unlink(missing_ok=True)

    def __reduce__(self) -> Any:
        return Compiled, (self.backend, self.path, self.config, self.source, self.head, self._options)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing in it changes


def _copy(file: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    shutil.copy2(file, target)
