"""An Elasticsearch server as asked by the official client, with patience, and with errors that hold no credentials."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any
from urllib.parse import unquote, urlsplit

from workbench._optional import require
from workbench.errors import ServiceError
from workbench.search.engine import Stopped, without_credentials

__all__ = ["ElasticsearchServer"]

_START = (
    "Start one for trials with: docker run --rm -p 9200:9200 -e discovery.type=single-node "
    "-e xpack.security.enabled=false elasticsearch:9.2.0"
)


class ElasticsearchServer:
    """The server at ``url``.

    Args:
        url: its address; a name and password in it are used, and never shown.
        retries: how often a request is made again that it was too busy for, failed at or did not answer in time.
        backoff: seconds before the first of them; each pause is twice the one before.
        options: of the official client.
    """

    def __init__(self, url: str, retries: int, backoff: float, options: dict[str, Any]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("The server's address must begin with http:// or https:// and name a host.")
        if parts.password is not None and not options.get("basic_auth"):
            options = options | {"basic_auth": (unquote(parts.username or ""), unquote(parts.password))}
        port = "" if parts.port else ":443" if parts.scheme == "https" else ":80"  # the client wants it said
        self._url = without_credentials(parts._replace(netloc=parts.netloc + port).geturl())
        self._pauses = [backoff * 2**number for number in range(retries)]
        self._package = require("elasticsearch", extra="elasticsearch")
        self._client = self._package.Elasticsearch(self._url, max_retries=0, **options)
        self._met = False  # a server that never answered is not waited for

    def __str__(self) -> str:
        return self._url

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, method: str, **options: Any) -> Any:
        """Call a method of the client, such as ``indices.create``.

        Raises:
            ServiceError: the server refuses, or all tries failed.
        """
        return self._patiently(attrgetter(method)(self._client), **options)

    def _patiently(self, call: Callable[..., Any], **options: Any) -> Any:
        for pause in (*self._pauses, None):
            try:
                answer = call(**options)
            except (self._package.ApiError, self._package.TransportError) as error:
                if pause is None or not self._may_pass(error):
                    raise ServiceError(self._reason(error)) from error
            else:
                self._met = True
                return answer
            time.sleep(pause)
        raise AssertionError("The last try returns or raises.")

    def mappings(self, index: str) -> list[Any] | None:
        """Return the mappings of an index, or of those that an alias stands for; None if there is no such index.

        Raises:
            ServiceError: as ``ask``; or what answers is no Elasticsearch.
        """
        try:
            return [entry["mappings"] for entry in self.ask("indices.get_mapping", index=index).values()]
        except ServiceError as error:
            if not isinstance(missing := error.__cause__, self._package.NotFoundError):
                raise
            if missing.meta.headers.get("x-elastic-product") != "Elasticsearch":
                raise ServiceError(f"What answers at {self} is no Elasticsearch.") from missing
            return None

    def searches(self, index: str, searches: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Make several searches in one request, all of them again where one failed.

        Raises:
            ServiceError: as ``ask``.
        """

        def call() -> list[dict[str, Any]]:
            answer = self._client.msearch(index=index, searches=searches)
            for one in answer["responses"]:
                if "error" in one:
                    meta = replace(answer.meta, status=one["status"])
                    raise self._package.ApiError(_cause(one), meta=meta, body=one)
            return list(answer["responses"])

        return list(self._patiently(call))

    def bulk(self, index: str, actions: Sequence[tuple[dict[str, Any], ...]]) -> None:
        """Carry out actions in one request, and again those alone that the server was too busy for.

        Raises:
            Stopped: some were refused, or all tries failed; says how many were carried out.
        """
        waiting = list(actions)
        for pause in (*self._pauses, None):
            done = len(actions) - len(waiting)
            try:
                answer = self.ask("bulk", index=index, operations=[line for action in waiting for line in action])
            except ServiceError as error:
                raise Stopped(done, str(error)) from error.__cause__
            results = [next(iter(item.values())) for item in answer["items"]]
            failed = [number for number, result in enumerate(results) if "error" in result]
            waiting = [waiting[number] for number in failed]
            if not waiting:
                return
            lasting = [results[number] for number in failed if not _passing(results[number]["status"])]
            if pause is None or lasting:
                first = (lasting or [results[failed[0]]])[0]
                raise Stopped(
                    len(actions) - len(waiting),
                    f"Elasticsearch at {self} answers {first['status']} for the id {first['_id']!r}: {_cause(first)}.",
                )
            time.sleep(pause)

    def _may_pass(self, error: Any) -> bool:
        """Whether the same request may go well later."""
        if isinstance(error, self._package.ApiError):
            self._met = True
            return _passing(error.meta.status)
        return self._met or isinstance(error, self._package.ConnectionTimeout)

    def _reason(self, error: Any) -> str:
        """What went wrong, and what to do."""
        if isinstance(error, self._package.UnsupportedProductError):
            return f"What answers at {self} is no Elasticsearch."
        if isinstance(error, self._package.ApiError):
            return f"Elasticsearch at {self} answers {error.meta.status}: {_cause(error.body)}."
        if isinstance(error, self._package.ConnectionTimeout):
            return f"Elasticsearch at {self} did not answer in time."
        return f"No Elasticsearch answers at {self}: {error.message}. {_START}"


def _passing(status: int) -> bool:
    return status == 429 or status >= 500


def _cause(body: Any) -> str:
    """The server's first reason in what it answered."""
    error = body.get("error", body) if isinstance(body, Mapping) else body
    if isinstance(error, Mapping):
        first = (error.get("root_cause") or [error])[0]
        deeper = first.get("caused_by", {}).get("reason")
        error = f"{first.get('reason', first.get('type'))}{f' ({deeper})' if deeper else ''}"
    return str(error).rstrip(".")[:500]
