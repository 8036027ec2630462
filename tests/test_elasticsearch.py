"""The Elasticsearch index: the official client against a strict stand-in, or live at WORKBENCH_ELASTICSEARCH_URL."""

import json
import os
import traceback
import uuid

import numpy as np
import pytest

from tests.elasticsearch_server import Server
from workbench.errors import Cancelled, ChoiceError, DataFormatError, ServiceError, TextTypeError, VectorError
from workbench.progress import listen
from workbench.protocols import Index
from workbench.search.elasticsearch import ElasticsearchIndex
from workbench.search.exact import ExactIndex
from workbench.search.kinds import open_index
from workbench.search.topk import top_k

RNG = np.random.default_rng(6)
ROWS = RNG.normal(size=(300, 16)).astype(np.float32)
QUERIES = RNG.normal(size=(7, 16)).astype(np.float32)
METRICS = ["cosine", "dot", "euclidean"]
FIELDS = {"lang": "keyword", "year": "integer", "weight": "float", "open": "boolean", "title": "text"}
NASTY = ['"', "\\", "a\nb\tc", "1 OR *", '"} {"index": {}}', "é 日本 👩‍👩‍👧", "*", "null"]


@pytest.fixture(scope="module")
def url():
    """A server: that of the environment, else the stand-in."""
    if live := os.environ.get("WORKBENCH_ELASTICSEARCH_URL"):
        yield live
    else:
        with Server().running() as server:
            yield server.url


@pytest.fixture(scope="module")
def made(url):
    """Names of indices made on the server, which are removed at the end."""
    names = []
    yield names
    import elasticsearch

    with elasticsearch.Elasticsearch(url) as client:
        for name in names:
            client.options(ignore_status=404).indices.delete(index=name)


@pytest.fixture
def make(url, made):
    """Make indexes of a name of their own."""
    opened = []

    def index(**options):
        name = f"test-{uuid.uuid4().hex}"
        made.append(name)
        opened.append(ElasticsearchIndex(url, **{"index": name, "index_type": "flat"} | options))
        return opened[-1]

    yield index
    for one in opened:
        one.close()


def exact(rows, queries, k, metric):
    scores, positions = top_k(queries, rows, k, metric=metric)
    return scores.numpy(), positions.numpy()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("index_type", ["flat", "hnsw", "int8_hnsw"])
def test_it_finds_what_an_exact_search_finds_with_the_same_scores(make, metric, index_type):
    index = make(metric=metric, index_type=index_type)
    assert isinstance(index, Index)
    index.add(range(300), ROWS)
    scores, positions = exact(ROWS, QUERIES, 10, metric)
    hits = index.search(QUERIES, 10, num_candidates=300)
    assert (hits.ids == positions).all()
    assert np.abs(hits.scores - scores).max() < 2e-6
    assert hits.ids.dtype == np.int64
    assert len(index) == 300


def test_string_ids_come_back_as_strings_whatever_is_in_them(make):
    index = make(metric="dot")
    index.add(NASTY, ROWS[: len(NASTY)])
    assert sorted(index.search(ROWS[:1], len(NASTY)).ids[0]) == sorted(NASTY)
    index.delete([NASTY[6]])
    with pytest.raises(KeyError, match="not there"):
        index.delete([NASTY[1], "not there"])
    assert index.search(ROWS[:1], 20).found.tolist() == [len(NASTY) - 1]
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


def test_equal_and_zero_vectors_are_rows_too(make):
    index = make(metric="cosine")
    index.add(range(4), np.array([[1, 0], [1, 0], [0, 0], [0, 3]]))
    assert index.search([[2, 0]], 4).scores[0].tolist() == [1, 1, 0, 0]
    assert index.search([[0, 0]], 4).scores[0].tolist() == [0, 0, 0, 0]
    index = make(metric="euclidean")
    index.add(range(2), np.array([[0, 0], [3, 4]]))
    assert index.search([[0, 0]], 2).scores[0].tolist() == pytest.approx([0, -5])


TEXTS = ["the old house by the river", "a river, a river and a boat", "house of cards", "music", "the boat house"]


def test_words_are_found_by_bm25(make):
    index = make()
    index.add(list("abcde"), ROWS[:5], texts=TEXTS)
    hits = index.search(texts=["river", "house boat", "piano"], k=3)
    assert hits.ids[0].tolist() == ["b", "a", None]
    assert hits.ids[1].tolist()[0] == "e"
    assert hits.found.tolist() == [2, 3, 0]
    # idf · tf / (tf + k1 (1 - b + b length / mean)), the mean of 6, 7, 3, 1 and 3 words being 4
    idf = np.log(1 + (5 - 2 + 0.5) / (2 + 0.5))
    assert hits.scores[0, 0] == pytest.approx(idf * 2 / (2 + 1.2 * (0.25 + 0.75 * 7 / 4)), rel=1e-5)


def test_words_are_searched_in_every_text_field(make):
    index = make(fields=FIELDS)
    index.add(None, ROWS[:2], texts=["alpha", "beta"], metadata=[{"title": "gamma"}, {"title": "alpha"}])
    assert sorted(index.search(texts="alpha", k=2).ids[0].tolist()) == [0, 1]
    assert index.search(texts="gamma", k=2).ids[0].tolist() == [0, -1]


def test_a_hybrid_search_joins_both_lists_by_their_ranks(make):
    index = make(metric="dot")
    index.add(range(5), np.eye(5), texts=TEXTS)
    query = np.array([[0.1, 0.2, 0.3, 0.4, 0.5]])  # vectors rank 4 3 2 1 0
    ranks = {"river": [1, 0], "piano": []}
    for text, words in ranks.items():
        hits = index.search(query, 5, texts=text)
        points = {name: 1 / (60 + 5 - name) for name in range(5)}
        for rank, name in enumerate(words, 1):
            points[name] += 1 / (60 + rank)
        wanted = sorted(points, key=lambda name: -points[name])
        assert hits.ids[0].tolist() == wanted
        assert hits.scores[0].tolist() == pytest.approx([points[name] for name in wanted])


METADATA = [
    {"lang": "en" if i % 3 else NASTY[i // 3 % 8], "year": 2000 + i, "weight": i / 10, "open": i % 2 == 0}
    for i in range(30)
]
FILTERS = [
    ({"lang": "en"}, lambda row: row["lang"] == "en"),
    ({"year": {"gte": 2005, "lt": 2009}}, lambda row: 2005 <= row["year"] < 2009),
    ({"weight": {"gt": 0.5, "lte": 2}}, lambda row: 0.5 < row["weight"] <= 2),
    ({"open": False, "lang": ["en", NASTY[0]]}, lambda row: not row["open"] and row["lang"] in ("en", NASTY[0])),
    ({"year": np.array([2001, 2003])}, lambda row: row["year"] in (2001, 2003)),
    *(({"lang": text}, lambda row, text=text: row["lang"] == text) for text in NASTY),
]


def test_a_filter_leaves_the_rows_that_it_names(make):
    index = make(fields=FIELDS)
    index.add(range(31), ROWS[:31], metadata=[*METADATA, {}], texts=["word"] * 31)
    for chosen, holds in FILTERS:
        wanted = {number for number, row in enumerate(METADATA) if holds(row)}
        for asked in ({"queries": QUERIES[:1]}, {"texts": "word"}, {"queries": QUERIES[:1], "texts": "word"}):
            found = {name for line in index.search(**asked, k=31, filter=chosen) for name, _ in line}
            assert found == wanted, (chosen, asked)


def test_rows_can_be_written_over(make):
    index = make()
    index.add(range(5), ROWS[:5])
    index.add([3, 4, 5], ROWS[10:13], replace=True)
    assert len(index) == 6
    assert index.search(ROWS[10], 1).ids[0, 0] == 3


def test_no_rows_and_no_queries_are_no_work(make):
    index = make()
    assert len(index) == 0
    assert index.search(QUERIES, 3).ids.tolist() == [[-1] * 3] * 7
    assert index.search(texts=["a"], k=3).ids.tolist() == [[-1] * 3]
    index.add([], ROWS[:0])
    index.delete([])
    with pytest.raises(KeyError, match="No row has the id 1"):
        index.delete(1)
    index.add([7], ROWS[:1])
    index.add([], [], texts=[])
    assert index.search(ROWS[:0], 3).ids.shape == (0, 3)
    assert index.search(ROWS[:0], 3, texts=[]).ids.shape == (0, 3)


def test_an_index_is_opened_again_with_the_settings_it_was_made_with(make, url, tmp_path):
    index = make(metric="euclidean", fields=FIELDS, index_type="int8_flat")
    index.add(["a"], ROWS[:1], metadata=[{"year": 3}])
    index.save(tmp_path / "saved")
    with open_index("elasticsearch", tmp_path / "saved") as again:
        assert (again.metric, again.dim, again.index_type) == ("euclidean", 16, "int8_flat")
        assert again.fields.kinds == {**FIELDS, "text": "text"}
        assert again.search(ROWS[:1], 1, filter={"year": 3}).ids.tolist() == [["a"]]
    for options in ({"metric": "dot"}, {"fields": {"year": "keyword"}}):
        with pytest.raises(ValueError, match="was made with"):
            ElasticsearchIndex(url, index=index.index, **options)


def test_an_index_that_was_made_otherwise_is_refused(url, made):
    import elasticsearch

    made.append("test-foreign")
    with elasticsearch.Elasticsearch(url) as client:
        client.indices.create(index="test-foreign", mappings={"properties": {"a": {"type": "keyword"}}})
    with pytest.raises(DataFormatError, match="was not made here"):
        ElasticsearchIndex(url, index="test-foreign")


def test_a_folder_without_a_saved_index_is_refused_and_not_written_over(make, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataFormatError, match="no index that can be read"):
        ElasticsearchIndex.open(tmp_path)
    with pytest.raises(DataFormatError, match="left as it is"):
        make().save(tmp_path)
    ExactIndex().save(tmp_path / "other")
    with pytest.raises(DataFormatError, match="kind 'exact', not 'elasticsearch'"):
        ElasticsearchIndex.open(tmp_path / "other")
    make().save(tmp_path / "spoilt")
    saved = json.loads((tmp_path / "spoilt" / "index.json").read_text())
    for settings in (None, [], {}, {"url": "http://localhost"}, {**saved["settings"], "url": 5}):
        (tmp_path / "spoilt" / "index.json").write_text(json.dumps({**saved, "settings": settings}))
        with pytest.raises(DataFormatError, match="does not say where the index is"):
            ElasticsearchIndex.open(tmp_path / "spoilt")


# ── faults, which only the stand-in can have ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def server():
    with Server().running() as server:
        yield server


@pytest.fixture
def index(server):
    with ElasticsearchIndex(server.url, batch_size=10, retries=3, backoff=0.001) as index:
        yield index


@pytest.fixture
def hurried(server):
    """An index that does not wait as long as the stand-in is silent."""
    with ElasticsearchIndex(server.url, batch_size=10, retries=3, backoff=0.001, timeout=0.3) as index:
        yield index


FAULTS = [429, 500, 502, 503, 504, "hang up", "silence", "done, but silence"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", ["_bulk", "_refresh", "_mget", "_msearch", "_count"])
def test_a_fault_that_passes_is_waited_for(server, index, hurried, fault, path):
    index = hurried if "silence" in str(fault) else index
    index.add(range(15), ROWS[:15])
    server.faults = [(path, fault)] * 2 if isinstance(fault, int) else [(path, fault)]
    index.add(range(15, 40), ROWS[15:40])
    assert (index.search(QUERIES, 5).ids == exact(ROWS[:40], QUERIES, 5, "cosine")[1]).all()
    assert len(index) == 40
    assert server.faults == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (429, "429: [parent] Data too large"),
        (503, "503: [parent] Data too large"),
        ("hang up", "No Elasticsearch answers"),
        ("silence", "did not answer in time"),
    ],
)
def test_a_fault_that_lasts_is_reported_with_what_is_indexed_and_how_to_go_on(server, index, hurried, fault, reason):
    index = hurried if fault == "silence" else index
    index.add(range(20), ROWS[:20])

    def break_down(bar):
        if bar.done == 20:
            server.faults = [("_bulk", fault)] * 9

    with listen(break_down), pytest.raises(ServiceError) as caught:
        index.add(range(20, 55), ROWS[20:55])
    for part in (reason, "20 of 35 rows are indexed, 15 are not", "position 20 (id 40)", "replace=True"):
        assert part in str(caught.value)
    assert len(server.faults) == 9 - 4  # the request and its three retries
    server.faults = []
    index.add(range(40, 55), ROWS[40:55], replace=True)
    assert (index.search(QUERIES, 5).ids == exact(ROWS[:55], QUERIES, 5, "cosine")[1]).all()


def test_rows_that_the_server_was_too_busy_for_are_sent_again_alone(server, index):
    tried = {}

    def busy(name):
        tried[name] = tried.get(name, 0) + 1
        return 429 if int(name) % 7 == 3 and tried[name] < 3 else None

    server.busy = busy
    index.add(range(30), ROWS[:30])
    assert len(index) == 30
    assert {name for name, times in tried.items() if times > 1} == {"3", "10", "17", "24"}
    assert set(tried.values()) == {1, 3}


def test_rows_that_are_refused_for_good_are_named_at_once(server, index):
    server.busy = lambda name: {"14": 400, "15": 429}.get(name)
    with pytest.raises(ServiceError, match=r"400 for the id '14': rejected .*18 of 30 rows are indexed, 12 are not"):
        index.add(range(30), ROWS[:30])
    assert server.count("_bulk") == 2


def test_rows_that_stay_too_many_are_reported(server, index):
    server.busy = lambda name: 429 if name == "14" else None
    with pytest.raises(ServiceError, match=r"429 for the id '14'.*19 of 30 rows are indexed"):
        index.add(range(30), ROWS[:30])
    assert server.count("_bulk") == 2 + 3


def test_what_the_server_refuses_is_not_asked_again(server, index):
    index.add(range(5), ROWS[:5])
    server.faults = [("_msearch", 403)]
    with pytest.raises(ServiceError, match=r"answers 403: .*Data too large"):
        index.search(QUERIES, 3)
    assert server.count("_msearch") == 1
    server.indices.clear()
    with pytest.raises(ServiceError, match="404: no such index"):
        index.search(QUERIES, 3)


def test_one_failed_search_of_many_fails_all(server, index):
    index.add(range(5), ROWS[:5])
    index.dim = 9
    with pytest.raises(ServiceError, match="400: the query vector has a different dimension"):
        index.search(QUERIES[:, :9], 3)


def test_many_queries_go_in_few_requests_and_many_rows_in_small_ones(server, index):
    seen = []
    with listen(lambda bar: seen.append((bar.desc, bar.done, bar.total))):
        index.add(range(25), ROWS[:25])
    assert seen == [("Indexing", 10, 25), ("Indexing", 20, 25), ("Indexing", 25, 25)]
    assert server.count("_bulk") == 3
    with listen(lambda bar: seen.append((bar.desc, bar.done, bar.total))):
        index.search(np.repeat(QUERIES, 30, axis=0), 3)
    assert seen[3:] == [("Searching", 100, 210), ("Searching", 200, 210), ("Searching", 210, 210)]
    assert server.count("_msearch") == 3


def test_cancelling_stops_between_batches(server, index):
    def stop(bar):
        raise Cancelled("enough")

    with listen(stop), pytest.raises(Cancelled):
        index.add(range(25), ROWS[:25])
    assert server.count("_bulk") == 1


def test_nothing_is_sent_before_everything_is_checked(server, index):
    broken = ROWS[:50].copy()
    broken[49, 3] = np.nan
    with pytest.raises(VectorError, match="such as 49"):
        index.add(range(50), broken)
    assert [path for _, path in server.asked] == ["/workbench/_mapping"]


def test_no_server_is_told_with_how_to_start_one():
    with pytest.raises(ServiceError, match=r"No Elasticsearch answers at http://127\.0\.0\.1:9: .*docker run"):
        ElasticsearchIndex("http://127.0.0.1:9")


def test_another_server_is_told_from_elasticsearch(server):
    server.product = False
    with pytest.raises(ServiceError, match="is no Elasticsearch"):
        ElasticsearchIndex(server.url)


SECRET = "s3cret"


@pytest.mark.parametrize(
    ("login", "options", "prefix"),
    [
        (f"ada:{SECRET}", {"basic_auth": ("ada", SECRET)}, ""),
        (f"ada:{SECRET}", {}, f"ada:{SECRET}@"),
        (SECRET, {"api_key": SECRET}, ""),
    ],
)
def test_credentials_are_used_and_never_shown(server, tmp_path, login, options, prefix):
    server.login = login
    url = server.url.replace("://", f"://{prefix}")
    with ElasticsearchIndex(url, retries=0, **options) as index:
        index.add(["a"], ROWS[:1])
        index.save(tmp_path / "saved")
        assert SECRET not in repr(index) + str(vars(index)) + (tmp_path / "saved" / "index.json").read_text()
        server.login = "others:only"
        with pytest.raises(ServiceError, match="401: unable to authenticate") as caught:
            index.search(ROWS[:1], 1)
        assert SECRET not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(ServiceError, match="401") as caught:
        ElasticsearchIndex(url, **options)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


# ── bad input ─────────────────────────────────────────────────────────────────────────────────────────────────────────

BROKEN = ROWS[:5].copy()
BROKEN[[1, 3], 2] = np.nan, np.inf
BAD = {
    "NaN rows": (lambda index: index.add(range(10, 15), BROKEN), VectorError, "2 rows, such as 1, 3"),
    "NaN queries": (lambda index: index.search(BROKEN), VectorError, "queries hold NaN .* such as 1, 3"),
    "rows of other dimensions": (lambda index: index.add([10], ROWS[:1, :9]), VectorError, "9 dimensions; expected 16"),
    "queries of other dimensions": (lambda index: index.search(ROWS[:1, :9]), VectorError, "9 dimensions; expected 16"),
    "nothing to search by": (lambda index: index.search(), ValueError, "nothing to search by"),
    "ids twice": (lambda index: index.add([10, 11, 10], ROWS[:3]), ValueError, "1 ids came before, such as 10"),
    "ids that are there": (lambda index: index.add([10, 4], ROWS[:2]), ValueError, "1 ids came before, such as 4"),
    "too few ids": (lambda index: index.add([10], ROWS[:2]), ValueError, "1 ids for 2 rows"),
    "ids that nobody has": (lambda index: index.delete([1, 77]), KeyError, "No row has the id 77"),
    "strings for numbers": (lambda index: index.add(["a"], ROWS[:1]), TypeError, "have whole numbers as ids"),
    "too few texts": (lambda index: index.add([10, 11], ROWS[:2], texts=["a"]), ValueError, "1 rows of metadata for 2"),
    "texts that are none": (lambda index: index.add([10], ROWS[:1], texts=[None]), TextTypeError, "Row 0 is None"),
    "texts beside other metadata": (
        lambda index: index.add([10], ROWS[:1], texts=["a"], metadata=[]), ValueError, "1 texts and 0 rows"
    ),
    "metadata of another kind": (
        lambda index: index.add([10], ROWS[:1], metadata=[{"year": 1.5}]), ValueError, "year is 1.5 .*'integer'"
    ),
    "queries that are no texts": (lambda index: index.search(texts=[3]), TextTypeError, "Row 0 is int"),
    "fewer texts than vectors": (lambda index: index.search(QUERIES, texts=["a"]), ValueError, "7 vectors and 1 texts"),
    "k of 0": (lambda index: index.search(QUERIES, 0), ValueError, "k is 0"),
    "a filter by no field": (lambda index: index.search(QUERIES, filter={"a": 1}), ChoiceError, "'lang', 'year'"),
    "a filter by words": (lambda index: index.search(QUERIES, filter={"title": "a"}), ChoiceError, "'lang', 'year'"),
    "a filter as a query": (
        lambda index: index.search(QUERIES, filter={"bool": {"must_not": {}}}), ChoiceError, "field to filter by 'bool'"
    ),
    "a filter of another kind": (lambda index: index.search(QUERIES, filter={"year": "1"}), ValueError, "'integer'"),
    "a filter by nothing": (lambda index: index.search(QUERIES, filter={"year": []}), ValueError, "empty"),
    "an unknown range": (lambda index: index.search(QUERIES, filter={"year": {"from": 1}}), ChoiceError, "'gte'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_clear_error_and_changes_nothing(server, name):
    act, error, message = BAD[name]
    with ElasticsearchIndex(server.url, fields=FIELDS) as index:
        index.add(range(5), ROWS[:5])
        with pytest.raises(error, match=message):
            act(index)
        assert len(index) == 5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metric": "manhattan"}, ChoiceError, "'cosine', 'dot', 'euclidean'"),
        ({"index_type": "tree"}, ChoiceError, "'int8_hnsw'"),
        ({"index": "A"}, ValueError, "'A' cannot name an index"),
        ({"index": "_all"}, ValueError, "cannot name"),
        ({"index": "a*"}, ValueError, "cannot name"),
        ({"index": "a,b"}, ValueError, "cannot name"),
        ({"index": "../_cluster"}, ValueError, "cannot name"),
        ({"fields": {"x": "vector"}}, ChoiceError, "kind of field"),
        ({"fields": {"a.b": "text"}}, ValueError, "cannot name a field"),
        ({"url": "localhost:9200"}, ValueError, "begin with http"),
        ({"url": "https://"}, ValueError, "name a host"),
    ],
)
def test_bad_settings_are_refused_before_the_server_is_asked(options, error, message):
    with pytest.raises(error, match=message):
        ElasticsearchIndex(**options)


def test_more_rows_than_the_server_gives_are_refused(server, index, monkeypatch):
    monkeypatch.setattr("workbench.search.elasticsearch._MOST", 20)
    index.add(range(15), ROWS[:15])
    assert index.search(QUERIES[:1], 30).found.tolist() == [15]
    index.add(range(15, 30), ROWS[15:30])
    with pytest.raises(ValueError, match="at most 20 rows"):
        index.search(QUERIES[:1], 21)
