PYTHON ?= $(or $(shell command -v python3.11),python3)
BIN := .venv/bin
export PEACE_HOME := $(abspath $(or $(PEACE_HOME),.peace))
export OMP_NUM_THREADS ?= 1
PORT ?= 8001
INPUTS ?= 10000
SEED ?= 0
PRETRAINING := $(abspath $(or $(PRETRAINING),.pretraining))
PRETRAINED ?= peace_pipeline/encoder/pretrained
NETWORKS ?= 11400
TRAINING ?= --epochs 24

.PHONY: install demo test test-all fuzz ui hub lint bench docs pretrained

PIP = $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.venv: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps animal-mnist
	touch .venv $(BIN)/peace

# What users install; the old date says that .venv lacks what development needs
$(BIN)/peace: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[onnx]'
	$(PIP) --no-deps animal-mnist
	touch $@
	touch -t 200001010000 .venv

install: $(BIN)/peace

demo: $(BIN)/peace
	$(BIN)/peace demo

test: lint
	$(BIN)/python -m pytest -n 2 -rs

test-all: lint
	$(BIN)/python -m pytest -n 2 -rs -m "sweep or not sweep"

fuzz: .venv
	$(BIN)/python -m tests.weights.fuzzing --inputs $(INPUTS) --seed $(SEED) --failed $(PEACE_HOME)/fuzz

ui: $(BIN)/peace
	$(BIN)/peace ui

hub: .venv
	$(BIN)/python -c 'import socket; socket.create_server(("127.0.0.1", $(PORT))).close()'
	$(BIN)/python -c 'from pathlib import Path; from peace_pipeline.zoo.trained import generate; generate(Path("$(PEACE_HOME)/zoo/trained"), progress=lambda *n: print("%d of %d networks are trained" % n))'
	$(BIN)/python -m tests.standin_hub $(PEACE_HOME)/hub --port $(PORT) --import $(PEACE_HOME)/zoo/trained/demo --owner demo

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv
	failed=0; for name in crawl faults invariance provenance weights zoo; do $(BIN)/python benchmarks/$$name.py || failed=1; done; exit $$failed

docs: .venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

pretrained: $(PRETRAINING)/encoders/current
	$(BIN)/python -c 'from pathlib import Path; from peace_pipeline.encoder.shipping import ship; from peace_pipeline.lake import Lake; print(ship(Lake.open(Path("$(PRETRAINING)")), Path("$(PRETRAINED)")))'

$(PRETRAINING)/encoders/current: | .venv
	mkdir -p $(PRETRAINING)
	printf '[[source]]\nkind = "trained"\nrecipe = "pretraining"\nnetworks = $(NETWORKS)\n' > $(PRETRAINING)/peace.toml
	$(BIN)/peace run --home $(PRETRAINING) --config $(PRETRAINING)/peace.toml
	$(BIN)/peace train --home $(PRETRAINING) $(TRAINING)
