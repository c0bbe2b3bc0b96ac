# The other targets need only `make install` and call it first; if nothing has changed, it takes a second.
# Its options (PYTHON, TORCH_INDEX, TORCH, OPS) are explained by `tools/install.sh --help`.
PYTHON_IN_VENV := .venv/bin/python

.PHONY: help install demo test test-long test-gpu lint clean

help:
	@echo 'make install    create .venv (tools/install.sh --help lists the options)'
	@echo 'make demo       run the whole method on a small generated dataset, about 20 minutes (SEEDS=3: mean of three runs)'
	@echo 'make test       run the tests (TESTS="tests/compat -k nms": some of them)'
	@echo 'make test-long  run the tests that take minutes or repeat cheaper ones (not in make test)'
	@echo 'make test-gpu   run the tests that need a GPU (not in make test)'
	@echo 'make lint       check style, formatting and types'
	@echo 'make clean      remove the caches of tests and tools; keep data, weights and .venv'

install: export OPS := $(OPS)
install: export PYTHON := $(PYTHON)
install: export TORCH := $(TORCH)
install: export TORCH_INDEX := $(TORCH_INDEX)
install:
	@tools/install.sh

SEEDS ?= 1
demo: install
	$(PYTHON_IN_VENV) -m oadp.mini --seeds $(SEEDS)

test: install
	$(PYTHON_IN_VENV) -m pytest -n auto --dist loadfile --no-loadscope-reorder -m 'not long' $(TESTS)

test-long: install
	$(PYTHON_IN_VENV) -m pytest -m long $(TESTS)

test-gpu: export TEST_GPU := 1
test-gpu: install
	$(PYTHON_IN_VENV) -m pytest -m gpu $(TESTS)

lint: install
	$(PYTHON_IN_VENV) -m ruff check .
	$(PYTHON_IN_VENV) -m ruff format --check .
	$(PYTHON_IN_VENV) -m mypy

clean:
	rm -rf build dist .pytest_cache .ruff_cache *.egg-info
	find oadp tests tools configs -name __pycache__ -type d -prune -exec rm -rf {} +
