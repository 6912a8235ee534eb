# Targets: bench, test, lint, notebooks, docs, aot. They need git, make and Python 3.11 to 3.14, and install everything else.
# The newest Python is used unless you pass PYTHON=python3.12. The environment is .venv unless you pass VENV=folder.
ASKED := $(PYTHON)
ifeq ($(ASKED),)
override PYTHON := $(shell scripts/pythons | sed -n '1s/[^ ]* //p')
else
override PYTHON := $(shell scripts/pythons '$(ASKED)')
endif
VENV ?= .venv
BIN := $(VENV)/bin
VERSION := $(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
LOCK := requirements/python$(VERSION).txt
STAMP := $(VENV)/.installed-$(VERSION)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: setup aot bench test test-oldest test-remat3 lint notebooks docs lock
setup: $(STAMP)

# Replaces an environment of another Python, and refuses a folder that is not an environment.
$(STAMP): $(wildcard $(LOCK)) pyproject.toml artifex_bench/__init__.py
	@test -f "$(LOCK)" || { echo "artifex_bench needs Python 3.11 to 3.14: $(if $(ASKED),'$(ASKED)' cannot be used,no such Python is installed); usable here:" $$(scripts/pythons | cut -d ' ' -f 2-) >&2; exit 2; }
	@test ! -e $(VENV) -o -f $(VENV)/pyvenv.cfg || { echo "VENV=$(VENV) is not a virtual environment: choose another folder" >&2; exit 2; }
	@test -f $@ || { echo "making $(VENV) with Python $(VERSION)"; "$(PYTHON)" -m venv --clear $(VENV); }
	$(PIP) -r $(LOCK)
	$(PIP) --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@touch $@

aot: setup  # compilers for TPUs and GPUs (1.3 GB), for `artifex-bench run remat --target tpu:v5e,gpu:h100`
	$(PIP) --no-deps -r requirements/python$(VERSION)-aot.txt

bench: setup
	$(BIN)/artifex-bench run remat --preset quick

test: setup lint
	$(BIN)/python -m pytest -n auto -p no:benchmark  # pytest-benchmark warns if -n is given

# Tests of strategies and the planner with JAX's new implementation of jax.checkpoint.
test-remat3: setup
	JAX_REMAT3=1 $(BIN)/python -m pytest -n auto -p no:benchmark tests/remat

# Tests that depend on the version of JAX.
test-oldest: setup
	$(BIN)/python -m pytest -n auto -p no:benchmark tests/test_end_to_end.py tests/test_compat.py \
		tests/remat tests/models tests/targets tests/checkpointing tests/checkpoint_io tests/memory_profile tests/execution \
		tests/validation

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: setup
	$(BIN)/python notebooks/execute.py notebooks/*.ipynb

# The site in site/: warnings are errors, and every link is checked. Its environment holds no JAX, because mkdocstrings reads
# the docstrings without importing them.
docs: .venv-docs/.installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict  # the variable hides a notice on the end of life in May 2027

.venv-docs/.installed: requirements/docs.txt
	"$(PYTHON)" -m venv --clear .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/docs.txt
	@touch $@

lock:  # needs uv
	"$(PYTHON)" requirements/lock.py
