"""Search: exact and approximate indexes behind one protocol, lexical and hybrid search, retrieve and re-rank."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy
from workbench.protocols import Hits, Index

if TYPE_CHECKING:
    from workbench.search.coded import hamming_top_k, rescore
    from workbench.search.topk import METRICS, Best, top_k
    from workbench.search.tradeoff import Setting, Tradeoff, quantization_tradeoff

__all__ = [
    "METRICS", "Best", "Hits", "Index", "Setting", "Tradeoff", "hamming_top_k", "quantization_tradeoff", "rescore",
    "top_k",
]  # fmt: skip

_HOMES = {
    **dict.fromkeys(["METRICS", "Best", "top_k"], "topk"),
    **dict.fromkeys(["hamming_top_k", "rescore"], "coded"),
    **dict.fromkeys(["Setting", "Tradeoff", "quantization_tradeoff"], "tradeoff"),
}

__getattr__, __dir__ = lazy(__name__, _HOMES)
