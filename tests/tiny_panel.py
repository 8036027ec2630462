"""What tests of panels share: stand-ins for models, hostile texts, buttons to press, and a look at the page."""

import threading
import zlib
from html.parser import HTMLParser

import numpy as np

from workbench.progress import track

HOSTILE = [
    '<img src=x onerror="window.hacked=1">',
    "</pre><script>window.hacked=1</script>",
    "<b>bold</b><br><a href='javascript:alert(1)'>link</a>",
    "%{x} %{customdata} {{braces}} $E=mc^2$ and **bold** [link](javascript:alert)",
    "'; DROP TABLE texts; --\x00\x1b[31m\u202egnp.exe",
    "w" * 10_000,
    "שלום עולם, 👩‍👩‍👧 and 🏴‍☠️",
]
TAGS = {
    "table", "thead", "tbody", "tr", "th", "td", "bdi", "details", "summary", "div", "p", "pre", "mark", "style",
}  # fmt: skip


class Bags:
    """A stand-in for a model: random vectors of words, summed. It can be held up, and counts the texts it saw."""

    def __init__(self):
        self.seen = []
        self.began, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def encode(self, texts, **options):
        rows = []
        with track(len(texts), unit="tokens", desc="encode") as bar:
            for text in texts:
                seeds = [zlib.crc32(word.strip("?.,").encode()) for word in text.casefold().split()]
                rows.append(sum(np.random.default_rng(seed).normal(size=64) for seed in seeds))
                self.seen.append(text)
                self.began.set()
                assert self.go_on.wait(30)
                bar.update(1)
        return np.array(rows, dtype=np.float32).reshape(-1, 64)


class Longest:
    """A stand-in for a re-ranker that likes long texts."""

    def predict(self, pairs, **options):
        return np.array([len(text) / 100 for _, text in pairs], dtype=np.float32)


def press(panel, button=None):
    """Click a button, by default Run, and wait until the panel has come to rest."""
    rested = threading.Event()
    panel.observe(lambda change: rested.set() if change["new"] != "running" else None, "state")
    (button or panel._run).click()
    assert rested.wait(30)


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name == "href"]


def tags_shown(panel):
    """The names of all tags that the panel has put on the page as HTML."""
    parser = _Tags()
    for widget in (panel._note, panel._status, panel._below, *panel._tabs.children):
        parser.feed(widget.value)
    return parser.seen
