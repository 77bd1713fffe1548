# Every target does all of its own set-up in .venv; all it needs is python3 with venv, make and a package registry.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## Make .venv with every dependency, pinned by constraints.txt

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

demo: $(READY)  ## A few thousand records through everything, against the emulator: no key, no bill
	$(BIN)/bakehouse demo

test: $(READY)  ## All tests: real Redis, real worker processes, the emulator over HTTP
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(READY)  ## ruff (rules and format) and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## Let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: $(READY)  ## Wheel and sdist in dist/
	$(BIN)/python -m build --no-isolation

clean:  ## Remove .venv and everything that was built or demonstrated
	rm -rf .venv dist .bakehouse-demo .mypy_cache .ruff_cache .pytest_cache

.PHONY: help setup demo test lint format build clean
