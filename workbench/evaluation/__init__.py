"""Evaluators: what a model is worth on one's own data, as a table of named numbers. Names load on first use."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from workbench.evaluation.base import SentenceEvaluator, SequentialEvaluator, SimilarityFunction
    from workbench.evaluation.cross_encoder import (
        CEBinaryAccuracyEvaluator,
        CEBinaryClassificationEvaluator,
        CECorrelationEvaluator,
        CEF1Evaluator,
        CERerankingEvaluator,
        CESoftmaxAccuracyEvaluator,
        CrossEncoderClassificationEvaluator,
        CrossEncoderCorrelationEvaluator,
        CrossEncoderNanoBEIREvaluator,
        CrossEncoderRerankingEvaluator,
    )
    from workbench.evaluation.nano_beir import NanoBEIREvaluator
    from workbench.evaluation.pairs import (
        BinaryClassificationEvaluator,
        EmbeddingSimilarityEvaluator,
        LabelAccuracyEvaluator,
        TripletEvaluator,
    )
    from workbench.evaluation.parallel import MSEEvaluator, MSEEvaluatorFromDataFrame, TranslationEvaluator
    from workbench.evaluation.paraphrases import ParaphraseMiningEvaluator
    from workbench.evaluation.reranking import RerankingEvaluator
    from workbench.evaluation.retrieval import InformationRetrievalEvaluator

__all__ = [
    "BinaryClassificationEvaluator", "CEBinaryAccuracyEvaluator", "CEBinaryClassificationEvaluator",
    "CECorrelationEvaluator", "CEF1Evaluator", "CERerankingEvaluator", "CESoftmaxAccuracyEvaluator",
    "CrossEncoderClassificationEvaluator", "CrossEncoderCorrelationEvaluator", "CrossEncoderNanoBEIREvaluator",
    "CrossEncoderRerankingEvaluator", "EmbeddingSimilarityEvaluator", "InformationRetrievalEvaluator",
    "LabelAccuracyEvaluator", "MSEEvaluator", "MSEEvaluatorFromDataFrame", "NanoBEIREvaluator",
    "ParaphraseMiningEvaluator", "RerankingEvaluator", "SentenceEvaluator", "SequentialEvaluator",
    "SimilarityFunction", "TranslationEvaluator", "TripletEvaluator",
]  # fmt: skip

_HOMES = {
    **dict.fromkeys(["SentenceEvaluator", "SequentialEvaluator", "SimilarityFunction"], "base"),
    **dict.fromkeys(
        ["BinaryClassificationEvaluator", "EmbeddingSimilarityEvaluator", "LabelAccuracyEvaluator", "TripletEvaluator"],
        "pairs",
    ),
    **dict.fromkeys(["MSEEvaluator", "MSEEvaluatorFromDataFrame", "TranslationEvaluator"], "parallel"),
    **dict.fromkeys([name for name in __all__ if name.startswith("C")], "cross_encoder"),
    "InformationRetrievalEvaluator": "retrieval",
    "NanoBEIREvaluator": "nano_beir",
    "ParaphraseMiningEvaluator": "paraphrases",
    "RerankingEvaluator": "reranking",
}

__getattr__, __dir__ = lazy(__name__, _HOMES)
