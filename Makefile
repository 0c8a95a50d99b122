# `make app` and `make test` are all a fresh machine needs: Python 3.11 or newer, git, make.
# PYTHON=python3.12 picks another interpreter, ARGS="..." goes to the command underneath.

PYTHON ?= python3
ARGS   ?=

VENV := .venv
BIN  := $(VENV)/bin

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help app class test bench lint docs clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

app: $(VENV)/.app-installed  ## Set up what is missing and open the lab in the browser
	$(BIN)/streamlit run app.py $(ARGS)

class: $(VENV)/.app-installed  ## Open the lab for a class: CONFIG=deploy/class.toml, your own copy
	@test -f "$(CONFIG)" || { echo "Which configuration? Copy deploy/class.toml, change it, and: make class CONFIG=path/to/it.toml" >&2; exit 1; }
	GENLAB_CONFIG="$(CONFIG)" $(BIN)/streamlit run app.py --server.address 0.0.0.0 --server.headless true $(ARGS)

test: $(VENV)/.dev-installed  ## Set up what is missing and run the tests
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

bench: $(VENV)/.dev-installed  ## Measure the lab beside its peers
	$(BIN)/python -m benchmarks $(ARGS)

lint: $(VENV)/.dev-installed  ## Check style and formatting of every file
	$(BIN)/pre-commit run --all-files $(ARGS)

docs: $(VENV)/.docs-installed  ## Build the documentation into docs/_build/html
	$(BIN)/python -m sphinx -b html -W --keep-going -n -q docs docs/_build/html $(ARGS)
	@echo "Open docs/_build/html/index.html"

clean:  ## Remove the environment and the caches; runs and data stay
	rm -rf $(VENV) .pytest_cache .ruff_cache docs/_build docs/api
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# pip is the last thing that venv puts in place, so an interrupted set-up is repeated, not mistaken for a whole one.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "The lab needs Python 3.11 or newer. Try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "This Python cannot make a virtual environment. On Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Empty files that remember when the requirements were last installed.
$(VENV)/.app-installed: requirements.txt | $(BIN)/pip
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev-installed: requirements.txt requirements-dev.txt | $(BIN)/pip
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/.app-installed

$(VENV)/.docs-installed: requirements.txt requirements-docs.txt | $(BIN)/pip
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-docs.txt
	@touch $@ $(VENV)/.app-installed
