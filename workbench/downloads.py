"""Files behind an address, read by a client that knows http and https alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from workbench.errors import ServiceError
from workbench.folders import replacing
from workbench.progress import track

__all__ = ["CHUNK", "answered", "http_get"]

CHUNK = 2**16  # bytes read at once
_PATIENCE = 30.0  # seconds without a byte


def http_get(url: str, path: str | Path) -> None:
    """Download the file at an address with http or https; ``path`` is there, and replaced, only when all has come.

    Raises:
        ServiceError: another kind of address, no answer, or an end before the last byte; what was at ``path`` stays.
    """
    try:
        with replacing(path) as fresh, fresh.open("wb") as file, answered(url, timeout=_PATIENCE) as answer:
            size = int(answer.headers.get("Content-Length") or 0)
            with track(size, unit="bytes", desc=f"Downloading {Path(path).name}") as bar:
                while part := answer.read1(CHUNK):
                    file.write(part)
                    bar.update(len(part))
            if size and bar.done < size:
                raise ValueError(f"it ended after {int(bar.done):,} of {size:,} bytes; try again")
    except (OSError, ValueError) as error:
        raise ServiceError(f"{url:.200} could not be downloaded to {path}: {error}.") from error


@contextmanager
def answered(url: str, *, timeout: float, accept: str = "*/*") -> Iterator[Any]:
    """Give what an address answers, to be read in pieces; it may lead on to others of the web, never to files.

    Raises:
        ValueError: not an address with http or https.
        OSError: no answer, or that of an error.
    """
    from urllib import request

    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError("it is not an address with http or https")
    web = request.OpenerDirector()  # one that knows no files and no FTP, wherever an answer may lead
    for handler in (
        request.ProxyHandler, request.UnknownHandler, request.HTTPHandler, request.HTTPSHandler,
        request.HTTPDefaultErrorHandler, request.HTTPRedirectHandler, request.HTTPErrorProcessor,
    ):  # fmt: skip
        web.add_handler(handler())
    asked = request.Request(url, headers={"User-Agent": "sentence-workbench", "Accept": accept})  # noqa: S310
    with web.open(asked, timeout=timeout) as answer:
        yield answer
