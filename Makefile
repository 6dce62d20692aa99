# The project's commands. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

lock: ## Resolve the dependencies of pyproject.toml again into requirements*.lock (needs uv)
	uv pip compile $(UPGRADE) --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url --no-header -q pyproject.toml -o requirements.lock
	uv pip compile $(UPGRADE) --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url --no-header -q -c requirements.lock pyproject.toml --group test --group check -o requirements-test.lock

.PHONY: help lock
