"""Evaluators by themselves: closed forms and brute force, bad input, files, given vectors, and collections on disk."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from tests.tiny import made_texts
from workbench import evaluation
from workbench.errors import ChoiceError, ColumnsError, DataFormatError, TextTypeError, WorkbenchError
from workbench.evaluation import InformationRetrievalEvaluator, NanoBEIREvaluator, SentenceEvaluator
from workbench.evaluation.base import append_row
from workbench.progress import listen

T = made_texts(40)
E = evaluation


class Numbers:
    """A model whose texts are the numbers of rows in a table; it counts what it is asked to encode."""

    similarity_fn_name = "dot"

    def __init__(self, vectors):
        self.vectors, self.asked = torch.as_tensor(vectors, dtype=torch.float32), []

    def encode(self, sentences, **options):
        self.asked.append((list(sentences), options))
        return self.vectors[[int(text) for text in sentences]][:, : options.get("truncate_dim")]


class Scores:
    """A cross-encoder that gives each pair the number in its second text."""

    def predict(self, sentences, **options):
        return np.array([float(second) for _, second in sentences], np.float32)


def table(rows=40, dim=5, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


BAD = {
    "columns of different lengths": (
        lambda: E.BinaryClassificationEvaluator(T[:3], T[:2], [0, 1, 1]),
        ColumnsError,
        "sentences2 2",
    ),
    "no rows": (lambda: E.BinaryClassificationEvaluator([], [], []), ColumnsError, "at least one"),
    "labels as words": (lambda: E.BinaryClassificationEvaluator(T[:2], T[:2], ["yes", "no"]), ColumnsError, "numbers"),
    "labels beyond 1": (lambda: E.BinaryClassificationEvaluator(T[:2], T[:2], [0, 2]), ColumnsError, "2 in row 1"),
    "half a label": (lambda: E.BinaryClassificationEvaluator(T[:2], T[:2], [0, 0.5]), ColumnsError, "0.5 in row 1"),
    "a text that is None": (
        lambda: E.BinaryClassificationEvaluator(["a", None], T[:2], [0, 1]),
        TextTypeError,
        "Row 1",
    ),
    "an unknown similarity": (
        lambda: E.BinaryClassificationEvaluator(T[:2], T[:2], [0, 1], similarity_fn_names=["cos"]),
        ChoiceError,
        "cosine",
    ),
    "no batch": (lambda: E.BinaryClassificationEvaluator(T[:2], T[:2], [0, 1], batch_size=0), ValueError, "batch_size"),
    "scores that are not finite": (
        lambda: E.EmbeddingSimilarityEvaluator(T[:2], T[:2], [0, math.nan]),
        ColumnsError,
        "finite",
    ),
    "scores of another length": (lambda: E.EmbeddingSimilarityEvaluator(T[:2], T[:2], [0.5]), ColumnsError, "scores 1"),
    "an unknown precision": (
        lambda: E.EmbeddingSimilarityEvaluator(T[:2], T[:2], [0, 1], precision="int4"),
        ChoiceError,
        "int8",
    ),
    "an unknown main similarity": (
        lambda: E.EmbeddingSimilarityEvaluator(T[:2], T[:2], [0, 1], main_similarity="l2"),
        ChoiceError,
        "manhattan",
    ),
    "a main similarity that is not computed": (
        lambda: E.EmbeddingSimilarityEvaluator(
            T[:2], T[:2], [0, 1], main_similarity="dot", similarity_fn_names=["cosine"]
        ),
        ColumnsError,
        "'dot'",
    ),
    "triplets of different lengths": (lambda: E.TripletEvaluator(T[:3], T[:3], T[:2]), ColumnsError, "negatives 2"),
    "a margin in words": (lambda: E.TripletEvaluator(T[:2], T[:2], T[:2], margin="wide"), ColumnsError, "margin"),
    "a margin for an unknown similarity": (
        lambda: E.TripletEvaluator(T[:2], T[:2], T[:2], margin={"l2": 1}),
        ChoiceError,
        "l2",
    ),
    "queries in a list": (
        lambda: InformationRetrievalEvaluator(T[:2], {"a": "b"}, {"q": {"a"}}),
        ColumnsError,
        "queries",
    ),
    "an empty corpus": (lambda: InformationRetrievalEvaluator({"q": "x"}, {}, {"q": {"a"}}), ColumnsError, "corpus"),
    "one id in place of a set": (
        lambda: InformationRetrievalEvaluator({"q": "x"}, {"a": "b"}, {"q": "a"}),
        ColumnsError,
        "set of ids",
    ),
    "no query with a relevant document": (
        lambda: InformationRetrievalEvaluator({"q": "x"}, {"a": "b"}, {"p": {"a"}}),
        ColumnsError,
        "No query",
    ),
    "ids of two types": (
        lambda: InformationRetrievalEvaluator({1: "x"}, {1: "b"}, {1: {"1"}}),
        ColumnsError,
        "one type",
    ),
    "a rank of 0": (
        lambda: InformationRetrievalEvaluator({"q": "x"}, {"a": "b"}, {"q": {"a"}}, mrr_at_k=[0]),
        ValueError,
        "mrr_at_k",
    ),
    "an unknown main score": (
        lambda: InformationRetrievalEvaluator({"q": "x"}, {"a": "b"}, {"q": {"a"}}, main_score_function="l2"),
        ChoiceError,
        "l2",
    ),
    "a document that is a number": (
        lambda: InformationRetrievalEvaluator({"q": "x"}, {"a": 3}, {"q": {"a"}}),
        TextTypeError,
        "int",
    ),
    "no teacher": (lambda: E.MSEEvaluator(T[:2], T[:2]), ColumnsError, "teacher_model"),
    "a language without texts": (
        lambda: E.MSEEvaluatorFromDataFrame([{"en": "a"}], Numbers(table()), [("en", "de")]),
        ColumnsError,
        "the columns are: en",
    ),
    "translations of another length": (
        lambda: E.TranslationEvaluator(T[:2], T[:1]),
        ColumnsError,
        "target_sentences 1",
    ),
    "duplicates that are unknown": (
        lambda: E.ParaphraseMiningEvaluator({"a": "x"}, [("a", "b")]),
        ColumnsError,
        "None of the duplicates",
    ),
    "duplicates of three": (
        lambda: E.ParaphraseMiningEvaluator({"a": "x"}, [("a", "b", "c")]),
        ColumnsError,
        "pairs of ids",
    ),
    "a sample without a query": (
        lambda: E.RerankingEvaluator([{"positive": ["a"], "negative": ["b"]}]),
        ColumnsError,
        "Sample 0",
    ),
    "a positive that is no list": (
        lambda: E.RerankingEvaluator([{"query": "q", "positive": "a", "negative": ["b"]}]),
        ColumnsError,
        "'positive'",
    ),
    "no samples": (lambda: E.CrossEncoderRerankingEvaluator([]), ColumnsError, "empty"),
    "only samples without negatives": (
        lambda: E.RerankingEvaluator([{"query": "q", "positive": ["a"], "negative": []}]),
        ColumnsError,
        "No sample",
    ),
    "no classifier": (lambda: E.LabelAccuracyEvaluator([1]), ColumnsError, "SoftmaxLoss"),
    "no evaluators": (lambda: E.SequentialEvaluator([]), ColumnsError, "at least one evaluator"),
    "pairs of three": (
        lambda: E.CrossEncoderClassificationEvaluator([("a", "b", "c")], [1]),
        TextTypeError,
        "3 values",
    ),
    "one pair": (lambda: E.CrossEncoderCorrelationEvaluator(("a", "b"), [1]), ColumnsError, "list of pairs"),
    "pairs and labels of different lengths": (
        lambda: E.CrossEncoderClassificationEvaluator([("a", "b")], [1, 0]),
        ColumnsError,
        "labels 2",
    ),
    "an unknown collection": (lambda: NanoBEIREvaluator(["msmarko"]), ChoiceError, "msmarco"),
    "no collection": (lambda: E.CrossEncoderNanoBEIREvaluator([]), ChoiceError, "No collection"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_at_construction(case):
    make, kind, words = BAD[case]
    with pytest.raises(kind) as caught:
        make()
    assert words in str(caught.value)
    assert isinstance(caught.value, (WorkbenchError, ValueError))


def test_three_classes_given_to_a_model_of_one_score_are_refused():
    evaluator = E.CrossEncoderClassificationEvaluator([("a", "1"), ("b", "0"), ("c", "2")], [0, 1, 2])
    with pytest.raises(ColumnsError, match="from 0 to 1"):
        evaluator(Scores())


def test_retrieval_equals_brute_force_in_every_chunking_and_with_a_k_beyond_the_corpus():
    vectors = table(60)
    queries, corpus = {q: str(q) for q in range(8)}, {f"d{d}": str(d) for d in range(8, 60)}
    relevant = {q: {f"d{8 + q}", f"d{20 + 2 * q}", "elsewhere"} for q in range(7)} | {7: set()}
    expected = {"ndcg": 0.0, "mrr": 0.0, "map": 0.0, "recall": 0.0}
    for q in range(7):
        order = [f"d{8 + row}" for row in np.argsort(-(vectors[8:] @ vectors[q]))]
        ranks = [1 + order.index(d) for d in relevant[q] if d in order]
        expected["ndcg"] += sum(1 / math.log2(1 + r) for r in ranks if r <= 10) / sum(
            1 / math.log2(i) for i in (2, 3, 4)
        )
        expected["mrr"] += max(1 / r if r <= 10 else 0 for r in ranks)
        expected["map"] += sum((1 + i) / r for i, r in enumerate(sorted(ranks))) / 3
        expected["recall"] += sum(r <= 5 for r in ranks) / 3
    for chunk in (1, 7, 1000):
        evaluator = InformationRetrievalEvaluator(queries, corpus, relevant, corpus_chunk_size=chunk, map_at_k=[100])
        found = evaluator(Numbers(vectors))
        for key, name in {"ndcg": "ndcg@10", "mrr": "mrr@10", "map": "map@100", "recall": "recall@5"}.items():
            assert found[f"dot_{name}"] == pytest.approx(expected[key] / 7, abs=1e-6)
        assert evaluator.primary_metric == "dot_ndcg@10"


def test_of_equal_documents_the_first_is_found_first():
    evaluator = InformationRetrievalEvaluator({"q": "0"}, {"a": "1", "b": "1", "c": "1"}, {"q": {"b"}}, mrr_at_k=[3])
    assert evaluator(Numbers(np.ones((2, 4))))["dot_mrr@3"] == 0.5


def test_given_vectors_are_used_and_nothing_is_encoded():
    vectors, model = table(), Numbers(table())
    evaluator = InformationRetrievalEvaluator({"q": "0"}, {str(d): str(d) for d in range(1, 40)}, {"q": {"5"}})
    expected = evaluator(model)
    model.asked.clear()
    assert evaluator(model, query_embeddings=vectors[:1], corpus_embeddings=vectors[1:]) == expected
    assert model.asked == []
    with pytest.raises(ColumnsError, match="38 rows"):
        evaluator(model, corpus_embeddings=vectors[2:])


def test_no_text_is_encoded_twice(tiny, monkeypatch):
    from workbench import encoding

    counted, fill = [], encoding.fill_table

    def counting(table, rows, *rest):
        counted.append(len(set(rows)))
        return fill(table, rows, *rest)

    monkeypatch.setattr(encoding, "fill_table", counting)
    E.EmbeddingSimilarityEvaluator([T[0]] * 5, [T[0], T[1], T[2], T[1], T[0]], range(5))(tiny)
    assert counted == [3]


def test_equal_translations_are_one_answer():
    model = Numbers(table())
    found = E.TranslationEvaluator(["0", "0", "1"], ["0", "0", "2"])(model)
    assert found["src2trg_accuracy"] >= 2 / 3


def test_wrong_matches_are_printed(capsys):
    E.TranslationEvaluator(["0", "1"], ["1", "0"], print_wrong_matches=True)(Numbers(np.eye(2)))
    assert capsys.readouterr().out.count("Nearest") == 2


def test_a_chain_of_duplicates_is_closed_and_pairs_not_mined_count_in_recall():
    vectors = np.eye(4)[[0, 0, 0, 1]] + 0.01 * table(4, 4)
    texts = {key: str(row) for row, key in enumerate("abcd")}
    chain = [("a", "b"), ("b", "c"), ("c", "a"), ("b", "a")]
    evaluator = E.ParaphraseMiningEvaluator(
        texts, chain[:2], add_transitive_closure=True, duplicates_dict={"d": {"a": False}}
    )
    assert evaluator.total_num_duplicates == E.ParaphraseMiningEvaluator(texts, chain).total_num_duplicates == 3
    assert evaluator(Numbers(vectors))["average_precision"] == 1
    few = E.ParaphraseMiningEvaluator(texts, chain, max_pairs=1)(Numbers(vectors))
    assert (few["precision"], few["recall"]) == (1, pytest.approx(1 / 3))


def test_a_cross_encoder_may_be_given_only_positives():
    samples = [{"query": "q", "positive": ["3"], "negative": []}, {"query": "q", "positive": ["1"], "negative": ["2"]}]
    found = E.CrossEncoderRerankingEvaluator(samples)(Scores())
    assert found == pytest.approx({"map": 0.75, "mrr@10": 0.75, "ndcg@10": (1 + 1 / math.log2(3)) / 2})


def test_a_fixed_threshold_takes_the_place_of_the_best_one(tmp_path):
    scores = np.random.default_rng(0).normal(size=30).round(1)
    labels = (scores + np.random.default_rng(1).normal(size=30) > 0).astype(int)
    pairs = [("q", str(score)) for score in scores]
    chosen = scores.astype(np.float32) > 0.3
    evaluator = E.CEBinaryAccuracyEvaluator(pairs, labels, "x", 0.3, True)  # the order of older code
    found = evaluator(Scores(), tmp_path)
    precision, recall, f1, _ = precision_recall_fscore_support(labels, chosen, average="binary")
    wanted = {"accuracy": (chosen == labels).mean(), "f1": f1, "precision": precision, "recall": recall}
    wanted |= {
        "accuracy_threshold": 0.3,
        "f1_threshold": 0.3,
        "average_precision": average_precision_score(labels, scores),
    }
    assert found == pytest.approx({f"x_{name}": value for name, value in wanted.items()})
    assert evaluator.primary_metric == "x_accuracy"
    best = E.CEBinaryAccuracyEvaluator(pairs, labels, "x")
    assert best(Scores(), tmp_path)["x_accuracy"] >= found["x_accuracy"]
    assert len((tmp_path / best.csv_file).read_text().splitlines()) == 3  # both lines under one header
    none = E.CEBinaryAccuracyEvaluator(pairs, labels, threshold=99)(Scores())
    assert (none["f1"], none["precision"], none["recall"]) == (0, 0, 0)


@pytest.mark.parametrize("threshold", ["0.5", float("nan"), True])
def test_a_threshold_that_is_no_number_is_refused_before_any_work(threshold):
    with pytest.raises(ValueError, match="threshold"):
        E.CEBinaryAccuracyEvaluator([("q", "1")], [1], threshold=threshold)


def test_examples_become_columns():
    class Example:
        def __init__(self, texts, label):
            self.texts, self.label = texts, label

    rows = [Example(["0", "1", "2"], 0), Example(["3", "4", "5"], 1)]
    assert E.TripletEvaluator.from_input_examples(rows, name="x").negatives == ["2", "5"]
    pairs = [Example(row.texts[:2], row.label) for row in rows]
    assert E.EmbeddingSimilarityEvaluator.from_input_examples(pairs).scores.tolist() == [0, 1]
    assert E.CEBinaryClassificationEvaluator.from_input_examples(pairs).sentence_pairs == [("0", "1"), ("3", "4")]


def test_names_are_put_in_front_and_the_primary_metric_is_known_before_where_it_can_be():
    evaluator = E.MSEEvaluator(["0"], ["1"], Numbers(table()), name="dev")
    assert evaluator.primary_metric == "dev_negative_mse"
    found = evaluator(Numbers(table()))
    assert list(found) == ["dev_negative_mse"]
    assert found["dev_negative_mse"] == pytest.approx(-100 * float(((table()[0] - table()[1]) ** 2).mean()))


def test_a_sequence_warns_of_metrics_that_are_lost_and_takes_plain_numbers(caplog):
    one = E.TripletEvaluator(["0"], ["1"], ["2"])
    evaluator = E.SequentialEvaluator([one, one, lambda *arguments: 0.25])
    assert evaluator(Numbers(table()))["sequential_score"] == 0.25
    assert "dot_accuracy" in caplog.text


def test_an_evaluator_of_ones_own_needs_only_measure():
    with pytest.raises(NotImplementedError, match="must define measure"):
        SentenceEvaluator()(None)


def test_a_row_is_added_and_a_failed_write_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "results.csv"
    append_row(path, {"epoch": 1, "value": 0.5})
    append_row(path, {"epoch": 2, "value": 0.75})
    assert list(csv.reader(path.read_text().splitlines())) == [["epoch", "value"], ["1", "0.5"], ["2", "0.75"]]
    before = path.read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        append_row(path, {"epoch": 3, "value": 1})
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["results.csv"]


def test_the_user_can_cancel_a_search():
    from workbench.errors import Cancelled

    def stop(bar):
        raise Cancelled

    evaluator = InformationRetrievalEvaluator({"q": "0"}, {str(d): str(d) for d in range(1, 40)}, {"q": {"5"}})
    with listen(stop), pytest.raises(Cancelled):
        evaluator(Numbers(table()))


TABLES = {
    "corpus": [{"_id": str(row), "text": str(row)} for row in range(1, 30)],
    "queries": [{"_id": "0", "text": "0"}],
    "qrels": [{"query-id": "0", "corpus-id": "4"}, {"query-id": "0", "corpus-id": "9", "score": 0}],
    "bm25": [{"query-id": "0", "corpus-ids": [str(row) for row in range(1, 9)]}],
}


def collection(folder, layout):
    import pandas as pd

    for part, rows in TABLES.items():
        kept = [{"score": 1, **row} for row in rows] if part == "qrels" else rows
        path = folder / layout.format(part=part)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            pd.DataFrame(kept).to_parquet(path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in kept))


@pytest.mark.parametrize(
    "layout", ["msmarco/{part}.jsonl", "NanoMSMARCO/{part}.parquet", "{part}/NanoMSMARCO-00000-of-00001.parquet"]
)
def test_collections_are_read_from_a_folder(tmp_path, layout):
    collection(tmp_path, layout)
    evaluator = NanoBEIREvaluator(dataset_id=tmp_path)
    found = evaluator(Numbers(table()), tmp_path / "out")
    assert found["NanoBEIR_mean_dot_ndcg@10"] == found["NanoMSMARCO_dot_ndcg@10"]
    assert evaluator.evaluators[0].relevant_docs == {"0": {"4"}}
    assert (tmp_path / "out" / "NanoBEIR_evaluation_mean_results.csv").is_file()
    ranked = E.CrossEncoderNanoBEIREvaluator(["msmarco"], tmp_path, rerank_k=6)(Scores())
    assert ranked["NanoBEIR_R6_mean_map"] == pytest.approx(1 / 3)  # 6 and 5 are put before 4


def test_a_folder_that_lacks_a_part_or_a_column_is_named(tmp_path):
    collection(tmp_path, "own/{part}.jsonl")
    (tmp_path / "own" / "qrels.jsonl").write_text('{"query": "0"}\n')
    with pytest.raises(DataFormatError, match="lacks the columns query-id, corpus-id"):
        NanoBEIREvaluator(dataset_id=tmp_path)
    (tmp_path / "own" / "qrels.jsonl").unlink()
    with pytest.raises(DataFormatError, match=r"qrels\.jsonl"):
        NanoBEIREvaluator(["own"], tmp_path)
    with pytest.raises(ChoiceError, match="own"):
        NanoBEIREvaluator(["other"], tmp_path)
