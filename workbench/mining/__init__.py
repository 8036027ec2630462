"""Mining: pairs of paraphrases, translated sentences and hard negatives, found in one's own texts."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from workbench.mining.paraphrases import paraphrase_mining, paraphrase_mining_embeddings

__all__ = ["paraphrase_mining", "paraphrase_mining_embeddings"]

_HOMES = dict.fromkeys(["paraphrase_mining", "paraphrase_mining_embeddings"], "paraphrases")

__getattr__, __dir__ = lazy(__name__, _HOMES)
