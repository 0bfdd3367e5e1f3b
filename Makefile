# Everything a developer does here has a name. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCAL := .venv-local
FUZZ := .venv-fuzz
AUDIT := .venv-audit
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install lock demo serve check fix test test-inside test-outside test-local torture fuzz gallery docs bench audit sbom clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv and install the locked requirements (instant when nothing changed)

$(STAMP): requirements/uv.lock.txt requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Ketchup needs Python 3.11 or newer. Name one: make PYTHON=python3.11 ...")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.lock.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/uv.lock.txt requirements/dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

lock: ## Resolve the requirements anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade pyproject.toml -o requirements/runtime.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade pyproject.toml --group dev --group bench -o requirements/dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade --constraints requirements/dev.lock pyproject.toml --group dev --group fuzz -o requirements/fuzz.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade --overrides requirements/without-torch.txt --constraints requirements/dev.lock pyproject.toml --extra local --group dev --group bench -o requirements/local.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade requirements/audit.in -o requirements/audit.lock
	echo uv | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade - -o requirements/uv.lock.txt

demo: install ## Run the whole service once, in a temporary folder, and save the pictures to ./demo-output
	@$(BIN)/ketchup demo

serve: install ## Run the service on port 8000 with its data in ./ketchup-data
	@$(BIN)/ketchup serve

check: install ## Format, lint, types, imports, unit and architecture tests (under a minute)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -q tests/unit tests/architecture

fix: install ## Format the code and apply the safe lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: install ## Every test, with short forms of the fault tests; two runs side by side
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target test-inside test-outside

test-inside:
	$(BIN)/pytest -q -m "not torture" tests/unit tests/architecture tests/contract tests/integration tests/local

test-outside:
	$(BIN)/pytest -q -m "not torture" tests/simulation tests/e2e tests/faults tests/fuzz

test-local: install $(LOCAL)/.installed ## The engine for local weights, with torch for the CPU (some hundred megabytes, once)
	$(LOCAL)/bin/pytest -q tests/local tests/contract/test_providers.py -k "local or diffusers"

$(LOCAL)/.installed: requirements/local.lock pyproject.toml
	@$(LOCAL)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(LOCAL)
	@$(BIN)/uv pip install --quiet --python $(LOCAL)/bin/python --no-deps --require-hashes -r requirements/local.lock
	@$(LOCAL)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(BIN)/uv pip install --quiet --python $(LOCAL)/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

torture: install ## The long forms of the fault tests and the simulation, and every part of the benchmark
	$(BIN)/pytest -q -m torture --timeout 1800 tests/faults tests/simulation tests/e2e tests/integration

# Each parser gets so many seconds, and the service so many minutes on either database.
SECONDS := 120
MINUTES := 5
PARSERS := $(notdir $(wildcard tests/fuzz/corpus/*))

fuzz: $(FUZZ)/.installed ## Strangers' bytes for half an hour: the parsers by atheris, the service by its description
	@for parser in $(PARSERS); do \
		$(FUZZ)/bin/python -m tests.fuzz $$parser -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=2048 || exit 1; \
	done
	KETCHUP_FUZZ_MINUTES=$(MINUTES) $(FUZZ)/bin/python -m pytest -q -m torture tests/fuzz

$(FUZZ)/.installed: $(STAMP) requirements/fuzz.lock
	@$(FUZZ)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(FUZZ)
	@$(BIN)/uv pip install --quiet --python $(FUZZ)/bin/python --no-deps --require-hashes -r requirements/fuzz.lock
	@$(BIN)/uv pip install --quiet --python $(FUZZ)/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

gallery: install ## Render the thirty-two gallery pictures under docs/gallery
	$(BIN)/python -m docs.gallery

docs: install ## Generate docs/configuration.md from the settings
	$(BIN)/python -m ketchup.config > docs/configuration.md

bench: install ## Measure what is promised about speed, beside what others do (half an hour)
	$(BIN)/python -m bench

audit: install $(AUDIT)/.installed ## Known vulnerabilities of what is locked, and bandit over the code (REQUIRED=1 fails without network)
	$(AUDIT)/bin/bandit --quiet --configfile pyproject.toml --recursive src
	$(BIN)/python requirements/audit.py $(if $(REQUIRED),--required) $(AUDIT)/bin/pip-audit requirements/runtime.lock requirements/dev.lock

sbom: $(AUDIT)/.installed ## Write sbom.json: what the product is made of, as CycloneDX 1.6, validated
	$(AUDIT)/bin/cyclonedx-py requirements --spec-version 1.6 --output-format JSON --output-reproducible --validate --pyproject pyproject.toml --output-file sbom.json requirements/runtime.lock

$(AUDIT)/.installed: requirements/audit.lock
	@$(AUDIT)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(AUDIT)
	@$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.lock
	@touch $@

clean: ## Remove what `make` made
	rm -rf $(VENV) $(LOCAL) $(FUZZ) $(AUDIT) sbom.json .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-output
