"""Facts about well-known public models, as data for pickers and lists; nothing is loaded or asked of the network."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["MODELS", "ModelFacts", "facts"]


@dataclass(frozen=True)
class ModelFacts:
    """What is published about a model. None means that it is not known here; a length of None, that none is set."""

    name: str
    kind: str  # "bi-encoder" or "cross-encoder"
    dimensions: int | None  # of the vectors; None for a cross-encoder, which gives scores
    max_seq_length: int | None  # tokens, special tokens included
    size_mb: float | None  # the weights in float32, in units of 10^6 bytes
    languages: str
    license: str | None
    note: str = ""
    scores: Mapping[str, float] = field(default_factory=dict, hash=False)  # percent; the key is measure and source
    query_prompt: str | None = None  # to be put before queries
    document_prompt: str | None = None  # to be put before documents


def facts(name: str) -> ModelFacts | None:
    """Return what is known of the model ``name``, given with or without its organization; None if nothing is.

    >>> facts("all-MiniLM-L6-v2").dimensions
    384
    """
    wanted = re.sub(r"-L-(\d)", r"-L\1", name)  # the cross-encoders' names were once spelled …-L-6-v2
    return MODELS.get(wanted) or next((row for row in MODELS.values() if row.name.endswith(f"/{wanted}")), None)


def _st(sentences: float, search: float) -> dict[str, float]:
    return {"14 sentence tasks (sbert.net)": sentences, "6 search tasks (sbert.net)": search}


def _ms(dl19: float, mrr: float) -> dict[str, float]:
    return {"TREC DL 19 nDCG@10 (sbert.net)": dl19, "MS MARCO dev MRR@10 (sbert.net)": mrr}


_STS = "STSb test (sbert.net)"
_BI, _CE, _FREE, _ST = "bi-encoder", "cross-encoder", "apache-2.0", "sentence-transformers"
_E5 = ("query: ", "passage: ")
# fmt: off
_ROWS: list[tuple[Any, ...]] = [  # name, kind, dimensions, tokens, MB, languages, licence, note, scores, prompts
    ("starter", _BI, 256, None, 7.8, "en", _FREE, "came along: static vectors, very fast"),
    ("starter-reranker", _CE, None, 128, 13.8, "en", _FREE, "came along: small and fast"),
    (f"{_ST}/all-MiniLM-L6-v2", _BI, 384, 256, 90.9, "en", _FREE, "all-round", _st(68.06, 49.54)),
    (f"{_ST}/all-MiniLM-L12-v2", _BI, 384, 128, 133, "en", _FREE, "all-round", _st(68.70, 50.82)),
    (f"{_ST}/all-mpnet-base-v2", _BI, 768, 384, 438, "en", _FREE, "all-round, slower", _st(69.57, 57.02)),
    (f"{_ST}/paraphrase-MiniLM-L3-v2", _BI, 384, 128, 69.6, "en", _FREE, "similarity, fast", _st(62.29, 39.19)),
    (f"{_ST}/multi-qa-MiniLM-L6-cos-v1", _BI, 384, 512, 90.9, "en", None, "search", _st(64.33, 51.83)),
    (f"{_ST}/multi-qa-mpnet-base-dot-v1", _BI, 768, 512, 438, "en", None, "search by dot product", _st(66.76, 57.60)),
    (f"{_ST}/paraphrase-multilingual-MiniLM-L12-v2", _BI, 384, 128, 471, "multilingual (50+)", _FREE,
     "similarity across languages", _st(64.25, 39.19)),
    (f"{_ST}/paraphrase-multilingual-mpnet-base-v2", _BI, 768, 128, 1112, "multilingual (50+)", _FREE,
     "similarity across languages, slower", _st(65.83, 41.68)),
    (f"{_ST}/LaBSE", _BI, 768, 256, 1884, "multilingual (109)", _FREE, "finds translations"),
    (f"{_ST}/static-retrieval-mrl-en-v1", _BI, 1024, None, 125, "en", _FREE,
     "static vectors for search, can be truncated", {"NanoBEIR nDCG@10 (model card)": 50.3}),
    (f"{_ST}/static-similarity-mrl-multilingual-v1", _BI, 1024, None, 434, "multilingual (50)", _FREE,
     "static vectors for similarity, can be truncated"),
    ("minishlab/potion-base-8M", _BI, 256, None, 30.2, "en", "mit", "static vectors, small"),
    ("intfloat/e5-small-v2", _BI, 384, 512, 133, "en", "mit", "search", {}, *_E5),
    ("intfloat/multilingual-e5-small", _BI, 384, 512, 471, "multilingual (100)", "mit", "search", {}, *_E5),
    ("BAAI/bge-small-en-v1.5", _BI, 384, 512, 133, "en", "mit", "search", {},
     "Represent this sentence for searching relevant passages: "),
    ("cross-encoder/ms-marco-TinyBERT-L2-v2", _CE, None, 512, 17.5, "en", _FREE, "ranks, fast", _ms(69.84, 32.56)),
    ("cross-encoder/ms-marco-MiniLM-L6-v2", _CE, None, 512, 90.9, "en", _FREE, "ranks", _ms(74.30, 39.01)),
    ("cross-encoder/ms-marco-MiniLM-L12-v2", _CE, None, 512, 133, "en", _FREE, "ranks", _ms(74.31, 39.02)),
    ("cross-encoder/stsb-TinyBERT-L4", _CE, None, 512, 57.4, "en", _FREE, "similarity", {_STS: 85.50}),
    ("cross-encoder/stsb-distilroberta-base", _CE, None, 512, 328, "en", _FREE, "similarity", {_STS: 87.92}),
    ("cross-encoder/stsb-roberta-base", _CE, None, 512, 499, "en", _FREE, "similarity", {_STS: 90.17}),
]
# fmt: on
MODELS: dict[str, ModelFacts] = {row[0]: ModelFacts(*row) for row in _ROWS}
