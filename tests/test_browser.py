"""The quickstart clicked through in real JupyterLab: run all, change the texts, press Run, see a new heatmap."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.browser import launch

ROOT = Path(__file__).parents[1]
SHOTS = Path(os.environ.get("WORKBENCH_ARTIFACTS", ROOT / "artifacts"))  # git ignores it
PATIENCE = 90_000  # milliseconds; a condition that holds is seen at once
RUN_ALL = """async () => {
    const app = window.jupyterapp;
    await app.restored;
    app.shell.collapseLeft();
    const notebook = app.shell.currentWidget;
    await notebook.context.ready;
    await notebook.sessionContext.ready;
    await app.commands.execute('notebook:run-all-cells');
}"""
HOSTILE = '<img src=x onerror="window.hacked=1"> costs $5 and $6'


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab of its own, on the loopback interface, whose folder holds the quickstart."""
    shutil.copy(ROOT / "notebooks" / "00_quickstart.ipynb", tmp_path)
    settings = tmp_path / ".settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    places = {
        "JUPYTER_CONFIG_DIR": ".config",
        "JUPYTERLAB_SETTINGS_DIR": ".settings",
        "JUPYTERLAB_WORKSPACES_DIR": ".w",
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--allow-root", "--no-browser", "--ip=127.0.0.1", f"--port={port}", f"--ServerApp.root_dir={tmp_path}"]
    options += ["--IdentityProvider.token=", "--ServerApp.password=", "--LabApp.expose_app_in_browser=True"]
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), **{name: str(tmp_path / place) for name, place in places.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    log = []
    up = next((line for line in server.stdout if log.append(line) or f"http://127.0.0.1:{port}/lab" in line), None)
    drain = threading.Thread(target=log.extend, args=(server.stdout,), daemon=True)
    drain.start()
    try:
        assert up, "".join(log)
        yield f"http://127.0.0.1:{port}/lab/tree/00_quickstart.ipynb?reset"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # kernels that outlived it
        drain.join(20)
        server.stdout.close()


@pytest.fixture
def page(lab):
    """The quickstart, open in a browser; fails if the page has logged an error."""
    problems = []
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": 1130, "height": 1460})
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(lab)
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        yield page
        assert problems == []
        browser.close()


def test_the_quickstart_runs_and_its_panel_draws_other_texts(page):
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.evaluate(RUN_ALL)
    assert page.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0
    panel = page.locator(".wb-panel")
    title, labels = panel.locator(".gtitle"), panel.locator(".ytick text")
    expect(title).to_contain_text("are most alike, at 0.")
    expect(labels).to_have_count(10)
    expect(labels.first).to_contain_text("A man is eating pasta.")
    expect(panel.locator(".textpoint")).to_have_count(100)
    panel.evaluate("card => card.scrollIntoView()")
    page.screenshot(path=SHOTS / "quickstart.png")

    # Other texts: an old result says that it is old, Run draws a new one, and markup stays text.
    panel.locator("textarea").fill(f"Where is my parcel?\nMy parcel has not come.\n{HOSTILE}\nTwo cats sleep.")
    panel.locator("textarea").blur()
    expect(panel.locator(".wb-stale")).to_be_visible()
    run = panel.get_by_role("button", name="Run")
    run.click()
    expect(labels).to_have_count(4)
    expect(title).to_contain_text("Texts 1 and 2 are most alike")
    expect(labels.nth(2)).to_contain_text("<img src=x onerror=")
    expect(panel.locator(".wb-status")).to_contain_text(re.compile(r"Done at .* with starter"))
    assert page.evaluate("window.hacked") is None

    # Both texts and the score on hover.
    cells = panel.locator(".heatmaplayer").bounding_box()
    page.mouse.move(cells["x"] + cells["width"] * 0.4, cells["y"] + cells["height"] * 0.1)
    hover = panel.locator(".hoverlayer .hovertext")
    expect(hover).to_contain_text(
        re.compile(r"Where is my parcel\?.*My parcel has not come\..*cosine similarity 0\.\d\d")
    )

    # The texts stay readable in the dark.
    light = title.evaluate("text => getComputedStyle(text).fill")
    page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    page.wait_for_function(
        "light => getComputedStyle(document.querySelector('.wb-panel .gtitle')).fill !== light", arg=light
    )
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    assert title.evaluate("text => getComputedStyle(text).fill") == panel.evaluate(
        "card => getComputedStyle(card).color"
    )
    page.screenshot(path=SHOTS / "panel_dark.png")

    # An input that cannot be used is one line, and the last result stays.
    panel.locator("textarea").fill("a single text")
    run.click()
    expect(panel.locator(".wb-error")).to_have_text("There is only one text. Give two or more, one a line.")
    expect(labels).to_have_count(4)
    expect(run).to_be_enabled()
