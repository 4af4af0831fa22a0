# Two commands to begin with: `make demo` and `make test`. Each makes the environment it needs from $(PYTHON).
PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip --quiet --disable-pip-version-check
PYTEST = $(VENV)/bin/python -m pytest
SOURCES = pyproject.toml setup.py $(wildcard src/merkql/_core/*.p[yx]* src/merkql/_core/c/*)

.PHONY: demo build debug test test-slow crash bench lint fix docs wheels clean

demo: build
	$(VENV)/bin/python examples/flights.py

build: $(VENV)/built

test: $(VENV)/test
	$(PYTEST)

test-slow: $(VENV)/test
	$(PYTEST) -m "slow or exhaustive or interop"

crash: $(VENV)/test
	$(PYTEST) -m "not exhaustive" tests/crash

debug:
	MERKQL_DEBUG=1 tools/test_build.sh debug

bench: $(VENV)/bench
	$(VENV)/bin/python asv_benchmarks/run.py

lint: $(VENV)/lint
	tools/lint.sh $(VENV)/bin

fix: $(VENV)/lint
	$(VENV)/bin/ruff check --fix --quiet
	$(VENV)/bin/ruff format

docs: build
	$(VENV)/bin/python tools/make_reference.py

wheels: $(VENV)/wheels
	$(VENV)/bin/python -m build

clean:
	rm -rf .venv* build dist src/*.egg-info src/merkql/_core/*.so

# The stamps. `built`: the library, editable, its extensions compiled where they stand; the others add an extra of the same name.
$(VENV)/built: $(SOURCES)
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install 'setuptools>=77.0.3' 'cython>=3.1'
	$(PIP) install --no-build-isolation -e .
	touch $@

$(VENV)/%: $(VENV)/built
	$(PIP) install --no-build-isolation -e '.[$*]'
	touch $@
