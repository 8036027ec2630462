# Everything starts here, from nothing but Python 3.11+ and make. `make` alone lists the targets.

VENV := .venv
BIN := $(VENV)/bin
NOTEBOOK ?= notebooks/00_quickstart.ipynb
BENCH ?= core search quantization mining clustering store evaluation sampling training engines  # or some: make bench BENCH="core store"
ARGS ?=  # for example: make lab ARGS="--no-browser --port 9000"
PYTHON ?= $(firstword $(foreach python,python3 python3.14 python3.13 python3.12 python3.11 python,$(shell \
	$(python) -c 'import sys; sys.version_info >= (3, 11) and print("$(python)")' 2>/dev/null)))

.DEFAULT_GOAL := help
.PHONY: help lab test check static bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*  ## /make \1@/p' Makefile | tr '@' '\t'

lab: $(VENV)/.lab  ## set up, then open JupyterLab on the quickstart notebook
	$(BIN)/workbench lab $(NOTEBOOK) $(ARGS)

test: static  ## set up, then check the code and run every test, in a browser too
	$(BIN)/python tests/browser.py
	$(BIN)/python -m pytest $(TESTS)

check: static  ## ruff, mypy, the floors of the house, stripped notebooks
	$(BIN)/python -m pytest -q tests/test_house.py

static: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.test  ## measure speed and memory beside the reference package, as ratios from one run
	for part in $(BENCH); do $(BIN)/python -m benchmarks.$$part || failed=1; done; exit $${failed:-0}

clean:  ## remove the environment and all caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis artifacts

# One stamp for each set of extras: pip runs again only when the requirements have changed.
$(VENV)/.lab $(VENV)/.test: $(VENV)/.%: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

$(BIN)/python:
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer was not found: install it, or run make with PYTHON=/path/to/python.'; exit 1; }
	$(PYTHON) -m venv $(VENV)
