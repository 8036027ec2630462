"""Metrics against the reference's evaluators, which are fed the same scores and rankings."""

import numpy as np
import pytest
from sentence_transformers.sentence_transformer.evaluation import (
    BinaryClassificationEvaluator,
    InformationRetrievalEvaluator,
)

from workbench import metrics

RNG = np.random.default_rng(5)
VECTORS = RNG.normal(size=(2, 200, 8)).astype(np.float32)
LABELS = (RNG.random(200) < 0.4).astype(int)
KS = [1, 3, 10, 40]


@pytest.mark.parametrize("scores", [RNG.normal(size=200), RNG.integers(0, 9, 200) / 8, np.full(200, 0.5)])
@pytest.mark.parametrize("high", [True, False])
@pytest.mark.parametrize("labels", [LABELS, np.ones(200, int), np.zeros(200, int)])
def test_thresholds_equal_the_reference(scores, high, labels):
    accuracy = BinaryClassificationEvaluator.find_best_acc_and_threshold(scores, labels, high)
    f1 = BinaryClassificationEvaluator.find_best_f1_and_threshold(scores, labels, high)
    assert metrics.best_accuracy(scores, labels, high) == pytest.approx(accuracy, abs=1e-12)
    assert metrics.best_f1(scores, labels, high) == pytest.approx(f1, abs=1e-12)


class _Precomputed(BinaryClassificationEvaluator):
    def embed_inputs(self, model, sentences, **kwargs):
        return np.stack([VECTORS[int(text[0]), int(text[1:])] for text in sentences])


@pytest.mark.parametrize(("name", "sign"), [("dot", 1), ("manhattan", -1)])
def test_all_numbers_of_the_binary_evaluator_are_reached(name, sign):
    rows = range(200)
    evaluator = _Precomputed(
        [f"0{i}" for i in rows], [f"1{i}" for i in rows], LABELS.tolist(), write_csv=False, similarity_fn_names=[name]
    )
    expected = evaluator.compute_metrices(None)[name]
    a, b = VECTORS
    scores = (a * b).sum(axis=1) if name == "dot" else np.abs(a - b).sum(axis=1)
    f1, precision, recall, threshold = metrics.best_f1(scores, LABELS, sign > 0)
    accuracy, accuracy_threshold = metrics.best_accuracy(scores, LABELS, sign > 0)
    found = {
        "accuracy": accuracy,
        "accuracy_threshold": accuracy_threshold,
        "f1": f1,
        "f1_threshold": threshold,
        "precision": precision,
        "recall": recall,
        "ap": metrics.average_precision(sign * scores, LABELS),
        "mcc": metrics.matthews(scores, LABELS, threshold, sign > 0),
    }
    assert found == pytest.approx({key: float(value) for key, value in expected.items()}, rel=1e-6)


def test_retrieval_numbers_equal_the_reference():
    corpus = {str(i): "" for i in range(60)}
    relevant = {f"q{q}": {str(i) for i in RNG.choice(60, RNG.integers(1, 9), replace=False)} for q in range(25)}
    rankings = [[str(i) for i in RNG.permutation(60)[: RNG.integers(0, 30)]] for _ in relevant]
    evaluator = InformationRetrievalEvaluator(
        dict.fromkeys(relevant, ""),
        corpus,
        relevant,
        mrr_at_k=KS,
        ndcg_at_k=KS,
        accuracy_at_k=KS,
        precision_recall_at_k=KS,
        map_at_k=KS,
        write_csv=False,
    )
    expected = evaluator.compute_metrics(
        [[{"corpus_id": doc, "score": -float(rank)} for rank, doc in enumerate(ranking)] for ranking in rankings]
    )
    ranked = np.zeros((25, 30))
    for row, (docs, ranking) in enumerate(zip(relevant.values(), rankings, strict=True)):
        ranked[row, : len(ranking)] = [doc in docs for doc in ranking]
    counts = [len(docs) for docs in relevant.values()]
    for k in KS:
        found = {
            "accuracy@k": metrics.accuracy_at_k(ranked, k),
            "precision@k": metrics.precision_at_k(ranked, k),
            "recall@k": metrics.recall_at_k(ranked, counts, k),
            "ndcg@k": metrics.ndcg_at_k(ranked, counts, k),
            "mrr@k": metrics.mrr_at_k(ranked, k),
            "map@k": metrics.map_at_k(ranked, counts, k),
        }
        assert found == pytest.approx({name: values[k] for name, values in expected.items()}, abs=1e-12)
