PYTHON ?= python3.11
BIN := .venv/bin
export DAGSTER_HOME := $(abspath $(or $(PEACE_HOME),.peace))/dagster

.PHONY: demo test ui lint bench

.venv: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -c constraints.txt -e '.[dev]'
	$(BIN)/pip install -c constraints.txt --no-deps animal-mnist
	touch .venv
