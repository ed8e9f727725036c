# Two commands matter: `make figure14` and `make test`. Both make the environment first, if it is not there.
#
#   make install TORCH_INDEX=https://download.pytorch.org/whl/cpu    takes torch's small CPU build
#   make install PYTHON=python3.12                                   takes another interpreter

PYTHON ?= python3
TORCH_INDEX ?=
export PYTHON TORCH_INDEX

.PHONY: help install figure14 test check clean

help:
	@sed -n 's/^## //p' Makefile

## make install     the environment, in .venv (a second call installs nothing)
install:
	@scripts/install

## make figure14    serve, measure, draw and check FastServe's Figure 14
figure14: install
	@.venv/bin/ae run figure14

## make test        all tests: no network, no GPU, no root
test: install
	@.venv/bin/python -m pytest

## make check       lint, format, types, import contracts, size budget
check: install
	@scripts/check

## make clean       remove .venv and caches; results stay (`ae clean` removes those)
clean:
	rm -rf .venv build ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find ae systems figures tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
