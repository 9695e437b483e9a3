# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check lint types imports doctest e2e test-slow bench clean

demo: $(READY)
	$(BIN)/pomona run iterative-pruning --preset quick

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

check: lint types imports doctest

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

doctest: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --doctest-modules src/pomona

# One end-to-end run on real MNIST, fetched if it is not in the cache.
e2e: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'network and not slow'

# The long proofs: minutes of training on real MNIST.
test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

bench: $(READY)
	$(BIN)/python benchmarks/training_loop.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
