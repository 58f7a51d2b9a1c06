# `make` alone prints what there is.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3.13
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .tools
PORT ?= 7071
# USER is in every shell's environment: only one given on the command line means a person of the local stack
PERSON := $(if $(filter command line,$(origin USER)),$(USER),alice)

STARTED := { test -x $(BIN)/python || { echo "Nothing runs here yet: start the stack with make run." >&2; exit 1; }; }

.PHONY: help setup run ask token test check bench lint lint-code lint-infra lint-delivery format clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.ready node_modules/.ready ## Python and Node packages, in this folder alone

run: setup ## the whole stack in the foreground: Azurite, emulators, gateway on port 7071
	@$(BIN)/python -m local --port $(PORT)

ask: ## ask the running stack: make ask Q="total sales by month" USER=bob
	@$(STARTED) && $(BIN)/python -m local.ask --person "$(PERSON)" -- "$$Q"

token: ## an access token for the running stack, alone on one line: make token USER=alice
	@$(STARTED) && $(BIN)/python -m local.token --person "$(PERSON)"

test: setup ## all tests, with what they need started and ended by themselves
	@$(BIN)/python -m pytest

lint: lint-code lint-infra lint-delivery ## everything that is checked without running it

lint-code: setup ## Python: format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

lint-infra: setup $(TOOLS)/.ready ## Bicep: parsed whole, and scanned

lint-delivery: setup $(TOOLS)/.ready ## workflows, container, YAML, secrets and pins

format: setup ## puts the code into its one form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

check: lint ## what CI runs: lint, then all tests with the coverage of lib
	@rm -f .coverage .coverage.*
	@log=$$(mktemp) && trap 'rm -f "$$log"' EXIT; \
	COVERAGE_FILE=.coverage.integration $(BIN)/python -m pytest --cov --cov-report= tests/integration >"$$log" 2>&1 & beside=$$!; \
	COVERAGE_FILE=.coverage.unit $(BIN)/python -m pytest --cov --cov-report= --ignore=tests/integration; unit=$$?; \
	wait $$beside; integration=$$?; cat "$$log"; \
	exit $$((unit + integration))
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report --fail-under=99.9

bench: setup ## what it takes and how fast it is, beside others, into docs/performance.md: some minutes
	@$(BIN)/python -m bench

clean: ## forgets the local stack's state and everything that was installed
	rm -rf .local .bench $(VENV) $(TOOLS) node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

$(VENV)/.ready: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null || \
	  { echo "Python 3.13 is needed as '$(PYTHON)': install it, or name it by make PYTHON=/path/to/python3.13" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Python packages into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(TOOLS)/.ready: requirements-tools.txt
	@echo "installing the tools of the checks into $(TOOLS) ..."
	@test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-tools.txt
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps pycep-parser==0.7.1
	@touch $@

node_modules/.ready: package.json package-lock.json
	@command -v npm >/dev/null || { echo "Node.js 20 or newer with npm is needed for Azurite: install it first" >&2; exit 1; }
	@echo "installing Azurite into node_modules ..."
	@npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
	@touch $@
