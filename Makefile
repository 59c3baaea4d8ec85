# Three commands matter: `make demo`, `make up` and `make test`. Everything else is convenience.
#   make demo DATA=path/to/drops     the same graph on your own data; so with `make up`
#   make setup PIP_ARGS="..."        options for pip, e.g. an index with a CPU-only torch (see README)

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
DATA ?=
TESTS ?=
TF_INIT_ARGS ?=
PORT ?= 3000
API_PORT ?= 8000
TEST_WORKERS ?= 2
BIN := $(VENV)/bin

# One thread per BLAS call from library code that opens threads of its own; trainers widen it where it pays.
export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo up serve load ui notebooks test test-slow lint types benchmarks constraints clean terraform \
  coverage security audit workflows packages images release terraform-checks terraform-plan terraform-scan

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
	$(BIN)/recsys run $(if $(DATA),--data $(DATA))

up: $(VENV)/.ready-pipeline  ## API and shop page on http://127.0.0.1:8000 (API_PORT=...), Dagster on 3000 (PORT=...)
	$(BIN)/recsys up --port $(API_PORT) --ui-port $(PORT) $(if $(DATA),--data $(DATA))

serve: $(VENV)/.ready-pipeline  ## the API and the shop page alone, in the foreground
	$(BIN)/recsys serve --port $(API_PORT)

load: $(VENV)/.ready-dev  ## a minute of shoppers on a copy of the last demo; the report stays in .recsys/load
	$(BIN)/python -m benchmarks.load.run

ui: $(VENV)/.ready-pipeline  ## the Dagster UI on the same state, http://127.0.0.1:3000 (PORT=...)
	$(BIN)/recsys ui --port $(PORT)

notebooks: $(VENV)/.ready-dev  ## the notebooks on the shop of the last run, as pages in build/notebooks
	$(BIN)/python -m nbconvert --execute --to html --output-dir build/notebooks notebooks/*.ipynb

lint: $(VENV)/.ready-dev  ## style and the package law
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.ready-dev  ## mypy, strict
	$(BIN)/mypy

PYTEST = $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

test: $(VENV)/.ready-dev lint types  ## style, types, import contracts and nine of ten tests
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/.ready-dev  ## the other tests: whole systems, Terraform, Spark, jobs; CI runs both
	$(PYTEST) -m slow

benchmarks: $(VENV)/.ready-dev  ## every figure of the README, measured here
	$(BIN)/python -m benchmarks $(if $(DATA),--data $(DATA))

constraints: | $(VENV)/bin/python  ## resolve constraints.txt anew
	rm -rf $(VENV)/.resolve && $(PYTHON) -m venv $(VENV)/.resolve
	$(VENV)/.resolve/bin/python -m pip install --quiet -e '.[dev,aws]' $(PIP_ARGS)
	$(PYTHON) -c "print('# Resolved by make constraints; what set-up installs.')" > constraints.txt
	$(VENV)/.resolve/bin/python -m pip freeze --exclude-editable | sed 's/ @ .*//; s/+cpu$$//' >> constraints.txt
	rm -rf $(VENV)/.resolve

# Tools that judge the code have an environment of their own, so that their pins meet none of ours.
CHECKS := $(VENV)/.checks
CHECKS_PINS := bandit==1.9.4 check-jsonschema==0.39.0 pip-audit==2.10.1 zizmor==1.32.0
COVERAGE_PIN := coverage==7.17.3
# B104: a container listens on every interface. B108: /tmp is the one folder Lambda lets a function write to.
# B310: the addresses opened are those of our own servers.
BANDIT_SKIPS := B104,B108,B310

$(CHECKS)/.ready: Makefile | $(VENV)/bin/python
	$(PYTHON) -m venv $(CHECKS)
	$(CHECKS)/bin/python -m pip install --quiet --disable-pip-version-check $(CHECKS_PINS) $(PIP_ARGS)
	@touch $@

# checkov pins boto3, packaging and networkx: an environment of its own once more.
POLICY := $(VENV)/.policy
CHECKOV_PIN := checkov==3.3.30

$(POLICY)/.ready: Makefile | $(VENV)/bin/python
	$(PYTHON) -m venv $(POLICY)
	$(POLICY)/bin/python -m pip install --quiet --disable-pip-version-check $(CHECKOV_PIN) $(PIP_ARGS)
	@touch $@

terraform-scan: $(POLICY)/.ready  ## checkov on the stack with the values of prod; fails on any finding, prints the counts
	@found=$$($(POLICY)/bin/checkov --config-file terraform/.checkov.yaml) && echo "$$found" || { echo "$$found"; exit 1; }; \
	case "$$found" in *"Parsing errors"*) echo "terraform-scan: a file was not read, so not judged" >&2; exit 1;; esac

security: $(CHECKS)/.ready  ## bandit on the code
	$(CHECKS)/bin/bandit --quiet --recursive --severity-level medium --skip $(BANDIT_SKIPS) lambda_api recsys_assets recsys_deploy

workflows: $(CHECKS)/.ready  ## zizmor and the published schema on .github/workflows
	$(CHECKS)/bin/zizmor --offline --no-progress --pedantic .github/workflows
	$(CHECKS)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

audit: $(CHECKS)/.ready  ## known vulnerabilities of the pins; asks a database on the internet
	$(CHECKS)/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

coverage: $(VENV)/.ready-dev  ## the tests again, measured; TESTS="tests/state" for a part
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(COVERAGE_PIN) $(PIP_ARGS)
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered
	$(BIN)/python -m coverage xml

packages: $(VENV)/.ready-pipeline  ## zips for Lambda, in build/lambda
	$(BIN)/recsys package

# What a caller says reaches these recipes as shell variables, never as text of a command.
IMAGES := training inference dagster
IMAGE_PLATFORM ?= linux/amd64
ENVIRONMENT ?= dev
export PYTHON_IMAGE PIP_ARGS IMAGE_PLATFORM TAG ENVIRONMENT

images:  ## container images; needs Docker and PYTHON_IMAGE=name@sha256:... (docker/README.md)
	@case "$$PYTHON_IMAGE" in *@sha256:*) ;; *) \
	  echo "images: PYTHON_IMAGE has to be pinned by digest, name@sha256:...; docker/README.md says why" >&2; exit 2;; esac
	@revision=$$(git describe --always --dirty --abbrev=12 --exclude='*'); \
	for image in $(IMAGES); do \
	  GIT_REVISION=$$revision docker buildx build --platform "$$IMAGE_PLATFORM" --file docker/$$image.Dockerfile \
	    --provenance=false --output "type=docker,oci-mediatypes=false,name=recsys-$$image:$$revision" \
	    --build-arg PYTHON_IMAGE --build-arg PIP_ARGS --build-arg GIT_REVISION . || exit 1; \
	done

release: packages  ## a GitHub release of TAG with the packages; needs gh
	@case "$$TAG" in v[0-9]*) ;; *) echo "release: TAG has to be a version such as v1.2.3" >&2; exit 2;; esac
	gh release create "$$TAG" --verify-tag --generate-notes build/lambda/*.zip build/lambda/*.json

terraform: $(VENV)/.ready-dev  ## every module and environment against a mocked provider, driven by pytest
	$(BIN)/python -m pytest tests/terraform

terraform-checks:  ## fmt, validate and test; TF_INIT_ARGS="-plugin-dir=..." without the registry
	terraform -chdir=terraform fmt -check -recursive
	terraform -chdir=terraform init -input=false -backend=false $(TF_INIT_ARGS)
	terraform -chdir=terraform validate
	terraform -chdir=terraform/stack init -input=false -backend=false $(TF_INIT_ARGS)
	terraform -chdir=terraform/stack validate
	terraform -chdir=terraform test

terraform-plan: packages  ## what an apply would change in ENVIRONMENT (dev, staging, prod); needs a role in AWS
	@case "$$ENVIRONMENT" in dev|staging|prod) ;; *) \
	  echo "terraform-plan: ENVIRONMENT is dev, staging or prod, not '$$ENVIRONMENT'" >&2; exit 2;; esac
	terraform -chdir=terraform/stack init -input=false -reconfigure -backend-config="../environments/$$ENVIRONMENT/backend.hcl" $(TF_INIT_ARGS)
	terraform -chdir=terraform/stack plan -input=false -lock=false -var="image_tag=$$(git describe --always --abbrev=12 --exclude='*')" \
	  -var-file="../environments/$$ENVIRONMENT/terraform.tfvars" -var-file=../../build/lambda/packages.tfvars.json

clean:  ## remove the demo's state (not the environment)
	rm -rf .recsys
