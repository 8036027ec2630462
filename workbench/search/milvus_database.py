"""A connection to Milvus: to a server, or to the embedded engine, which keeps a folder whose name ends in ``.db``."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from workbench._optional import require
from workbench.errors import DataFormatError, ServiceError
from workbench.search.engine import without_credentials

__all__ = ["MilvusDatabase"]


class MilvusDatabase:
    """A client; and for an embedded file its engine, which all indexes of this process that have it open share."""

    opened: ClassVar[dict[str, "MilvusDatabase"]] = {}

    def __init__(self, address: str, token: str, timeout: float, temporary: str | None = None) -> None:
        self.embedded = "://" not in address
        self.users = 0
        self._address = address
        self._connect = {"uri": address, "token": token, "timeout": timeout}
        self._temporary = temporary
        self._start()

    @classmethod
    def open(cls, path: str | Path | None, token: str, timeout: float) -> "MilvusDatabase":
        """Connect to a server, or to an embedded file, once for all its users."""
        temporary = tempfile.mkdtemp() if path is None else None
        served = isinstance(path, str) and "://" in path
        address = str(path) if served else str(_checked_file(Path(temporary or "", path or "index.db")))
        database = cls.opened.get(address) or cls(address, token, timeout, temporary)
        if database.embedded:
            cls.opened[address] = database
        database.users += 1
        return database

    def _start(self) -> None:
        milvus = require("pymilvus", extra="milvus")
        if self.embedded:
            require("milvus_lite", extra="milvus")
            Path(self._address).parent.mkdir(parents=True, exist_ok=True)
        try:
            self.client = milvus.MilvusClient(**self._connect)
        except milvus.MilvusException as error:
            raise ServiceError(
                f"{self} cannot be opened: another process has it open, or this one may not write there."
                if self.embedded
                else f"No Milvus answers at {self}: {error.message}. Start one as its documentation says, or give the "
                "name of a file that ends in .db for the embedded engine."
            ) from error

    def _stop(self) -> None:
        self.client.close()
        if self.embedded:
            require("milvus_lite.server_manager", extra="milvus").server_manager_instance.release_server(self._address)

    def release(self) -> None:
        """Let go for one user; the last one closes the connection and stops the engine."""
        self.users -= 1
        if not self.users:
            self._stop()
            self.opened.pop(self._address, None)
            if self._temporary:
                shutil.rmtree(self._temporary)

    @contextmanager
    def at_rest(self) -> Iterator[Path]:
        """Stop the engine for a while, so that what is on disk is whole and stays as it is."""
        self._stop()
        try:
            yield Path(self._address)
        finally:
            self._start()
            for name in self.client.list_collections():
                self.client.load_collection(name)

    def __str__(self) -> str:
        """Return the file or the server's address, without the name and password that it may hold."""
        return self._address if self.embedded else without_credentials(self._address)


def _checked_file(path: str | Path) -> Path:
    """The resolved path of an embedded database, which may be new; raises where something else is in its place."""
    file = Path(path).expanduser().resolve()
    if file.suffix != ".db":
        raise ValueError(f"{path} is no name for the embedded engine: it ends in .db. A server begins with http://.")
    if file.exists() and (not file.is_dir() or (any(file.iterdir()) and not (file / "collections").is_dir())):
        raise DataFormatError(f"{path} was not made by Milvus Lite. Choose another name; nothing was changed.")
    return file
