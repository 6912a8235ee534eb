# make bench · make test · make lint · make notebooks · make aot: the whole set-up. Needs git, make and python3 (3.11 or later).
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup aot bench test lint notebooks
setup: $(STAMP)

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("artifex_bench needs Python 3.11 or later, not " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

aot: setup  # compilers of TPUs and GPUs, for `artifex-bench run remat --target tpu:v5e,gpu:h100`; 1.3 GB on the disk
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-aot.txt

bench: setup
	$(BIN)/artifex-bench run remat --preset quick

test: setup lint
	$(BIN)/python -m pytest -n auto -p no:benchmark  # which would warn of -n

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: setup
	$(BIN)/python notebooks/execute.py notebooks/*.ipynb
