"""An index in Milvus: a file of this machine by the embedded engine, or a server or cluster by its address.

Wang et al., 2021, Milvus: A Purpose-Built Vector Data Management System.
"""

import re
import shutil
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench._optional import require
from workbench.errors import DataFormatError, ServiceError, choose
from workbench.progress import track
from workbench.protocols import Hits
from workbench.search.engine import EngineIndex, Stopped
from workbench.search.fields import Condition
from workbench.search.milvus_database import MilvusDatabase
from workbench.vectors import as_matrix, blocks

__all__ = ["MilvusIndex"]

_METRICS: dict[str, tuple[str, Callable[[float], float]]] = {  # Milvus's name, and its score as ours
    "cosine": ("COSINE", float),
    "dot": ("IP", float),
    "euclidean": ("L2", lambda squared: -(max(squared, 0.0) ** 0.5)),
}
_TYPES: dict[str, dict[str, Any]] = {  # settings of a new index
    "AUTOINDEX": {},  # the engine's choice
    "HNSW": {"M": 16, "efConstruction": 200},
    "IVF_FLAT": {"nlist": 128},
    "FLAT": {},  # exact
}
_FIELDS = {"keyword": "VARCHAR", "integer": "INT64", "float": "DOUBLE", "boolean": "BOOL"}
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"})
_COPY = "index.db"  # in a folder that an embedded index is saved to
_MOST = 16_384  # rows that Milvus gives for a query
_QUERIES = 100  # in one request
_DIFFERENCES = 2**26  # numbers, of rows less queries: 256 MB


class MilvusIndex(EngineIndex):
    """Vectors in a collection of Milvus.

    Args:
        path: a file name ending in ``.db`` for the embedded engine (it keeps a folder of that name), or the address of
            a server (``http://localhost:19530``); None: an embedded one that is gone when it is closed.
        collection: the collection's name; it is made when the first rows come, and opened if it is there.
        metric: "cosine", "dot" or "euclidean"; None: what the collection was made with, and "cosine" for a new one.
        fields: further fields by name to filter by, and their kinds: "keyword", "integer", "float" or "boolean".
        index_type: "AUTOINDEX", "HNSW", "IVF_FLAT" or "FLAT" (exact); None: "FLAT" in the embedded engine, which is
            meant for up to some 100,000 rows, and "AUTOINDEX" on a server.
        index_params: settings of that type, such as ``{"M": 32}``, over the default ones.
        search_params: settings of each search, such as ``{"ef": 200}`` or ``{"nprobe": 32}``.
        batch_size: most rows in one request.
        token: ``"user:password"`` or an API key of the server.
        timeout: seconds that a server has for one request.

    Raises:
        DataFormatError: the file is damaged, or not Milvus Lite's; it is left as it is.
        ServiceError: the server does not answer, or another process has the file open.
    """

    kind = "milvus"
    place = ("path", "collection", "metric")

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        collection: str = "workbench",
        metric: str | None = None,
        fields: Mapping[str, str] | None = None,
        index_type: str | None = None,
        index_params: Mapping[str, Any] | None = None,
        search_params: Mapping[str, Any] | None = None,
        batch_size: int = 2_000,
        token: str = "",
        timeout: float = 60.0,
    ) -> None:
        super().__init__(metric, fields, _FIELDS, batch_size)
        choose("metric", self.metric, _METRICS)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", collection):
            raise ValueError(f"The collection name {collection!r} is none: use letters, digits and _.")
        self.collection = collection
        if index_type is not None:
            choose("index type", index_type, _TYPES)
        self.search_params = dict(search_params or {})
        self._timeout = timeout
        self._database = MilvusDatabase.open(path, token, timeout)
        self._release = weakref.finalize(self, self._database.release)
        self.index_type = index_type or ("FLAT" if self._database.embedded else "AUTOINDEX")
        self.index_params = _TYPES[self.index_type] | dict(index_params or {})
        try:
            if self._ask("has_collection", collection):
                self._describe()
        except ServiceError as error:
            self.close()
            if not self._database.embedded:
                raise
            raise DataFormatError(
                f"{self._database} is damaged: {error} Take a copy of it, or make it anew."
            ) from error
        except Exception:
            self.close()
            raise

    def _describe(self) -> None:
        """Take over the settings of a collection that is there, and load it."""
        types = require("pymilvus", extra="milvus").DataType
        kinds = {getattr(types, name): kind for kind, name in _FIELDS.items()}
        columns = {column["name"]: column for column in self._ask("describe_collection", self.collection)["fields"]}
        key, vector = columns.pop("id", {}), columns.pop("vector", {})
        metrics = {name: metric for metric, (name, _) in _METRICS.items()}
        index = self._ask("describe_index", self.collection, "vector") if vector else {}
        if (
            key.get("type") not in (types.INT64, types.VARCHAR)
            or vector.get("type") != types.FLOAT_VECTOR
            or index.get("metric_type") not in metrics
            or any(column["type"] not in kinds for column in columns.values())
        ):
            raise DataFormatError(
                f"The collection {self.collection!r} of {self._database} was not made here: its fields are "
                f"{', '.join(['id', 'vector', *columns])}. Choose another name; nothing was changed."
            )
        self._adopt(
            metric=metrics[index["metric_type"]],
            dim=int(vector["params"]["dim"]),
            fields={name: kinds[column["type"]] for name, column in columns.items()},
            id_type=int if key["type"] == types.INT64 else str,
        )
        self.index_type = index["index_type"]
        self._ask("load_collection", self.collection)

    def _ask(self, method: str, *args: Any, **options: Any) -> Any:
        """Call the client.

        Raises:
            ServiceError: Milvus refuses or does not answer.
        """
        if not self._release.alive:
            raise ServiceError(f"{self} is closed. Open it again.")
        try:
            return getattr(self._database.client, method)(*args, timeout=self._timeout, **options)
        except require("pymilvus", extra="milvus").MilvusException as error:
            raise ServiceError(f"{self._database} answers: {error.message}.") from error

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _create(self, dim: int, id_type: type) -> None:
        milvus = require("pymilvus", extra="milvus")
        schema = milvus.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        if id_type is int:
            schema.add_field("id", milvus.DataType.INT64, is_primary=True)
        else:
            schema.add_field("id", milvus.DataType.VARCHAR, is_primary=True, max_length=512)
        schema.add_field("vector", milvus.DataType.FLOAT_VECTOR, dim=dim)
        for name, kind in self.fields.kinds.items():
            width = {"max_length": 65_535} if kind == "keyword" else {}
            schema.add_field(name, getattr(milvus.DataType, _FIELDS[kind]), nullable=True, **width)
        index = milvus.MilvusClient.prepare_index_params()
        index.add_index(
            "vector", index_type=self.index_type, metric_type=_METRICS[self.metric][0], params=self.index_params
        )
        self._ask(
            "create_collection", self.collection, schema=schema, index_params=index, consistency_level="Strong"
        )  # "Strong": a search sees every row that was added before it

    def _write(self, ids: list[Any], vectors: npt.NDArray[np.float32], values: list[dict[str, Any]]) -> None:
        rows = [
            {"id": name, "vector": vector, **dict.fromkeys(self.fields.kinds), **row}
            for name, vector, row in zip(ids, vectors, values, strict=True)
        ]
        try:
            self._ask("upsert", self.collection, rows)
        except ServiceError as error:
            raise Stopped(0, str(error)) from error

    def _known(self, ids: list[Any]) -> set[Any]:
        found = self._ask("query", self.collection, filter=_expression([("id", "in", ids)]), output_fields=["id"])
        return {row["id"] for row in found}

    def _remove(self, ids: list[Any]) -> None:
        self._ask("delete", self.collection, filter=_expression([("id", "in", ids)]))

    def _settle(self) -> None:
        if self._database.embedded:  # rows are on disk and in the graph then; a server does so by itself
            self._ask("flush", self.collection)

    def _count(self) -> int:
        return int(self._ask("query", self.collection, filter="", output_fields=["count(*)"])[0]["count(*)"])

    # ── searching ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        show_progress_bar: bool | None = None,
    ) -> Hits:
        """Return the k best rows for each query.

        Args:
            queries: (q, dim) or (dim,) vectors.
            k: how many rows to find.
            filter: field → value, list of values, or range (``{"gte": 2000}``); all of them must hold.
            show_progress_bar: see ``workbench.show_progress``.

        Raises:
            VectorError: another number of dimensions than the rows', or NaN or infinite values; names the rows.
            ChoiceError: an unknown field; lists the known ones.
            ServiceError: the engine refuses or does not answer.
        """
        matrix = as_matrix(queries, name="queries", dim=self.dim)
        limit, expression = self._checked_k(k, _MOST), _expression(self.fields.conditions(filter))
        if self.dim is None:
            return self._hits([[]] * len(matrix), k)
        ours, embedded = _METRICS[self.metric][1], self._database.embedded
        params, several = {}, _QUERIES
        if self.index_type == "HNSW" or (embedded and self.index_type == "AUTOINDEX"):
            # The embedded engine's graph loses rows where few pass a filter, unless it looks at all of them.
            params["ef"] = max(100, 2 * limit, len(self) if embedded and expression else 0)
        if embedded and self.metric == "euclidean":  # it subtracts all rows from all queries of a request at once
            several = min(_QUERIES, max(1, _DIFFERENCES // (self.dim * max(1, len(self)))))
        lines: list[list[tuple[Any, float]]] = []
        with track(len(matrix), unit="queries", desc="Searching", show=show_progress_bar) as bar:
            for _, part in blocks(matrix, several, name="queries"):
                found = self._ask(
                    "search", self.collection, list(part.numpy(force=True)), filter=expression, limit=limit,
                    output_fields=["id"], search_params={"params": params | self.search_params},
                )  # fmt: skip
                lines += [[(hit["id"], ours(hit["distance"])) for hit in line] for line in found]
                bar.update(len(part))
        return self._hits(lines, k)

    # ── keeping ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def path(self) -> str:
        """The embedded file or the server's address, without credentials."""
        return str(self._database)

    def save(self, path: str | Path) -> None:
        """Write to a folder, in one step: a copy of the embedded file, or where the server is, without credentials.

        What is opened from a folder with a copy goes on in that copy.

        Raises:
            DataFormatError: the folder holds something else than an index, which is left alone.
            ValueError: the folder's copy is open.
        """
        if not self._database.embedded:
            return super().save(path)
        if str(Path(path).resolve() / _COPY) in MilvusDatabase.opened:
            raise ValueError(f"The index in {path} is open. Save to another folder.")
        with self._saving(path, {"path": _COPY}) as folder, self._database.at_rest() as source:
            shutil.copytree(source, folder / _COPY, ignore=shutil.ignore_patterns("LOCK"))
        return None

    @classmethod
    def _opened(cls, folder: Path, settings: dict[str, str]) -> dict[str, Any]:
        return settings | {"path": folder / _COPY} if settings["path"] == _COPY else {**settings}

    def close(self) -> None:
        """Let the connection go; the last index of an embedded file stops its engine."""
        self._release()


def _expression(conditions: list[Condition]) -> str:
    """Conditions that all must hold in Milvus's language; every string in it is quoted."""
    return " and ".join(f"{field} {sign} {_literal(value)}" for field, sign, value in conditions)


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, str):
        return '"' + value.translate(_ESCAPES) + '"'
    return str(value).lower() if isinstance(value, bool) else repr(value)
