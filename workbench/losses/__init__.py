"""Losses for training embeddings, by family; each says which columns and labels it takes. Names load on first use."""

from workbench._lazy import lazy

_HOMES = {
    **dict.fromkeys(["LABELS", "Inputs", "Loss"], "base"),
    **dict.fromkeys(["AnglELoss", "CoSENTLoss", "CosineSimilarityLoss", "SoftmaxLoss"], "scored"),
    **dict.fromkeys(["ContrastiveLoss", "OnlineContrastiveLoss", "SiameseDistanceMetric"], "contrastive"),
    **dict.fromkeys(
        ["GISTEmbedLoss", "MegaBatchMarginLoss", "MultipleNegativesRankingLoss",
         "MultipleNegativesSymmetricRankingLoss"],
        "ranking",
    ),
    **dict.fromkeys(
        ["CachedGISTEmbedLoss", "CachedLoss", "CachedMultipleNegativesRankingLoss",
         "CachedMultipleNegativesSymmetricRankingLoss"],
        "cached",
    ),
    **dict.fromkeys(
        ["BatchAllTripletLoss", "BatchHardSoftMarginTripletLoss", "BatchHardTripletLoss",
         "BatchHardTripletLossDistanceFunction", "BatchSemiHardTripletLoss", "TripletDistanceMetric", "TripletLoss"],
        "triplet",
    ),
    **dict.fromkeys(["DistillKLDivLoss", "MSELoss", "MarginMSELoss"], "distillation"),
    **dict.fromkeys(
        ["ContrastiveTensionDataLoader", "ContrastiveTensionLoss", "ContrastiveTensionLossInBatchNegatives"],
        "unsupervised",
    ),
    "DenoisingAutoEncoderLoss": "denoising",
    **dict.fromkeys(["AdaptiveLayerLoss", "Matryoshka2dLoss", "MatryoshkaLoss"], "modifiers"),
}  # fmt: skip

__all__ = [
    "LABELS", "AdaptiveLayerLoss", "AnglELoss", "BatchAllTripletLoss", "BatchHardSoftMarginTripletLoss",
    "BatchHardTripletLoss", "BatchHardTripletLossDistanceFunction", "BatchSemiHardTripletLoss", "CachedGISTEmbedLoss",
    "CachedLoss", "CachedMultipleNegativesRankingLoss", "CachedMultipleNegativesSymmetricRankingLoss", "CoSENTLoss",
    "ContrastiveLoss", "ContrastiveTensionDataLoader", "ContrastiveTensionLoss",
    "ContrastiveTensionLossInBatchNegatives", "CosineSimilarityLoss", "DenoisingAutoEncoderLoss", "DistillKLDivLoss",
    "GISTEmbedLoss", "Inputs", "Loss", "MSELoss", "MarginMSELoss", "Matryoshka2dLoss", "MatryoshkaLoss",
    "MegaBatchMarginLoss", "MultipleNegativesRankingLoss", "MultipleNegativesSymmetricRankingLoss",
    "OnlineContrastiveLoss", "SiameseDistanceMetric", "SoftmaxLoss", "TripletDistanceMetric", "TripletLoss",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOMES)
