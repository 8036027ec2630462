"""Models on one's own files: the numbers, their confidence intervals, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, v_measure_score
from typer.testing import CliRunner

from tests.tiny import SENTENCES, made_texts
from workbench import SentenceTransformer, cli, metrics
from workbench.errors import ChoiceError, ColumnsError, DataFormatError, ModelNotFoundError, TextTypeError
from workbench.evaluation import BitextEvaluator, ClusteringEvaluator, InformationRetrievalEvaluator
from workbench.evaluation.base import Samples
from workbench.evaluation.bootstrap import draws, interval
from workbench.scorecard import evaluate, read_collection

TEXTS = made_texts(60)
RNG = np.random.default_rng(0)
RUNNER = CliRunner()


@pytest.fixture
def files(tmp_path):
    """One small file of each kind."""
    pairs = pd.DataFrame({"sentence1": TEXTS[:30], "sentence2": TEXTS[30:], "score": RNG.random(30)})
    pairs.to_csv(tmp_path / "sts.csv", index=False)
    pairs.assign(label=(pairs.score > 0.5) * 1).to_parquet(tmp_path / "pairs.parquet")
    labels = ["a", "b", "c"] * 20
    rows = [json.dumps({"text": text, "label": label}) for text, label in zip(TEXTS, labels, strict=True)]
    (tmp_path / "clusters.jsonl").write_text("\n".join(rows))
    bitext = pd.DataFrame({"source": [*TEXTS[:20], "only here"], "target": [*TEXTS[20:40], ""]})
    bitext.to_csv(tmp_path / "bitext.tsv", sep="\t", index=False)
    return tmp_path


def beir(folder, ids=("007", "8", "d-9")):
    """A collection of three documents and two queries in BEIR's layout."""
    (folder / "qrels").mkdir(parents=True)
    texts = dict(zip(ids, SENTENCES[:3], strict=True))
    corpus = [{"_id": key, "title": "Title" if key == ids[2] else "", "text": text} for key, text in texts.items()]
    queries = [{"_id": "q1", "text": SENTENCES[0]}, {"_id": "q2", "text": SENTENCES[2]}]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines = ["query-id\tcorpus-id\tscore", f"q1\t{ids[0]}\t2", f"q2\t{ids[2]}\t1", f"q2\t{ids[1]}\t0"]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines))
    return folder


def repeated(counts):
    return [np.repeat(np.arange(len(row)), row) for row in counts]


@pytest.mark.parametrize("ties", [False, True])
def test_a_metric_of_samples_is_the_metric_of_the_rows_written_out(ties):
    x, y = RNG.normal(size=(2, 40))
    labels = RNG.random(40) < 0.4
    if ties:
        x, y = x.round(), y.round()
    counts = RNG.multinomial(40, np.full(40, 1 / 40), size=8)
    rows = repeated(counts)
    np.testing.assert_allclose(
        metrics.spearman_of_samples(x, y, counts), [spearmanr(x[at], y[at])[0] for at in rows], atol=1e-12
    )
    np.testing.assert_allclose(
        metrics.average_precision_of_samples(x, labels, counts),
        [average_precision_score(labels[at], x[at]) for at in rows],
        atol=1e-12,
    )
    for high in (True, False):
        np.testing.assert_allclose(
            metrics.best_f1_of_samples(x, labels, counts, high),
            [metrics.best_f1(x[at], labels[at], high)[0] for at in rows],
            atol=1e-12,
        )
    assert np.isnan(metrics.spearman_of_samples(x, y, np.eye(40, dtype=int)[:3] * 5)).all()  # one row is a constant
    with pytest.raises(ValueError, match=r"expected \(samples, 40\)"):
        metrics.spearman_of_samples(x, y, counts[0])


def test_v_measure_is_that_of_scikit_learn():
    found, true = RNG.integers(4, size=50), RNG.integers(3, size=50)
    table = np.zeros((4, 3))
    np.add.at(table, (found, true), 1)
    expected = v_measure_score(true, found)
    assert metrics.v_measure(table) == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(metrics.v_measure(np.stack([table, 2 * table])), [expected] * 2, atol=1e-12)
    assert metrics.v_measure(np.diag([3, 4, 5])[:, ::-1]) == pytest.approx(1)
    assert metrics.v_measure([[2], [3]]) == 0
    assert metrics.v_measure([[7]]) == 1  # one class in one cluster
    assert np.isnan(metrics.v_measure(np.zeros((2, 2))))


def test_the_interval_of_a_mean_is_that_of_the_closed_form_and_the_seed_decides_it():
    hits = (np.arange(400) < 120) * 1.0
    samples = Samples.means({"rate": hits})
    low, high = interval(0.3, draws(samples, 4000)["rate"])
    error = 1.96 * np.sqrt(0.3 * 0.7 / 400)
    assert (low, high) == pytest.approx((0.3 - error, 0.3 + error), abs=0.004)
    np.testing.assert_array_equal(draws(samples, 50, seed=1)["rate"], draws(samples, 50, seed=1)["rate"])
    assert (draws(samples, 50, seed=1)["rate"] != draws(samples, 50, seed=2)["rate"]).any()
    assert np.isnan(interval(0.3, [np.nan, np.inf])).all()
    with pytest.raises(ValueError, match="at least one"):
        draws(samples, 0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval(0.3, hits, level=95)


def test_draws_are_the_same_in_blocks(monkeypatch):
    from workbench.evaluation import bootstrap

    samples = Samples.means({"rate": np.arange(10.0)})
    whole = draws(samples, 30)["rate"]
    monkeypatch.setattr(bootstrap, "_BLOCK", 70)
    np.testing.assert_array_equal(draws(samples, 30)["rate"], whole)


def test_the_table_holds_the_numbers_of_the_evaluators(files, tiny_folder, tiny):
    table = evaluate(
        [tiny_folder, tiny], sts=files / "sts.csv", pairs=files / "pairs.parquet", clusters=files / "clusters.jsonl",
        bitext=files / "bitext.tsv", ir=beir(files / "beir"), samples=40, batch_size=8,
    )  # fmt: skip
    found = table[table.model == str(tiny_folder)].set_index("metric").value
    assert list(found.index) == [
        "spearman", "ndcg@10", "mrr@10", "recall@10", "ap", "f1", "f1_threshold", "v_measure", "src2trg_accuracy",
        "trg2src_accuracy", "f1", "precision", "recall", "threshold",
    ]  # fmt: skip
    pairs = pd.read_parquet(files / "pairs.parquet")
    scores = tiny.similarity_pairwise(tiny.encode(pairs.sentence1), tiny.encode(pairs.sentence2)).numpy()
    assert found["spearman"] == pytest.approx(spearmanr(scores, pairs.score)[0], abs=1e-6)
    assert found["ap"] == pytest.approx(average_precision_score(pairs.label, scores), abs=1e-6)
    queries, corpus, relevant = read_collection(files / "beir")
    direct = InformationRetrievalEvaluator(queries, corpus, relevant)(tiny)
    assert found["ndcg@10"] == direct["cosine_ndcg@10"]
    known = table.dropna()
    assert (known.low <= known.value + 1e-9).all()
    assert (known.value <= known.high + 1e-9).all()
    again = table[table.model != str(tiny_folder)].dropna()  # the same model: no difference, and surely so
    assert len(again)
    assert (again[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)
    assert table[table.metric == "threshold"].low.isna().all()
    assert dict(zip(table.data, table.rows, strict=True)) == {
        "sts.csv": 30, "beir": 2, "pairs.parquet": 30, "clusters.jsonl": 60, "bitext.tsv": 21,
    }  # fmt: skip


def test_a_better_model_is_told_apart_from_the_first(tmp_path):
    sides = [f"{text} {number}" for number, text in enumerate(TEXTS)], [text[::-1] for text in TEXTS]
    scores = np.linspace(0, 1, 60)
    pd.DataFrame({"sentence1": sides[0], "sentence2": sides[1], "score": scores}).to_csv(tmp_path / "s.csv")

    class Fixed(SentenceTransformer):
        """Vectors at the angle that the score says, with noise."""

        def __init__(self, noise):
            super().__init__(modules=[])
            self.noise = noise

        def encode(self, sentences, **options):
            rng, place = np.random.default_rng(0), {text: row for row, text in enumerate(sides[0])}
            angle = [0.0 if text in place else 1 - scores[sides[1].index(text)] for text in sentences]
            angle = np.array(angle) + self.noise * rng.random(len(angle))
            return np.stack([np.cos(angle), np.sin(angle)], 1)

    table = evaluate([Fixed(1.0), Fixed(0.01)], sts=tmp_path / "s.csv", samples=200)
    assert table.difference_low[1] > 0
    assert table.value[1] > 0.99 >= table.high[0]
    assert table.high[1] <= 1


def test_clusters_that_are_the_classes_reach_one_and_chance_reaches_little(tiny):
    class Known:
        def encode(self, sentences, convert_to_tensor=True, **options):
            import torch

            return torch.eye(3)[[int(text[0]) for text in sentences]]

    texts = [f"{number % 3} {number}" for number in range(60)]
    evaluator = ClusteringEvaluator(texts, [text[0] for text in texts])
    assert evaluator(Known())["v_measure"] == pytest.approx(1)
    assert ClusteringEvaluator(texts, RNG.integers(3, size=60).tolist())(Known())["v_measure"] < 0.2
    with pytest.raises(ColumnsError, match="one class only"):
        ClusteringEvaluator(texts, ["x"] * 60)


def test_translations_are_judged_among_sentences_that_have_none():
    class Numbered:
        """Each text begins with the number of its meaning; a little noise keeps texts apart."""

        def encode(self, sentences, convert_to_tensor=True, **options):
            import torch

            meaning = torch.tensor([int(text.split()[0]) for text in sentences])
            noise = torch.tensor([[hash_ % 7 / 100] for hash_ in map(len, sentences)])
            return torch.cat([torch.eye(40)[meaning], noise], 1)

    sources = [f"{number} house" for number in range(20)] + [None] * 10 + [f"{number} car" for number in range(30, 35)]
    targets = [f"{number} Haus" for number in range(20)] + [f"{n} Baum" for n in range(20, 30)] + [""] * 5
    evaluator = BitextEvaluator(sources, targets)
    found = evaluator.measure(Numbered(), None)
    assert evaluator.primary_metric == "f1"
    assert found.metrics["mean_accuracy"] == found.metrics["f1"] == 1
    wrong = [*targets[1:20], targets[0], *targets[20:]]  # everyone's translation is the next one's
    assert BitextEvaluator(sources, wrong)(Numbered())["f1"] == 0
    half = [*targets[:10], *targets[11:20], targets[10], *targets[20:]]
    found = BitextEvaluator(sources, half).measure(Numbered(), None)
    assert found.metrics["src2trg_accuracy"] == 0.5
    assert found.metrics["recall"] == 0.5
    drawn = found.samples.values(np.ones((1, found.samples.rows)))  # every unit once: the metric itself
    for name in ("f1", "precision", "recall", "src2trg_accuracy", "trg2src_accuracy"):
        assert drawn[name][0] == pytest.approx(found.metrics[name]), name
    with pytest.raises(ColumnsError, match="No row has a source and its target"):
        BitextEvaluator(["a", None], [None, "b"])


def test_both_layouts_of_a_collection_are_read_and_ids_stay_text(tmp_path):
    queries, corpus, relevant = read_collection(beir(tmp_path / "beir"))
    assert relevant == {"q1": {"007"}, "q2": {"d-9"}}
    assert corpus == {"007": SENTENCES[0], "8": SENTENCES[1], "d-9": f"Title {SENTENCES[2]}"}
    assert list(queries) == ["q1", "q2"]
    simple = tmp_path / "simple"
    simple.mkdir()
    pd.DataFrame({"id": [1, 2, 3], "text": SENTENCES[:3]}).to_csv(simple / "corpus.csv", index=False)
    judged = {"query": ["sun", "sun", "drive"], "id": [1, 2, 3], "gain": [2, 0, 1]}
    pd.DataFrame(judged).to_csv(simple / "queries.csv", index=False)
    assert read_collection(simple)[2] == {"sun": {"1"}, "drive": {"3"}}
    pd.DataFrame(judged).drop(columns="gain").to_csv(simple / "queries.csv", index=False)
    assert read_collection(simple)[2] == {"sun": {"1", "2"}, "drive": {"3"}}


def test_a_split_of_judgements_is_chosen_and_an_unknown_one_named(tmp_path):
    folder = beir(tmp_path / "beir")
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\t8\t1\n")
    assert read_collection(folder, "dev")[2] == {"q1": {"8"}}
    assert read_collection(folder)[2]["q1"] == {"007"}
    (folder / "qrels" / "test.tsv").unlink()
    assert read_collection(folder)[2] == {"q1": {"8"}}
    with pytest.raises(ChoiceError, match="'dev'"):
        read_collection(folder, "train")


@pytest.mark.parametrize(
    ("line", "error", "says"),
    [
        ("q1\t007", DataFormatError, "line 2: expected query-id"),
        ("q1\t007\tmuch", DataFormatError, "'much', no number"),
        ("q1\t007\t0", ColumnsError, "names no relevant document"),
        ("q9\t007\t1", ColumnsError, "No query has a relevant document"),
        ("q1\t999\t1", ColumnsError, "No relevant document is in the corpus"),
    ],
)
def test_judgements_that_mean_nothing_are_refused(tmp_path, tiny, line, error, says):
    folder = beir(tmp_path / "beir")
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{line}\n")
    with pytest.raises(error, match=says):
        evaluate(tiny, ir=folder)


@pytest.mark.parametrize(
    ("name", "text", "error", "says"),
    [
        ("none.csv", None, DataFormatError, "There is no file"),
        ("x.csv", "", DataFormatError, "x.csv"),
        ("x.csv", "sentence1,sentence2,score\n", ColumnsError, "holds no rows"),
        ("x.csv", "a,b,score\nx,y,1\n", ColumnsError, "no column sentence1, sentence2; it has a, b, score"),
        ("x.csv", "sentence1,sentence2,score\nx,,1\n", ColumnsError, "sentence2 is empty in row 0"),
        ("x.csv", "sentence1,sentence2,score\nx,y,high\n", ColumnsError, "column of numbers"),
        ("x.csv", "sentence1,sentence2,score\n1,2,3\n", TextTypeError, "Row 0 is int"),
        ("x.jsonl", '{"sentence1": "x"', DataFormatError, "line 1 is no JSON"),
        ("x.xlsx", "x", ChoiceError, "'parquet'"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_it_lacks(tmp_path, tiny, name, text, error, says):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(error, match=says):
        evaluate(tiny, sts=tmp_path / name)


def test_asking_for_nothing_or_for_too_much_is_refused(files, tiny):
    for given in ({}, {"columns": ["a", "b"], "sts": files / "sts.csv", "clusters": files / "clusters.jsonl"}):
        with pytest.raises(ColumnsError, match="Give data, some of sts, ir, pairs, clusters, bitext"):
            evaluate(tiny, **given)
    with pytest.raises(ColumnsError, match="columns names 1"):
        evaluate(tiny, sts=files / "sts.csv", columns=["a"])
    with pytest.raises(ColumnsError, match="no model"):
        evaluate([], sts=files / "sts.csv")
    with pytest.raises(ModelNotFoundError, match="no-such-model"):
        evaluate("no-such-model", sts=files / "sts.csv")
    with pytest.raises(DataFormatError, match=r"neither corpus.jsonl .* nor corpus.csv"):
        evaluate(tiny, ir=files)
    with pytest.raises(ValueError, match="at least 1"):
        evaluate(tiny, sts=files / "sts.csv", samples=0)


def test_the_command_shows_models_side_by_side_and_writes_the_numbers(files, tiny_folder):
    arguments = ["evaluate", str(tiny_folder), "starter", "--sts", str(files / "sts.csv"), "--samples", "50"]
    result = RUNNER.invoke(cli.app, [*arguments, "--json", str(files / "new" / "out.json")])
    assert result.exit_code == 0, result.output
    head, row = result.output.splitlines()[:2]
    assert head.split() == ["data", "metric", str(tiny_folder), "starter"]
    assert row.split()[:2] == ["sts.csv", "spearman"]
    assert row.count("[") == 2
    assert f"starter - {tiny_folder}, sts.csv, spearman: " in result.output
    rows = json.loads((files / "new" / "out.json").read_text())
    assert [one["model"] for one in rows] == [str(tiny_folder), "starter"]
    assert f"{rows[1]['value']:.4f} [{rows[1]['low']:.4f}" in row
    assert [path.name for path in (files / "new").iterdir()] == ["out.json"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["starter", "--sts", "none.csv"], "There is no file none.csv"),
        (["starter"], "Give data"),
        (["no-such-model", "--sts", "{sts}"], "no-such-model"),
        (["starter", "--pairs", "{sts}"], "no column label"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(files, arguments, says):
    result = RUNNER.invoke(cli.app, ["evaluate", *(one.format(sts=files / "sts.csv") for one in arguments)])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert says in result.stderr
