# Every target does all of its own set-up in .venv; all it needs is python3 with venv, make and a package registry.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
SEEDS ?= 200
JOBS ?= 3

.DEFAULT_GOAL := help

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## Make .venv with every dependency, pinned by constraints.txt

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

demo: $(READY)  ## A few thousand records through everything, against the emulator: no key, no bill
	$(BIN)/bakehouse demo

test: $(READY)  ## All tests: real Redis, real worker processes, the emulator over HTTP
	$(BIN)/python -m pytest -n 3 --dist loadgroup

test-all:  ## The same on every Python of 3.11, 3.12 and 3.13 that is installed, each with an environment of its own
	@for version in 3.11 3.12 3.13; do \
	  python=$$(ls -d $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version.*/bin/python 2>/dev/null | tail -1); \
	  python=$${python:-python$$version}; \
	  if ! $$python --version >/dev/null 2>&1; then echo "Python $$version is not installed: left out"; continue; fi; \
	  echo "== Python $$version"; \
	  test -x .venv-$$version/bin/pytest || { $$python -m venv .venv-$$version && .venv-$$version/bin/python -m pip install --quiet \
	    --disable-pip-version-check -c constraints.txt -e '.[dev]'; } || exit 1; \
	  .venv-$$version/bin/python -m pytest -n 3 --dist loadgroup || exit 1; \
	done

mutants: $(READY)  ## Take each safeguard out, one at a time, and see its test fail
	$(BIN)/python tests/mutants/run.py

chaos: $(READY)  ## SEEDS (200) scenarios in which things are killed, cut and lost, JOBS (3) at a time; the table is .chaos/table.md
	PYTHONPATH=tests $(BIN)/python -m chaos.sweep --seeds $(SEEDS) --jobs $(JOBS) --home .chaos

chaos-safeguards: $(READY)  ## The test of each safeguard, with it and without it
	PYTHONPATH=tests $(BIN)/python -m chaos.sweep --safeguards --home .chaos

bench: $(READY)  ## Measure side by side: BENCH="--sizes 10000,100000 --rivals" and more; bench/README.md
	$(BIN)/python -m bench $(BENCH)

lint: $(READY)  ## ruff (rules and format) and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## Let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reference: $(READY)  ## Write docs/reference/ from the help texts and the docstrings
	PYTHONPATH=tests $(BIN)/python tests/reference.py

build: $(READY)  ## Wheel and sdist in dist/
	$(BIN)/python -m build --no-isolation

clean:  ## Remove .venv and everything that was built or demonstrated
	rm -rf .venv .venv-3.* dist .chaos .bakehouse-demo .mypy_cache .ruff_cache .pytest_cache

.PHONY: help setup demo test test-all mutants chaos chaos-safeguards bench lint format reference build clean
