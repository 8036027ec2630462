"""The evaluators of cross-encoders at their familiar address, handed on from ``workbench.evaluation``."""

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

__all__ = [
    "CEBinaryAccuracyEvaluator", "CEBinaryClassificationEvaluator", "CECorrelationEvaluator", "CEF1Evaluator",
    "CERerankingEvaluator", "CESoftmaxAccuracyEvaluator", "CrossEncoderClassificationEvaluator",
    "CrossEncoderCorrelationEvaluator", "CrossEncoderNanoBEIREvaluator", "CrossEncoderRerankingEvaluator",
]  # fmt: skip
