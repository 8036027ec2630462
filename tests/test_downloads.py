"""Files fetched from an address: whole or not at all, and from the web alone."""

import logging
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from workbench.errors import ServiceError
from workbench.util import LoggingHandler, disable_logging, http_get, is_training_available

CONTENT = bytes(range(256)) * 1000


@contextmanager
def server(claimed=256_000, code=200, **headers):
    """A server that sends CONTENT whatever is asked, and says that it is ``claimed`` bytes long."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(code)
            for name, value in {"Content-Length": str(claimed), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *arguments): ...

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{running.server_port}/file"
        finally:
            running.shutdown()


def test_a_file_comes_whole_into_a_folder_made_for_it(tmp_path):
    with server() as url:
        http_get(url, tmp_path / "new" / "file.bin")
    assert (tmp_path / "new" / "file.bin").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.bin"]


def test_a_file_that_ends_early_is_not_there_and_the_old_one_stays(tmp_path):
    (tmp_path / "file.bin").write_bytes(b"old")
    with server(claimed=2 * len(CONTENT)) as url, pytest.raises(ServiceError, match="ended after 256,000 of 512,000"):
        http_get(url, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a", "name.tsv", ""])
def test_only_addresses_of_the_web_are_asked(url, tmp_path):
    with pytest.raises(ServiceError, match="not an address with http or https"):
        http_get(url, tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_an_error_or_a_way_to_files_is_no_download(tmp_path):
    with server(code=404) as url, pytest.raises(ServiceError, match=r"127\.0\.0\.1.*could not be downloaded.*404"):
        http_get(url, tmp_path / "file")
    with server(code=302, Location="file:///etc/hostname") as url, pytest.raises(ServiceError):
        http_get(url, tmp_path / "file")
    with pytest.raises(ServiceError, match="could not be downloaded"):
        http_get("http://127.0.0.1:9/", tmp_path / "file")  # where nobody answers
    assert not list(tmp_path.iterdir())


def test_logging_is_off_inside_and_as_it_was_outside(caplog):
    log = logging.getLogger("some")
    with disable_logging():
        log.error("not this")
    with disable_logging(logging.INFO):
        log.warning("this")
    log.error("that")
    assert [record.message for record in caplog.records] == ["this", "that"]


def test_the_handler_prints_records_as_they_are_formatted(capsys):
    handler = LoggingHandler(logging.INFO)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    log = logging.Logger("own")
    log.addHandler(handler)
    log.info("%d rows", 3)
    log.debug("not shown")
    assert capsys.readouterr().out == "INFO 3 rows\n"


def test_training_is_available_where_its_packages_are(monkeypatch):
    assert is_training_available()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "datasets" else name)
    assert not is_training_available()
