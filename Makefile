# make demo      builds the environment and runs the workflow on real terrain
# make test      adds what tests need to the environment and runs the fast ones
# make test-all  runs all tests that need neither a cluster nor a browser
# make lint      checks style, import contracts and the workflow
# make clean     removes the environment and what the demo made

VENV := .venv
LOCK := envs/requirements.lock
DEVELOPMENT := envs/development.lock

# The first supported Python of this machine that runs and can make environments
# (a pyenv shim may exist and yet not run).
supported = import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c '$(supported)' >/dev/null 2>&1 && { echo $$python; break; }; done)

# uv installs packages in less time than pip; `make UV=` takes pip. Neither compiles all of them to
# bytecode, which takes half a minute and 0.2 GB: Python does so for each module that is used.
UV ?= $(shell command -v uv 2>/dev/null)
INSTALL = $(if $(UV),'$(UV)' pip install --quiet --python $(VENV)/bin/python,\
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile)
unexport PYTHONDONTWRITEBYTECODE

# One process for each core; each takes up to 1 GB.
PYTEST = $(VENV)/bin/pytest --numprocesses auto --maxprocesses 8 --dist worksteal $(PYTEST_OPTIONS)

.PHONY: demo test test-all lint clean environment

demo: environment
	$(VENV)/bin/snakemake --cores all

test: $(VENV)/.developing $(VENV)/.compiled-all
	$(PYTEST)

test-all: $(VENV)/.developing $(VENV)/.compiled-all
	SNAKESHED_TEST_EXAMPLES=$(or $(SNAKESHED_TEST_EXAMPLES),100) $(PYTEST) -m 'not cluster and not browser'

lint: $(VENV)/.developing
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/snakefmt --check Snakefile rules
	$(VENV)/bin/snakemake --lint

clean:
	rm -rf $(VENV) .snakemake results/demo resources/demo

environment: $(VENV)/.compiled
	@:

# Last in the environment, and again when the sources change: what a first run would wait for.
sources := $(shell find scripts/snakeshed -name '*.py')

$(VENV)/.compiled: $(VENV)/.installed $(sources)
	@echo 'Compiling the kernels of a run (about 15 s if none is there yet) ...'
	@$(VENV)/bin/snakeshed compile >/dev/null
	@touch $@

# Also what a run needs only for patches that are too large for one worker.
$(VENV)/.compiled-all: $(VENV)/.installed $(sources)
	@echo 'Compiling all kernels (about 30 s if none is there yet) ...'
	@$(VENV)/bin/snakeshed compile --all >/dev/null
	@touch $(VENV)/.compiled $@

$(VENV)/.developing: $(VENV)/.installed $(DEVELOPMENT)
	@echo 'Adding the packages of $(DEVELOPMENT) to $(VENV) (a few seconds) ...'
	@$(INSTALL) --require-hashes -r $(DEVELOPMENT) $(failed)
	@touch $@

$(VENV)/.installed: $(LOCK) pyproject.toml
	@'$(PYTHON)' -c '$(supported)' 2>/dev/null || { \
		echo 'snakeshed needs Python 3.11, 3.12 or 3.13 with its venv module' \
			'(on Debian and Ubuntu: apt-get install python3-venv).' >&2; \
		echo 'Found: $(or $(PYTHON),none of python3.13 python3.12 python3.11 python3).' \
			'Name another one with: make $(MAKECMDGOALS) PYTHON=/path/to/python' >&2; \
		exit 1; }
	@echo 'Installing the packages of $(LOCK) into $(VENV)' \
		'with $(if $(UV),uv (about 15 s),pip (about 40 s)) ...'
	@'$(PYTHON)' -m venv --clear $(VENV)
	@$(INSTALL) --require-hashes -r $(LOCK) $(failed)
	@$(INSTALL) --no-deps --no-build-isolation --editable . $(failed)
	@# Writes the bytecode of what it imports.
	@$(VENV)/bin/snakemake --version >/dev/null
	@touch $@

failed = $(if $(UV),|| { echo 'uv failed; to take pip instead: make $(MAKECMDGOALS) UV=' >&2; exit 1; })
