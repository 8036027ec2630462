"""A stand-in for Elasticsearch: the endpoints that the index uses, on loopback, strict in what they take.

Rows are seen by searches after a refresh only, as on a true server; vectors are compared by brute force in float32 and
words by Lucene's BM25. ``Server.faults`` makes the next requests go wrong.
"""

import base64
import json
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

JSON = "application/vnd.elasticsearch+json; compatible-with=9"
LINES = "application/vnd.elasticsearch+x-ndjson; compatible-with=9"
SIMILARITIES: dict[str, Callable[[Any, Any], float]] = {
    "max_inner_product": lambda a, b: (lambda dot: 1 / (1 - dot) if dot < 0 else dot + 1)(float(a @ b)),
    "l2_norm": lambda a, b: 1 / (1 + float(((a - b) ** 2).sum())),
}
TYPES: dict[str, Any] = {
    "keyword": lambda value: isinstance(value, str) and len(value.encode()) < 32_766,
    "text": lambda value: isinstance(value, str),
    "long": lambda value: type(value) is int and -(2**63) <= value < 2**63,
    "double": lambda value: type(value) in (int, float),
    "boolean": lambda value: type(value) is bool,
}


class Refused(Exception):  # noqa: N818
    """A request that a server would answer with an error."""

    def __init__(self, status: int, kind: str, reason: str, deeper: str = "") -> None:
        error = {"type": kind, "reason": reason} | ({"caused_by": {"type": kind, "reason": deeper}} if deeper else {})
        super().__init__(reason)
        self.status = status
        self.error = error
        self.body = {"error": {"root_cause": [error], **error}, "status": status}


def demand(holds: object, reason: str) -> None:
    if not holds:
        raise Refused(400, "parsing_exception", reason)


@dataclass
class Index:
    """Documents by id, and those of them that searches see."""

    properties: dict[str, Any]
    mappings: dict[str, Any]
    documents: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)


class Server:
    """The server's contents, what was asked of it, and what is to go wrong."""

    def __init__(self) -> None:
        self.indices: dict[str, Index] = {}
        self.asked: list[tuple[str, str]] = []  # method and path
        self.faults: list[
            tuple[str, Any]
        ] = []  # (end of the path, status | "silence" | "hang up"), for one request each
        self.busy: Callable[[str], int | None] = lambda name: None  # the status of a row in a bulk request, if not well
        self.login: str | None = None  # "name:password" or an API key
        self.product = True
        self.url = ""
        self.lock = threading.Lock()

    def count(self, end: str) -> int:
        """How many requests there were to paths with that end."""
        return sum(path.endswith(end) for _, path in self.asked)

    @contextmanager
    def running(self) -> Iterator["Server"]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"server_": self}))
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    # ── endpoints ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def answer(self, method: str, path: str, kind: str, body: bytes) -> tuple[int, Any]:
        name, _, verb = path.strip("/").partition("/")
        demand(re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name), f"invalid index name [{name}]")
        route = {
            ("PUT", ""): self.create, ("DELETE", ""): self.drop,
            ("GET", "_mapping"): self.mapping, ("PUT", "_bulk"): self.bulk, ("POST", "_mget"): self.mget,
            ("POST", "_refresh"): self.refresh, ("POST", "_count"): self.size, ("POST", "_msearch"): self.msearch,
        }.get((method, verb))  # fmt: skip
        demand(route, f"no handler for {method} {path}")
        if verb in ("_bulk", "_msearch"):
            demand(kind == LINES, f"Content-Type is {kind}")
            demand(body.endswith(b"\n"), "The request must be terminated by a newline [\\n]")
            value: Any = [loads(line) for line in body.decode().splitlines()]
        else:
            demand(not body or kind == JSON, f"Content-Type is {kind}")
            value = loads(body.decode()) if body else None
        if route != self.create and name not in self.indices:
            raise Refused(404, "index_not_found_exception", f"no such index [{name}]")
        return route(name, value)

    def create(self, name: str, body: Any) -> tuple[int, Any]:
        if name in self.indices:
            raise Refused(400, "resource_already_exists_exception", f"index [{name}] already exists")
        demand(set(body) == {"mappings"}, f"unknown key in {set(body)}")
        mappings = body["mappings"]
        demand(set(mappings) <= {"dynamic", "_meta", "properties"}, f"unknown mapping parameter in {set(mappings)}")
        for key, wanted in mappings["properties"].items():
            if wanted["type"] == "dense_vector":
                check_vector(wanted)
            else:
                demand(set(wanted) == {"type"} and wanted["type"] in TYPES, f"No handler for the mapping of [{key}]")
        self.indices[name] = Index(mappings["properties"], mappings)
        return 200, {"acknowledged": True, "shards_acknowledged": True, "index": name}

    def drop(self, name: str, body: Any) -> tuple[int, Any]:
        del self.indices[name]
        return 200, {"acknowledged": True}

    def mapping(self, name: str, body: Any) -> tuple[int, Any]:
        return 200, {name: {"mappings": self.indices[name].mappings}}

    def bulk(self, name: str, lines: Any) -> tuple[int, Any]:
        index, items, rest = self.indices[name], [], iter(lines)
        for action in rest:
            demand(isinstance(action, dict) and len(action) == 1, "Malformed action/metadata line")
            (verb, about), *_ = action.items()
            demand(verb in ("index", "delete") and set(about) == {"_id"}, f"Unknown action or parameter in {action}")
            demand(
                isinstance(about["_id"], str) and 0 < len(about["_id"].encode()) <= 512, "id is no string of 1 to 512"
            )
            document = next(rest, None) if verb == "index" else None
            result = {"_index": name, "_id": about["_id"]}
            if (status := self.busy(about["_id"])) is not None:
                reason = {
                    "type": "es_rejected_execution_exception",
                    "reason": "rejected execution of coordinating operation",
                }
                items.append({verb: {**result, "status": status, "error": reason}})
                continue
            try:
                items.append({verb: result | self.apply(index, about["_id"], document)})
            except Refused as refused:
                items.append({verb: {**result, "status": refused.status, "error": refused.error}})
        return 200, {"took": 1, "errors": any("error" in next(iter(i.values())) for i in items), "items": items}

    @staticmethod
    def apply(index: Index, name: str, document: Any) -> dict[str, Any]:
        if document is None:
            found = index.documents.pop(name, None) is not None
            return {"status": 200 if found else 404, "result": "deleted" if found else "not_found"}
        for key, value in document.items():
            if key not in index.properties:
                raise Refused(400, "strict_dynamic_mapping_exception", f"introduction of [{key}] is not allowed")
            wanted = index.properties[key]
            if wanted["type"] == "dense_vector":
                good = len(value) == wanted["dims"] and all(type(x) is float and math.isfinite(x) for x in value)
            else:
                good = TYPES[wanted["type"]](value)
            if not good:
                raise Refused(
                    400, "document_parsing_exception", f"failed to parse field [{key}]", f"wrong: {value}"[:80]
                )
        status = 200 if name in index.documents else 201
        index.documents[name] = document
        return {"status": status, "result": "updated" if status == 200 else "created"}

    def mget(self, name: str, body: Any) -> tuple[int, Any]:
        demand(set(body) == {"ids"} and all(isinstance(one, str) for one in body["ids"]), "unknown key or type of id")
        documents = self.indices[name].documents
        return 200, {"docs": [{"_index": name, "_id": one, "found": one in documents} for one in body["ids"]]}

    def refresh(self, name: str, body: Any) -> tuple[int, Any]:
        self.indices[name].seen = dict(self.indices[name].documents)
        return 200, {"_shards": {"total": 1, "successful": 1, "failed": 0}}

    def size(self, name: str, body: Any) -> tuple[int, Any]:
        return 200, {"count": len(self.indices[name].seen), "_shards": {"total": 1, "successful": 1, "failed": 0}}

    # ── searches ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def msearch(self, name: str, lines: Any) -> tuple[int, Any]:
        demand(len(lines) % 2 == 0 and not any(lines[::2]), "headers must be empty, one before each body")
        responses: list[Any] = []
        for body in lines[1::2]:
            try:
                hits = self.search(self.indices[name], body)
            except Refused as refused:
                responses.append(refused.body)
                continue
            listed = [{"_index": name, "_id": key, "_score": score} for key, score in hits]
            total = {"value": len(hits), "relation": "eq"}
            responses.append({"took": 1, "timed_out": False, "hits": {"total": total, "hits": listed}, "status": 200})
        return 200, {"took": 1, "responses": responses}

    def search(self, index: Index, body: Any) -> list[tuple[str, float]]:
        demand(set(body) in ({"knn", "size", "_source"}, {"query", "size", "_source"}), f"Unknown key in {set(body)}")
        demand(body["_source"] is False and 1 <= body["size"] <= 10_000, "Result window is too large")
        scores = self.nearest(index, body["knn"]) if "knn" in body else self.by_words(index, body["query"])
        return sorted(scores, key=lambda pair: -pair[1])[: body["size"]]

    @staticmethod
    def nearest(index: Index, knn: Any) -> list[tuple[str, float]]:
        needed, free = {"field", "query_vector", "k", "num_candidates"}, {"filter", "rescore_vector"}
        demand(needed <= set(knn) <= needed | free, f"[knn] unknown field in {set(knn)}")
        wanted = index.properties.get(knn["field"], {})
        demand(wanted.get("type") == "dense_vector", "[knn] queries are only supported on [dense_vector] fields")
        demand(1 <= knn["k"] <= knn["num_candidates"] <= 10_000, "[num_candidates] cannot be less than [k]")
        demand(len(knn["query_vector"]) == wanted["dims"], "the query vector has a different dimension")
        rounded = "_" in wanted["index_options"]["type"]
        demand(rounded == ("rescore_vector" in knn), "[rescore_vector] belongs to quantized vectors, as we use them")
        demand(not rounded or knn["rescore_vector"] == {"oversample": 2.0}, "[rescore_vector] takes [oversample]")
        query = np.array(knn["query_vector"], np.float32)
        alike = SIMILARITIES[wanted["similarity"]]
        kept = passing(index, knn.get("filter", []))
        scores = [(key, float(np.float32(alike(query, np.array(row["vector"], np.float32))))) for key, row in kept]
        return sorted(scores, key=lambda pair: -pair[1])[: knn["k"]]

    @staticmethod
    def by_words(index: Index, query: Any) -> list[tuple[str, float]]:
        demand(set(query) == {"bool"} and set(query["bool"]) == {"must", "filter"}, "[bool] takes must and filter")
        match = query["bool"]["must"]["multi_match"]
        demand(set(match) == {"query", "fields"} and isinstance(match["query"], str), "[multi_match] unknown key")
        demand(all(index.properties[name]["type"] == "text" for name in match["fields"]), "not a text field")
        best: dict[str, float] = {}
        kept = {key for key, _ in passing(index, query["bool"]["filter"])}
        for name in match["fields"]:
            for key, score in bm25(match["query"], {k: row[name] for k, row in index.seen.items() if name in row}):
                best[key] = max(best.get(key, 0.0), score)
        return [(key, float(np.float32(score))) for key, score in best.items() if key in kept]


def check_vector(wanted: dict[str, Any]) -> None:
    demand(
        set(wanted) == {"type", "dims", "index", "similarity", "index_options"}, f"unknown parameter in {set(wanted)}"
    )
    demand(
        type(wanted["dims"]) is int and 1 <= wanted["dims"] <= 4096, "The number of dimensions should be in 1 to 4096"
    )
    demand(wanted["similarity"] in SIMILARITIES and wanted["index"] is True, "unknown similarity")
    options = dict(wanted["index_options"])
    kind = options.pop("type")
    demand(re.fullmatch(r"(int8_|int4_|bbq_)?(hnsw|flat)", kind), f"Unknown vector index options type [{kind}]")
    demand(set(options) == ({"m", "ef_construction"} if kind.endswith("hnsw") else set()), f"unknown in {options}")
    demand(all(type(value) is int and value > 1 for value in options.values()), "m and ef_construction are integers")


def passing(index: Index, clauses: Any) -> list[tuple[str, Any]]:
    """The rows that all clauses of a filter let pass."""
    demand(isinstance(clauses, list), "filter is a list")
    tests = []
    for clause in clauses:
        ((kind, by),) = clause.items()
        ((name, value),) = by.items()
        wanted = index.properties[name]["type"]
        demand(wanted in TYPES and wanted != "text", f"cannot filter by [{name}]")
        if kind == "range":
            tests += [(name, end, limit) for end, limit in value.items()]
            demand(set(value) <= {"gt", "gte", "lt", "lte"} and value, "[range] query does not support")
        else:
            demand(kind == ("terms" if isinstance(value, list) else "term"), f"unknown query [{kind}]")
            tests.append((name, kind, value))
        demand(
            all(TYPES[wanted](one) for one in np.atleast_1d(np.array(tests[-1][2], object))), "value of another type"
        )
    ways: dict[str, Callable[[Any, Any], bool]] = {
        "term": lambda a, b: a == b, "terms": lambda a, b: a in b, "gt": lambda a, b: a > b, "gte": lambda a, b: a >= b,
        "lt": lambda a, b: a < b, "lte": lambda a, b: a <= b,
    }  # fmt: skip
    return [
        (key, row)
        for key, row in index.seen.items()
        if all(name in row and ways[kind](row[name], value) for name, kind, value in tests)
    ]


def bm25(query: str, texts: dict[str, str], k1: float = 1.2, b: float = 0.75) -> Iterator[tuple[str, float]]:
    """Lucene's BM25 over words in lower case; texts that share no word are not found."""
    words = {key: re.findall(r"\w+", text.lower()) for key, text in texts.items()}
    mean = sum(map(len, words.values())) / max(1, len(words))
    frequent = Counter(word for listed in words.values() for word in set(listed))
    for key, listed in words.items():
        counts, score = Counter(listed), 0.0
        for word in re.findall(r"\w+", query.lower()):
            if counts[word]:
                idf = math.log(1 + (len(words) - frequent[word] + 0.5) / (frequent[word] + 0.5))
                score += idf * counts[word] / (counts[word] + k1 * (1 - b + b * len(listed) / mean))
        if score:
            yield key, score


def loads(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise Refused(400, "x_content_parse_exception", f"Non-standard token '{constant}'")

    return json.loads(text, parse_constant=refuse)


class _Handler(BaseHTTPRequestHandler):
    server_: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: Any) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        with self.server_.lock:
            self.server_.asked.append((self.command, path))
            fault = next((one for one in self.server_.faults if path.endswith(one[0])), None)
            if fault is not None:
                self.server_.faults.remove(fault)
            status, value = self._answer(path, body, None if fault is None else fault[1])
        if status == "silence":
            time.sleep(0.6)
        if status in ("silence", "hang up"):
            self.close_connection = True
            return
        text = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", JSON.replace("; ", ";"))
        self.send_header("Content-Length", str(len(text)))
        if self.server_.product:
            self.send_header("X-Elastic-Product", "Elasticsearch")
        self.end_headers()
        self.wfile.write(text)

    do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def _answer(self, path: str, body: bytes, fault: Any) -> tuple[Any, Any]:
        try:
            if self.server_.login is not None and self.headers.get("Authorization") != self._wanted():
                raise Refused(401, "security_exception", "unable to authenticate")
            if fault == "done, but silence":  # the request is carried out, and its answer never comes
                self.server_.answer(self.command, path, self.headers.get("Content-Type", ""), body)
                return "silence", None
            if isinstance(fault, int):
                raise Refused(fault, "circuit_breaking_exception", "[parent] Data too large")
            if fault is not None:
                return fault, None
            return self.server_.answer(self.command, path, self.headers.get("Content-Type", ""), body)
        except Refused as refused:
            return refused.status, refused.body

    def _wanted(self) -> str:
        login = self.server_.login or ""
        return f"Basic {base64.b64encode(login.encode()).decode()}" if ":" in login else f"ApiKey {login}"
