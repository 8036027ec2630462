"""Search: exact and approximate indexes behind one protocol, lexical and hybrid search, retrieve and re-rank."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy
from workbench.protocols import Hits, Index

if TYPE_CHECKING:
    from workbench.search.topk import METRICS, Best, top_k

__all__ = ["METRICS", "Best", "Hits", "Index", "top_k"]

_HOMES = {"METRICS": "topk", "Best": "topk", "top_k": "topk"}

__getattr__, __dir__ = lazy(__name__, _HOMES)
