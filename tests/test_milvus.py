"""The Milvus index on its embedded engine: what it finds is what an exact search finds, and it lasts."""

import numpy as np
import pytest
import torch

from workbench.errors import ChoiceError, DataFormatError, ServiceError, VectorError
from workbench.progress import listen
from workbench.protocols import Index
from workbench.search.milvus import MilvusIndex
from workbench.search.topk import top_k

RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=(300, 16)).astype(np.float32)
QUERIES = RNG.normal(size=(7, 16)).astype(np.float32)
METRICS = ["cosine", "dot", "euclidean"]
FIELDS = {"lang": "keyword", "year": "integer", "weight": "float", "open": "boolean"}
NASTY = ['"', "\\", "\\\"", "'", "a\nb\tc\r", "1 or 1 == 1", '" or id != "', "é 日本 👩‍👩‍👧", "%_", "${x}", "null"]


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
