"""How well texts are found, on judged collections, and what BM25 and fusion cost beside their bare libraries.

``--data`` is a folder of collections, each with corpus.jsonl.gz, queries.jsonl.gz and qrels.tsv.gz in BEIR's layout.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import line, measure, parser, take_turns

BM25 = {"medline": 0.696, "cisi": 0.386, "npl": 0.428}  # nDCG@10 of bare bm25s with English stems


def collection(folder: Path) -> tuple[dict[str, str], list[str], list[dict[str, float]]]:
    """Texts by id, queries that have a relevant one, and for each of them its gains."""

    def read(name: str) -> list[dict[str, str]]:
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as rows:
            return [json.loads(row) for row in rows]

    gains: dict[str, dict[str, float]] = {}
    with gzip.open(folder / "qrels.tsv.gz", "rt", encoding="utf-8") as rows:
        next(rows)
        for query, document, gain in (row.rstrip("\n").split("\t") for row in rows):
            if float(gain) > 0:
                gains.setdefault(query, {})[document] = float(gain)
    queries = [row for row in read("queries") if row["_id"] in gains]
    texts = {row["_id"]: f"{row.get('title', '')} {row['text']}".strip() for row in read("corpus")}
    return texts, [row["text"] for row in queries], [gains[row["_id"]] for row in queries]


def quality(options: argparse.Namespace) -> None:
    """nDCG@10 of words, vectors, both, and the re-ranker on top of the better of these."""
    from workbench import CrossEncoder, SentenceTransformer
    from workbench.search import BM25Index, DenseIndex, ExactIndex, HybridIndex, RetrieveRerank

    model, reranker = SentenceTransformer(options.model, device="cpu"), CrossEncoder(options.reranker, device="cpu")
    for name in options.collections:
        texts, queries, gains = collection(options.data / name)
        if options.quick:
            queries, gains = queries[:5], gains[:5]
        hybrid = HybridIndex({"meaning": DenseIndex(model, ExactIndex()), "words": BM25Index()})
        hybrid.add(list(texts), list(texts.values()))
        weighted = HybridIndex(hybrid.parts, method="weighted")
        found: dict[str, float] = {}
        for method, index in {**hybrid.parts, "by ranks": hybrid, "by scores": weighted}.items():
            found[method] = _ndcg(RetrieveRerank(index, texts).run(queries, 10, judgements=gains))
        few = slice(0, 100)  # queries: a cross-encoder takes its time
        for method, index in {"meaning": hybrid.parts["meaning"], "by scores": weighted}.items():
            search = RetrieveRerank(index, texts, reranker)
            result = search.run(queries[few], options.candidates, judgements=gains[few])
            found[f"{method}, re-ranked"] = _ndcg(result)
        shown = ", ".join(f"{method} {value:.3f}" for method, value in found.items())
        bars = (
            {}
            if options.quick or name not in BM25
            else {f"{BM25[name]} ± 0.001": abs(found["words"] - BM25[name]) < 1e-3}
        )
        line(f"nDCG@10, {name}, {len(texts):,} texts, {len(queries):,} queries", shown, str(BM25.get(name, "")), **bars)


def _ndcg(result: Any) -> float:
    return float(result.metrics(10)["re-ranked"]["nDCG@10"])


def lexical(options: argparse.Namespace) -> None:
    """BM25: indexing and searching beside the bare library, which finds the same."""
    import bm25s
    import Stemmer

    from workbench.search import BM25Index

    texts, queries, _ = collection(options.data / "npl")
    copies = 1 if options.quick else 5
    rows, asked = list(texts.values()) * copies, queries * 5

    def ours(_: int) -> tuple[list[Any], Any]:
        index = BM25Index()
        index.add(None, rows)
        return [index], index.search(asked, 10)

    def theirs(_: int) -> tuple[list[Any], Any]:
        stemmer = Stemmer.Stemmer("english")
        index = bm25s.BM25()
        index.index(bm25s.tokenize(rows, stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False)
        words = bm25s.tokenize(asked, stopwords="en", stemmer=stemmer, show_progress=False)
        return [index], index.retrieve(words, k=10, show_progress=False)

    times, ((_, hits), (_, expected)) = take_turns(options.rounds, ours, theirs)
    ratio, gap = times[1] / times[0], float(np.abs(hits.scores - expected.scores).max())
    what = f"BM25, {len(rows):,} texts, {len(asked)} queries"
    line(what, *(f"{seconds:.2f} s" for seconds in times), f"{ratio:.2f} x", **{"≥ 0.8 x": ratio >= 0.8})
    line("… largest difference of scores", f"{gap:.1e}", **{"≤ 1e-5": gap <= 1e-5})


def fusion(options: argparse.Namespace) -> None:
    """Reciprocal rank fusion of two lists of 100 for many queries, beside a loop over dicts."""
    from workbench.protocols import Hits
    from workbench.search import fuse

    generator, count = np.random.default_rng(0), 100 if options.quick else 2_000
    scores = -np.sort(-generator.random((count, 100), np.float32))
    lists = [
        Hits(np.stack([generator.permutation(1_000)[:100] for _ in range(count)]).astype(np.int64), scores)
        for _ in "ab"
    ]

    def loop(_: int) -> Sequence[list[tuple[int, float]]]:
        merged = []
        for rows in zip(*lists, strict=True):
            points: dict[int, float] = {}
            for row in rows:
                for rank, (name, _score) in enumerate(row, 1):
                    points[name] = points.get(name, 0) + 1 / (60 + rank)
            merged.append(sorted(points.items(), key=lambda pair: -pair[1])[:10])
        return merged

    fuse(lists)  # imports what it needs
    times, (fused, expected) = take_turns(options.rounds, lambda _: fuse(lists, 10), loop)
    ratio = times[1] / times[0]
    same = fused.ids.tolist() == [[name for name, _ in row] for row in expected]
    what = f"fusion of two lists of 100 for {count:,} queries (beside a loop over dicts)"
    line(what, *(f"{seconds:.2f} s" for seconds in times), f"{ratio:.1f} x", **{"≥ 1 x": ratio >= 1, "the same": same})


PARTS = (quality, lexical, fusion)


def main() -> int:
    """Measure, print the table, and return 1 if a bar was missed (never with ``--quick``)."""
    ask = parser(__doc__, PARTS)
    ask.add_argument("--data", type=Path, required=True, help="a folder of judged collections")
    ask.add_argument("--collections", nargs="+", default=list(BM25), help="which of them to judge")
    ask.add_argument("--model", default="starter", help="turns texts into vectors")
    ask.add_argument("--reranker", default="starter-reranker", help="scores pairs")
    ask.add_argument("--candidates", type=int, default=50, help="texts that the re-ranker gets for each query")
    options = ask.parse_args()
    options.rounds = 1 if options.quick else 3
    return measure(options, PARTS)


if __name__ == "__main__":
    sys.exit(main())
