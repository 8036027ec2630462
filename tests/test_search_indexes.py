"""The embedded indexes: against brute force, kept in folders and read back, with deletion, bad input and faults."""

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from workbench.errors import ChoiceError, DataFormatError, DependencyError, VectorError
from workbench.protocols import Index
from workbench.quantization import PRECISIONS, Quantizer
from workbench.search import KINDS, ExactIndex, FaissIndex, VectorIndex, open_index
from workbench.similarity import SimilarityFunction

EMBEDDED = {
    "exact": ("exact", {}),
    "faiss flat": ("faiss", {"method": "flat"}),
    "faiss ivf": ("faiss", {"method": "ivf", "nlist": 16, "nprobe": 8}),
    "faiss hnsw": ("faiss", {"method": "hnsw"}),
    "usearch": ("usearch", {}),
    "hnsw": ("hnsw", {}),
}
METRICS = ("cosine", "dot", "euclidean")
# Vectors as models give them: in clusters, and of different length.
_RNG = np.random.default_rng(7)
_CENTRES = _RNG.normal(size=(40, 36))
ROWS = (_CENTRES[np.arange(1500) % 40] + 0.7 * _RNG.normal(size=(1500, 36))).astype(np.float32)
QUERIES = (_CENTRES[np.arange(30)] + 0.7 * _RNG.normal(size=(30, 36))).astype(np.float32)


def truth(metric, queries=QUERIES, rows=ROWS, k=10):
    scores = SimilarityFunction.to_similarity_fn(metric)(queries.astype(np.float64), rows.astype(np.float64))
    found = scores.topk(k)
    return found.values.numpy(), found.indices.numpy()


def recall(found, expected):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), expected.tolist(), strict=True)])


def make(name, **options):
    kind, given = EMBEDDED[name]
    return open_index(kind, **given | options)


def agree(found, expected):
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", EMBEDDED)
def test_every_index_finds_the_nearest_rows_with_their_true_scores(name, metric):
    index = make(name, metric=metric)
    index.add(None, ROWS[:1000])
    index.add(None, ROWS[1000:])
    assert isinstance(index, Index)
    assert (len(index), index.dim) == (1500, 36)
    _, ids = truth(metric)
    hits = index.search(QUERIES)
    assert recall(hits.ids, ids) >= {"exact": 1.0, "faiss flat": 1.0}.get(name, 0.95)
    full = SimilarityFunction.to_similarity_fn(metric)(QUERIES, ROWS).numpy()
    np.testing.assert_allclose(hits.scores, np.take_along_axis(full, hits.ids, 1), rtol=1e-5, atol=1e-5)
    assert (np.diff(hits.scores) <= 0).all()
    agree(index.search(QUERIES[0]), index.search(QUERIES[:1]))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", EMBEDDED)
def test_codes_find_the_rows_that_their_decoded_vectors_are_nearest_to(name, metric, precision):
    index = make(name, metric=metric, precision=precision)
    index.add(None, ROWS)
    rows, queries = ROWS, QUERIES
    if metric == "cosine":
        rows, queries = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (rows, queries))
    quantizer = Quantizer.fit(precision, rows)
    decoded = quantizer.decode(quantizer.encode(rows))
    compare = "euclidean" if metric == "euclidean" else "dot"
    _, ids = truth(compare, queries, decoded)
    hits = index.search(QUERIES)
    # Signs alone say little about 36 dimensions, so that the candidates found by them miss some.
    rough = "binary" in precision and name not in ("exact", "hnsw")
    assert recall(hits.ids, ids) >= (1.0 if name == "exact" else 0.6 if rough else 0.93)
    full = SimilarityFunction.to_similarity_fn(compare)(queries, decoded).numpy()
    # FAISS itself decodes a dimension's largest value, and reads the highest code as half a step too much.
    near = 2e-3 if name.startswith("faiss") and "int8" in precision else 1e-4
    np.testing.assert_allclose(hits.scores, np.take_along_axis(full, hits.ids, 1), rtol=near, atol=near)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", EMBEDDED)
def test_a_saved_index_opens_with_the_same_answers(name, precision, tmp_path):
    index = make(name, precision=precision)
    names = [f"row {place}" for place in range(len(ROWS))]
    index.add(names, ROWS)
    before = index.search(QUERIES, 5)
    index.save(tmp_path / "kept")
    opened = open_index(EMBEDDED[name][0], tmp_path / "kept")
    assert opened.settings == index.settings
    agree(opened.search(QUERIES, 5), before)
    opened.add(["another"], QUERIES[:1] * 1.5)  # in the codes of the first rows
    assert opened.search(QUERIES[:1], 1).ids.tolist() == [["another"]]
    opened.save(tmp_path / "kept")
    assert len(open_index(EMBEDDED[name][0], tmp_path / "kept")) == 1501


def test_without_rescoring_the_query_is_rounded_to_its_code_too():
    unit = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
    for precision in ("int8", "ubinary"):
        quantizer = Quantizer.fit(precision, unit)
        asked = quantizer.decode(quantizer.encode(QUERIES / np.linalg.norm(QUERIES, axis=1, keepdims=True)))
        expected = np.sort(asked @ quantizer.decode(quantizer.encode(unit)).T)[:, ::-1][:, :10]
        for name in ("exact", "faiss flat"):
            index = make(name, precision=precision, rescore=False)
            index.add(None, ROWS)
            near = 2e-3 if name == "faiss flat" and precision == "int8" else 1e-5  # see above
            np.testing.assert_allclose(index.search(QUERIES).scores, expected, rtol=near, atol=near)


def test_rescoring_finds_more_among_more_candidates():
    _, ids = truth("cosine")
    index = make("usearch", precision="binary", rescore_multiplier=1)
    index.add(None, ROWS)
    few = recall(index.search(QUERIES).ids, ids)
    index.settings["rescore_multiplier"] = 16
    assert recall(index.search(QUERIES).ids, ids) >= few


@pytest.mark.parametrize("metric", METRICS)
def test_what_usearch_leaves_in_memory_beyond_the_rows_it_found_is_not_read(metric):
    index = make("usearch", metric=metric)
    index.add(None, ROWS[:8])
    found = index._engine.search(QUERIES, 8)
    signalling = np.array(0x7F800001, np.uint32).view(np.float32)  # a NaN that warns when it is reckoned with
    found.counts[:] = 5
    found.distances[:, 5:] = signalling
    found.keys[:, 5:] = np.iinfo(np.uint64).max
    engine = index._engine
    index._engine = SimpleNamespace(search=lambda queries, n: found)
    answer = index.search(QUERIES, 8)
    index._engine = engine
    assert (answer.ids[:, 5:] == -1).all()
    assert np.isneginf(answer.scores[:, 5:]).all()
    assert np.isfinite(answer.scores[:, :5]).all()


@pytest.mark.parametrize("name", [name for name in EMBEDDED if name != "faiss hnsw"])
@pytest.mark.parametrize("strings", [False, True])
def test_deleted_rows_are_not_found_and_their_ids_are_free_again(name, strings, tmp_path):
    ids = [f"row {number}" if strings else number for number in range(100, 400)]
    for precision in ("float32", "ubinary"):
        index = make(name, precision=precision)
        index.add(ids, ROWS[:300])
        index.delete(ids[:250])
        assert len(index) == 50
        assert set(index.search(ROWS[:20], 50).ids.flatten().tolist()) <= {*ids[250:], None, -1}
        index.add(ids[:1], ROWS[:1])
        index.save(tmp_path / f"{name} {precision}")
        opened = open_index(EMBEDDED[name][0], tmp_path / f"{name} {precision}")
        for one in (index, opened):
            assert len(one) == 51
            assert one.search(ROWS[:1], 1).ids.tolist() == [ids[:1]]
            with pytest.raises(KeyError, match="No row has the id"):
                one.delete(ids[1:2])
        with pytest.raises(ValueError, match="1 ids came before"):
            opened.add(ids[299:300], ROWS[:1])
        opened.delete([*ids[250:], ids[0]])
        assert len(opened) == 0
        assert opened.search(ROWS[:2], 3).found.tolist() == [0, 0]
        opened.add(ids[:2], ROWS[:2])
        assert len(opened) == 2


def test_an_engine_that_cannot_delete_says_so():
    index = make("faiss hnsw")
    index.add(None, ROWS[:50])
    with pytest.raises(NotImplementedError, match="faiss index cannot delete"):
        index.delete([3])
    assert len(index) == 50


@pytest.mark.parametrize("name", EMBEDDED)
def test_unusual_rows_are_taken(name):
    empty = make(name)
    hits = empty.search(QUERIES[:2], 3)
    assert (hits.ids.tolist(), hits.found.tolist(), list(hits)) == ([[-1] * 3] * 2, [0, 0], [[], []])
    empty.add([], ROWS[:0])
    assert (len(empty), empty.dim) == (0, None)
    one = make(name, nlist=None) if "ivf" in name else make(name)
    one.add(7, ROWS[0])
    assert one.search(QUERIES[:2], 3).ids.tolist() == [[7, -1, -1]] * 2  # k beyond the rows there are
    assert one.search(QUERIES[:0], 3).ids.shape == (0, 3)
    same = make(name)
    same.add(None, np.ones((200, 8)))
    hits = same.search(np.ones(8), 20)
    np.testing.assert_allclose(hits.scores, 1, atol=1e-6)
    assert len(set(hits.ids[0].tolist())) == 20
    zero = make(name, precision="int8")
    zero.add(None, np.zeros((20, 8), np.int64))
    assert np.abs(zero.search(np.ones((1, 8)), 3).scores).max() < 1e-6
    for rows in (
        ROWS.T.copy().T,
        ROWS[::-1][::-1],
        ROWS.astype(np.float64),
        torch.tensor(ROWS),
        list(ROWS),
        ROWS.tolist(),
    ):
        other = make(name)
        other.add(np.arange(1500), rows)
        assert recall(other.search(QUERIES).ids, truth("cosine")[1]) > 0.9


@pytest.mark.parametrize("name", EMBEDDED)
def test_bad_rows_ids_and_queries_are_named_and_change_nothing(name):
    index = make(name)
    index.add(None, ROWS[:100])
    broken = ROWS[:9].copy()
    broken[3, 1], broken[4, 0] = np.nan, np.inf
    text = ["a", *range(8)]
    bad = [
        (lambda: index.add(None, broken), VectorError, "rows hold NaN or infinite values in 2 rows, such as 3, 4"),
        (lambda: index.search(broken), VectorError, "queries hold NaN .* such as 3, 4"),
        (lambda: index.add(None, ROWS[:9, :5]), VectorError, "rows have 5 dimensions; expected 36"),
        (lambda: index.search(ROWS[:9, :5]), VectorError, "queries have 5 dimensions; expected 36"),
        (lambda: index.add(None, [["a", "b"]]), VectorError, "rows must hold numbers"),
        (lambda: index.add([200] * 9, ROWS[:9]), ValueError, "1 ids came before, such as 200"),
        (lambda: index.add(range(99, 108), ROWS[:9]), ValueError, "such as 99"),
        (lambda: index.add(range(200, 203), ROWS[:9]), ValueError, "3 ids for 9 rows"),
        (lambda: index.add(range(-1, 8), ROWS[:9]), ValueError, "begin at 0; -1 is below"),
        (lambda: index.add([2**63], ROWS[:1]), ValueError, "up to 2"),
        (lambda: index.add([1.5] * 9, ROWS[:9]), TypeError, r"ids\[0\] is 1.5"),
        (lambda: index.add([True], ROWS[:1]), TypeError, r"ids\[0\] is True"),
        (lambda: index.add(text, ROWS[:9]), TypeError, r"ids\[1\] is 0; .* all of one kind"),
        (lambda: index.add(["a"], ROWS[:1]), TypeError, "whole numbers as ids, the new ones strings"),
        (lambda: index.search(QUERIES, 0), ValueError, "k is 0"),
        (lambda: index.delete([5, 1000]), KeyError, "1000"),
    ]
    for act, error, message in bad:
        with pytest.raises(error, match=message):
            act()
    assert len(index) == 100
    named = make(name)
    named.add(["a", "b"], ROWS[:2])
    for ids, error in ((None, TypeError), (["c", "c"], ValueError), (["a", "d"], ValueError), ([5, 6], TypeError)):
        with pytest.raises(error):
            named.add(ids, ROWS[:2])
    assert len(named) == 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metric": "manhattan"}, ChoiceError, "'cosine', 'dot', 'euclidean'"),
        ({"precision": "int4"}, ChoiceError, "'ubinary'"),
        ({"rescore_multiplier": 0}, ValueError, "rescore_multiplier is 0"),
        ({"ef": "64"}, ValueError, "ef is '64'"),
        ({"method": "pq"}, ChoiceError, "'flat', 'ivf', 'hnsw'"),
        ({"nlist": -1}, ValueError, "nlist is -1"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        open_index("faiss", **options)


def test_an_unknown_kind_lists_those_there_are_and_a_missing_package_names_its_extra(monkeypatch):
    with pytest.raises(ChoiceError, match=r"'exact', 'faiss', .* 'hybrid'"):
        open_index("annoy")
    for kind, package in (("faiss", "faiss"), ("usearch", "usearch.index"), ("hnsw", "hnswlib")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(DependencyError, match=r"sentence-workbench\[search\]"):
            open_index(kind).add(None, ROWS[:5])
    assert set(KINDS) >= {"elasticsearch", "milvus", "bm25", "hybrid"}


def test_options_that_the_rows_depend_on_cannot_change_when_an_index_is_opened(tmp_path):
    index = FaissIndex(method="ivf", nprobe=1)
    index.add(None, ROWS)
    index.save(tmp_path / "kept")
    opened = open_index("faiss", tmp_path / "kept", nprobe=100, method="ivf")
    assert recall(opened.search(QUERIES).ids, truth("cosine")[1]) > recall(
        index.search(QUERIES).ids, truth("cosine")[1]
    )
    with pytest.raises(ChoiceError, match="metric='cosine', not 'dot'"):
        open_index("faiss", tmp_path / "kept", metric="dot")


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_empty_index_is_kept_too_and_an_empty_folder_is_a_new_index(name, tmp_path):
    make(name, metric="dot").save(tmp_path)
    opened = open_index(EMBEDDED[name][0], tmp_path)
    assert (len(opened), opened.metric) == (0, "dot")
    opened.add(["a"], ROWS[:1])
    assert opened.search(ROWS[:1]).ids[0, 0] == "a"


def damage_truncate(path):
    os.truncate(path, path.stat().st_size - 7)


def damage_flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def damage_remove(path):
    path.unlink()


def damage_empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "damage", [damage_truncate, damage_flip, damage_remove, damage_empty], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("name", EMBEDDED)
def test_a_damaged_file_is_found_before_an_engine_reads_it(name, damage, tmp_path):
    index = make(name)
    index.add([f"row {place}" for place in range(100)], ROWS[:100])
    index.save(tmp_path / "kept")
    for file in ("ids.json", "vectors.npy" if name == "exact" else "engine.bin", "index.json"):
        if damage is damage_flip and file in ("vectors.npy", "index.json"):  # another value, but sound
            continue
        copy = tmp_path / file
        subprocess.run(["cp", "-r", tmp_path / "kept", copy], check=True)
        damage(copy / file)
        with pytest.raises(DataFormatError):
            open_index(EMBEDDED[name][0], copy)


def test_what_is_not_an_index_of_ours_is_neither_opened_nor_overwritten(tmp_path):
    index = ExactIndex()
    index.add(None, ROWS[:5])
    index.save(tmp_path / "kept")
    values = json.loads((tmp_path / "kept/index.json").read_text())
    cases = {
        "a file": None,
        "notes": {"notes.txt": "mine"},
        "foreign": {"index.json": '{"weight_map": {}}'},
        "list": {"index.json": "[]"},
        "no json": {"index.json": "{"},
        "deep": {"index.json": "[" * 100_000},
        "newer": {"index.json": json.dumps(values | {"version": 2})},
    }
    for name, files in cases.items():
        path = tmp_path / name
        if files is None:
            path.write_text("mine")
        else:
            path.mkdir()
            for file, text in files.items():
                (path / file).write_text(text)
        for act in (lambda path=path: open_index("exact", path), lambda path=path: index.save(path)):
            with pytest.raises(DataFormatError):
                act()
        assert path.read_text() == "mine" if files is None else {p.name: p.read_text() for p in path.iterdir()} == files
    with pytest.raises(DataFormatError, match="kind 'exact', not 'hnsw'"):
        open_index("hnsw", tmp_path / "kept")


@pytest.mark.parametrize(
    "change",
    [
        {"settings": None},
        {"settings": {"metric": "cosine", "surprise": 1}},
        {"settings": {"metric": []}},
        {"quantizer": {"precision": "float32", "dim": 5, "ranges": None}},
        {"quantizer": {}},
        {"quantizer": [1]},
        {"count": 6},
        {"files": {}},
        {"files": {"../ids.npy": {}}},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", EMBEDDED)
def test_an_index_json_that_does_not_fit_its_files_is_refused(name, change, tmp_path):
    index = make(name)
    index.add(None, ROWS[:5])
    index.save(tmp_path)
    file = tmp_path / "index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(DataFormatError):
        open_index(EMBEDDED[name][0], tmp_path)


def test_ids_with_a_pickle_inside_are_not_read(tmp_path):
    index = ExactIndex()
    index.add(None, ROWS[:5])
    index.save(tmp_path)
    np.save(tmp_path / "ids.npy", np.array([{}] * 5, object), allow_pickle=True)
    file = tmp_path / "index.json"
    values = json.loads(file.read_text())
    from workbench.search.saved import _fingerprint

    file.write_text(json.dumps(values | {"files": values["files"] | {"ids.npy": _fingerprint(tmp_path / "ids.npy")}}))
    with pytest.raises(DataFormatError, match="no readable ids"):
        open_index("exact", tmp_path)


KILLED = """
import os, signal, sys
import numpy as np
from workbench.search import open_index
index = open_index(sys.argv[1], sys.argv[2])
index.add(None, np.ones((50, 36)))
write = type(index)._write
def killed(self, folder):
    write(self, folder)
    os.kill(os.getpid(), signal.SIGKILL)
type(index)._write = killed
index.save(sys.argv[2])
"""


@pytest.mark.parametrize("name", ["exact", "faiss flat", "usearch", "hnsw"])
def test_a_killed_save_leaves_the_old_index(name, tmp_path):
    index = make(name)
    index.add(None, ROWS[:100])
    index.save(tmp_path / "kept")
    kind = EMBEDDED[name][0]
    ended = subprocess.run([sys.executable, "-c", KILLED, kind, str(tmp_path / "kept")], check=False)
    assert ended.returncode == -signal.SIGKILL
    opened = open_index(kind, tmp_path / "kept")
    assert len(opened) == 100
    agree(opened.search(QUERIES), index.search(QUERIES))


def test_another_kind_saved_to_the_folder_leaves_no_file_of_the_first(tmp_path):
    (tmp_path / "kept").mkdir()
    for name in ("exact", "usearch"):
        index = make(name)
        index.add(None if name == "exact" else ["a"], ROWS[:1])
        index.save(tmp_path / "kept")
        (tmp_path / "kept/notes.txt").write_text("mine")
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {
        "index.json",
        "ids.json",
        "engine.bin",
        "notes.txt",
    }


def test_exact_search_over_a_read_only_file_copies_nothing_and_gives_the_same(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    names = [f"row {place}" for place in range(1500)]
    for metric in METRICS:
        over, copied = ExactIndex.over(mapped, names, metric=metric), ExactIndex(metric=metric)
        copied.add(names, ROWS)
        hits, expected = over.search(QUERIES), copied.search(QUERIES)
        np.testing.assert_array_equal(hits.ids, expected.ids)
        np.testing.assert_allclose(hits.scores, expected.scores, rtol=1e-6, atol=1e-6)
        over.save(tmp_path / metric)
        np.testing.assert_array_equal(open_index("exact", tmp_path / metric).search(QUERIES).ids, expected.ids)
    assert over._rows is mapped
    for act in (lambda: over.add(None, ROWS), lambda: over.delete(["row 1"])):
        with pytest.raises(NotImplementedError, match="another one's vectors"):
            act()
    with pytest.raises(VectorError, match="use add"):
        ExactIndex.over(mapped, precision="int8")


def test_exact_rows_in_many_chunks_are_the_same_rows(monkeypatch):
    monkeypatch.setattr("workbench.search.exact._CHUNK", 36 * 4 * 7)
    for metric in METRICS:
        index = ExactIndex(metric=metric)
        for start in range(0, 300, 11):
            index.add(None, ROWS[start : min(start + 11, 300)])
        index.delete(range(0, 100, 3))
        kept = np.setdiff1d(np.arange(300), np.arange(0, 100, 3))
        hits = index.search(QUERIES)
        np.testing.assert_array_equal(hits.ids, kept[truth(metric, rows=ROWS[kept])[1]])


def test_a_cancelled_add_keeps_the_rows_that_were_in(monkeypatch):
    from workbench.errors import Cancelled
    from workbench.progress import listen

    def stop(bar):
        raise Cancelled("enough")

    monkeypatch.setattr("workbench.vectors.BLOCK_BYTES", 36 * 4 * 100)
    for name in EMBEDDED:
        index = make(name)
        with listen(stop), pytest.raises(Cancelled):
            index.add(None, ROWS)
        assert len(index) == 100
        assert set(index.search(QUERIES, 5).ids.flatten()) <= set(range(100))


def test_the_base_class_says_what_an_engine_adds():
    with pytest.raises(NotImplementedError):
        VectorIndex().add(None, ROWS)


def test_a_graph_that_reaches_too_few_rows_gives_those_it_reaches(monkeypatch):
    index = make("hnsw")
    index.add(None, ROWS[:100])

    class Broken:
        """An engine whose first query reaches five rows only."""

        def __init__(self, engine):
            self.engine = engine

        def __getattr__(self, name):
            return getattr(self.engine, name)

        def knn_query(self, queries, k):
            if k > 5 and (queries[0] * QUERIES[0]).sum() > 0.99 * np.linalg.norm(QUERIES[0]):
                raise RuntimeError("Cannot return the results in a contiguous 2D array.")
            return self.engine.knn_query(queries, k=k)

    expected = index.search(QUERIES)
    index._engine = Broken(index._engine)
    hits = index.search(QUERIES)
    assert hits.found.tolist() == [5] + [10] * 29
    np.testing.assert_array_equal(hits.ids[0, :5], expected.ids[0, :5])
    np.testing.assert_array_equal(hits.ids[1:], expected.ids[1:])
