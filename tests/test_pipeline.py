"""Retrieve and re-rank: both orders, who moved, what it took, and how good it was."""

import numpy as np
import pytest

from tests.tiny_index import Words, flat
from workbench import metrics
from workbench.errors import ChoiceError, TextTypeError
from workbench.search.bm25 import BM25Index
from workbench.search.dense import DenseIndex
from workbench.search.hybrid import HybridIndex, fuse
from workbench.search.pipeline import RetrieveRerank

TEXTS = {"a": "red fish", "b": "blue fish and red fish", "c": "red bird", "d": "error"}


class Shortest:
    """Scores pairs: the shorter the text, the better. Remembers what it was asked."""

    def __init__(self):
        self.calls = []

    def predict(self, sentences, **options):
        self.calls.append(sentences)
        return np.array([-len(text) for _, text in sentences], np.float32)


def lexical():
    index = BM25Index()
    index.add(list(TEXTS), list(TEXTS.values()))
    return index


def test_candidates_are_put_in_the_order_of_the_re_ranker():
    reranker = Shortest()
    result = RetrieveRerank(lexical(), TEXTS, reranker).run(["fish", "red", "nothing"], 3)
    assert [[name for name, _ in row] for row in result.retrieved] == [["b", "a"], ["a", "c", "b"], []]
    assert list(result.reranked) == [[("a", -8), ("b", -22)], [("a", -8), ("c", -8), ("b", -22)], []]
    assert reranker.calls == [
        [("fish", TEXTS["b"]), ("fish", TEXTS["a"]), ("red", TEXTS["a"]), ("red", TEXTS["c"]), ("red", TEXTS["b"])]
    ], "all pairs are scored at once"


def test_the_table_has_both_ranks_and_the_movement():
    result = RetrieveRerank(lexical(), TEXTS, Shortest()).run("fish", judgements=[{"a": 2}])
    frame = result.to_frame()
    assert frame["id"].tolist() == ["a", "b"]
    assert frame["retrieval rank"].tolist() == [2, 1]
    assert frame["rank"].tolist() == [1, 2]
    assert frame["moved"].tolist() == [1, -1]
    assert frame["score"].tolist() == [-8, -22]
    assert frame["retrieval score"].tolist() == [score for _, score in next(iter(result.retrieved))][::-1]
    assert frame["text"].tolist() == [TEXTS["a"], TEXTS["b"]]
    assert frame["gain"].tolist() == [2, 0]
    assert set(frame["text of query"]) == {"fish"}
    assert result.to_frame(1)["id"].tolist() == ["a"]


@pytest.mark.parametrize("fusion", ["rrf", "weighted"])
def test_the_new_order_can_be_a_fusion_of_both(fusion):
    result = RetrieveRerank(lexical(), TEXTS, Shortest(), fusion=fusion).run(["red", "nothing"], 3)
    alone = RetrieveRerank(lexical(), TEXTS, Shortest()).run(["red", "nothing"], 3)
    assert list(result.retrieved) == list(alone.retrieved)
    assert list(result.reranked) == list(fuse([alone.retrieved, alone.reranked], 3, fusion, rank_constant=10))
    if fusion == "rrf":  # retrieved a c b, re-ranked a c b
        (first, best), (second, _), (third, _) = next(iter(result.reranked))
        assert (first, second, third) == ("a", "c", "b")
        assert best == pytest.approx(2 / 11)
    frame = result.to_frame()
    assert (frame["moved"] == frame["retrieval rank"] - frame["rank"]).all()


def test_a_fusion_of_opposite_orders_keeps_what_stands_high_in_both():
    class Backwards:
        def predict(self, sentences, **options):
            return np.array([{"a": 1, "c": 3, "b": 2}[next(k for k in TEXTS if TEXTS[k] == t)] for _, t in sentences])

    order = [
        name for name, _ in next(iter(RetrieveRerank(lexical(), TEXTS, Backwards(), fusion="rrf").run("red").reranked))
    ]
    assert order == ["c", "a", "b"]  # ranks 2 and 1, 1 and 3, 3 and 2


def test_an_unknown_fusion_is_refused_at_once_and_no_candidates_are_none():
    with pytest.raises(ChoiceError, match="'rrf', 'weighted'"):
        RetrieveRerank(lexical(), TEXTS, Shortest(), fusion="mean")
    assert len(RetrieveRerank(lexical(), TEXTS, Shortest(), fusion="rrf").run([]).to_frame()) == 0
    assert RetrieveRerank(lexical(), TEXTS, Shortest(), fusion="rrf").run("nothing").to_frame().empty


def test_without_a_re_ranker_the_order_stays():
    for fusion in (None, "rrf"):
        result = RetrieveRerank(lexical(), TEXTS, fusion=fusion).run(["red"])
        assert result.reranked is result.retrieved
    assert result.to_frame()["moved"].tolist() == [0, 0, 0]


def test_metrics_before_and_after_are_those_of_the_rankings():
    judged = [{"a": 1}, {"c": 2, "b": 1}, {}, ["d"]]
    result = RetrieveRerank(lexical(), TEXTS, Shortest()).run(["fish", "red", "bird", "blue"], judgements=judged)
    found = result.metrics(2)
    ideal = [[1, 0], [2, 1], [1, 0]]
    before, after = [[0, 1], [0, 2], [0, 0]], [[1, 0], [0, 2], [0, 0]]
    for stage, gains in (("retrieved", before), ("re-ranked", after)):
        assert found[stage]["nDCG@2"] == pytest.approx(metrics.ndcg_at_k(gains, ideal, 2))
        assert found[stage]["MRR@2"] == pytest.approx(metrics.mrr_at_k(gains, 2))
    assert found["re-ranked"]["MRR@2"] == 0.5


def test_every_kind_of_retriever_serves():
    dense = DenseIndex(Words(), flat())
    hybrid = HybridIndex({"meaning": dense, "words": BM25Index()})
    hybrid.add(None, list(TEXTS.values()))
    for retriever in (dense, hybrid, hybrid.parts["words"]):
        result = RetrieveRerank(retriever, list(TEXTS.values()), Shortest()).run(["red bird"], 1)
        assert result.reranked.ids.tolist() == [[2]]
        assert set(result.seconds) == {"encode", "retrieve", "re-rank"}
        assert all(seconds >= 0 for seconds in result.seconds.values())


def test_a_model_is_asked_by_its_own_names_for_queries_and_documents():
    class Prompted(Words):
        def encode_query(self, sentences, **options):
            return self.encode([text.replace("?", "fish") for text in sentences])

        def encode_document(self, sentences, **options):
            return self.encode([text.replace("!", "fish") for text in sentences])

    index = DenseIndex(Prompted(), flat())
    index.add(None, ["red", "!", "bird"])
    assert index.search(["?"], 1).ids.tolist() == index.search(index.encode_query("?"), 1).ids.tolist() == [[1]]


def test_bundled_models_run_from_texts_to_a_table():
    from workbench import CrossEncoder, SentenceTransformer

    texts = ["A man is eating food.", "A monkey is playing drums.", "The sky is clear tonight."]
    index = HybridIndex({"meaning": DenseIndex(SentenceTransformer("starter"), flat()), "words": BM25Index()})
    index.add(None, texts)
    ranker = CrossEncoder("starter-reranker")
    result = RetrieveRerank(index, texts, ranker).run(
        ["Who is eating?", "Who plays an instrument?"], 3, judgements=[[0], [1]]
    )
    frame = result.to_frame()
    assert len(frame) == 6
    for row in frame.to_dict("records"):
        expected = ranker.predict((row["text of query"], row["text"]))
        assert row["score"] == pytest.approx(float(expected), abs=1e-6)
    assert result.metrics()["re-ranked"]["MRR@10"] == 1


def test_no_queries_give_an_empty_table():
    result = RetrieveRerank(lexical(), TEXTS, Shortest()).run([], judgements=[])
    assert len(result) == len(result.to_frame()) == 0
    assert np.isnan(result.metrics()["retrieved"]["nDCG@10"])


class Fixed:
    def __init__(self, scores):
        self.scores = scores

    def predict(self, sentences, **options):
        return self.scores


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (lambda: RetrieveRerank(lexical(), ["only one"]).run("fish"), ValueError, "'b', which is not among the 1"),
        (lambda: RetrieveRerank(lexical(), {"a": "x"}).run("fish"), ValueError, "not among"),
        (lambda: RetrieveRerank(lexical(), ["a", None]), TextTypeError, "Row 1"),
        (lambda: RetrieveRerank(lexical(), TEXTS).run([1]), TextTypeError, "Row 0"),
        (lambda: RetrieveRerank(lexical(), TEXTS).run("fish", 0), ValueError, "k is 0"),
        (lambda: RetrieveRerank(lexical(), TEXTS).run("fish", judgements=[]), ValueError, "0 queries"),
        (lambda: RetrieveRerank(lexical(), TEXTS).run("fish", judgements=["a"]), ValueError, "id"),
        (lambda: RetrieveRerank(lexical(), TEXTS).run("fish").metrics(), ValueError, "judgements="),
        (lambda: RetrieveRerank(lexical(), TEXTS, Fixed([[1, 2], [3, 4]])).run("fish"), ValueError, "one label"),
        (lambda: RetrieveRerank(lexical(), TEXTS, Fixed([1, np.nan])).run("fish"), ValueError, "1 of them not finite"),
    ],
)
def test_bad_input_gets_one_clear_error(bad, error, words):
    with pytest.raises(error, match=words):
        bad()
