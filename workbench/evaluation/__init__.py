"""Evaluators: what a model is worth on one's own data, as a table of named numbers. Names load on first use."""

from workbench._lazy import lazy
from workbench.similarity import SimilarityFunction

__all__ = [
    "BinaryClassificationEvaluator", "BitextEvaluator", "CEBinaryAccuracyEvaluator", "CEBinaryClassificationEvaluator",
    "CECorrelationEvaluator", "CEF1Evaluator", "CERerankingEvaluator", "CESoftmaxAccuracyEvaluator",
    "ClusteringEvaluator",
    "CrossEncoderClassificationEvaluator", "CrossEncoderCorrelationEvaluator", "CrossEncoderNanoBEIREvaluator",
    "CrossEncoderRerankingEvaluator", "EmbeddingSimilarityEvaluator", "InformationRetrievalEvaluator",
    "LabelAccuracyEvaluator", "MSEEvaluator", "MSEEvaluatorFromDataFrame", "MtebModel", "NanoBEIREvaluator",
    "ParaphraseMiningEvaluator", "RerankingEvaluator", "SentenceEvaluator", "SequentialEvaluator",
    "SimilarityFunction", "TranslationEvaluator", "TripletEvaluator", "tune",
]  # fmt: skip

_HOMES = {
    **dict.fromkeys(["SentenceEvaluator", "SequentialEvaluator"], "base"),
    **dict.fromkeys(
        ["BinaryClassificationEvaluator", "EmbeddingSimilarityEvaluator", "LabelAccuracyEvaluator", "TripletEvaluator"],
        "pairs",
    ),
    **dict.fromkeys(
        ["BitextEvaluator", "MSEEvaluator", "MSEEvaluatorFromDataFrame", "TranslationEvaluator"], "parallel"
    ),
    **dict.fromkeys([name for name in __all__ if name.startswith("C")], "cross_encoder"),
    "ClusteringEvaluator": "clusters",
    "InformationRetrievalEvaluator": "retrieval",
    "MtebModel": "mteb",
    "NanoBEIREvaluator": "nano_beir",
    "ParaphraseMiningEvaluator": "paraphrases",
    "RerankingEvaluator": "reranking",
    "tune": "tuning",
}

__getattr__, __dir__ = lazy(__name__, _HOMES)
