"""Searching codes and measuring what they cost, against brute force."""

import csv
import importlib.util
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.errors import Cancelled, ChoiceError, VectorError
from workbench.progress import listen
from workbench.quantization import Quantizer
from workbench.search import hamming_top_k, quantization_tradeoff, rescore

RNG = np.random.default_rng(5)
CORPUS = (RNG.normal(size=(600, 32)) * np.linspace(2, 0.3, 32)).astype(np.float32)  # most is in the first dimensions
QUERIES = (CORPUS[:40] + RNG.normal(size=(40, 32))).astype(np.float32)
DATA = Path(__file__).parents[1] / "notebooks" / "data"


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def best_rows(queries, corpus, k):
    return np.argsort(-(unit(queries).astype(float) @ unit(corpus).astype(float).T), axis=1)[:, :k]


@pytest.mark.parametrize("width", [1, 3, 8, 12])
@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_nearest_bits_are_those_of_brute_force(width, kind):
    queries, corpus = (RNG.integers(0, 256, (rows, width)).astype(np.uint8) for rows in (7, 9000))
    scores, ids = hamming_top_k(queries.view(kind), corpus.view(kind), 20)
    distances = np.unpackbits(queries[:, None] ^ corpus, axis=2).sum(2)
    order = np.argsort(distances, axis=1, kind="stable")[:, :20]
    assert (ids == order).all(), "of equal distances the smaller position first"
    assert (scores == -np.take_along_axis(distances.astype(int), order, axis=1)).all()


def test_few_or_no_codes_leave_places_empty():
    codes = np.zeros((2, 4), np.uint8)
    scores, ids = hamming_top_k(codes, codes, 3)
    assert ids.tolist() == [[0, 1, -1]] * 2
    assert scores[:, 2].tolist() == [-np.inf] * 2
    assert hamming_top_k(codes, codes[:0], 2)[1].tolist() == [[-1, -1]] * 2
    assert hamming_top_k(codes[:0], codes, 2)[1].shape == (0, 2)


@pytest.mark.parametrize(
    ("queries", "corpus", "message"),
    [
        (CORPUS, CORPUS, "queries are float32; expected codes of int8 or uint8"),
        (np.zeros((1, 4), np.int8), np.zeros((1, 4), np.uint8), "corpus are uint8; expected codes of int8"),
        (np.zeros((1, 4), np.int8), np.zeros((1, 3), np.int8), "3 dimensions; expected 4"),
    ],
)
def test_what_is_no_code_of_bits_is_refused(queries, corpus, message):
    with pytest.raises(VectorError, match=message):
        hamming_top_k(queries, corpus, 1)
    with pytest.raises(ValueError, match="k is 0"):
        hamming_top_k(queries, corpus, 0)


def test_candidates_are_ordered_by_their_dot_product_and_the_missing_stay_last(monkeypatch):
    monkeypatch.setattr("workbench.search.coded.BLOCK_BYTES", 1)  # one query at a time
    ids = np.array([[5, 3, -1, 8], [-1, -1, -1, -1], [1, 1, 2, 2]])
    scores, found = rescore(QUERIES[:3], ids, CORPUS.__getitem__, 3)
    dots = QUERIES[:3].astype(float) @ CORPUS.T.astype(float)
    first = sorted([5, 3, 8], key=lambda row: -dots[0, row])
    assert found[0].tolist() == first
    np.testing.assert_allclose(scores[0], dots[0, first])
    assert found[1].tolist() == [-1, -1, -1]
    assert (scores[1] == -np.inf).all()
    assert sorted(found[2].tolist()) in ([1, 1, 2], [1, 2, 2])
    assert rescore(QUERIES[:0], ids[:0], CORPUS.__getitem__, 3)[1].shape == (0, 3)


def test_queries_and_candidates_that_are_not_finite_are_named():
    broken = QUERIES[:3].copy()
    broken[2, 0] = np.nan
    ids = np.zeros((3, 2), np.int64)
    with pytest.raises(VectorError, match=r"\[2\]"):
        rescore(broken, ids, CORPUS.__getitem__, 1)
    with pytest.raises(VectorError, match=r"\[0, 1, 2\]"):
        rescore(torch.tensor(QUERIES[:3]), ids, lambda rows: np.full((len(rows), 32), np.inf), 1)


def test_sizes_and_recalls_are_those_of_brute_force():
    tradeoff = quantization_tradeoff(QUERIES, CORPUS, dims=[32, 16], k=5, rescore_multiplier=3)
    truth = best_rows(QUERIES, CORPUS, 5)

    def recall(found):
        return np.mean([len(set(a) & set(b)) / 5 for a, b in zip(truth, found, strict=True)])

    rows = {(row.precision, row.dim, row.rescore): row for row in tradeoff.rows}
    assert len(rows) == len(tradeoff.rows) == 10
    for dim in (32, 16):
        queries, corpus = unit(QUERIES[:, :dim]), unit(CORPUS[:, :dim])
        assert rows["float32", dim, False].recall == pytest.approx(recall(best_rows(queries, corpus, 5)))
        byte = Quantizer.fit("int8", corpus)
        decoded = [byte.decode(byte.encode(side)) for side in (queries, corpus)]
        ids = np.argsort(-(decoded[0] @ decoded[1].T), axis=1)[:, :5]
        assert rows["int8", dim, False].recall == pytest.approx(recall(ids), abs=0.02)
        signs = [np.where(side > 0, 1, -1) for side in (queries, corpus)]
        near = np.argsort(-(signs[0] @ signs[1].T), axis=1, kind="stable")
        assert rows["binary", dim, False].recall == pytest.approx(recall(near[:, :5]))
        again = [
            row[np.argsort(-(query @ signs[1][row].T))[:5]] for query, row in zip(queries, near[:, :15], strict=True)
        ]
        assert rows["binary", dim, True].recall == pytest.approx(recall(again), abs=0.01)
        for precision, width in (("float32", 4 * dim), ("int8", dim), ("binary", dim // 8)):
            assert rows[precision, dim, False].bytes_per_vector == width
            assert rows[precision, dim, False].bytes == 600 * width
    assert rows["float32", 32, False].recall == 1
    assert all(row.milliseconds > 0 for row in tradeoff.rows)


def test_the_best_is_the_smallest_that_keeps_the_recall():
    tradeoff = quantization_tradeoff(QUERIES, CORPUS)
    assert {row.dim for row in tradeoff.rows} == {32, 16, 8}
    best = tradeoff.best(0.9)
    assert (best.precision, best.dim, best.rescore) == ("int8", 32, False)
    assert tradeoff.best(1.0).precision in ("int8", "float32")
    assert tradeoff.best(0).bytes_per_vector == 1
    only_bits = quantization_tradeoff(QUERIES, CORPUS, precisions=["ubinary"])
    with pytest.raises(ValueError, match=r"No setting keeps 0\.95: ubinary with 32 dimensions 0\."):
        only_bits.best()


def test_a_table_has_a_row_for_each_setting():
    frame = quantization_tradeoff(QUERIES, CORPUS, k=3, dims=[32]).to_frame()
    assert list(frame["precision"]) == ["float32", "int8", "int8", "binary", "binary"]
    assert {"recall@3", "ms per query", "bytes", "bytes_per_vector"} < set(frame.columns)


def test_cosine_does_not_see_lengths_and_dot_does():
    long = CORPUS * RNG.uniform(0.1, 10, (600, 1)).astype(np.float32)
    options = {"precisions": ["float32"], "dims": [32, 16]}
    plain, stretched = (quantization_tradeoff(QUERIES, side, **options) for side in (CORPUS, long))
    assert [row.recall for row in plain.rows] == [row.recall for row in stretched.rows]
    dot = quantization_tradeoff(QUERIES, long, metric="dot", **options).rows[1]
    truth, found = (np.argsort(-(QUERIES[:, :dim] @ long[:, :dim].T), axis=1)[:, :10] for dim in (32, 16))
    assert dot.recall == pytest.approx(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)]))


def test_equal_vectors_stand_for_each_other():
    same = np.ones((50, 16), np.float32)
    assert {row.recall for row in quantization_tradeoff(same[:3], same).rows} == {1.0}
    twice = np.concatenate([CORPUS[:30], CORPUS[:30]])
    assert quantization_tradeoff(QUERIES, twice, k=5, precisions=["float32"], dims=[32]).rows[0].recall == 1


def test_more_results_than_rows_asks_for_all_rows():
    rows = quantization_tradeoff(QUERIES, CORPUS[:4], k=10).rows
    assert {row.recall for row in rows} == {1.0}


def test_zero_vectors_are_measured_too():
    corpus = np.concatenate([CORPUS[:200], np.zeros((3, 32), np.float32)])
    assert quantization_tradeoff(np.zeros((1, 32), np.float32), corpus).rows[0].recall == 1
    assert quantization_tradeoff(QUERIES, corpus).rows[0].recall == 1


def test_a_large_file_is_searched_in_part_and_the_notes_say_so(tmp_path):
    file = np.lib.format.open_memmap(tmp_path / "vectors.npy", "w+", np.float32, CORPUS.shape)
    file[:] = CORPUS
    options = {"sample": 100, "precisions": ["float32", "binary"], "dims": [32]}
    tradeoff = quantization_tradeoff(QUERIES, file, **options)
    assert (tradeoff.vectors, tradeoff.searched, tradeoff.queries) == (600, 100, 40)
    assert tradeoff.rows[0].bytes == 600 * 128
    assert "Measured on 100 of 600 vectors" in " ".join(tradeoff.notes)
    again = quantization_tradeoff(torch.tensor(QUERIES), torch.tensor(CORPUS), **options)
    assert [row.recall for row in again.rows] == [row.recall for row in tradeoff.rows], "the same seed, the same rows"
    assert "first ones of each vector" not in " ".join(tradeoff.notes)
    assert "Matryoshka" in " ".join(quantization_tradeoff(QUERIES, CORPUS, dims=[32, 8]).notes)


def test_progress_counts_settings_and_a_listener_can_stop_the_work():
    seen = []
    with listen(lambda bar: seen.append((bar.desc, bar.done, bar.total))):
        quantization_tradeoff(QUERIES, CORPUS, dims=[32])
    assert seen[-1] == ("Measuring", 5, 5)
    assert {desc for desc, _, _ in seen} == {"Measuring"}

    def stop(bar):
        raise Cancelled

    threads = torch.get_num_threads()
    with pytest.raises(Cancelled), listen(stop):
        quantization_tradeoff(QUERIES, CORPUS)
    assert torch.get_num_threads() == threads
    assert threading.active_count() < 50


@pytest.mark.parametrize(
    ("queries", "corpus", "options", "error", "message"),
    [
        (QUERIES, CORPUS[:0], {}, VectorError, "0 vectors and 40 queries"),
        (QUERIES[:0], CORPUS, {}, VectorError, "600 vectors and 0 queries"),
        (QUERIES[:, :8], CORPUS, {}, VectorError, "8 dimensions; expected 32"),
        (QUERIES * np.nan, CORPUS, {}, VectorError, "queries hold NaN"),
        (QUERIES, np.where(CORPUS > 3, np.inf, CORPUS), {}, VectorError, "corpus hold NaN"),
        (QUERIES, "text", {}, VectorError, "corpus must"),
        (QUERIES, CORPUS, {"precisions": ["int4"]}, ChoiceError, "'int4'"),
        (QUERIES, CORPUS, {"metric": "euclidean"}, ChoiceError, "'cosine', 'dot'"),
        (QUERIES, CORPUS, {"dims": [64]}, VectorError, "from 1 to 32"),
        (QUERIES, CORPUS, {"dims": [0]}, VectorError, "from 1 to 32"),
        (QUERIES, CORPUS, {"dims": []}, VectorError, "from 1 to 32"),
        (QUERIES, CORPUS, {"k": 0}, ValueError, "k is 0"),
        (QUERIES, CORPUS, {"rescore_multiplier": 0}, ValueError, "rescore_multiplier is 0"),
        (QUERIES, CORPUS, {"sample": -1}, ValueError, "sample is -1"),
    ],
)
def test_what_cannot_be_measured_is_refused(queries, corpus, options, error, message):
    with pytest.raises(error, match=message):
        quantization_tradeoff(queries, corpus, **options)


def test_the_bundled_sentences_are_what_their_script_writes(tmp_path):
    spec = importlib.util.spec_from_file_location("make_sentences", DATA / "make_sentences.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(tmp_path)
    for name, rows in (("sentences.csv", 6_000), ("questions.csv", 228)):
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes()
        with (DATA / name).open(newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        assert len({row["text"] for row in table}) == len(table) == rows
        assert {row["subject"] for row in table} == set(script.SUBJECTS)
