# Everything a newcomer needs. `make help` lists the targets.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)
PYTHONS = $(shell for v in 3.11 3.12 3.13 3.14; do \
	for p in python$$v "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$v.*/bin/python$$v; do \
	"$$p" -c '' 2>/dev/null && { echo "$$p"; break; }; done; done; true)
UV := $(shell command -v uv 2>/dev/null)
VENV := .venv
BIN := $(VENV)/bin
OUTSIDE := .outside
OTHERS := aics-witness tlog-scales node

# Installs a lock file and then the project itself, with uv where there is one and plain pip elsewhere.
define install
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; none was found" >&2; exit 1; }
	@if [ -n "$(UV)" ]; then \
		echo "installing into $(VENV) with uv"; \
		$(UV) venv --quiet --allow-existing --python "$(PYTHON)" $(VENV) && \
		$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r $(1) && \
		$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
		echo "installing into $(VENV) with pip"; \
		"$(PYTHON)" -m venv $(VENV) && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1) && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $@
endef

.DEFAULT_GOAL := help
.PHONY: help demo test golden storm outside lint bench serve lock audit clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## Play a year of one contract; then leave the service running (ONCE=1: end)
	@$(BIN)/chipledger demo $(if $(ONCE),--once)

test: $(VENV)/.installed-dev ## Run the tests (TESTS=path or options for pytest)
	@$(BIN)/python -m pytest $(TESTS)

golden: ## Judge the golden log again on every Python that is here: each decision, to the byte
	@for python in $(PYTHONS); do \
		venv=.venv-$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		$(MAKE) --no-print-directory PYTHON=$$python VENV=$$venv $$venv/.installed \
		&& $$venv/bin/chipledger replay tests/vectors/decisions-1.txt || exit 1; \
	done

storm: $(VENV)/.installed-dev ## Run the tests under fire, many rounds (ROUNDS=50)
	@CHIPLEDGER_STORM_ROUNDS=$(or $(ROUNDS),50) $(BIN)/python -m pytest tests/faults

outside: $(VENV)/.installed-dev $(OTHERS:%=$(OUTSIDE)/%/.installed) ## Let others' software check ours: C2SP tools, Node (fetches them)
	@$(BIN)/python -m pytest tests/outside/others.py

$(OUTSIDE)/node/.installed: tests/outside/node/package-lock.json
	@mkdir -p $(@D) && cp tests/outside/node/*.json $(@D) && npm ci --silent --prefix $(@D) && touch $@

$(OUTSIDE)/%/.installed: tests/outside/%.lock # which want Python 3.12
	@"$(lastword $(PYTHONS))" -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

lint: $(VENV)/.installed-dev ## Check style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.installed-dev ## Measure against the naive design, raw COPY and the hash-only ceiling; deciding, replay
	@$(BIN)/python -m tests.benchmarks

serve: $(VENV)/.installed ## Run the service on an embedded PostgreSQL
	@$(BIN)/chipledger serve

lock: ## Resolve the dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--no-annotate --extra build pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--no-annotate --extra build --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

audit: $(VENV)/.installed-dev ## Look the locked libraries up among known vulnerabilities (asks the package index)
	@$(BIN)/pip-audit --strict --require-hashes --disable-pip --progress-spinner off -r requirements.lock

clean: ## Remove what was installed and what the demo wrote
	@test ! -x $(BIN)/chipledger || $(BIN)/chipledger db stop --force >/dev/null 2>&1 || true
	rm -rf $(VENV) .venv-* $(OUTSIDE) .chipledger .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.installed: requirements.lock pyproject.toml
	$(call install,requirements.lock)

$(VENV)/.installed-dev: requirements-dev.lock pyproject.toml
	$(call install,requirements-dev.lock)
	@touch $(VENV)/.installed
