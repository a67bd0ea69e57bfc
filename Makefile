# make book | test | render | lab | bench | clean  (see README.md)
PROFILE ?= quick
CORES   ?= $(shell getconf _NPROCESSORS_ONLN)
PYTHON  ?= python3
VENV    ?= .venv
# ENVIRONMENT=own uses the environment that is already active (conda, a container) instead of making .venv
ENVIRONMENT ?= venv

ifeq ($(ENVIRONMENT),own)
  PY    := $(PYTHON)
  READY :=
else
  PY    := $(VENV)/bin/python
  READY := $(VENV)/.ready
endif
HTML := book/_build/html/index.html
# One thread per numerical library: the scheduler shares the cores among jobs (CONTRIBUTING.md, "Threads")
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: help book check-book render test test-slow test-chapters lint lab bench environment lock clean
help:
	@echo "make book [PROFILE=smoke|quick|workstation|paper|public] [CORES=n]   run the study and render the book ($(HTML))"
	@echo "make test | test-slow | test-chapters | lint | render | lab | bench | clean"

environment: $(READY)

$(VENV)/.ready: requirements.lock pyproject.toml
	@echo "== environment: installing the pinned packages into $(VENV) (about 6 GB, minutes)"
	@$(PYTHON) -c 'import sys; v=sys.version_info[:2]; sys.exit(0 if (3,11)<=v<=(3,12) else "axspa needs Python 3.11 or 3.12, this is %d.%d: choose one with make PYTHON=python3.11" % v)'
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
	@echo "== environment: ready in $(VENV)"

book: $(READY)
	@$(PY) -m axspa_lib.cli study --profile "$(PROFILE)" --cores "$(CORES)" --render

render: $(READY)
	@$(PY) -m axspa_lib.cli render $(if $(filter command line,$(origin PROFILE)),--profile "$(PROFILE)") $(if $(RECOMPUTE),--recompute)

test: $(READY)
	@echo "== tests (two workers; slow ones: make test-slow)"
	@$(PY) -m pytest -q -n 2 -m "not slow and not site and not chapters" $(ARGS)

test-slow: $(READY)
	@$(PY) -m pytest -q -m slow $(ARGS)

test-chapters: $(READY) ## every chapter from what is stored, and with one changed parameter
	@$(PY) -m pytest -q -n 2 -m chapters $(ARGS)

check-book: $(READY) ## the rendered book in headless Chromium
	@$(PY) -m pytest -q -m site tests/site $(ARGS)

lint: $(READY)
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

lab: $(READY)
	@$(PY) -m jupyterlab notebooks

bench: $(READY)
	@$(PY) -m tests.bench

lock: ## resolve the pinned versions anew (needs uv)
	uv pip compile pyproject.toml --extra dev --extra slurm --universal --python-version 3.11 --no-header --no-annotate -q -o requirements.lock
	sed -i.bak "s/ ; python_full_version < '3.13' and (sys_platform == 'darwin' or sys_platform == 'linux')$$//; s/ and (sys_platform == 'darwin' or sys_platform == 'linux')//" requirements.lock && rm requirements.lock.bak

clean: ## results and rendered pages; the environment stays (remove $(VENV) by hand)
	rm -rf runs book/_build book/executed .snakemake build logs
