# make demo      builds the environment and runs the workflow on real terrain
# make test      builds the environment and runs the fast tests
# make test-all  runs all tests that need neither a cluster nor a browser
# make lint      checks style, import contracts and the workflow
# make clean     removes the environment and what the demo made

VENV := .venv
LOCK := envs/requirements.lock

# The first supported Python of this machine that runs and can make environments
# (a pyenv shim may exist and yet not run).
supported = import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c '$(supported)' >/dev/null 2>&1 && { echo $$python; break; }; done)

# One process for each core; each takes up to 1 GB.
PYTEST = $(VENV)/bin/pytest --numprocesses auto --maxprocesses 8 --dist worksteal $(PYTEST_OPTIONS)

.PHONY: demo test test-all lint clean environment

demo: environment
	$(VENV)/bin/snakemake --cores all

test: environment
	$(PYTEST)

test-all: environment
	SNAKESHED_TEST_EXAMPLES=$(or $(SNAKESHED_TEST_EXAMPLES),100) $(PYTEST) -m 'not cluster and not browser'

lint: environment
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/snakefmt --check Snakefile rules
	$(VENV)/bin/snakemake --lint

clean:
	rm -rf $(VENV) .snakemake results/demo resources/demo

environment: $(VENV)/.compiled

# Last in the environment, and again when the sources change: what a first run would wait for.
$(VENV)/.compiled: $(VENV)/.installed $(shell find scripts/snakeshed -name '*.py')
	$(VENV)/bin/snakeshed compile
	@touch $@

$(VENV)/.installed: $(LOCK) pyproject.toml
	@'$(PYTHON)' -c '$(supported)' 2>/dev/null || { \
		echo 'snakeshed needs Python 3.11, 3.12 or 3.13 with its venv module' \
			'(on Debian and Ubuntu: apt-get install python3-venv).' >&2; \
		echo 'Found: $(or $(PYTHON),none of python3.13 python3.12 python3.11 python3).' \
			'Name another one with: make $(MAKECMDGOALS) PYTHON=/path/to/python' >&2; \
		exit 1; }
	'$(PYTHON)' -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --editable .
	@touch $@
