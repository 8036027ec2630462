"""Mining: pairs of paraphrases, translated sentences and hard negatives, found in one's own texts."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from workbench.mining.bitext import BitextScore, bitext_mining, mine_bitext, score_bitext
    from workbench.mining.bitext_files import mine_bitext_files
    from workbench.mining.hard_negatives import mine_hard_negatives
    from workbench.mining.negative_tables import MiningStatistics
    from workbench.mining.paraphrases import paraphrase_mining, paraphrase_mining_embeddings

__all__ = [
    "BitextScore", "MiningStatistics", "bitext_mining", "mine_bitext", "mine_bitext_files",
    "mine_hard_negatives", "paraphrase_mining", "paraphrase_mining_embeddings", "score_bitext",
]  # fmt: skip

_HOMES = {
    "MiningStatistics": "negative_tables", "mine_bitext_files": "bitext_files",
    "mine_hard_negatives": "hard_negatives",
    **dict.fromkeys(["BitextScore", "bitext_mining", "mine_bitext", "score_bitext"], "bitext"),
    **dict.fromkeys(["paraphrase_mining", "paraphrase_mining_embeddings"], "paraphrases"),
}  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOMES)
