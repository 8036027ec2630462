"""Voila: the notebook of the explorer as a page without code, its panel on it and its kernel behind it."""

import os
import signal
import socket
import subprocess
import sys
import threading

import nbformat
import pytest
from playwright.sync_api import expect

from tests.lab import PATIENCE, ROOT, SHOTS

METER = "--VoilaConfiguration.extension_denylist=@jupyter-server/resource-usage"  # is for JupyterLab's status bar

ICONS = "fontawesome"  # Voila's own template asks a network for them; no panel shows one


@pytest.fixture
def address(tmp_path):
    """Voila on the loopback interface, with the explorer's notebook; as many texts as the test needs."""
    notebook = nbformat.read(ROOT / "notebooks" / "explorer_app.ipynb", 4)
    parameters = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source += "\nrows = 300"
    nbformat.write(notebook, tmp_path / "app.ipynb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "voila", "app.ipynb", "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1", METER],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": str(tmp_path / ".config")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    log = []
    up = next((line for line in server.stdout if log.append(line) or f"127.0.0.1:{port}" in line), None)
    drain = threading.Thread(target=log.extend, args=(server.stdout,), daemon=True)
    drain.start()
    try:
        assert up, "".join(log)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # its kernels with it
        server.wait(30)
        drain.join(30)
        server.stdout.close()


def test_the_explorer_is_a_page_without_code_whose_search_is_answered_by_the_kernel(address, browser):
    problems = []
    with browser.new_page(viewport={"width": 1130, "height": 1460}) as page:
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        page.on(
            "console", lambda one: problems.append((one.text, one.location["url"])) if one.type == "error" else None
        )
        page.on("pageerror", lambda error: problems.append((str(error), "")))
        page.goto(address)
        panel = page.locator(".wb-panel")
        expect(panel.locator(".gtitle")).to_be_visible()
        assert page.locator(".jp-CodeCell .jp-Cell-inputWrapper:visible").count() == 0
        panel.get_by_label("Search").fill("the train is late")
        panel.get_by_label("Search").press("Enter")
        expect(panel.locator(".wb-list")).to_contain_text("Nearest to “the train is late”")
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / "voila.png")
    assert [one for one in problems if ICONS not in one[1]] == []
