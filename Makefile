# `make help` says what there is. Everything is brought into the checkout: nothing is installed
# on the machine. Needed beforehand: make, a python3 with venv or pip, and a package index.

PYTHON     ?= python3
UV_VERSION := 0.13.9
UV         := .tools/uv/bin/uv
SAM        := .tools/sam/bin/sam
BIN        := .venv/bin
TEMPLATES  := template.yaml backend/template.yaml
TYPED      := layers/aggregated_metrics functions backend/functions/api demo tests
KEEP       ?=

# sam wants a region even to validate; no telemetry from a build
export AWS_DEFAULT_REGION ?= us-east-1
export SAM_CLI_TELEMETRY := 0

.DEFAULT_GOAL := help
.PHONY: help sync lint format test unit e2e demo stop build clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --------------------------------------------------------------------------------------------------
# Tools. Three environments, because the SAM CLI and the emulator pin the same libraries differently.
# --------------------------------------------------------------------------------------------------
$(UV):
	@echo "bringing uv $(UV_VERSION) into .tools/"
	@rm -rf .tools/uv
	@{ $(PYTHON) -m venv .tools/uv && .tools/uv/bin/python -m pip install -q uv==$(UV_VERSION); } \
	  >/dev/null 2>&1 \
	|| { rm -rf .tools/uv; \
	     $(PYTHON) -m pip install -q --target .tools/uv uv==$(UV_VERSION); } \
	|| { rm -rf .tools/uv; \
	     echo "make: uv could not be installed with $(PYTHON): it needs its venv or pip module"; \
	     echo "      (Debian: apt install python3-venv), or name another one: make PYTHON=..."; \
	     exit 1; }

.venv/.synced: $(UV) uv.lock pyproject.toml
	$(UV) sync --quiet --locked
	@touch $@

.tools/sam/.synced: $(UV) uv.lock pyproject.toml
	UV_PROJECT_ENVIRONMENT=.tools/sam $(UV) sync --quiet --locked --only-group sam
	@touch $@

.tools/emulator/.synced: $(UV) uv.lock pyproject.toml
	UV_PROJECT_ENVIRONMENT=.tools/emulator $(UV) sync --quiet --locked --only-group emulator
	@touch $@

sync: .venv/.synced .tools/sam/.synced .tools/emulator/.synced ## bring all tools, at locked versions

# --------------------------------------------------------------------------------------------------
# Checks
# --------------------------------------------------------------------------------------------------
lint: .venv/.synced .tools/sam/.synced ## ruff, mypy, cfn-lint and sam validate
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(TYPED)
	$(BIN)/cfn-lint $(TEMPLATES)
	@for template in $(TEMPLATES); do \
	  echo "sam validate --lint $$template"; \
	  PATH="$(CURDIR)/.tools/sam/bin:$$PATH" $(SAM) validate --lint --template-file $$template || exit 1; \
	done

format: .venv/.synced ## format the code and mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

test: unit e2e ## every test

unit: .venv/.synced ## every test that needs no stack: unit, property, contract, integration
	$(BIN)/pytest -n 2 -m "not e2e"

e2e: sync ## the tests on the local stack
	$(BIN)/pytest -m e2e

# --------------------------------------------------------------------------------------------------
# The stack
# --------------------------------------------------------------------------------------------------
demo: sync ## the whole path on this machine; KEEP=1 leaves the stack up
	@KEEP=$(KEEP) $(BIN)/python -m demo

stop: .venv/.synced ## stop a stack that KEEP=1 left up
	@$(BIN)/python -m demo.stack

build: .tools/sam/.synced ## build what `sam deploy` deploys to AWS (.aws-sam/)
	PATH="$(CURDIR)/.tools/sam/bin:$$PATH" $(SAM) build --cached --parallel

clean: ## remove everything that was brought or built
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m demo.stack; fi
	rm -rf .tools .venv .aws-sam .local .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
