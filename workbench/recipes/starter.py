"""How the bundled ``starter`` is made: static vectors distilled from a transformer, stored in half precision."""

import hashlib
from pathlib import Path
from typing import Any

from workbench.folders import write_json
from workbench.models import Normalize, StaticEmbedding
from workbench.sentence_transformer import SentenceTransformer

__all__ = ["make_starter"]

_NOT_ENGLISH = r"\[unused\d+\]|.*[^\W_a-zA-Z0-9].*"  # tokens never used, and those with a letter outside a-z


def make_starter(teacher: Any, output_path: str | Path, *, dimensions: int = 128) -> SentenceTransformer:
    """Distil ``teacher`` into a folder of static English vectors, and return the model as it is read from there.

    Takes under a minute on one core and no texts; the same teacher gives the same vectors.

    Args:
        teacher: a SentenceTransformer that begins with a transformer, or its name or folder.
        output_path: where to write; ``sha256.json`` there lists the large files for ``hub.verify``.
        dimensions: length of the vectors.
    """
    words = StaticEmbedding.from_distillation(teacher, pca_dims=dimensions, token_remove_pattern=_NOT_ENGLISH)
    SentenceTransformer(modules=[words.half(), Normalize()], device="cpu").save_pretrained(str(output_path))
    large = sorted(Path(output_path).glob("0_StaticEmbedding/*"))
    sums = {f"{file.parent.name}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest() for file in large}
    write_json(Path(output_path) / "sha256.json", sums)
    return SentenceTransformer(output_path, device="cpu")
