# Every target makes its own environment; nothing has to be installed by hand but Python and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n auto --dist loadfile

.PHONY: compare compare-full test test-full notebooks docs bench lint clean

compare: $(READY)  ## the line-ups of 2008 and of today on the quick suite: which translates at less cost, and out/
	$(BIN)/hwmodel compare --suite quick --out out

compare-full: $(READY)  ## the same on whole recordings and long workloads
	$(BIN)/hwmodel compare --suite full --out out

test: lint  ## the suite with bounds checks, then subsets as shipped and without the JIT
	HWMODEL_CHECKED=1 $(PYTEST) $(PARALLEL) -m "not long and not notebook" --ignore=tests/benchmarks
	$(PYTEST) $(PARALLEL) -m "as_shipped and not long" --ignore=tests/benchmarks
	NUMBA_DISABLE_JIT=1 $(PYTEST) $(PARALLEL) -m "jit_off and not long" --ignore=tests/benchmarks

test-full: test  ## the long random runs too
	HWMODEL_CHECKED=1 $(PYTEST) -n auto --dist worksteal -m "long and not elsewhere" --ignore=tests/benchmarks

notebooks: $(READY)  ## run every notebook
	$(PYTEST) -m notebook tests/test_notebooks.py

docs: $(READY)  ## the site: docs/_build/html/index.html
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html

bench: $(READY)  ## how fast the engine is here
	$(PYTEST) tests/benchmarks

lint: $(READY)
	$(BIN)/ruff check .

clean:
	rm -rf $(VENV) out docs/_*

$(READY): pyproject.toml
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $@
