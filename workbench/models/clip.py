"""CLIP: texts and images in one vector space (Radford et al. 2021, arXiv:2103.00020)."""

from pathlib import Path, PurePath
from typing import Any, Self

import numpy as np
import torch

from workbench._optional import require
from workbench.errors import ModelFormatError
from workbench.images import open_image
from workbench.models.base import Features, InputModule
from workbench.models.transformer import load_pretrained, pad, save_pretrained
from workbench.tokens import IntArray, Tokens

__all__ = ["CLIPModel"]

_Image = require("PIL.Image", extra="lab").Image


class CLIPModel(InputModule):
    """One vector per text or image; a text lies near the images that it describes.

    A row is a text (always, if it is a string) or an image: a ``PIL.Image.Image``, a ``Path`` or an array of numbers as
    ``workbench.images.open_image`` takes them. One call may mix them. Files are opened batch by batch, one at a time.

    Args:
        model_name: a folder (read without any network), or a name on the hub.
        processor_name: where the tokenizer and the image settings are; None: the same place.
        options: for transformers' ``from_pretrained`` (``local_files_only``, ``revision``, ``cache_dir``, ``token``).

    Raises:
        ModelFormatError: the folder's files are missing, damaged, or those of another kind of model.
    """

    accepts = (_Image, PurePath, np.ndarray)

    def __init__(
        self, model_name: str = "openai/clip-vit-base-patch32", processor_name: str | None = None, **options: Any
    ) -> None:
        super().__init__()
        import transformers

        hf: Any = transformers

        place = str(processor_name or model_name)
        self.model, words = load_pretrained(str(model_name), place, options, options, options)
        if not isinstance(self.model, hf.CLIPModel):
            raise ModelFormatError(f"{model_name} holds a {type(self.model).__name__}, not a CLIP model.")
        local = {"local_files_only": True} if Path(place).is_dir() else {}
        try:
            pixels = hf.AutoImageProcessor.from_pretrained(place, trust_remote_code=False, **{**options, **local})
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise ModelFormatError(f"{place}: the image settings could not be loaded ({error}).") from error
        self.processor = self.tokenizer = hf.CLIPProcessor(pixels, words)
        self.max_seq_length = min(words.model_max_length, self.model.config.text_config.max_position_embeddings)
        self._tokens = Tokens(words)

    def tokenize(self, texts: list[Any]) -> Features:
        """Return one batch: ``input_ids`` and ``attention_mask`` of the texts, ``pixel_values`` of the images.

        ``image_text_info`` says which row is which, in order: 0 for an image, 1 for a text.

        Raises:
            ImageError: an image cannot be used.
        """
        info = [1 if isinstance(row, str) else 0 for row in texts]
        features: Features = {"image_text_info": info}
        if words := [row for row, kind in zip(texts, info, strict=True) if kind]:
            rows = self._tokens.rows(words, self.max_seq_length)
            features |= pad(rows, np.arange(len(rows)), self._tokens.tokenizer)
        if images := [row for row, kind in zip(texts, info, strict=True) if not kind]:
            pixels = [self.processor.image_processor(open_image(row), return_tensors="pt") for row in images]
            features["pixel_values"] = torch.cat([one["pixel_values"] for one in pixels])
        return features

    def token_counts(self, texts: list[str]) -> IntArray:
        """Tokens per text, special tokens included, before anything is cut."""
        return self._tokens.counts(texts)

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Add ``sentence_embedding`` (rows, dimension), in the order of the rows."""
        vectors = []  # of the images, then of the texts
        if "pixel_values" in features:
            seen = self.model.vision_model(pixel_values=features["pixel_values"])
            vectors.append(self.model.visual_projection(seen.pooler_output))
        if "input_ids" in features:
            read = self.model.text_model(features["input_ids"], features["attention_mask"])
            vectors.append(self.model.text_projection(read.pooler_output))
        place = np.argsort(np.argsort(features["image_text_info"], kind="stable"))  # where each row lies in them
        features["sentence_embedding"] = torch.cat(vectors)[place.tolist()]
        return features

    def get_sentence_embedding_dimension(self) -> int:
        """Length of the vectors in the shared space."""
        return int(self.model.config.projection_dim)

    def save(self, output_path: str | Path, safe_serialization: bool = True) -> None:
        """Write model, tokenizer and image settings to the folder ``output_path``."""
        save_pretrained(self.model, self.processor, output_path, safe_serialization)

    @classmethod
    def load(cls, input_path: str | Path) -> Self:
        """Make the block that was saved in the folder ``input_path``."""
        return cls(str(input_path))
