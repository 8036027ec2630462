"""Mining against brute force and closed forms: paraphrases, hard negatives, translated sentences."""

import itertools
import types
import warnings
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from datasets import Dataset

from workbench.errors import Cancelled, ChoiceError, TextTypeError, VectorError, WorkbenchError
from workbench.mining import (
    bitext_mining,
    mine_bitext,
    mine_hard_negatives,
    paraphrase_mining,
    paraphrase_mining_embeddings,
    paraphrases,
    score_bitext,
)
from workbench.mining.hard_negatives import filter_candidates, propose_candidates, sample_candidates
from workbench.progress import listen
from workbench.similarity import dot_score, manhattan_sim
from workbench.store import EmbeddingStore

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(400, 10)).astype(np.float32)


def unit(vectors):
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


# Paraphrases


def every_pair(vectors, max_pairs, top_k):
    """All pairs of which one row is among the ``top_k`` nearest of the other, from the whole table of scores."""
    table = unit(vectors) @ unit(vectors).T
    np.fill_diagonal(table, -np.inf)
    near = np.argsort(-table, axis=1)[:, : min(top_k, len(table) - 1)]
    pairs = {(min(i, j), max(i, j)) for i, row in enumerate(near.tolist()) for j in row}
    return sorted(((table[pair], *pair) for pair in pairs), reverse=True)[:max_pairs]


@pytest.mark.parametrize("room", [1, 8])
@pytest.mark.parametrize("cell", [60, 512])
@pytest.mark.parametrize(("max_pairs", "top_k"), [(50, 1), (300, 2), (300, 100), (2000, 9), (10**6, 3), (10**6, 900)])
def test_pairs_are_those_of_the_whole_table(max_pairs, top_k, cell, room, monkeypatch):
    monkeypatch.setattr(paraphrases, "_ROOM", room)
    monkeypatch.setattr(paraphrases, "_CELL", cell)
    found = paraphrase_mining_embeddings(VECTORS, 150, 170, max_pairs, top_k)
    expected = every_pair(VECTORS, max_pairs, top_k)
    assert {(i, j) for _, i, j in found} == {(i, j) for _, i, j in expected}
    np.testing.assert_allclose([row[0] for row in found], [row[0] for row in expected], rtol=0, atol=1e-6)


@pytest.mark.parametrize("max_pairs", [30, 10**6])
def test_pairs_stand_best_first_and_smaller_row_first(max_pairs):
    found = paraphrase_mining_embeddings(VECTORS, max_pairs=max_pairs)
    assert found == sorted(found, key=lambda row: (-row[0], row[1], row[2]))
    assert all(i < j for _, i, j in found)
    assert all(type(score) is float and type(i) is int for score, i, _ in found)


def test_pairs_do_not_depend_on_the_chunks():
    plain = paraphrase_mining_embeddings(VECTORS, max_pairs=400)
    for chunks in ((1, 1), (3, 1000), (1000, 3), (64, 64)):
        found = paraphrase_mining_embeddings(VECTORS[:60] if 1 in chunks else VECTORS, *chunks, max_pairs=400)
        expected = paraphrase_mining_embeddings(VECTORS[:60], max_pairs=400) if 1 in chunks else plain
        assert [row[1:] for row in found] == [row[1:] for row in expected]


@pytest.mark.parametrize("max_pairs", [100, 10**6])
def test_many_rows_that_are_all_alike_give_their_number_of_pairs_in_little_room(max_pairs, monkeypatch):
    kept = []
    sort_out = paraphrases._Pool._sort_out
    monkeypatch.setattr(paraphrases, "_CELL", 50)
    monkeypatch.setattr(
        paraphrases._Pool, "_sort_out", lambda pool: (sort_out(pool), kept.append(sum(map(len, pool.scores))))
    )
    found = paraphrase_mining_embeddings(np.ones((400, 4)), 100, 100, max_pairs, top_k=5)
    assert len(found) == (100 if max_pairs == 100 else len({tuple(row[1:]) for row in found}))
    assert {round(score, 5) for score, _, _ in found} == {1.0}
    assert max(kept, default=0) <= 8 * 100


def test_an_opposite_pair_is_found_when_nothing_else_is_there():
    assert paraphrase_mining_embeddings([[1.0, 0.0], [-2.0, 0.0]]) == [[-1.0, 0, 1]]


def test_a_dot_product_may_rank_a_row_behind_others():
    vectors = np.array([[1, 0], [5, 0], [9, 1], [0.1, 3]], np.float32)
    found = paraphrase_mining_embeddings(vectors, score_function=dot_score, top_k=1)
    assert [row[1:] for row in found] == [[1, 2], [0, 2], [2, 3]]


FORMS = {
    "tensor": torch.tensor,
    "half precision tensor": lambda vectors: torch.tensor(vectors).half(),
    "double": lambda vectors: vectors.astype(np.float64),
    "whole numbers": lambda vectors: vectors.astype(np.int32),
    "not contiguous": lambda vectors: np.repeat(vectors, 2, axis=1)[:, ::2],
    "list of lists": lambda vectors: vectors.tolist(),
    "list of tensors": lambda vectors: list(torch.tensor(vectors)),
}


@pytest.mark.parametrize("max_pairs", [20, 10**5])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_vectors_gives_the_same_pairs(form, max_pairs):
    whole = (VECTORS[:80] * 4).round()
    found = paraphrase_mining_embeddings(FORMS[form](whole), max_pairs=max_pairs)
    assert found == paraphrase_mining_embeddings(whole, max_pairs=max_pairs)


@pytest.mark.parametrize(
    ("vectors", "count"), [([], 0), (np.zeros((0, 4)), 0), ([[1.0, 2.0]], 0), (np.zeros((3, 4)), 3)]
)
def test_few_rows_or_zero_vectors_give_the_pairs_there_are(vectors, count):
    for max_pairs in (2, 500):
        found = paraphrase_mining_embeddings(vectors, max_pairs=max_pairs, top_k=100)
        assert len(found) == min(count, max_pairs)
        assert all(row[0] == 0 for row in found)


def test_a_file_on_disk_is_read_in_parts(tmp_path):
    path = tmp_path / "vectors.npy"
    np.save(path, VECTORS)
    mapped = np.load(path, mmap_mode="r")
    assert paraphrase_mining_embeddings(mapped, max_pairs=90) == paraphrase_mining_embeddings(VECTORS, max_pairs=90)


def test_memory_is_bounded_by_the_chunks():
    import tracemalloc

    vectors = np.random.default_rng(1).normal(size=(4000, 8)).astype(np.float32)  # all scores: 64 MB
    mine = partial(paraphrase_mining_embeddings, vectors, 256, 512, max_pairs=1000, top_k=10)
    tracemalloc.start()
    mine()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8e6, "in arrays"
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        mine()
    assert max(event.self_cpu_memory_usage for event in profile.events()) < 2e6, "in tensors"


def test_texts_that_differ_little_come_first():
    class Letters:
        def encode(self, texts, **options):
            assert options["prompt"] == "p: "
            return torch.tensor([[text.count(letter) for letter in "abcdefgh"] for text in texts]).float()

    texts = ["abc", "fgh", "abcd", "h"]
    assert [row[1:] for row in paraphrase_mining(Letters(), texts, prompt="p: ", max_pairs=2)] == [[0, 2], [1, 3]]


def test_mining_can_be_cancelled():
    def stop(bar):
        raise Cancelled

    for max_pairs in (10, 10**6):
        with listen(stop), pytest.raises(Cancelled):
            paraphrase_mining_embeddings(VECTORS, max_pairs=max_pairs)


# Hard negatives


class Given:
    """A model whose text ``q3`` is row 3 of the queries and ``d7`` row 7 of the documents."""

    similarity_fn_name = "cosine"

    def __init__(self, queries, documents):
        self.rows = {"q": np.asarray(queries, np.float32), "d": np.asarray(documents, np.float32)}
        self.calls = []

    def encode(self, texts, **options):
        self.calls.append((list(texts), options))
        return np.stack([self.rows[text[0]][int(text[1:])] for text in texts])


def circle(*degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


# d0 answers q0; the others stand 10, 20, ... degrees from q0; q1 is on the far side.
MODEL = Given(circle(0, 90), circle(5, 10, 20, 30, 40, 50))
PAIRS = Dataset.from_dict({"question": ["q0", "q1", "q0"], "answer": ["d0", "d5", "d2"]})
CORPUS = [f"d{i}" for i in range(6)]


def mine(**options):
    return mine_hard_negatives(PAIRS, MODEL, corpus=CORPUS, **({"verbose": False} | options))


def test_negatives_are_the_nearest_texts_that_are_no_positive_of_their_query():
    assert mine(num_negatives=2).to_dict() == {
        "question": ["q0", "q0", "q0", "q0", "q1", "q1"],
        "answer": ["d0", "d0", "d2", "d2", "d5", "d5"],
        "negative": ["d1", "d3", "d1", "d3", "d4", "d3"],
    }


def test_margins_are_measured_from_the_hardest_positive():
    gap = float(np.cos(np.radians(20)) - np.cos(np.radians(30)))
    assert mine(num_negatives=1, absolute_margin=gap - 1e-3)["negative"][:2] == ["d3", "d3"]
    assert mine(num_negatives=1, absolute_margin=gap + 1e-3)["negative"][:2] == ["d4", "d4"]
    share = gap / float(np.cos(np.radians(20)))
    assert mine(num_negatives=1, relative_margin=share - 1e-3)["negative"][:2] == ["d3", "d3"]
    assert mine(num_negatives=1, relative_margin=share + 1e-3)["negative"][:2] == ["d4", "d4"]


def test_a_relative_margin_asks_for_less_also_where_scores_are_negative():
    kept, dropped = filter_candidates(
        np.array([[-0.5, -0.54, -0.56]], np.float32),
        np.array([-0.5], np.float32),
        np.zeros((1, 3), bool),
        relative_margin=0.1,
    )
    assert kept.tolist() == [[False, False, True]]
    assert dropped == {"relative_margin": 2}


def test_each_condition_counts_only_what_it_was_the_first_to_drop():
    scores = np.array([[0.9, 0.8, 0.5, 0.1, 0.95]], np.float32)
    excluded = np.array([[False, False, False, False, True]])
    kept, dropped = filter_candidates(
        scores, np.array([0.85], np.float32), excluded, absolute_margin=0.0, max_score=0.7, min_score=0.2
    )
    assert kept.tolist() == [[False, False, True, False, False]]
    assert dropped == {"absolute_margin": 1, "max_score": 1, "min_score": 1}


def test_ranks_are_counted_among_those_that_are_kept():
    scores = np.array([[0.1, 0.9, 0.5, 0.7]], np.float32)
    kept = np.array([[True, False, True, True]])
    assert sample_candidates(scores, kept, 2).tolist() == [[3, 2]]
    assert sample_candidates(scores, kept, 2, range_min=1).tolist() == [[2, 0]]
    assert sample_candidates(scores, kept, 2, range_max=1).tolist() == [[3, -1]]
    assert sample_candidates(scores, kept, 2, range_min=3).tolist() == [[-1, -1]]
    assert sample_candidates(scores, kept, 6, strategy="random").tolist() == [[3, 2, 0, -1, -1, -1]]


def test_random_choice_is_even_seeded_and_only_of_what_is_kept():
    scores = np.tile(np.linspace(1, 0, 10, dtype=np.float32), (4000, 1))
    kept = np.tile(np.arange(10) % 3 != 0, (4000, 1))  # six of ten
    chosen = sample_candidates(scores, kept, 2, strategy="random", seed=1)
    assert (chosen[:, 0] < chosen[:, 1]).all(), "best first"
    counts = np.bincount(chosen.ravel(), minlength=10)
    assert (counts[~kept[0]] == 0).all()
    np.testing.assert_allclose(counts[kept[0]] / 4000, 2 / 6, atol=0.03)
    assert (sample_candidates(scores, kept, 2, strategy="random", seed=1) == chosen).all()
    assert (sample_candidates(scores, kept, 2, strategy="random", seed=2) != chosen).any()


def test_candidates_are_the_nearest_documents():
    hits = propose_candidates(VECTORS[:5], VECTORS, 3)
    assert hits.ids.tolist() == np.argsort(-(unit(VECTORS[:5]) @ unit(VECTORS).T), axis=1)[:, :3].tolist()


class Judge:
    def __init__(self):
        self.calls = []

    def predict(self, pairs, **options):
        self.calls.append(list(pairs))
        return np.array([-int(document[1:]) for _, document in pairs], np.float32)


def test_a_cross_encoder_judges_all_pairs_in_one_call_and_its_order_counts():
    judge = Judge()
    found = mine(num_negatives=1, range_max=5, cross_encoder=judge, output_scores=True)
    assert found.to_dict() == {
        "question": ["q0", "q0", "q1"],
        "answer": ["d0", "d2", "d5"],
        "negative": ["d1", "d1", "d0"],
        "scores": [[0, -1], [-2, -1], [-5, 0]],
    }
    (pairs,) = judge.calls
    assert len(pairs) == len(set(pairs)) == 12, "two queries with six documents each"


def test_statistics_are_data_and_a_table(capsys):
    table, statistics = mine(num_negatives=4, max_score=0.9, return_statistics=True, verbose=True)
    assert statistics.dropped == {"max_score": 1}, "d1, ten degrees from q0"
    assert statistics.scores["positive"]["count"] == 3
    assert statistics.scores["negative"]["max"] <= 0.9
    assert statistics.missing == 12 - len(table)
    assert statistics.to_frame().loc["mean", "positive"] == pytest.approx(np.cos(np.radians([5, 20, 40])).mean())
    shown = capsys.readouterr().out
    assert "positive" in shown
    assert "max_score dropped 1 of 9 candidates of 2 queries." in shown
    assert f"{statistics.missing} rows are missing" in shown


def test_nothing_is_printed_unless_asked_for(capsys):
    mine()
    answer = capsys.readouterr()
    assert answer.out == answer.err == ""


def test_prompts_and_batch_size_reach_the_side_they_are_for():
    MODEL.calls.clear()
    mine(query_prompt="ask: ", corpus_prompt_name="doc", batch_size=7)
    (queries, asked), (documents, told) = MODEL.calls
    assert queries == ["q0", "q1"]
    assert sorted(documents) == CORPUS
    assert (asked["prompt"], asked["prompt_name"], told["prompt"], told["prompt_name"]) == ("ask: ", None, None, "doc")
    assert asked["batch_size"] == told["batch_size"] == 7


def test_worker_processes_are_started_for_both_sides_and_stopped():
    class Pooled(Given):
        def start_multi_process_pool(self, devices):
            self.calls.append(devices)
            return "pool"

        def stop_multi_process_pool(self, pool):
            self.calls.append(pool)

    model = Pooled(MODEL.rows["q"], MODEL.rows["d"])
    mine_hard_negatives(PAIRS, model, use_multi_process=["cpu", "cpu"], num_negatives=1, verbose=False)
    started, *encoded, stopped = model.calls
    assert (started, stopped) == (["cpu", "cpu"], "pool")
    assert [options["pool"] for _, options in encoded] == ["pool", "pool"]


class Shelf:
    """A stand-in for ``EmbeddingStore``: what it does not hold, it has encoded."""

    made: ClassVar = {}

    def __init__(self, path):
        self.vectors = self.made.setdefault(path, {})
        self.closed = False

    def encode(self, model, texts, **options):
        key = options["prompt"]
        if new := [text for text in texts if (key, text) not in self.vectors]:
            self.vectors |= dict(zip([(key, text) for text in new], model.encode(new, **options), strict=True))
        return np.stack([self.vectors[key, text] for text in texts])

    def close(self):
        self.closed = True


def test_a_store_saves_encoding_again():
    shelf = Shelf("store")
    first = mine(store=shelf)
    MODEL.calls.clear()
    assert mine(store=shelf).to_dict() == first.to_dict()
    assert MODEL.calls == []
    assert not shelf.closed


def test_a_store_is_asked_for_what_the_model_would_do_for_questions_and_documents(tiny):
    class Asked:
        def encode(self, model, texts, **options):
            asked.append(options)
            return model.encode(texts, **options)

    asked, tiny.prompts = [], {"query": "ask: ", "passage": "text: "}
    pairs = table(["red house", "old tree"], ["a small house", "a tall tree"])
    options = {"num_negatives": 1, "output_scores": True, "verbose": False}
    found = mine_hard_negatives(pairs, tiny, store=Asked(), **options)
    assert [(row["task"], row["prompt"]) for row in asked] == [("query", "ask: "), ("document", "text: ")]
    assert found.to_dict() == mine_hard_negatives(pairs, tiny, **options).to_dict()


def test_a_cache_folder_holds_a_store(tiny, tmp_path):
    pairs = table(["red house", "old tree"], ["a small house", "a tall tree"])
    folder, kept = tmp_path / "new" / "folder", []
    for place in (folder, str(folder)):
        found = mine_hard_negatives(pairs, tiny, num_negatives=1, cache_folder=place, verbose=False)
        with EmbeddingStore(folder / "embeddings.sqlite") as store:
            kept.append((found.to_dict(), len(store)))
    assert kept[0] == kept[1]
    assert kept[0][1] > 0


def test_older_arguments_work_and_say_what_replaces_them():
    with pytest.warns(DeprecationWarning, match="output_format='n-tuple'"):
        old = mine(as_triplets=False)
    assert old.to_dict() == mine(output_format="n-tuple").to_dict()
    with pytest.warns(DeprecationWarning, match="absolute_margin"):
        old = mine(margin=0.1)
    assert old.to_dict() == mine(absolute_margin=0.1).to_dict()
    with pytest.warns(DeprecationWarning, match="output_scores=True"):
        old = mine(output_format="n-tuple-scores")
    assert old.to_dict() == mine(output_format="n-tuple", output_scores=True).to_dict()


def test_other_similarities_are_followed():
    model = Given([[1, 0]], [[9, 0.1], [1, 0], [0, 1], [1.5, 0.2]])
    pairs = Dataset.from_dict({"a": ["q0"], "b": ["d2"]})
    for name, expected in (("dot", ["d0"]), ("euclidean", ["d1"]), ("cosine", ["d1"])):
        model.similarity_fn_name = name
        for backend in (False, True):
            found = mine_hard_negatives(
                pairs, model, corpus=["d0", "d1", "d2", "d3"], num_negatives=1, verbose=False, use_faiss=backend
            )
            assert found["negative"][:] == expected, (name, backend)


# Translated sentences


def parallel(count, extra, noise, seed=0, dim=32):
    """Two sides of ``count`` pairs in shuffled order with ``extra`` rows of their own each, and the true pairs."""
    rng = np.random.default_rng(seed)
    meaning = rng.normal(size=(count, dim)) + 1.5  # a common direction: some rows are close to everything
    sides = [np.concatenate([meaning, rng.normal(size=(extra, dim)) + 1.5]) for _ in range(2)]
    orders = [rng.permutation(count + extra) for _ in range(2)]
    sides = [(side + noise * rng.normal(size=side.shape))[order] for side, order in zip(sides, orders, strict=True)]
    places = [np.argsort(order) for order in orders]
    return *sides, {(int(places[0][i]), int(places[1][i])) for i in range(count)}


@pytest.mark.parametrize("margin", ["ratio", "distance"])
@pytest.mark.parametrize("retrieval", ["max", "intersection", "forward", "backward"])
def test_a_parallel_set_with_known_truth_is_solved(margin, retrieval):
    source, target, gold = parallel(600, 300, 0.3)
    found = mine_bitext(source, target, margin=margin, retrieval=retrieval)
    assert score_bitext(found, gold).f1 >= 0.99


def test_the_margin_beats_the_plain_cosine_where_some_rows_are_close_to_everything():
    source, target, gold = parallel(600, 300, 0.6)
    scores = {name: score_bitext(mine_bitext(source, target, margin=name), gold).f1 for name in ("ratio", "absolute")}
    assert scores["ratio"] > scores["absolute"] + 0.01


@pytest.mark.parametrize("backend", ["exact", "faiss"])
@pytest.mark.parametrize("margin", ["ratio", "distance", "absolute"])
def test_scores_are_those_of_the_paper(margin, backend):
    x, y = unit(RNG.normal(size=(9, 5)) + 1), unit(RNG.normal(size=(7, 5)) + 1)
    cosine, k = x @ y.T, 3
    around_x = np.sort(cosine, axis=1)[:, -k:].sum(axis=1) / (2 * k)
    around_y = np.sort(cosine, axis=0)[-k:].sum(axis=0) / (2 * k)
    for (score, i, j), source in zip(
        sorted(mine_bitext(x, y, k, margin, "forward", backend=backend), key=lambda row: row[1]), range(9), strict=True
    ):
        around = around_x[:, None] + around_y
        table = {"ratio": cosine / around, "distance": cosine - around, "absolute": cosine}[margin]
        near = np.argsort(-cosine[source])[:k]
        assert i == source
        assert j == near[table[source, near].argmax()]
        assert score == pytest.approx(table[i, j], abs=1e-6)


def test_retrieval_max_uses_each_sentence_once_and_intersection_needs_both_to_agree():
    source, target, _ = parallel(80, 40, 1.0)
    found = {
        name: mine_bitext(source, target, retrieval=name) for name in ("forward", "backward", "intersection", "max")
    }
    pairs = {name: {row[1:] for row in rows} for name, rows in found.items()}
    assert len({i for i, _ in pairs["max"]}) == len({j for _, j in pairs["max"]}) == len(pairs["max"])
    assert pairs["intersection"] == pairs["forward"] & pairs["backward"]
    assert pairs["intersection"] <= pairs["max"] <= pairs["forward"] | pairs["backward"]
    assert len(pairs["forward"]) == len(source)
    assert len(pairs["backward"]) == len(target)
    for rows in found.values():
        assert rows == sorted(rows, key=lambda row: (-row[0], *row[1:]))


def test_a_threshold_leaves_the_pairs_at_or_above_it():
    source, target, _ = parallel(50, 20, 0.5)
    found = mine_bitext(source, target)
    assert mine_bitext(source, target, threshold=found[9][0]) == found[:10]


def test_swapping_the_sides_swaps_the_pairs():
    source, target, _ = parallel(60, 30, 0.7)
    swapped = [(score, j, i) for score, i, j in mine_bitext(target, source)]
    found = mine_bitext(source, target)
    assert {row[1:] for row in swapped} == {row[1:] for row in found}


def test_alike_and_zero_vectors_give_finite_scores():
    for vectors in (np.ones((5, 3)), np.zeros((5, 3))):
        for margin, retrieval in itertools.product(("ratio", "distance", "absolute"), ("max", "intersection")):
            found = mine_bitext(vectors, vectors, margin=margin, retrieval=retrieval)
            assert np.isfinite([row[0] for row in found]).all()


@pytest.mark.parametrize(("source", "target"), [([], [[1.0]]), ([[1.0]], []), (np.zeros((0, 3)), np.ones((2, 3)))])
def test_an_empty_side_gives_no_pairs(source, target):
    assert mine_bitext(source, target) == []


def test_k_may_exceed_the_number_of_rows():
    assert mine_bitext([[1.0, 0.1]], [[1.0, 0.2]], k=50, margin="absolute")[0][1:] == (0, 0)


def test_scores_of_found_pairs_count_what_was_missed():
    found = [(0.9, 0, 0), (0.8, 1, 5), (0.7, 2, 2), (0.7, 3, 9), (0.2, 4, 9)]
    gold = {(0, 0), (1, 1), (2, 2), (4, 4)}
    at = score_bitext(found, gold, threshold=0.7)
    assert (at.precision, at.recall, at.f1) == (2 / 4, 2 / 4, 0.5)
    best = score_bitext(found, gold)
    assert best.f1 == max(score_bitext(found, gold, threshold=row[0]).f1 for row in found) == pytest.approx(0.5)
    none = score_bitext([], gold)
    assert (none.f1, none.precision, none.recall) == (0, 0, 0)
    assert score_bitext([(0.5, 1, 0)], gold).f1 == 0


def test_texts_come_with_their_pairs_and_repeated_ones_count_once():
    class Words:
        def encode(self, texts, **options):
            return np.array([[text.lower().count(letter) + 0.01 for letter in "abcdefghij"] for text in texts])

    table = bitext_mining(Words(), ["abc", "abc", "hij"], ["HIJ", "xxx", "ABC"], k=2)
    assert table.head(2)[["source", "target", "source_text", "target_text"]].sort_values("source").values.tolist() == [
        [0, 2, "abc", "ABC"],
        [2, 0, "hij", "HIJ"],
    ]
    empty = bitext_mining(Words(), ["abc"], ["abc"], threshold=9.0)
    assert list(empty.columns) == ["score", "source", "target", "source_text", "target_text"]
    assert len(empty) == 0


# Bad input

HOLED = VECTORS[:6].copy()
HOLED[4, 2] = np.nan
ENDLESS = VECTORS[:6].copy()
ENDLESS[1, 0] = np.inf


def table(questions, answers):
    return Dataset.from_dict({"question": questions, "answer": answers})


BAD = {
    "paraphrases: NaN": (lambda: paraphrase_mining_embeddings(HOLED), VectorError, "1 rows, such as 4"),
    "paraphrases: infinite": (lambda: paraphrase_mining_embeddings(ENDLESS, max_pairs=2), VectorError, "such as 1"),
    "paraphrases: NaN, few pairs": (lambda: paraphrase_mining_embeddings(HOLED, max_pairs=2), VectorError, "such as 4"),
    "paraphrases: NaN, dot": (
        lambda: paraphrase_mining_embeddings(HOLED, max_pairs=2, score_function=dot_score),
        VectorError,
        "such as 4",
    ),
    "paraphrases: a cube": (lambda: paraphrase_mining_embeddings(np.ones((2, 2, 2))), VectorError, r"\(2, 2, 2\)"),
    "paraphrases: texts": (lambda: paraphrase_mining_embeddings(["a", "b"]), VectorError, "numbers"),
    "paraphrases: ragged": (lambda: paraphrase_mining_embeddings([[1.0], [1.0, 2.0]]), VectorError, "one length"),
    "paraphrases: None": (lambda: paraphrase_mining_embeddings(None), VectorError, "NoneType"),
    "paraphrases: max_pairs": (
        lambda: paraphrase_mining_embeddings(VECTORS, max_pairs=0),
        ValueError,
        "max_pairs is 0",
    ),
    "paraphrases: top_k": (lambda: paraphrase_mining_embeddings(VECTORS, top_k=-1), ValueError, "top_k is -1"),
    "paraphrases: chunk": (lambda: paraphrase_mining_embeddings(VECTORS, 0), ValueError, "query_chunk_size is 0"),
    "negatives: no rows": (lambda: mine_hard_negatives(table([], []), MODEL), ValueError, "no rows"),
    "negatives: one column": (
        lambda: mine_hard_negatives(Dataset.from_dict({"a": ["q0"]}), MODEL),
        ValueError,
        r"columns \['a'\]",
    ),
    "negatives: a list": (lambda: mine_hard_negatives([("q0", "d0")], MODEL), ValueError, "needs two"),
    "negatives: unknown column": (lambda: mine(anchor_column_name="query"), ChoiceError, "'question', 'answer'"),
    "negatives: unknown format": (lambda: mine(output_format="pairs"), ChoiceError, "'labeled-list'"),
    "negatives: unknown strategy": (lambda: mine(sampling_strategy="best"), ChoiceError, "'top', 'random'"),
    "negatives: none wanted": (lambda: mine(num_negatives=0), ValueError, "num_negatives is 0"),
    "negatives: negative rank": (lambda: mine(range_min=-1), ValueError, "range_min is -1"),
    "negatives: too few ranks": (lambda: mine(range_min=3, range_max=5), ValueError, "hold 2 candidates"),
    "negatives: a gap": (
        lambda: mine_hard_negatives(table(["q0", None], ["d0", "d1"]), MODEL),
        TextTypeError,
        "Row 1 is None",
    ),
    "negatives: numbers": (lambda: mine_hard_negatives(table(["q0"], [7]), MODEL), TextTypeError, "Row 0 is int"),
    "negatives: corpus of numbers": (
        lambda: mine_hard_negatives(PAIRS, MODEL, corpus=[1]),
        TextTypeError,
        "Row 0 is int",
    ),
    "negatives: several labels": (
        lambda: mine(cross_encoder=types.SimpleNamespace(predict=lambda pairs, **_: np.ones((len(pairs), 2)))),
        ValueError,
        "one each",
    ),
    "negatives: NaN": (
        lambda: mine_hard_negatives(table(["q0"], ["d4"]), Given(VECTORS, HOLED), verbose=False),
        VectorError,
        "such as 0",
    ),
    "bitext: dimensions": (lambda: mine_bitext(VECTORS, VECTORS[:, :3]), VectorError, "3 dimensions; expected 10"),
    "bitext: NaN": (lambda: mine_bitext(VECTORS, HOLED), VectorError, "such as 4"),
    "bitext: NaN, FAISS": (lambda: mine_bitext(VECTORS, HOLED, backend="faiss"), VectorError, "such as 4"),
    "bitext: k": (lambda: mine_bitext(VECTORS, VECTORS, k=0), ValueError, "k is 0"),
    "bitext: margin": (lambda: mine_bitext(VECTORS, VECTORS, margin="cosine"), ChoiceError, "'ratio', 'distance'"),
    "bitext: retrieval": (lambda: mine_bitext(VECTORS, VECTORS, retrieval="both"), ChoiceError, "'intersection'"),
    "bitext: backend": (lambda: mine_bitext(VECTORS, VECTORS, backend="annoy"), ChoiceError, "'exact', 'faiss'"),
    "bitext: no truth": (lambda: score_bitext([(1.0, 0, 0)], []), ValueError, "no pairs"),
    "bitext: not text": (lambda: bitext_mining(MODEL, ["q0"], [None]), TextTypeError, "Row 0 is None"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_error(case):
    call, kind, words = BAD[case]
    with warnings.catch_warnings(), pytest.raises(kind, match=words) as caught:
        call()
    assert isinstance(caught.value, WorkbenchError) or kind is ValueError


def test_faiss_says_which_similarities_it_knows():
    model = Given(VECTORS[:, :2], VECTORS[:, :2])
    model.similarity_fn_name = "manhattan"
    with pytest.raises(ChoiceError, match="'euclidean'"):
        mine_hard_negatives(table(["q0"], ["d0"]), model, use_faiss=True, verbose=False)
    assert manhattan_sim(VECTORS[:1], VECTORS[:1]).item() == 0
