"""The Milvus index on its embedded engine: what it finds is what an exact search finds, and it lasts."""

import numpy as np
import pytest
import torch

from workbench.errors import ChoiceError, DataFormatError, ServiceError, VectorError
from workbench.progress import listen
from workbench.protocols import Index
from workbench.search.exact import ExactIndex
from workbench.search.hybrid import HybridIndex
from workbench.search.kinds import open_index
from workbench.search.milvus import MilvusIndex
from workbench.search.topk import top_k

RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=(300, 16)).astype(np.float32)
QUERIES = RNG.normal(size=(7, 16)).astype(np.float32)
METRICS = ["cosine", "dot", "euclidean"]
FIELDS = {"lang": "keyword", "year": "integer", "weight": "float", "open": "boolean"}
NASTY = ['"', "\\", '\\"', "'", "a\nb\tc\r", "1 or 1 == 1", '" or id != "', "é 日本 👩‍👩‍👧", "%_", "${x}", "null"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """One embedded database, whose engine all tests of the module share."""
    path = tmp_path_factory.mktemp("milvus") / "tests.db"
    with MilvusIndex(path, collection="keeper"):
        yield path


@pytest.fixture
def make(file, request):
    """Make indexes in collections of their own."""
    made = []

    def index(**options):
        name = f"c{abs(hash(request.node.name))}_{len(made)}"
        made.append(MilvusIndex(file, **{"collection": name, "index_type": "FLAT"} | options))
        return made[-1]

    yield index
    for one in made:
        one.close()


def exact(rows, queries, k, metric):
    scores, positions = top_k(queries, rows, k, metric=metric)
    return scores.numpy(), positions.numpy()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("index_type", ["FLAT", "AUTOINDEX", "HNSW", "IVF_FLAT"])
def test_it_finds_what_an_exact_search_finds_with_the_same_scores(make, metric, index_type):
    index = make(metric=metric, index_type=index_type, search_params={"nprobe": 128} if index_type[0] == "I" else None)
    assert isinstance(index, Index)
    index.add(range(300), ROWS)
    scores, positions = exact(ROWS, QUERIES, 10, metric)
    hits = index.search(QUERIES, 10)
    assert (hits.ids == positions).all()
    assert np.abs(hits.scores - scores).max() < 2e-6
    assert hits.ids.dtype == np.int64
    assert len(index) == 300


def test_string_ids_come_back_as_strings_whatever_is_in_them(make):
    index = make(metric="dot")
    index.add(NASTY, ROWS[: len(NASTY)])
    hits = index.search(ROWS[:3], len(NASTY))
    assert sorted(hits.ids[0]) == sorted(NASTY)
    assert [NASTY[place] for place in exact(ROWS[: len(NASTY)], ROWS[:3], 1, "dot")[1][:, 0]] == hits.ids[:, 0].tolist()
    index.delete([NASTY[6]])
    with pytest.raises(KeyError, match="not there"):
        index.delete([NASTY[1], "not there"])
    assert NASTY[6] not in index.search(ROWS[:1], 20).ids
    for name, error, message in (
        (NASTY[1], ValueError, "1 ids came before"),
        ("é" * 257, ValueError, "longer than 512 bytes"),
        ("", ValueError, "empty"),
        (3, TypeError, "have strings as ids"),
    ):
        with pytest.raises(error, match=message):
            index.add([name], ROWS[:1])
    with pytest.raises(TypeError, match="pass one for each new row"):
        index.add(None, ROWS[:1])


def test_rows_without_ids_are_numbered_on(make):
    index = make()
    index.add(None, ROWS[:5])
    index.delete([2])
    index.add(None, ROWS[5:8])
    assert sorted(index.search(ROWS[0], 20).ids[0].tolist()) == [-1] * 13 + [0, 1, 3, 4, 5, 6, 7]


def test_where_fewer_rows_are_found_the_line_is_filled_up(make):
    index = make()
    index.add(["a", "b"], ROWS[:2])
    hits = index.search(ROWS[:1], 5)
    assert hits.ids[0].tolist() == ["a", "b", None, None, None]
    assert hits.found.tolist() == [2]
    assert np.isneginf(hits.scores[0, 2:]).all()


@pytest.mark.parametrize("form", [torch.tensor, list, np.asfortranarray, lambda rows: rows.astype(np.float64)])
def test_rows_come_in_any_form(make, form):
    index = make()
    index.add(range(20), form(ROWS[:20]))
    assert (index.search(form(QUERIES), 3).ids == exact(ROWS[:20], QUERIES, 3, "cosine")[1]).all()


def test_whole_numbers_and_equal_or_zero_vectors_are_rows_too(make):
    index = make(metric="cosine")
    index.add(range(4), np.array([[1, 0], [1, 0], [0, 0], [0, 3]]))
    assert index.search([[2, 0]], 4).scores[0].tolist() == [1, 1, 0, 0]
    assert index.search([[0, 0]], 4).scores[0].tolist() == [0, 0, 0, 0]


def test_rows_are_written_in_batches_with_progress(make):
    index, seen = make(batch_size=40), []
    with listen(lambda bar: seen.append((bar.desc, bar.done, bar.total))):
        index.add(range(100), ROWS[:100])
    assert seen == [("Indexing", 40, 100), ("Indexing", 80, 100), ("Indexing", 100, 100)]


METADATA = [
    {"lang": "en" if i % 3 else NASTY[i // 3], "year": 2000 + i, "weight": i / 10, "open": i % 2 == 0}
    for i in range(30)
]
FILTERS = [
    ({"lang": "en"}, lambda row: row["lang"] == "en"),
    ({"year": 2007}, lambda row: row["year"] == 2007),
    ({"year": {"gte": 2005, "lt": 2009}}, lambda row: 2005 <= row["year"] < 2009),
    ({"weight": {"gt": 0.5, "lte": 2}}, lambda row: 0.5 < row["weight"] <= 2),
    ({"open": True}, lambda row: row["open"]),
    ({"open": False, "lang": ["en", NASTY[0]]}, lambda row: not row["open"] and row["lang"] in ("en", NASTY[0])),
    ({"year": np.array([2001, 2003])}, lambda row: row["year"] in (2001, 2003)),
    ({"lang": {"gte": "e", "lt": "f"}}, lambda row: "e" <= row["lang"] < "f"),
    *(({"lang": text}, lambda row, text=text: row["lang"] == text) for text in NASTY),
]


@pytest.fixture(scope="module")
def filtered(file):
    with MilvusIndex(file, collection="filtered", fields=FIELDS) as index:
        index.add(range(31), ROWS[:31], metadata=[*METADATA, {}])
        yield index


@pytest.mark.parametrize(("chosen", "holds"), FILTERS, ids=[str(number) for number in range(len(FILTERS))])
def test_a_filter_leaves_the_rows_that_it_names(filtered, chosen, holds):
    wanted = {number for number, row in enumerate(METADATA) if holds(row)}
    assert {name for line in filtered.search(QUERIES[:1], 31, filter=chosen) for name, _ in line} == wanted


def test_rows_can_be_written_over(make):
    index = make(fields={"year": "integer"})
    index.add(range(5), ROWS[:5], metadata=[{"year": 1}] * 5)
    index.add([3, 4, 5], ROWS[10:13], replace=True)
    assert len(index) == 6
    assert index.search(ROWS[10], 1).ids[0, 0] == 3
    assert sorted(index.search(ROWS[0], 6, filter={"year": 1}).ids[0].tolist()) == [-1, -1, -1, 0, 1, 2]


def test_no_rows_and_no_queries_are_no_work(make):
    index = make()
    assert len(index) == 0
    assert index.search(QUERIES, 3).ids.tolist() == [[-1] * 3] * 7
    index.add([], ROWS[:0])
    index.delete([])
    with pytest.raises(KeyError, match="No row has the id 1"):
        index.delete(1)
    index.add([7], ROWS[:1])
    index.add([], [])
    assert index.search(ROWS[:0], 3).ids.shape == (0, 3)
    assert index.search([], 3).ids.shape == (0, 3)


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("index_type", ["AUTOINDEX", "FLAT", "HNSW", "IVF_FLAT"])
def test_a_file_lasts(tmp_path, index_type):
    path = tmp_path / "deeper" / "kept.db"
    options = {"index_type": index_type, "search_params": {"nprobe": 128} if index_type == "IVF_FLAT" else None}
    with MilvusIndex(path, metric="euclidean", fields=FIELDS, **options) as index:
        index.add([f"row {i}" for i in range(300)], ROWS, metadata=[{"year": i} for i in range(300)])
        index.delete(["row 3"])
    with MilvusIndex(path, search_params=options["search_params"]) as index:
        assert (index.metric, index.dim, index.fields.kinds, index.index_type) == ("euclidean", 16, FIELDS, index_type)
        assert len(index) == 299
        scores, positions = exact(np.delete(ROWS, 3, axis=0), QUERIES, 10, "euclidean")
        hits = index.search(QUERIES, 10)
        assert hits.ids.tolist() == [[f"row {i + (i >= 3)}" for i in line] for line in positions]
        assert np.abs(hits.scores - scores).max() < 2e-6
        assert index.search(QUERIES, 2, filter={"year": 9}).ids.tolist() == [["row 9", None]] * 7


def test_the_embedded_engine_is_exact_unless_asked_otherwise(file, make):
    assert make(index_type=None).index_type == "FLAT"


@pytest.mark.parametrize("index_type", ["HNSW", "AUTOINDEX"])
def test_a_graph_finds_the_few_rows_that_a_filter_leaves(make, index_type):
    index = make(index_type=index_type, fields=FIELDS)
    rows = np.random.default_rng(7).normal(size=(3000, 8))
    index.add(None, rows, metadata=[{"year": number} for number in range(3000)])
    hits = index.search(QUERIES[:, :8], 3, filter={"year": [5, 1700, 2999]})
    assert np.sort(hits.ids).tolist() == [[5, 1700, 2999]] * 7


def test_saving_copies_a_file_while_several_indexes_have_it_open(file, make, tmp_path):
    one, two = make(), make()
    one.add(range(50), ROWS[:50])
    two.add(range(9), ROWS[:9])
    one.save(tmp_path / "copy")
    one.add(range(50, 60), ROWS[50:60])
    one.save(tmp_path / "copy")
    one.add(range(60, 70), ROWS[60:70])
    assert (len(one), two.search(ROWS[8], 1).ids[0, 0]) == (70, 8)
    assert str(file) not in (tmp_path / "copy" / "index.json").read_text()
    (tmp_path / "copy").rename(tmp_path / "moved")
    with open_index("milvus", tmp_path / "moved") as copy:
        assert len(copy) == 60
        assert copy.search(ROWS[55], 1).ids[0, 0] == 55
        with pytest.raises(ValueError, match="is open"):
            one.save(tmp_path / "moved")
    with pytest.raises(DataFormatError, match="left as it is"):
        one.save(tmp_path / "moved" / "index.db")


def test_it_is_a_part_of_a_hybrid_index(make, tmp_path):
    hybrid = HybridIndex({"a": make(), "b": ExactIndex()})
    hybrid.add(range(20), ROWS[:20])
    hybrid.save(tmp_path / "hybrid")
    again = HybridIndex.open(tmp_path / "hybrid")
    assert again.search(ROWS[7], 1).ids[0, 0] == 7
    again.parts["a"].close()


def test_without_a_path_the_file_is_gone_when_it_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with MilvusIndex() as index:
        index.add(None, ROWS[:3])
        assert list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ServiceError, match="closed"):
        index.search(ROWS[:1], 1)
    index.close()


def foreign_file(path):
    path.write_bytes(b"SQLite format 3\0" + b"\1" * 100)


def foreign_folder(path):
    path.mkdir()
    (path / "thesis.txt").write_text("years of work")


def damaged(name):
    def damage(path):
        with MilvusIndex(path) as index:
            index.add(range(300), ROWS)
        for file in path.rglob(name):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return damage


@pytest.mark.parametrize(
    "spoil",
    [foreign_file, foreign_folder, damaged("schema.json"), damaged("manifest.json*"), damaged("*.parquet")],
    ids=["file", "folder", "schema", "manifest", "rows"],
)
def test_a_damaged_or_foreign_file_is_refused_and_left_as_it_is(tmp_path, spoil):
    spoil(tmp_path / "index.db")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for _ in range(2):
        with pytest.raises(DataFormatError, match=r"index\.db"):
            MilvusIndex(tmp_path / "index.db")
    assert {path: path.read_bytes() for path in before} == before


def test_a_collection_that_was_made_otherwise_is_refused(file):
    import pymilvus

    with MilvusIndex(file) as index:
        client = pymilvus.MilvusClient(str(file))
        client.create_collection("theirs", dimension=4, primary_field_name="key")
        client.close()
        with pytest.raises(DataFormatError, match="was not made here"):
            MilvusIndex(file, collection="theirs")
        assert len(index) == 0


def test_a_served_index_is_saved_as_where_it_is(tmp_path, file):
    """The embedded engine speaks the protocol of the servers."""
    from milvus_lite.server_manager import server_manager_instance

    url = server_manager_instance.start_and_get_uri(str(file)).replace("://", "://ada:s3cret@")
    with MilvusIndex(url, collection="served", token="t0ken") as index:
        index.add(range(9), ROWS[:9])
        index.save(tmp_path / "pointer")
        assert "s3cret" not in repr(index)
    written = (tmp_path / "pointer" / "index.json").read_text()
    assert "s3cret" not in written
    assert "t0ken" not in written
    with MilvusIndex.open(tmp_path / "pointer") as index:
        assert index.search(ROWS[8], 1).ids[0, 0] == 8
    with pytest.raises(DataFormatError, match="no index that can be read"):
        MilvusIndex.open(tmp_path)


def test_no_server_is_told_without_the_password():
    with pytest.raises(ServiceError, match=r"No Milvus answers at http://127.0.0.1:9:.*embedded") as caught:
        MilvusIndex("http://ada:s3cret@127.0.0.1:9", timeout=0.5)
    assert "s3cret" not in str(caught.value)


def test_a_failing_write_says_what_is_indexed_and_how_to_go_on(make, monkeypatch):
    from pymilvus import MilvusClient, MilvusException

    index, real = make(batch_size=10), MilvusClient.upsert

    def upsert(client, collection, rows, **options):
        if rows[0]["id"] == 20:
            raise MilvusException(message="disk is full")
        return real(client, collection, rows, **options)

    monkeypatch.setattr(MilvusClient, "upsert", upsert)
    with pytest.raises(ServiceError) as caught:
        index.add(range(35), ROWS[:35])
    monkeypatch.undo()
    assert "disk is full" in str(caught.value)
    assert "20 of 35 rows are indexed, 15 are not" in str(caught.value)
    index.add(range(20, 35), ROWS[20:35], replace=True)
    assert len(index) == 35


# ── bad input ─────────────────────────────────────────────────────────────────────────────────────────────────────────

BROKEN = ROWS[:5].copy()
BROKEN[[1, 3], 2] = np.nan, np.inf

BAD = {
    "NaN rows": (lambda index: index.add(range(10, 15), BROKEN), VectorError, "2 rows, such as 1, 3"),
    "NaN queries": (lambda index: index.search(BROKEN), VectorError, "queries hold NaN .* such as 1, 3"),
    "rows of other dimensions": (lambda index: index.add([10], ROWS[:1, :9]), VectorError, "9 dimensions; expected 16"),
    "queries of other dimensions": (lambda index: index.search(ROWS[:1, :9]), VectorError, "9 dimensions; expected 16"),
    "texts as rows": (lambda index: index.add([10], ["a"]), VectorError, "numbers"),
    "ids twice": (lambda index: index.add([10, 11, 10], ROWS[:3]), ValueError, "1 ids came before, such as 10"),
    "ids that are there": (lambda index: index.add([10, 4], ROWS[:2]), ValueError, "1 ids came before, such as 4"),
    "too few ids": (lambda index: index.add([10], ROWS[:2]), ValueError, "1 ids for 2 rows"),
    "ids that nobody has": (lambda index: index.delete([1, 77]), KeyError, "No row has the id 77"),
    "one text as ids": (lambda index: index.add("ab", ROWS[:2]), ValueError, "1 ids for 2 rows"),
    "strings among numbers": (lambda index: index.add([10, "a"], ROWS[:2]), TypeError, r"ids\[1\] is 'a'"),
    "strings for numbers": (lambda index: index.add(["a"], ROWS[:1]), TypeError, "have whole numbers as ids"),
    "truth values as ids": (lambda index: index.add([True], ROWS[:1]), TypeError, r"ids\[0\] is True"),
    "no id": (lambda index: index.add([None], ROWS[:1]), TypeError, r"ids\[0\] is None"),
    "an id beyond 64 bits": (lambda index: index.add([2**63], ROWS[:1]), ValueError, "2\\*\\*63"),
    "too little metadata": (lambda index: index.add([10, 11], ROWS[:2], metadata=[{}]), ValueError, "1 rows of meta"),
    "metadata of no field": (
        lambda index: index.add([10], ROWS[:1], metadata=[{"colour": 1}]), ChoiceError, "position 0.*'lang', 'year'"
    ),
    "metadata of another kind": (
        lambda index: index.add([10], ROWS[:1], metadata=[{"year": "x"}]), ValueError, "year is 'x' .*'integer'"
    ),
    "metadata that is no mapping": (lambda index: index.add([10], ROWS[:1], metadata=["x"]), ValueError, "is str"),
    "a number that is none": (
        lambda index: index.add([10], ROWS[:1], metadata=[{"weight": float("nan")}]), ValueError, "weight is nan"
    ),
    "k of 0": (lambda index: index.search(QUERIES, 0), ValueError, "k is 0"),
    "a filter by no field": (lambda index: index.search(QUERIES, filter={"a": 1}), ChoiceError, "'lang', 'year'"),
    "a filter of no field name": (
        lambda index: index.search(QUERIES, filter={'id != 0 or lang == "': 1}), ChoiceError, "field to filter by"
    ),
    "a filter as text": (lambda index: index.search(QUERIES, filter="year > 1"), ValueError, "filter is str"),
    "a filter of another kind": (lambda index: index.search(QUERIES, filter={"year": True}), ValueError, "'integer'"),
    "a filter by None": (lambda index: index.search(QUERIES, filter={"year": None}), ValueError, "year is None"),
    "a filter by nothing": (lambda index: index.search(QUERIES, filter={"year": []}), ValueError, "empty"),
    "a range of nothing": (lambda index: index.search(QUERIES, filter={"year": {}}), ValueError, "empty"),
    "an unknown range": (lambda index: index.search(QUERIES, filter={"year": {"from": 1}}), ChoiceError, "'gte'"),
}  # fmt: skip


@pytest.fixture(scope="module")
def small(file):
    with MilvusIndex(file, collection="small", fields=FIELDS) as index:
        index.add(range(5), ROWS[:5])
        yield index


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_clear_error_and_changes_nothing(small, name):
    act, error, message = BAD[name]
    with pytest.raises(error, match=message):
        act(small)
    assert len(small) == 5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metric": "manhattan"}, ChoiceError, "'cosine', 'dot', 'euclidean'"),
        ({"index_type": "TREE"}, ChoiceError, "'HNSW'"),
        ({"collection": "a b"}, ValueError, "collection name 'a b'"),
        ({"fields": {"x": "text"}}, ChoiceError, "kind of field"),
        ({"fields": {"id": "keyword"}}, ValueError, "'id' cannot name a field"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"collection": "small", "metric": "dot"}, ValueError, "made with metric 'cosine', not 'dot'"),
        ({"collection": "small", "fields": {}}, ValueError, "made with fields"),
    ],
)
def test_bad_settings_are_refused(file, small, options, error, message):
    with pytest.raises(error, match=message):
        MilvusIndex(file, **options)


def test_a_name_that_does_not_end_in_db_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.db"):
        MilvusIndex(tmp_path / "index")
    assert list(tmp_path.iterdir()) == []
