# Everything a developer does with the project. `make help` lists it; nothing else needs to be known.

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
BIN    := $(VENV)/bin
SOURCES := schemas processors ingest query_api deploy
CHECKED := $(SOURCES) tests bench

.DEFAULT_GOAL := help
.PHONY: help demo test soak lint format types compiled checked bench provision constraints clean

help: ## list what can be done
	@sed -n 's/^\([a-z]*\):[^#]*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

demo: $(VENV)/.installed ## run the demonstration (ARGS=--once: do the work, print a summary, exit)
	$(BIN)/affidavit demo $(ARGS)

test: $(VENV)/.installed-dev provision ## set up the real servers and run the whole suite (ARGS: pytest's; AFFIDAVIT_TEST_LOG=kafka or faust: on Kafka)
	$(BIN)/python -m pytest $(ARGS)

soak: $(VENV)/.installed-dev provision ## ten million fuzzed inputs, then the crash, fault and size tests at their full count: three hours
	AFFIDAVIT_FUZZ_INPUTS=10000000 $(BIN)/python -m pytest -s --timeout=10800 tests/fuzz $(ARGS)
	AFFIDAVIT_SOAK=1 $(BIN)/python -m pytest tests/live/test_crash.py tests/live/test_bounded.py tests/live/test_kafka_faults.py \
		tests/live/test_roles_apart.py tests/live/test_site_faults.py $(ARGS)

lint: $(VENV)/.installed-dev ## ruff's checks and formatting, and the import contracts between folders
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed-dev ## rewrite the sources as ruff formats them
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

types: $(VENV)/.installed-dev ## mypy --strict on schemas, processors and ingest
	$(BIN)/mypy

compiled: $(VENV)/.installed-dev ## build/compiled: the packages with the hot modules compiled to C, by a profile (needs cc, some minutes; ARGS=--plain: without)
	$(BIN)/python -m deploy.compiled build/compiled $(filter --plain,$(ARGS))

checked: $(VENV)/.installed-dev compiled ## the unit tests of what is compiled, over the compiled copy
	rm -rf build/checked && cp -r build/compiled build/checked && cp -r tests bench docs *.md Makefile constraints.txt build/checked
	cd build/checked && $(abspath $(BIN))/python -m pytest -m "not replaces" -k "pg_ or spool or guard or mask or statements or integrity \
	  or gate or fail_closed" tests/unit $(ARGS)

bench: $(VENV)/.installed-dev provision compiled ## run every benchmark of bench/, one after the other (see bench/README.md)
	@set -e; for file in $$(grep -l '^if __name__ == "__main__"' bench/*.py); do \
	  module=$$(basename $$file .py); printf '\n== bench.%s\n' "$$module"; $(BIN)/python -m bench.$$module $(ARGS); done

provision: $(VENV)/.installed-dev ## get PostgreSQL, pgaudit, PgBouncer, Chromium and Java from Debian, Kafka and pgjdbc by Maven, where missing
	@$(BIN)/python -m tests.support.provision

constraints: $(VENV)/.installed-dev ## write the versions in this environment to constraints.txt, as the ones tested
	$(BIN)/python -m tests.support.constraints > constraints.txt.new
	mv constraints.txt.new constraints.txt

clean: ## delete the environment and every cache
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache/kafka

# Installation happens once, and again only when what is to be installed changed.

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Affidavit needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true). Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments: its ensurepip is missing. On Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(call install,.)

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(call install,.[dev])
	@touch $(VENV)/.installed

# The tested versions first; where they cannot be had (another Python, an older mirror), what pyproject.toml allows.
define install
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '$(1)' || { \
	  echo "The tested versions in constraints.txt cannot be installed here; taking what pyproject.toml allows." >&2; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '$(1)'; }
	@touch $@
endef
