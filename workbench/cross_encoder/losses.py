"""The losses of cross-encoders at their familiar address, handed on from ``workbench.losses``."""

from workbench.losses.cross_encoder import (
    BinaryCrossEntropyLoss,
    CachedMultipleNegativesRankingLoss,
    CrossEntropyLoss,
    MarginMSELoss,
    MSELoss,
    MultipleNegativesRankingLoss,
)
from workbench.losses.listwise import (
    LambdaLoss,
    LambdaRankScheme,
    ListMLELoss,
    ListNetLoss,
    NDCGLoss1Scheme,
    NDCGLoss2PPScheme,
    NDCGLoss2Scheme,
    NoWeightingScheme,
    PListMLELambdaWeight,
    PListMLELoss,
    RankNetLoss,
)

__all__ = [
    "BinaryCrossEntropyLoss", "CachedMultipleNegativesRankingLoss", "CrossEntropyLoss", "LambdaLoss",
    "LambdaRankScheme", "ListMLELoss", "ListNetLoss", "MSELoss", "MarginMSELoss", "MultipleNegativesRankingLoss",
    "NDCGLoss1Scheme", "NDCGLoss2PPScheme", "NDCGLoss2Scheme", "NoWeightingScheme", "PListMLELambdaWeight",
    "PListMLELoss", "RankNetLoss",
]  # fmt: skip
