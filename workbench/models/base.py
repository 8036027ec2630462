"""The contract of a building block: features in, features out; a folder holds its configuration and weights."""

from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import nn

from workbench.errors import ModelFormatError
from workbench.folders import load_state, read_json, save_state, write_json
from workbench.tokens import IntArray, TokenRows

__all__ = ["Features", "InputModule", "Module"]

Features = dict[str, Any]
"""What flows between blocks: ``input_ids``, ``attention_mask``, ``token_embeddings``, ``sentence_embedding`` …"""


class Module(nn.Module):
    """A block of a model. Its constructor arguments named in ``config_keys`` are its configuration.

    A subclass needs ``forward`` and ``config_keys``; saving and loading then come from here. ``_rename_config``
    translates the configuration of other versions.
    """

    config_keys: ClassVar[tuple[str, ...]] = ()
    config_file: ClassVar[str] = "config.json"
    save_in_root: ClassVar[bool] = False

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Add this block's result to ``features`` and return them."""
        raise TypeError(f"{type(self).__name__} must define forward(features).")

    def get_config_dict(self) -> dict[str, Any]:
        """The constructor arguments that make this block again, as JSON values."""
        return {key: getattr(self, key) for key in self.config_keys}

    def save(self, output_path: str | Path, safe_serialization: bool = True) -> None:
        """Write the configuration, and the weights when the block has any, to the folder ``output_path``."""
        Path(output_path).mkdir(parents=True, exist_ok=True)
        write_json(Path(output_path) / self.config_file, self.get_config_dict())
        if state := self.state_dict():
            save_state(output_path, state, safe_serialization)

    @classmethod
    def load(cls, input_path: str | Path) -> Self:
        """Make the block that was saved in the folder ``input_path``.

        Raises:
            ModelFormatError: files are missing, damaged, or do not fit each other.
        """
        config = cls._rename_config(read_json(input_path, cls.config_file))
        path = Path(input_path) / cls.config_file
        try:
            block = cls(**{key: config[key] for key in cls.config_keys if key in config})
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise ModelFormatError(f"{path} does not describe a {cls.__name__}: {error}") from error
        if block.state_dict():
            block.load_weights(input_path)
        return block

    def load_weights(self, folder: str | Path) -> None:
        """Read this block's weights from ``folder``; raises ``ModelFormatError`` where names or shapes do not fit."""
        try:
            self.load_state_dict(load_state(folder))
        except RuntimeError as error:
            raise ModelFormatError(f"{folder}: the weights do not fit this {type(self).__name__}: {error}") from error

    @classmethod
    def _rename_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        return config


class InputModule(Module):
    """A first block: it also turns texts into features.

    ``tokenize`` alone is enough (that is all the published contract asks). A block that also gives ``token_rows`` and
    ``collate`` is tokenised once per call and batched by tokens.
    """

    accepts: ClassVar[tuple[type, ...]] = ()  # what a row may be, besides a string
    padded: ClassVar[bool] = True  # whether a batch is as wide as its longest row
    tokenizer: Any = None
    max_seq_length: int | None = None

    def tokenize(self, texts: list[Any]) -> Features:
        """Return one padded batch of features for ``texts``."""
        rows = self.token_rows(texts)
        return self.collate(rows, torch.arange(len(rows)).numpy())

    def token_rows(self, texts: list[Any]) -> TokenRows:
        """Tokenise ``texts``, cut to ``max_seq_length``, without padding."""
        raise TypeError(f"{type(self).__name__} must define tokenize(texts), or token_rows and collate.")

    def token_counts(self, texts: list[str]) -> IntArray:
        """Tokens per text before anything is cut."""
        return self.token_rows(texts).lengths

    def collate(self, rows: TokenRows, index: IntArray) -> Features:
        """Return the batch made of the given rows."""
        raise TypeError(f"{type(self).__name__} must define collate(rows, index).")

    def get_word_embedding_dimension(self) -> int:
        """Length of the vectors this block gives for each token."""
        raise TypeError(f"{type(self).__name__} gives no word embeddings.")
