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
}

__all__ = [
    "SCORE_LOSSES", "QueryGenerator", "RuleGenerator", "Seq2SeqGenerator", "augment_domain", "augment_gold",
    "augment_texts", "distil_scores", "distil_vectors", "extend_languages", "generate_queries", "genq", "gpl",
    "keep_layers", "language_evaluator", "reduce_dimensions", "sample_pairs",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOMES)
