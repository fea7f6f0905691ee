# Each target does its own set-up: a fresh checkout needs nothing but Python and a C compiler.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# The build without CUDA (some GB less) wins wherever an index offers it.
TORCH ?= torch==2.13.0

.PHONY: study test trust trust-short bench lint clean

# Install this checkout (a copy, never a link to it) with the extras named by EXTRAS.
define install
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	rm -rf build/lib* build/bdist* build/temp*
	$(BIN)/python -m pip install --quiet --disable-pip-version-check ".[$(1)]"
endef

study: ## the main job: all 240 cells of the 2017 experiment, then which part needs the bits
	$(call install,study)
	$(BIN)/intmlp reproduce mnist-2017
	$(BIN)/intmlp bottleneck

test: ## the whole test suite, over every backend
	$(call install,test)
	$(BIN)/pytest -n auto --dist worksteal

# The checks of trust/, each a script that says what it does, with a --short form. The report of the
# long ones is docs/reliability.md.
CHECKS := golden machines wheels static mutants concurrency free_threaded sanitizers fuzz covered

trust: ## every check of reliability in its long form (hours); writes docs/reliability.md
	$(call install,trust)
	set -e; for check in $(CHECKS); do $(BIN)/python trust/$$check.py; done
	$(BIN)/python trust/report.py

trust-short: ## the same checks in minutes
	$(call install,trust)
	set -e; for check in $(CHECKS); do $(BIN)/python trust/$$check.py --short; done

bench: ## every benchmark, each beside its rival in the same run; writes docs/performance.md
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 0 \
	    --extra-index-url https://download.pytorch.org/whl/cpu "$(TORCH)"
	$(call install,bench)
	mkdir -p build
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/pytest bench --benchmark-only \
	    --benchmark-columns=median,iqr,rounds --benchmark-json=build/bench.json
	$(BIN)/python bench/report.py build/bench.json docs

lint: ## style and types: ruff, mypy, clang-format
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    ruff==0.17.6 mypy==2.4.1 clang-format==23.1.5 "numpy>=2"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(find src tests trust -name '*.[ch]')

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache
