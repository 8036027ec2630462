"""What the indexes of search engines add to the bare clients of these engines, in time.

The engines do the work: Milvus the embedded one, Elasticsearch a stand-in that only acknowledges bulk requests.
"""

import argparse
import json
import re
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import line, measure, parser, take_turns
from workbench.search.elasticsearch import ElasticsearchIndex
from workbench.search.milvus import MilvusIndex

DIM = 128


def milvus(options: argparse.Namespace) -> None:
    """Searching through the index beside the same call of ``MilvusClient``."""
    vectors = np.random.default_rng(0).normal(size=(options.rows, DIM)).astype(np.float32)
    queries = vectors[:100]
    with tempfile.TemporaryDirectory() as folder, MilvusIndex(Path(folder) / "search.db", metric="dot") as index:
        index.add(None, vectors)
        client = index._database.client

        def bare(turn: int) -> Any:
            return client.search(index.collection, list(queries), limit=10, output_fields=["id"])

        (ours, theirs), (hits, found) = take_turns(options.rounds, lambda turn: index.search(queries, 10), bare)
        assert [hit["id"] for hit in found[0]] == hits.ids[0].tolist()
    report(f"Milvus: 100 queries among {options.rows:,} rows", ours, theirs, 1.25)


class _Acknowledge(BaseHTTPRequestHandler):
    """Says yes to every bulk request, and no to the question whether the index is there."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: Any) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        names = re.findall(rb'^\{"index":\{"_id":"(\w+)"', body, re.MULTILINE)
        items = [{"index": {"_id": name.decode(), "status": 201}} for name in names]
        status = 404 if self.path.endswith("_mapping") else 200
        answer = json.dumps({"errors": False, "items": items, "took": 1}).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "X-Elastic-Product": "Elasticsearch"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_POST = do_GET  # noqa: N815


def elastic(options: argparse.Namespace) -> None:
    """Adding through the index beside the official client's own bulk helper."""
    import elasticsearch
    from elasticsearch.helpers import bulk

    vectors = np.random.default_rng(0).normal(size=(options.rows, DIM)).astype(np.float32)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Acknowledge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    client = elasticsearch.Elasticsearch(url)

    def bare(turn: int) -> None:
        bulk(client, ({"_index": "bare", "_id": str(n), "vector": v.tolist()} for n, v in enumerate(vectors)))

    def ours(turn: int) -> None:
        with ElasticsearchIndex(url, metric="dot") as index:
            index.add(None, vectors)

    (mine, theirs), _ = take_turns(options.rounds, ours, bare)
    report(f"Elasticsearch: {options.rows:,} rows sent", mine, theirs, 1.1)
    client.close()
    server.shutdown()
    server.server_close()


def report(what: str, ours: float, bare: float, bar: float) -> None:
    """Print one line, with the bar that the ratio must not pass."""
    ratio = ours / bare
    line(what, f"{ours:.2f} s", f"{bare:.2f} s", f"{ratio:.2f}", **{f"at most {bar} of the bare client": ratio <= bar})


PARTS = (milvus, elastic)


def main() -> int:
    """Measure, print the table, and return 1 if a bar was missed (never with ``--quick``)."""
    options = parser(__doc__, PARTS).parse_args()
    options.rows, options.rounds = (1_000, 1) if options.quick else (20_000, 3)
    return measure(options, PARTS, head="measured | workbench | bare client | ratio")


if __name__ == "__main__":
    sys.exit(main())
