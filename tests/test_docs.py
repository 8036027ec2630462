"""The table of what is here names only what is here."""

import importlib
import re

import pytest

from tests.lab import ROOT

PAGE = (ROOT / "docs" / "system.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if line.startswith("| ")]
ENTRIES = {row[0]: row for row in ROWS if row[0] != "entry"}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_row_names_functions_notebooks_and_tests_that_exist_and_an_effect(entry):
    row = ENTRIES[entry]
    assert len(row) == 5
    _, functions, notebook, tests, effect = row
    for name in re.findall(r"`(workbench\.[\w.]+)`", functions):
        look_up(name)
    for file in re.findall(r"`([\w/]+\.ipynb)`", notebook):
        assert (ROOT / "notebooks" / file).is_file()
    found = re.findall(r"`(test_\w+\.py)`", tests)
    assert found
    assert all((ROOT / "tests" / file).is_file() for file in found)
    assert len(effect) > 10


def look_up(name):
    """The object of a dotted name: a module, or something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise AssertionError(name)
