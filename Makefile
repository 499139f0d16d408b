# Two commands do all: `make demo` and `make test`. Everything is installed into this directory.
# `make test-all` is `make test` and then `make test-rest`: what needs Docker, PostgreSQL or root, and more of the same.
UV := .tools/bin/uv
BIN := .venv/bin
export UV_PROJECT_ENVIRONMENT := .venv
# Where a proxy signs with its own authority, only the system's certificates know it; without any, uv has its own.
export UV_SYSTEM_CERTS ?= $(if $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt),true,false)
# An image may forbid it, and then each of some thousand processes compiles anew what it imports.
export PYTHONDONTWRITEBYTECODE :=
DEMO_HOME := $(or $(LOCKGATE_HOME),~/.lockgate)/demo

.DELETE_ON_ERROR:
.PHONY: demo up down test test-rest test-all chaos lint bench bench-overhead bench-gateway bench-sandbox bench-gates bench-ship bench-start bench-detect bench-network bench-desk bench-scale install wheel clean

demo: install
	@LOCKGATE_HOME="$(DEMO_HOME)" $(BIN)/lockgate demo $(if $(YES),--yes) $(if $(FORGE),--forge) $(if $(CLUSTER),--cluster)

up: install
	@$(BIN)/lockgate up

down: install
	@LOCKGATE_HOME="$(DEMO_HOME)" $(BIN)/lockgate down
	@$(BIN)/lockgate down

# More workers than cores, for tests wait more than they compute.
PYTEST := $(BIN)/python -m pytest -n 5

test: install
	$(PYTEST) -m "not rest" $(ARGS)

test-rest: install
	$(PYTEST) -m rest $(ARGS)

test-all: test test-rest

chaos: install
	$(BIN)/python -m tests.chaos $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/typos

bench: bench-overhead bench-gateway bench-sandbox bench-gates bench-ship bench-start bench-detect bench-network bench-desk bench-scale

bench-overhead bench-gateway bench-sandbox bench-gates bench-ship bench-start bench-detect bench-network bench-desk bench-scale: install
	$(BIN)/python bench/$(@:bench-%=%).py

install: .venv/.installed

.venv/.installed: uv.lock pyproject.toml station/first_database.py $(UV)
	@echo "installing into .venv"
	@$(UV) sync --locked --quiet
	@$(BIN)/python -m station.first_database
	@touch $@

# To install Lockgate elsewhere: `uv tool install dist/lockgate-*.whl`, or pipx.
wheel: $(UV)
	@$(UV) build --quiet --wheel --out-dir dist
	@ls dist/*.whl

$(UV): scripts/get-uv
	@sh scripts/get-uv .tools

clean: down
	rm -rf .venv .tools
