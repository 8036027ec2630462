"""Recipes: each a short function that makes a model out of the floors below. Names load on first use."""

from workbench._lazy import lazy

_HOMES = {
    **dict.fromkeys(
        ["distil_vectors", "extend_languages", "keep_layers", "language_evaluator", "reduce_dimensions"],
        "distillation",
    ),
    **dict.fromkeys(["augment_domain", "augment_gold", "augment_texts", "sample_pairs"], "augmented"),
    **dict.fromkeys(["genq", "gpl"], "generated"),
    **dict.fromkeys(["QueryGenerator", "RuleGenerator", "Seq2SeqGenerator", "generate_queries"], "queries"),
    **dict.fromkeys(["SCORE_LOSSES", "distil_scores"], "scores"),
    **dict.fromkeys(["train_clip", "zero_shot"], "pictures"),
    **dict.fromkeys(
        [
            "adaptive_pretraining",
            "contrastive_tension",
            "contrastive_tension_in_batch",
            "masked_language_model",
            "simcse",
            "tsdae",
        ],
        "unsupervised",
    ),
}

__all__ = [
    "SCORE_LOSSES", "QueryGenerator", "RuleGenerator", "Seq2SeqGenerator", "adaptive_pretraining", "augment_domain",
    "augment_gold", "augment_texts", "contrastive_tension", "contrastive_tension_in_batch", "distil_scores",
    "distil_vectors", "extend_languages", "generate_queries", "genq", "gpl", "keep_layers", "language_evaluator",
    "masked_language_model", "reduce_dimensions", "sample_pairs", "simcse", "train_clip", "tsdae", "zero_shot",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOMES)
