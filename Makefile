# Two commands to begin with: `make demo` and `make test`. Each makes the environment it needs.
# Another interpreter: `make test PYTHON=python3.12 VENV=.venv-3.12`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check
PYTEST = $(BIN)/python -m pytest
SOURCES = $(wildcard src/merkql/_core/*.pyx src/merkql/_core/*.pxd src/merkql/_core/c/*)

.PHONY: demo demo-workers build debug test test-slow crash crash-all soak fuzz bench bench-quick \
    dashboard lint fix docs wheels clean

demo: build
	$(BIN)/python examples/flights.py

demo-workers: build
	$(BIN)/python examples/workers.py

build: $(VENV)/installed
	@$(MAKE) --silent $(VENV)/built

# The unit tests on a build with every check of Cython's switched on.
debug: build $(VENV)/test
	MERKQL_DEBUG=1 $(BIN)/python setup.py -q build --build-lib build/debug/lib
	PYTHONPATH=$(CURDIR)/build/debug/lib $(PYTEST) tests/unit

test: build $(VENV)/test
	$(PYTEST)

test-slow: build $(VENV)/interop
	$(PYTEST) -m "slow or exhaustive or interop"

# Every crash state of every sequence of one and two operations, and of some of three.
crash: build $(VENV)/test
	PYTHONPATH=tests $(BIN)/python -m crash.explore --length 2 --sample 30

# Of all sequences of three: hours. Interrupted and begun again, it goes on where it was.
crash-all: build $(VENV)/test
	PYTHONPATH=tests $(BIN)/python -m crash.explore --length 3 --progress build/crash-all.progress

# Kills, power cuts (root), failing system calls (strace), turned bits; one table at the end.
soak: build $(VENV)/test
	PYTHONPATH=tests $(BIN)/python -m soak.run

# Half a minute for every decoder, guided by coverage, under AddressSanitizer and UBSan.
fuzz: build
	tools/fuzz.sh

bench: build $(VENV)/bench
	$(BIN)/python asv_benchmarks/run.py

bench-quick: build $(VENV)/bench
	$(BIN)/python asv_benchmarks/run.py --quick

# Pages of the benchmarks over the last commits, in .asv/html. Fewer: `make dashboard COMMITS=2
# BENCH=opening ASV_FLAGS=--quick`. asv says 2 where a benchmark does not run on an older commit.
COMMITS ?= 5
BENCH ?= .
dashboard: build $(VENV)/bench
	cd asv_benchmarks && $(abspath $(BIN))/asv machine --yes
	cd asv_benchmarks && $(abspath $(BIN))/asv run $(ASV_FLAGS) --launch-method spawn \
		--bench "$(BENCH)" HEAD~$(COMMITS)..HEAD || test $$? -eq 2
	cd asv_benchmarks && $(abspath $(BIN))/asv publish

lint: build $(VENV)/lint
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	PATH="$(BIN):$$PATH" cython-lint src/merkql/_core
	$(BIN)/mypy src/merkql tests/typing examples tools
	$(BIN)/stubtest merkql._core --concise --mypy-config-file pyproject.toml \
		--allowlist tests/typing/stubtest_allowlist.txt

fix: $(VENV)/lint
	$(BIN)/ruff check --quiet --fix
	$(BIN)/ruff format --quiet

docs: build
	$(BIN)/python tools/make_reference.py

wheels: $(VENV)/wheels
	$(BIN)/python -m build

clean:
	rm -rf .venv* build dist src/*.egg-info src/merkql/_core/*.so

# Stamps, so that nothing is done twice. `installed`: the library, editable, all compiled; `built`:
# what changed since compiled again, where it stands in src/; any other: the extra of that name.
$(VENV)/installed: pyproject.toml setup.py tools/requirements/build.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r tools/requirements/build.txt
	$(PIP) install --no-build-isolation -e .
	touch $@ $(VENV)/built

$(VENV)/built: $(VENV)/installed $(SOURCES)
	$(BIN)/python setup.py -q build_ext --inplace
	touch $@

$(VENV)/%: $(VENV)/installed
	$(PIP) install 'merkql[$*]'
	touch $@
