# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SANITIZED := build/sanitized
# Old versions of pip know the first name only, new ones use the second for what builds need.
PIP := PIP_CONSTRAINT=$(CURDIR)/constraints.txt PIP_BUILD_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip

.PHONY: demo test check lint types imports doctest e2e test-slow sanitize faults kills simulate bench clean

demo: $(READY)
	$(BIN)/pomona run iterative-pruning --preset quick

# As many processes as there are cores, each with whole files, whose fixtures are made once.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

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

# The kernels' tests on a build that checks every address and refuses undefined behaviour. Python itself knows
# neither library, so both are loaded before it; what it never frees is no fault. The report of a fault goes
# past pytest, which ends with it.
# Not the comparisons of bits and the controls: they run the same kernels many times over.
sanitize: $(SANITIZED)/.ready
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=1 \
	POMONA_KERNELS=$(CURDIR)/$(SANITIZED)/pomona/training/lanes $(BIN)/python -m pytest -n auto --dist loadfile --capture=sys tests/training/lanes \
	--ignore tests/training/lanes/ops/test_bits.py --ignore tests/training/lanes/ops/test_controls.py

$(SANITIZED)/.ready: $(READY)
	rm -rf $(SANITIZED)
	CXX=g++ POMONA_REQUIRE_KERNELS=1 $(PIP) install --quiet --no-deps --target $(SANITIZED) \
		--config-settings cmake.define.SANITIZE=ON --config-settings cmake.build-type=RelWithDebInfo .
	touch $@

# Every point at which a process or the machine can stop, and every write from which the disk can be full.
faults: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.every

# A real study killed at 200 random moments; at the end its bits are those of one that nothing befell.
kills: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.kills

# 10,000 simulated studies for every test, interval and forecast; their tables go to $(SIMULATED)/simulation.md.
SIMULATED ?= build/simulation
STUDIES ?= 10000
simulate: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.simulation.every $(SIMULATED) --studies $(STUDIES)

bench: $(READY)
	$(BIN)/python benchmarks/training_loop.py
	$(BIN)/python benchmarks/lanes.py
	$(BIN)/python benchmarks/graph.py
	$(BIN)/python benchmarks/pruning.py

# Says at the end what the kernels run on, or why there are none.
$(READY): pyproject.toml constraints.txt $(shell find kernels)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --editable '.[dev]'
	@$(BIN)/python -c "from pomona.training.lanes import native as n; print(n.missing() or 'kernels: ' + n.instruction_set())"
	touch $(READY)

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
