# Gapcast: everything a developer does, by name.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
# Tests that do not want the machine for themselves: they run side by side.
BESIDE := tests/boot tests/core tests/core_props tests/fleet tests/fuzz tests/image tests/powercut tests/provision
BESIDE += $(filter-out %net.py %cli.py %endpoint.py %output.py, $(wildcard tests/server/test_*.py))

.DEFAULT_GOAL := help
.PHONY: setup demo test lint bench bench-server bench-flash bench-board ci clean help

setup: $(STAMP) ## Make .venv with Gapcast and its tools, and fetch MicroPython
	@echo "Ready: $(BIN)/gapcast --help"

demo: $(STAMP) ## Update a bench of simulated boards on this machine
	$(BIN)/gapcast sim --picture build/demo.html

test: $(STAMP) ## Run the tests, under CPython and MicroPython
	$(BIN)/pytest $(BESIDE:%=--ignore=%)
	$(BIN)/pytest -n 3 $(BESIDE)

lint: $(STAMP) ## Check style, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

bench: $(STAMP) ## Measure against other multicast tools (needs root)
	$(BIN)/python tests/bench/run.py $(BENCH_ARGS)

bench-server: $(STAMP) ## Measure what up to 500 boards cost the server
	$(BIN)/python tests/bench/load.py $(BENCH_ARGS)

bench-flash: $(STAMP) ## Measure boards with slow flash and short queues
	$(BIN)/python tests/bench/flash.py $(BENCH_ARGS)

bench-board: $(STAMP) ## Measure the client itself, in MicroPython
	$(BIN)/python tests/bench/board.py

ci: lint test ## Everything that must pass before a change goes in

clean: ## Remove what was built and fetched
	rm -rf build dist $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage*

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Gapcast needs Python 3.11 or newer; $(PYTHON) is older or missing. Try: make setup PYTHON=python3.12" >&2; \
	  exit 1; }
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  rm -rf $(VENV); \
	  $(PYTHON) -m venv $(VENV) 2>/dev/null \
	  || { rm -rf $(VENV); $(PYTHON) -m virtualenv -q $(VENV) 2>/dev/null; } \
	  || { rm -rf $(VENV); uv venv -q --seed --python $(PYTHON) $(VENV) 2>/dev/null; } \
	  || { rm -rf $(VENV); \
	       echo "$(PYTHON) cannot make a virtual environment. On Debian or Ubuntu: apt install python3-venv" >&2; \
	       exit 1; }; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@$(BIN)/python -m gapcast_tools.upy >/dev/null \
	  || echo "Without MicroPython the simulated boards run in CPython. Try again: $(BIN)/python -m gapcast_tools.upy"
	@touch $@
