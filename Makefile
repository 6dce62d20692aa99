# The project's commands. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
# Test processes that run at once, and what `make test` runs.
TEST_WORKERS ?= 2
TESTS ?= tests
# How often a test that failed is run again; those are listed.
RERUNS ?= 0
UV_COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url --no-header -q
export PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The environment is byte-compiled as it is used; where this variable forbids that, each start would take 10 s longer.
unexport PYTHONDONTWRITEBYTECODE

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

venv: ## Make the environment (.venv) from requirements.lock, or bring it up to date
	@scripts/make_environment $(VENV) requirements.lock

venv-test:
	@scripts/make_environment $(VENV) requirements-test.lock requirements.lock

demo: venv ## Show the suite at work on a sample HRIS; needs no configuration, stops what it starts
	$(PY) -m demo

up: venv ## Start a Prefect server and a worker that stay, and deploy
	$(PY) -m demo up

down: ## Stop what make up started
	$(PY) -m demo down

deploy: venv ## Bring the Prefect server of PREFECT_API_URL to what prefect.yaml says
	$(PY) -m deployments deploy

doctor: venv ## Look at every configured system and say what is wrong (DOCTOR="--json hris": see python -m db doctor --help)
	@$(PY) -m db doctor $(DOCTOR)

test: venv-test ## Install what tests need, start private servers, run all tests
	@scripts/install_test_servers
	$(PY) -m pytest -n $(TEST_WORKERS) --reruns $(RERUNS) -rR --durations 20 $(TESTS)

test-sqlserver: venv-test ## Run every flow that reads SQL Server against real ones: HRIS_TEST_URL=mssql://… BIOSTAR_TEST_URL=…
	@test -n "$$HRIS_TEST_URL$$BIOSTAR_TEST_URL" || { echo "Give HRIS_TEST_URL and BIOSTAR_TEST_URL: see docs/sql-server.md"; exit 2; }
	@scripts/install_test_servers
	@$(PY) -m pytest tests/sqlserver

conformance: venv-test ## Run Celery's own unit tests with the shim's task class
	$(PY) -m tests.conformance

survival: venv-test ## The tests that take minutes: servers away for long, hundreds of calls, many random examples
	@scripts/install_test_servers
	$(PY) -m pytest -m slow $(TESTS)

chaos: venv-test ## Kill every part at random with -9 while 200 calls come in (CHAOS="--size short", "--size nightly")
	@scripts/install_test_servers
	$(PY) -m tests.chaos $(CHAOS)

client-wheel: venv-test ## Build the wheel that callers install (tasks, shim, celery_app, celery_bridge) into dist/
	$(PY) -m client

bench: ## Measure the replication against bare LOAD DATA, row by row and dlt (BENCH=--quick: within a minute); prints JSON
	@scripts/install_test_servers
	@scripts/make_environment $(VENV)-bench requirements-bench.lock requirements.lock
	@$(VENV)-bench/bin/python -m bench replication --json $(BENCH)

lint: venv-test ## Linter, formatter check, type checker
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy .

lock: ## Resolve the dependencies of pyproject.toml again into requirements*.lock (needs uv; UPGRADE=--upgrade takes newer ones)
	echo pip | $(UV_COMPILE) $(UPGRADE) - -o requirements-pip.lock
	$(UV_COMPILE) $(UPGRADE) pyproject.toml -o requirements.lock
	$(UV_COMPILE) $(UPGRADE) -c requirements.lock pyproject.toml --group test --group check -o requirements-test.lock
	$(UV_COMPILE) $(UPGRADE) -c requirements-test.lock pyproject.toml --group test --group bench -o requirements-bench.lock

clean: ## Remove the environment and caches; databases and logs (.data) stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

.PHONY: help venv demo up down deploy doctor venv-test test test-sqlserver conformance survival chaos client-wheel bench lint lock clean
