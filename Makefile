# Everything a person types here. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
#: pytest's own arguments, for instance: make test ARGS="-k snapshot"
ARGS ?=
#: one test process per core
JOBS ?= $(shell nproc)

.PHONY: help install demo demo-ssh up up-compose down-compose test test-fast e2e screenshots lint types bench build lock clean

help: ## what can be asked for
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

$(INSTALLED): pyproject.toml requirements/development.txt scripts/install
	scripts/install "$(PYTHON)" $(VENV)
	@touch $@

install: $(INSTALLED) ## a virtual environment with the provider, Airflow and what the tests need

demo: $(INSTALLED) ## run the example DAG in a real Airflow and print its report; the second time nothing is built or sent
	$(BIN)/python -m scripts.airflow_instance demo

demo-ssh: $(INSTALLED) ## the same on a machine over SSH: this one, behind a private sshd that comes and goes
	$(BIN)/python -m scripts.demo_ssh

up: $(INSTALLED) ## Airflow with the example DAGs; prints address and login, Ctrl-C ends it
	$(BIN)/python -m scripts.airflow_instance up

up-compose: ## the deployment of docker-compose.yml: makes its secrets in .env, builds, starts, prints address and login
	$(PYTHON) -m scripts.compose up

down-compose: ## end it; what it has kept stays, unless ARGS=--volumes
	$(PYTHON) -m scripts.compose down $(ARGS)

test: $(INSTALLED) ## every test but those of make e2e; of Airflow, the smoke tests on SQLite
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "not e2e" $(ARGS)

test-fast: $(INSTALLED) ## the tests that take under two minutes together
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "not slow and not crash and not e2e" $(ARGS)

e2e: $(INSTALLED) ## a real Airflow on PostgreSQL, over its REST API and in a browser; the whole conformance suite over SSH on Docker
	$(BIN)/python -m pytest -m e2e tests/conformance tests/e2e $(ARGS)

screenshots: $(INSTALLED) ## the pictures of docs/images, taken by the browser's end-to-end tests
	folder=$$(mktemp -d /tmp/airflow.XXXX) && trap 'rm -rf "$$folder"' EXIT && \
	SCRIPTRUN_SCREENSHOTS=docs/images $(BIN)/python -m pytest -m e2e tests/e2e/browser --basetemp="$$folder/tests" $(ARGS)

lint: $(INSTALLED) ## style, import rules, and that the supervisor runs on Python 3.8
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/vermin --quiet --no-tips --target=3.8- --violations airflow_provider/scriptrun/supervisor

types: $(INSTALLED) ## mypy, strict
	$(BIN)/mypy

bench: $(INSTALLED) ## us and the peer in one run; writes the tables of docs/performance.md
	$(BIN)/python -m benchmarks --write $(ARGS)

build: $(INSTALLED) ## the wheel and the source archive, into dist/
	$(BIN)/python -m build --installer uv

lock: $(INSTALLED) ## resolve the development requirements anew
	$(BIN)/uv pip compile --quiet --group dev --all-extras --python-version 3.11 --no-emit-index-url --no-header \
		--no-annotate --output-file requirements/development.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --python-version 3.11 --no-emit-index-url --no-header --no-annotate \
		--constraints requirements/development.txt --output-file tests/compose/requirements.txt \
		tests/compose/requirements.in pyproject.toml

clean: ## remove what was made here, the Airflow of the demo included
	rm -rf $(VENV) .airflow .build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
