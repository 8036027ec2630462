"""An index in Elasticsearch: nearest vectors on an HNSW graph, BM25 on texts, and both joined by their ranks."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import normalize

from workbench.errors import DataFormatError, ServiceError, choose
from workbench.progress import Bar, track
from workbench.protocols import Hits
from workbench.search.elasticsearch_server import ElasticsearchServer
from workbench.search.engine import EngineIndex, Stopped
from workbench.search.fields import Condition, Fields
from workbench.search.hybrid import fuse
from workbench.texts import as_texts, slices
from workbench.vectors import as_matrix, blocks

__all__ = ["ElasticsearchIndex"]

_METRICS: dict[str, tuple[str, Callable[[float], float]]] = {  # Elasticsearch's similarity, and its score as ours
    # Of vectors that are scaled to length 1 here: its own "cosine" refuses zero vectors, as of a text of unknown words.
    "cosine": ("max_inner_product", lambda score: score - 1 if score >= 1 else 1 - 1 / score),
    "dot": ("max_inner_product", lambda score: score - 1 if score >= 1 else 1 - 1 / score),
    "euclidean": ("l2_norm", lambda score: -(max(1 / score - 1, 0.0) ** 0.5)),
}
_TYPES = {  # whether there is a graph to search, or all rows are looked at; names in front tell how rows are rounded
    "hnsw": True, "int8_hnsw": True, "int4_hnsw": True, "bbq_hnsw": True,
    "flat": False, "int8_flat": False, "int4_flat": False, "bbq_flat": False,
}  # fmt: skip
_FIELDS = {"keyword": "keyword", "text": "text", "integer": "long", "float": "double", "boolean": "boolean"}
_ENDS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_MOST = 10_000  # rows that Elasticsearch gives for a query
_QUERIES = 100  # in one request
_WINDOW = 100  # rows of each list, at least, that a hybrid search joins


class ElasticsearchIndex(EngineIndex):
    """Vectors, texts and further fields in an index of an Elasticsearch server (8.18 or later).

    What the server answers with 429 or 5xx, and what it does not answer in time, is asked again after growing pauses.

    Args:
        url: the server's address; None: ``http://localhost:9200``.
        index: the index's name; it is made when the first rows come, and opened if it is there.
        metric: "cosine", "dot" or "euclidean"; None: what the index was made with, and "cosine" for a new one.
        fields: further fields by name, and their kinds: "keyword", "integer", "float" or "boolean" to filter by, "text"
            to search by words. There is always a field "text", which the ``texts`` of ``add`` fill.
        index_type: "hnsw" or "flat" (exact); with "int8_", "int4_" or "bbq_" in front the server searches rounded
            vectors, which take 4, 8 or 32 times less memory, and scores the best again by the true ones.
        m: neighbours of a row in the graph.
        ef_construction: candidates for these neighbours: higher is slower to build and finds more.
        batch_size: most rows in one request.
        retries: how often a request is made again.
        backoff: seconds before the first of them; each pause is twice the one before.
        timeout: seconds that the server has for one request.
        api_key, basic_auth, client: who asks, and further options of the official client (``ca_certs`` …).

    Raises:
        ServiceError: no Elasticsearch answers there, or it refuses.
        DataFormatError: the index is there, and was not made by this class.
    """

    kind = "elasticsearch"
    place = ("url", "index", "metric")

    def __init__(
        self,
        url: str | None = None,
        *,
        index: str = "workbench",
        metric: str | None = None,
        fields: Mapping[str, str] | None = None,
        index_type: str = "hnsw",
        m: int = 16,
        ef_construction: int = 100,
        batch_size: int = 500,
        retries: int = 5,
        backoff: float = 0.5,
        timeout: float = 30.0,
        api_key: Any = None,
        basic_auth: tuple[str, str] | None = None,
        **client: Any,
    ) -> None:
        super().__init__(metric, None if fields is None else {**fields, "text": "text"}, _FIELDS, batch_size)
        self.fields = Fields({**self.fields.kinds, "text": "text"}, _FIELDS)
        choose("metric", self.metric, _METRICS)
        choose("index type", index_type, _TYPES)
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,254}", index):
            raise ValueError(
                f"{index!r} cannot name an index: use small letters, digits, '.', '_' and '-', no sign first."
            )
        self.index = index
        self.index_type = index_type
        self._graph = {"m": m, "ef_construction": ef_construction} if _TYPES[index_type] else {}
        options = {"api_key": api_key, "basic_auth": basic_auth, "request_timeout": timeout, **client}
        self._server = ElasticsearchServer(url or "http://localhost:9200", retries, backoff, options)
        try:
            self._open()
        except Exception:
            self.close()
            raise

    def _open(self) -> None:
        """Take over the settings of an index that is there."""
        mappings = self._server.mappings(self.index)
        if mappings is None:
            return
        kinds = {name: kind for kind, name in _FIELDS.items()}
        try:
            (mapping,) = mappings  # an alias may stand for several
            kept, columns = mapping["_meta"]["workbench"], dict(mapping["properties"])
            metric, id_type = kept["metric"], {"int": int, "str": str}[kept["ids"]]
            vector = columns.pop("vector")
            dim, index_type = vector["dims"], vector["index_options"]["type"]
            fields = {name: kinds[column["type"]] for name, column in columns.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise DataFormatError(
                f"The index {self.index!r} of {self._server} was not made here. Choose another name; it stays as it is."
            ) from error
        self._adopt(metric=metric, dim=dim, fields=fields, id_type=id_type)
        self.index_type = index_type

    def _ask(self, method: str, **options: Any) -> Any:
        return self._server.ask(method, index=self.index, **options)

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def add(
        self,
        ids: Sequence[Any] | None,
        rows: Any,
        *,
        texts: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        replace: bool = False,
        show_progress_bar: bool | None = None,
    ) -> None:
        """Add rows; ``texts`` go to the field "text" of each. Otherwise as ``EngineIndex.add``."""
        if texts is not None:
            listed = as_texts(texts, name="texts")[0]
            metadata = [{}] * len(listed) if metadata is None else list(metadata)
            if len(metadata) != len(listed):
                raise ValueError(f"{len(listed)} texts and {len(metadata)} rows of metadata; give one to each row.")
            metadata = [{**row, "text": text} for row, text in zip(metadata, listed, strict=True)]
        super().add(ids, rows, metadata=metadata, replace=replace, show_progress_bar=show_progress_bar)

    def _create(self, dim: int, id_type: type) -> None:
        vector = {
            "type": "dense_vector", "dims": dim, "index": True, "similarity": _METRICS[self.metric][0],
            "index_options": {"type": self.index_type, **self._graph},
        }  # fmt: skip
        fields = {name: {"type": _FIELDS[kind]} for name, kind in self.fields.kinds.items()}
        self._ask(
            "indices.create",
            mappings={
                "dynamic": "strict",
                "_meta": {"workbench": {"metric": self.metric, "ids": id_type.__name__}},
                "properties": {"vector": vector, **fields},
            },
        )

    def _write(self, ids: list[Any], vectors: npt.NDArray[np.float32], values: list[dict[str, Any]]) -> None:
        lines = [
            ({"index": {"_id": str(name)}}, {"vector": vector, **row})
            for name, vector, row in zip(ids, self._scaled(vectors), values, strict=True)
        ]
        self._server.bulk(self.index, lines)

    def _remove(self, ids: list[Any]) -> None:
        try:
            self._server.bulk(self.index, [({"delete": {"_id": str(name)}},) for name in ids])
        except Stopped as stop:
            raise ServiceError(f"{stop.reason} {stop.written:,} of {len(ids):,} rows were deleted.") from stop.__cause__

    def _known(self, ids: list[Any]) -> set[Any]:
        answer = self._ask("mget", ids=[str(name) for name in ids], source=False)
        return {self._id_type(entry["_id"]) for entry in answer["docs"] if entry.get("found")}

    def _settle(self) -> None:
        self._ask("indices.refresh")

    def _count(self) -> int:
        return int(self._ask("count")["count"])

    # ── searching ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def search(
        self,
        queries: Any = None,
        k: int = 10,
        *,
        texts: Any = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        num_candidates: int | None = None,
        show_progress_bar: bool | None = None,
    ) -> Hits:
        """Return the k best rows for each query: by vectors, by words (BM25), or by both.

        Given vectors and texts, it joins both lists by reciprocal rank fusion. That is done here, since a server's own
        needs a paid licence; scores are then sums of 1 / (60 + rank).

        Args:
            queries: (q, dim) or (dim,) vectors, or None.
            k: how many rows to find.
            texts: q texts or one, or None.
            filter: field → value, list of values, or range (``{"gte": 2000}``); all of them must hold.
            num_candidates: rows that the graph is searched for: higher is slower and finds more; None decides by k.
            show_progress_bar: see ``workbench.show_progress``.

        Raises:
            VectorError: another number of dimensions than the rows', or NaN or infinite values; names the rows.
            TextTypeError: a text that is none; names its index.
            ChoiceError: an unknown field; lists the known ones.
            ServiceError: the server refuses or does not answer.
        """
        if queries is None and texts is None:
            raise ValueError("There is nothing to search by: give queries (vectors), texts, or both.")
        matrix = None if queries is None else as_matrix(queries, name="queries", dim=self.dim)
        words = None if texts is None else as_texts(texts, name="texts")[0]
        if matrix is not None and words is not None and len(matrix) != len(words):
            raise ValueError(f"{len(matrix)} vectors and {len(words)} texts; a hybrid search needs both of each query.")
        limit, chosen = self._checked_k(k, _MOST), [_clause(one) for one in self.fields.conditions(filter)]
        if matrix is not None and words is not None:
            limit = max(limit, _WINDOW)
        sides: list[tuple[Iterator[dict[str, Any]], Callable[[float], float]]] = []
        if words is not None:
            sides.append(((self._by_words(text, chosen) for text in words), float))
        if matrix is not None:
            width = min(_MOST, max(limit, num_candidates or max(100, 2 * limit)))
            asked = (self._by_vector(row, limit, width, chosen) for row in self._rows(matrix))
            sides.append((asked, _METRICS[self.metric][1]))
        total = len(sides) * len(matrix if matrix is not None else words or [])
        with track(total, unit="queries", desc="Searching", show=show_progress_bar) as bar:
            found = [self._found(searches, limit, ours, bar) for searches, ours in sides]
        return fuse([self._hits(lines, limit) for lines in found], k) if len(found) > 1 else self._hits(found[0], k)

    def _by_vector(self, vector: npt.NDArray[np.float32], k: int, width: int, chosen: list[Any]) -> dict[str, Any]:
        knn = {"field": "vector", "query_vector": vector, "k": k, "num_candidates": width}
        if "_" in self.index_type:  # rounded: more are taken, and scored again by the true vectors
            knn["rescore_vector"] = {"oversample": 2.0}
        return {"knn": {**knn, "filter": chosen} if chosen else knn}

    def _by_words(self, text: str, chosen: list[Any]) -> dict[str, Any]:
        names = [name for name, kind in self.fields.kinds.items() if kind == "text"]
        return {"query": {"bool": {"must": {"multi_match": {"query": text, "fields": names}}, "filter": chosen}}}

    def _found(
        self, searches: Iterator[dict[str, Any]], k: int, ours: Callable[[float], float], bar: Bar
    ) -> list[list[tuple[Any, float]]]:
        """What each search finds; many of them go in one request."""
        lines: list[list[tuple[Any, float]]] = []
        for part in slices(searches, _QUERIES):
            if self.dim is None:
                lines += [[] for _ in part]
                continue
            wanted = [line for search in part for line in ({}, {**search, "size": k, "_source": False})]
            for answer in self._server.searches(self.index, wanted):
                lines.append([(hit["_id"], ours(hit["_score"])) for hit in answer["hits"]["hits"]])
            bar.update(len(part))
        return lines

    def _scaled(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return normalize(torch.from_numpy(vectors)).numpy() if self.metric == "cosine" else vectors

    def _rows(self, matrix: Any) -> Iterator[npt.NDArray[np.float32]]:
        for _, part in blocks(matrix, name="queries"):
            yield from self._scaled(part.numpy(force=True))

    # ── keeping ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def url(self) -> str:
        """The server's address, without credentials."""
        return str(self._server)

    def close(self) -> None:
        """Close the connections to the server; the index stays there."""
        self._server.close()


def _clause(condition: Condition) -> dict[str, Any]:
    """A condition in Elasticsearch's query language."""
    field, sign, value = condition
    if sign == "==":
        return {"term": {field: value}}
    return {"terms": {field: value}} if sign == "in" else {"range": {field: {_ENDS[sign]: value}}}
