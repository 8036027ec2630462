"""JupyterLab for browser tests: one server for all of them, a notebook and a page for each, and its kernel to ask."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
from playwright.sync_api import expect

ROOT = Path(__file__).parents[1]
SHOTS = Path(os.environ.get("WORKBENCH_ARTIFACTS", ROOT / "artifacts"))  # git ignores it
PATIENCE = int(os.environ.get("PATIENCE", 90_000))  # milliseconds; a condition that holds is seen at once
_RUN_ALL = """async () => {
    const app = window.jupyterapp;
    await app.restored;
    app.shell.collapseLeft();
    const notebook = app.shell.currentWidget;
    await notebook.context.ready;
    await notebook.sessionContext.ready;
    await app.commands.execute('notebook:run-all-cells');
}"""
_STOP = "window.jupyterapp?.shell.currentWidget?.sessionContext?.shutdown()"
_ASK = """async code => {
    const future = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code });
    let said = '';
    future.onIOPub = ({ content }) => { said += content.text ?? content.evalue ?? ''; };
    await future.done;
    return said.trim();
}"""


class Lab:
    """A JupyterLab whose folder is ``folder``, and pages of a browser that open its notebooks."""

    def __init__(self, folder, address, browser):
        self.folder, self.address, self.browser = folder, address, browser

    @contextlib.contextmanager
    def open(self, *cells, name="test", width=1130, height=1460):
        """Open a notebook of the given cells (or a notebook's path), run it and give the page.

        Fails if a cell has failed, or if the page has logged an error by the end.
        """
        if isinstance(cells[0], Path):
            notebook, name = nbformat.read(cells[0], 4), cells[0].stem
        else:
            kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
            code = [nbformat.v4.new_code_cell(cell) for cell in cells]
            notebook = nbformat.v4.new_notebook(cells=code, metadata={"kernelspec": kernel})
        themes = self.folder / ".settings" / "@jupyterlab" / "apputils-extension" / "themes.jupyterlab-settings"
        themes.unlink(missing_ok=True)  # a test may have left the dark one
        nbformat.write(notebook, self.folder / f"{name}.ipynb")
        problems, page = [], self.browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(error.stack or str(error)))
        try:
            page.goto(f"{self.address}/{name}.ipynb?reset")
            page.wait_for_selector(".jp-Notebook .jp-CodeCell")
            page.evaluate(_RUN_ALL)
            assert page.locator('[data-mime-type="application/vnd.jupyter.error"]').all_inner_texts() == []
            yield page
            assert problems == []
        except BaseException:
            page.screenshot(path=SHOTS / f"{name}_failed.png")
            print("The page's errors:", *problems, sep="\n")
            raise
        finally:
            page.evaluate(_STOP)
            page.close()


def ask(page, code):
    """What the kernel of the page's notebook prints when it runs ``code``, or its error."""
    return page.evaluate(_ASK, code)


def keep_busy(page):
    """Give the kernel of the page's notebook half a second of work, and do not wait for it."""
    page.evaluate(f"void ({_ASK})('import time; time.sleep(0.5)')")


def go_dark(page):
    """Switch JupyterLab to its dark theme, and wait until it is there."""
    page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    page.wait_for_selector("body[data-jp-theme-light=false]", state="attached")
    page.wait_for_selector("#jupyterlab-splash", state="detached")


@contextlib.contextmanager
def serving(folder, browser):
    """Start a JupyterLab of its own on the loopback interface, whose notebooks ``browser`` opens."""
    settings = folder / ".settings" / "@jupyterlab" / "apputils-extension"
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
    options = ["--allow-root", "--no-browser", "--ip=127.0.0.1", f"--port={port}", f"--ServerApp.root_dir={folder}"]
    options += ["--IdentityProvider.token=", "--ServerApp.password=", "--LabApp.expose_app_in_browser=True"]
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), **{name: str(folder / place) for name, place in places.items()}},
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
        expect.set_options(timeout=PATIENCE)
        yield Lab(folder, f"http://127.0.0.1:{port}/lab/tree", browser)
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
