# Three commands matter: `make demo`, `make up` and `make test`. Everything else is convenience.
#   make demo DATA=path/to/drops     the same graph on your own data; so with `make up`
#   make setup PIP_ARGS="..."        options for pip, e.g. an index with a CPU-only torch (see README)

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
DATA ?=
PORT ?= 3000
API_PORT ?= 8000
BIN := $(VENV)/bin

# One thread per BLAS call from library code that opens threads of its own; trainers widen it where it pays.
export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo up serve load ui test lint types benchmarks constraints clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready-pipeline: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[pipeline]' -c constraints.txt $(PIP_ARGS)
	@touch $@

$(VENV)/.ready-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt $(PIP_ARGS)
	@touch $@ $(VENV)/.ready-pipeline

setup: $(VENV)/.ready-pipeline  ## virtual environment with everything the graph needs

demo: $(VENV)/.ready-pipeline  ## raw events to a registered model and printed recommendations; DATA=folder for your own
	$(BIN)/recsys demo $(if $(DATA),--data $(DATA))

up: $(VENV)/.ready-pipeline  ## API and shop page on http://127.0.0.1:8000 (API_PORT=...), Dagster on 3000 (PORT=...)
	$(BIN)/recsys up --port $(API_PORT) --ui-port $(PORT) $(if $(DATA),--data $(DATA))

serve: $(VENV)/.ready-pipeline  ## the API and the shop page alone, in the foreground
	$(BIN)/recsys serve --port $(API_PORT)

load: $(VENV)/.ready-dev  ## a minute of shoppers on a copy of the last demo; the report stays in .recsys/load
	$(BIN)/python -m benchmarks.load.run

ui: $(VENV)/.ready-pipeline  ## the Dagster UI on the same state, http://127.0.0.1:3000 (PORT=...)
	$(BIN)/recsys ui --port $(PORT)

lint: $(VENV)/.ready-dev  ## style and the package law
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.ready-dev  ## mypy, strict
	$(BIN)/mypy

test: $(VENV)/.ready-dev lint types  ## every check and test; what CI runs
	$(BIN)/python -m pytest

benchmarks: $(VENV)/.ready-dev  ## every figure of the README, measured here
	$(BIN)/python -m benchmarks $(if $(DATA),--data $(DATA))

constraints: | $(VENV)/bin/python  ## resolve constraints.txt anew
	rm -rf $(VENV)/.resolve && $(PYTHON) -m venv $(VENV)/.resolve
	$(VENV)/.resolve/bin/python -m pip install --quiet -e '.[dev,aws]' $(PIP_ARGS)
	$(PYTHON) -c "print('# Resolved by make constraints; what set-up installs.')" > constraints.txt
	$(VENV)/.resolve/bin/python -m pip freeze --exclude-editable | sed 's/ @ .*//; s/+cpu$$//' >> constraints.txt
	rm -rf $(VENV)/.resolve

clean:  ## remove the demo's state (not the environment)
	rm -rf .recsys
