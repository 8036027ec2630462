"""Every evaluator beside the reference's, on the same tiny models and data: metrics, and what the CSV files say."""

import csv
import json

import datasets
import numpy as np
import pytest
import sentence_transformers.cross_encoder.evaluation as their_pairs
import sentence_transformers.sentence_transformer.evaluation as theirs
import sentence_transformers.util as their_util
from sentence_transformers import CrossEncoder as TheirCrossEncoder
from sentence_transformers import SentenceTransformer as TheirTransformer
from torch.utils.data import DataLoader

from tests import tiny_pairs
from tests.tiny import made_texts
from workbench import CrossEncoder, SentenceTransformer, evaluation, similarity

pytestmark = pytest.mark.filterwarnings("ignore:.*(been deprecated|been renamed):DeprecationWarning")

T = made_texts(60)
LABELS = [row % 2 for row in range(20)]
SCORES = [row / 20 for row in range(20)]
ALL = ["cosine", "dot", "euclidean", "manhattan"]
QUERIES = {f"q{row}": T[row] for row in range(6)}
CORPUS = {f"d{row}": T[row + 6] for row in range(30)}
RELEVANT = {f"q{row}": {f"d{3 * row}", f"d{3 * row + 1}", "nowhere"} for row in range(5)} | {"q5": set()}
SAMPLES = [{"query": T[r], "positive": [T[r + 5], T[r + 6]], "negative": T[r + 10 : r + 20]} for r in range(5)]
EMPTY = [{"query": "a", "positive": [], "negative": ["b"]}, {"query": "a", "positive": ["b"], "negative": []}]
TIED = [{"query": T[0], "positive": [T[1], T[2]], "negative": [T[1], T[3], T[3]]}]
MAP = {f"s{row}": text for row, text in enumerate(T[:30])}
DUPLICATES = [("s0", "s1"), ("s2", "s3"), ("s3", "s9"), ("s11", "s12"), ("s5", "gone")]
ROWS = [{"en": T[row], "de": T[row + 10], "fr": T[row + 20] if row % 2 else ""} for row in range(10)]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    from tests.tiny import model_folder

    folder = model_folder(
        tmp_path_factory.mktemp("prompted"), config={"prompts": {"query": "query: ", "document": "the horse "}}
    )
    return SentenceTransformer(folder, device="cpu"), TheirTransformer(str(folder), device="cpu")


@pytest.fixture(scope="module")
def rerankers(tmp_path_factory):
    folders = {labels: tiny_pairs.write(tmp_path_factory.mktemp("ce"), labels=labels) for labels in (1, 3)}
    return {n: (CrossEncoder(f, device="cpu"), TheirCrossEncoder(str(f), device="cpu")) for n, f in folders.items()}


def compare(ours, theirs, models, folder, tolerance=1e-6, rel=1e-6):
    """Both say the same, twice, in their answers and in their files."""
    found = []
    for side, evaluator, model in zip(("ours", "theirs"), (ours, theirs), models, strict=True):
        (folder / side).mkdir()
        answer = evaluator(model, str(folder / side), epoch=1, steps=5)
        evaluator(model, str(folder / side))
        tables = {
            path.name: list(csv.reader(path.read_text().splitlines())) for path in sorted((folder / side).glob("*.csv"))
        }
        ends = {path.name: b"\r\n" in path.read_bytes() for path in (folder / side).glob("*.csv")}
        found.append(
            (answer, tables, ends, evaluator.primary_metric, evaluator.greater_is_better, evaluator.description)
        )
    (mine, my_tables, *mine_else), (other, other_tables, *other_else) = found
    assert list(mine) == list(other)
    assert mine == pytest.approx(other, abs=tolerance, rel=rel)
    assert mine_else == other_else
    assert my_tables.keys() == other_tables.keys()
    for name, table in my_tables.items():
        assert table[0] == other_tables[name][0]
        numbers = [np.array(rows[1:], float) for rows in (table, other_tables[name])]
        assert numbers[0] == pytest.approx(numbers[1], abs=tolerance, rel=rel)


def both(evaluator, *arguments, **options):
    return [getattr(room, evaluator)(*arguments, **options) for room in (evaluation, theirs)]


@pytest.mark.parametrize(
    "options",
    [{}, {"name": "x", "similarity_fn_names": ALL}, {"truncate_dim": 8, "similarity_fn_names": ["manhattan"]}],
)
def test_binary_classification(models, tmp_path, options):
    compare(*both("BinaryClassificationEvaluator", T[:20], T[20:40], LABELS, **options), models, tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"name": "x", "similarity_fn_names": ALL, "main_similarity": "dot"},
        {"main_similarity": "manhattan", "truncate_dim": 8},
        {"similarity_fn_names": ["dot", "euclidean"]},
        {"precision": "float32"},
        {"precision": "binary", "similarity_fn_names": ALL, "name": "b"},
        {"precision": "ubinary"},
        {"precision": "int8", "name": "q"},
        {"precision": "uint8", "similarity_fn_names": ["dot"]},
    ],
)
def test_embedding_similarity(models, tmp_path, options):
    arguments = T[:20], [*T[20:39], T[0]], SCORES
    rounding = 2e-3 if "int8" in options.get("precision", "") else 1e-6  # codes flip where vectors differ by 1e-7
    compare(*both("EmbeddingSimilarityEvaluator", *arguments, **options), models, tmp_path, rounding)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"name": "x", "corpus_chunk_size": 7, "truncate_dim": 8},
        {"query_prompt": "a ", "corpus_prompt": "the ", "mrr_at_k": [3, 1], "ndcg_at_k": [5, 2], "map_at_k": [1, 7]},
        {"query_prompt_name": "document", "corpus_prompt_name": "query", "write_predictions": True},
    ],
)
def test_information_retrieval(models, tmp_path, options):
    evaluators = both("InformationRetrievalEvaluator", QUERIES, CORPUS, RELEVANT, **options)
    compare(*evaluators, models, tmp_path)
    mine, other = (sorted((tmp_path / side).glob("*.jsonl")) for side in ("ours", "theirs"))
    assert [path.name for path in mine] == [path.name for path in other]
    for pair in zip(mine, other, strict=True):
        first, second = (path.read_text().splitlines()[:5] for path in pair)
        for lines in zip(first, second, strict=True):
            mine_row, their_row = map(json.loads, lines)
            assert mine_row["query_id"] == their_row["query_id"]
            assert mine_row["query"] == their_row["query"]
            scores = [[hit["score"] for hit in row["results"]] for row in (mine_row, their_row)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_information_retrieval_with_every_score_function(models, tmp_path):
    functions = [
        {
            name: getattr(room, f"{name}_s{'core' if name == 'dot' else 'im'}")
            for name in ("cos", "dot", "euclidean", "manhattan")
        }
        for room in (similarity, their_util)
    ]
    mine, other = (
        room.InformationRetrievalEvaluator(QUERIES, CORPUS, RELEVANT, score_functions=own)
        for room, own in zip((evaluation, theirs), functions, strict=True)
    )
    compare(mine, other, models, tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"name": "t", "similarity_fn_names": ALL, "margin": 0.1},
        {"main_similarity_function": "euclidean", "margin": {"euclidean": 0.5}},
        {"main_similarity_function": "euclidean", "similarity_fn_names": ["cosine", "euclidean"], "truncate_dim": 4},
    ],
)
def test_triplets(models, tmp_path, options):
    compare(*both("TripletEvaluator", T[:10], T[10:20], T[20:30], **options), models, tmp_path)


@pytest.mark.parametrize("options", [{}, {"name": "z", "truncate_dim": 8}])
def test_parallel_texts(models, tmp_path, options):
    cases = {
        "MSEEvaluator": lambda room, model: room.MSEEvaluator(T[:10], T[10:20], model, **options),
        "MSEEvaluatorFromDataFrame": lambda room, model: room.MSEEvaluatorFromDataFrame(
            ROWS, model, [("en", "de"), ("en", "fr")], **options
        ),
        "TranslationEvaluator": lambda room, model: room.TranslationEvaluator(
            T[:10] + T[:1], T[:5] + T[15:20] + T[:1], **options
        ),
    }
    for name, make in cases.items():
        (tmp_path / name).mkdir()
        evaluators = [make(room, model) for room, model in zip((evaluation, theirs), models, strict=True)]
        compare(*evaluators, models, tmp_path / name, tolerance=1e-4 if "MSE" in name else 1e-6)


@pytest.mark.parametrize("options", [{}, {"name": "z", "add_transitive_closure": True}, {"max_pairs": 40, "top_k": 3}])
def test_paraphrase_mining(models, tmp_path, options):
    compare(*both("ParaphraseMiningEvaluator", MAP, DUPLICATES, **options), models, tmp_path)


@pytest.mark.parametrize("samples", [SAMPLES, SAMPLES + EMPTY, TIED])
@pytest.mark.parametrize("options", [{}, {"name": "z", "use_batched_encoding": False, "at_k": 3}, {"mrr_at_k": 30}])
def test_reranking(models, tmp_path, samples, options):
    compare(*both("RerankingEvaluator", samples, **options), models, tmp_path)


def test_sequences_and_label_accuracy(models, tmp_path):
    from sentence_transformers import InputExample
    from sentence_transformers.sentence_transformer.losses import SoftmaxLoss as TheirLoss

    from workbench.losses import SoftmaxLoss

    sides = []
    examples = [InputExample(texts=[T[row], T[row + 10]], label=row % 3) for row in range(10)]
    losses = [SoftmaxLoss(models[0], 32, 3), TheirLoss(models[1], 32, 3)]
    losses[0].classifier.load_state_dict(losses[1].classifier.state_dict())
    for room, loss in zip((evaluation, theirs), losses, strict=True):
        parts = [
            room.EmbeddingSimilarityEvaluator(T[:20], T[20:40], SCORES, name="one"),
            room.LabelAccuracyEvaluator(DataLoader(examples, batch_size=4), name="two", softmax_model=loss),
        ]
        sides.append(room.SequentialEvaluator(parts, main_score_function=lambda scores: scores[0]))
    compare(*sides, models, tmp_path)


PAIRS = tiny_pairs.pairs(24)
WORDS = [pair[0] for pair in tiny_pairs.pairs(60, seed=3)]
FOUND = [
    {"query": WORDS[r], "positive": [WORDS[r + 5], WORDS[r + 6], WORDS[40]], "documents": WORDS[r + 4 : r + 20]}
    for r in range(5)
]
ODD = [
    {"query": WORDS[0], "positive": [WORDS[1], WORDS[40], WORDS[41]], "documents": WORDS[1:5]},
    {"query": WORDS[0], "positive": [WORDS[40], WORDS[41]], "documents": WORDS[1:5]},
    {"query": WORDS[0], "positive": [], "documents": WORDS[1:5]},
    {"query": WORDS[0], "positive": [WORDS[1]], "documents": [WORDS[1], WORDS[1], WORDS[2]]},
]
OTHERS = [{"query": WORDS[r], "positive": [WORDS[r + 5]], "negative": WORDS[r + 10 : r + 20]} for r in range(5)]


def compare_pairs(name, arguments, options, models, folder):
    sides = [getattr(room, name)(*arguments, **options) for room in (evaluation, their_pairs)]
    for side in sides:
        side.greater_is_better = True  # not every one of the reference says so
    compare(*sides, models, folder)


@pytest.mark.parametrize("name", ["", "z"])
@pytest.mark.parametrize(
    ("evaluator", "labels"),
    [
        ("CrossEncoderClassificationEvaluator", 1),
        ("CrossEncoderClassificationEvaluator", 3),
        ("CrossEncoderCorrelationEvaluator", 1),
        ("CEBinaryAccuracyEvaluator", 1),
        ("CEBinaryClassificationEvaluator", 1),
        ("CEF1Evaluator", 1),
        ("CESoftmaxAccuracyEvaluator", 3),
        ("CECorrelationEvaluator", 1),
    ],
)
def test_scored_pairs(rerankers, tmp_path, evaluator, labels, name):
    targets = [row % (labels + (labels == 1)) for row in range(24)]
    compare_pairs(evaluator, (PAIRS, targets), {"name": name, "show_progress_bar": False}, rerankers[labels], tmp_path)


@pytest.mark.parametrize("always", [True, False])
@pytest.mark.parametrize("samples", [FOUND, ODD, OTHERS])
@pytest.mark.parametrize("evaluator", ["CrossEncoderRerankingEvaluator", "CERerankingEvaluator"])
def test_reranking_by_pairs(rerankers, tmp_path, evaluator, samples, always):
    options = {"name": "d", "at_k": 4, "always_rerank_positives": always, "show_progress_bar": False}
    compare_pairs(evaluator, (samples,), options, rerankers[1], tmp_path)


@pytest.fixture
def nano(monkeypatch):
    """A stand-in for the hub's collections."""
    tables = {
        "corpus": {"_id": [f"d{row}" for row in range(30)], "text": [*WORDS[:29], ""]},
        "queries": {"_id": ["q0", "q1", "q2"], "text": WORDS[30:33]},
        "qrels": {"query-id": ["q0", "q0", "q1", "q2"], "corpus-id": ["d1", "d2", "d3", "d4"]},
        "bm25": {"query-id": ["q0", "q1", "q2"], "corpus-ids": [[f"d{row}" for row in range(1, 20)]] * 3},
    }
    monkeypatch.setattr(datasets, "load_dataset", lambda path, part, split: datasets.Dataset.from_dict(tables[part]))
    return tables


@pytest.mark.parametrize(
    "options",
    [
        {"dataset_names": ["climatefever", "MSMARCO"]},
        {
            "dataset_names": ["msmarco"], "query_prompts": "a ", "corpus_prompts": {"msmarco": "the "},
            "truncate_dim": 8, "aggregate_key": "worst", "aggregate_fn": min,
        },
        {},
    ],
)  # fmt: skip
@pytest.mark.usefixtures("nano")
def test_nano_beir(models, tmp_path, options):
    compare(*both("NanoBEIREvaluator", **options), models, tmp_path)


@pytest.mark.parametrize("options", [{"rerank_k": 3}, {"always_rerank_positives": False, "at_k": 5}])
@pytest.mark.usefixtures("nano")
def test_nano_beir_by_pairs(rerankers, tmp_path, options):
    compare_pairs("CrossEncoderNanoBEIREvaluator", (["nq", "msmarco"],), options, rerankers[1], tmp_path)
