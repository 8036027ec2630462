"""The browser that tests drive: where it is, how it is started, and (run as a script) how one is installed.

Use ``launch(playwright)`` in a test. ``make test`` runs this file first, so that a browser is there.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_CHROME = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
LAUNCH_FLAGS = (
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # WebGL in software: without it a chart's canvas stays blank
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ADVICE = (
    "No Chromium or Chrome was found and none could be installed: install one with your system's package manager "
    "(Debian: apt-get install chromium), or set CHROME_PATH to the one you have, and run this again."
)


def chromium_path() -> str:
    """Return the path of a browser that starts: CHROME_PATH, an installed one, or the one Playwright downloaded.

    Raises:
        RuntimeError: there is none; the message says what to do.
    """
    if path := _find():
        return path
    raise RuntimeError(ADVICE)


def launch(playwright: "Playwright") -> "Browser":
    """Start the browser with the flags that work without a screen, a GPU or a network."""
    return playwright.chromium.launch(executable_path=chromium_path(), args=list(LAUNCH_FLAGS))


def install() -> str:
    """Return ``chromium_path()``, installing a browser first where there is none: the system's, or Playwright's."""
    playwright = [sys.executable, "-m", "playwright", "install", "chromium"]
    steps = [playwright]
    if shutil.which("apt-get") and os.geteuid() == 0:
        apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300"]
        steps = [
            [*apt, "update"],
            [*apt, "install", "--no-install-recommends", "chromium"],
            [*playwright, "--with-deps"],
        ]
    for step in steps:
        if _find():
            break
        subprocess.run(step, check=False, stdin=subprocess.DEVNULL, timeout=1800)
    return chromium_path()


def _find() -> str | None:
    if chosen := os.environ.get("CHROME_PATH"):
        if not _starts(chosen):
            raise RuntimeError(f"CHROME_PATH is {chosen!r}, which does not start: correct it or unset it.")
        return chosen
    installed = [path for name in NAMES if (path := shutil.which(name))]
    return next((path for path in (*installed, MAC_CHROME) if _starts(path)), None) or _downloaded()


def _downloaded() -> str | None:
    """The browser that ``playwright install`` fetched, asked of Playwright in a process of its own."""
    code = "from playwright.sync_api import sync_playwright as p\nwith p() as q: print(q.chromium.executable_path)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    path = answer.stdout.strip()
    return path if path and _starts(path) else None


def _starts(path: str) -> bool:
    """Whether the program is there and runs: a stub that only advertises a package, or lacks libraries, does not."""
    if not Path(path).is_file():
        return False
    return subprocess.run([path, "--version"], capture_output=True, check=False, timeout=120).returncode == 0


if __name__ == "__main__":
    try:
        print(f"Browser for the tests: {install()}")
    except RuntimeError as error:
        sys.exit(str(error))
