# Every target sets up what it needs: .venv is built when it is missing, and only then.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
DEMO ?= demo
PEERS := .venv-peers
BENCH ?=
SOAK ?= --points 10000 --seed 0
VIDEOS ?=

.PHONY: help setup demo test lint types bench soak clean

help: ## Say what each target does.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Build .venv with everything that fda needs, pinned by constraints.txt.

demo: $(READY) ## Make a small motion data set and run everything on it, on the CPU: a table and a page.
	$(BIN)/fda demo $(DEMO)

# Compiled modules are kept, whatever the shell says: each process that tests start would compile them again.
test: $(READY) ## Run all tests, on all cores.
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist worksteal

lint: $(READY) ## Check style with ruff.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## Check types with mypy --strict, also of the examples in docs/python.md.
	$(BIN)/mypy
	$(BIN)/python -m tests.docs.typed_examples

bench: $(READY) $(PEERS)/ready ## Measure against named peers; BENCH="decoding --quick" or VIDEOS=folder for less.
	$(BIN)/python -m tests.benchmarks $(BENCH) $(if $(VIDEOS),--videos '$(VIDEOS)')

soak: $(READY) ## Kill runs at thousands of random moments and resume them; SOAK="--points 500 --seed 1" for less.
	$(BIN)/python -m tests.soak $(SOAK)

clean: ## Remove .venv, the peers' environment, the demo, the results of bench and caches.
	rm -rf $(VENV) $(PEERS) $(DEMO) bench .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

$(READY):
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"fda needs Python 3.11 or newer; this is {v[0]}.{v[1]}: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

$(PEERS)/ready: tests/benchmarks/peers.txt
	$(PYTHON) -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --constraint constraints.txt --requirement tests/benchmarks/peers.txt
	@touch $@
