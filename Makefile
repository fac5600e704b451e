# What a person types. Each target installs what it needs; `make run` needs nothing but Python, pip and the network once.
#
#   PYTHON=/path/to/python   the interpreter to make the environment with (default: the newest of 3.13, 3.12, 3.11)
#   VENV=.venv               where the environment goes
#   ARGS="..."               passed on: make test ARGS="-k architecture", make run ARGS="--help"

VENV   ?= .venv
PYTHON ?=
UV     ?= uv
ARGS   ?=

PY      := $(VENV)/bin/python
PIP     := $(PY) -m pip --disable-pip-version-check --no-input -qq
# An environment that uv made has no pip.
WITH_PIP = $(PY) -m pip --version > /dev/null 2>&1 || $(PY) -m ensurepip > /dev/null
RUNTIME := $(VENV)/.installed-runtime
DEV     := $(VENV)/.installed-dev

# An environment is bound to its place and its interpreter: in a moved or copied checkout it would run the other
# place's code, and after an upgrade of Python nothing. Either way it is made anew.
STALE := $(shell for stamp in $(RUNTIME) $(DEV); do [ ! -e $$stamp ] || { [ -x $(PY) ] && [ "$$(cat $$stamp)" = "$(CURDIR)" ]; } \
	|| rm -f $(PY) $(RUNTIME) $(DEV); done)

# The lock holds the build backend too, so that the package itself is built without a second download.
SELF := $(PIP) install --no-deps --no-build-isolation -e .
LOCK := $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-strip-extras \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS)
count = sed -n "/'win32'/d; s/^\([][a-z0-9.-]*\)==.*/\1/p" $(1) | sort -u | grep -c .
BUILD_BACKEND := "hatchling\neditables\n"

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install run up test lint bench pictures lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

install: $(RUNTIME) ## create .venv and install what running needs, at locked versions
	@echo "Ready: $(VENV)/bin/health-pipeline"

run: $(RUNTIME) ## from file to alert on the bundled data, with no account and no token
	@$(VENV)/bin/health-pipeline run $(ARGS)

up: $(RUNTIME) ## the pipeline with its schedules and its web interface, until Ctrl-C
	@$(VENV)/bin/health-pipeline up $(ARGS)

test: $(DEV) ## the tests, on every core
	@$(PY) -m pytest --numprocesses auto --dist loadfile $(ARGS)

lint: $(DEV) ## ruff (rules and format) and mypy --strict
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

bench: $(RUNTIME) ## the studies under benchmarks/, one after another: long
	@$(PY) -m benchmarks.run_all $(ARGS)

pictures: $(RUNTIME) ## the documentation's pictures, from what `make run` left
	@$(PY) -m benchmarks.pictures $(ARGS)

lock: ## resolve the dependencies anew (needs uv); ARGS=--upgrade for the newest versions
	@command -v $(UV) > /dev/null || { echo "make lock needs uv: install it, or name it with UV=/path/to/uv" >&2; exit 1; }
	@printf $(BUILD_BACKEND) | $(LOCK) pyproject.toml - -o requirements.lock > /dev/null
	@printf $(BUILD_BACKEND) | $(LOCK) pyproject.toml - --extra dev -c requirements.lock -o requirements-dev.lock > /dev/null

clean: ## remove the environment and the caches, never the data in .health-pipeline
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find health_pipeline health_pipeline_tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@python=""; without_venv=""; \
	for candidate in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
		"$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' > /dev/null 2>&1 || continue; \
		if "$$candidate" -c 'import ensurepip, venv' > /dev/null 2>&1; then python="$$candidate"; break; fi; \
		without_venv="$${without_venv:-$$candidate}"; \
	done; \
	if [ -z "$$python" ] && [ -n "$$without_venv" ]; then \
		version=$$("$$without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		echo "Python $$version is here but can't make environments: install its venv module (on Debian and Ubuntu: apt install python$$version-venv), then run make again." >&2; \
		exit 1; \
	fi; \
	if [ -z "$$python" ] && [ -n "$(PYTHON)" ]; then echo "$(PYTHON) is not a Python 3.11 or newer." >&2; exit 1; fi; \
	if [ -z "$$python" ]; then \
		echo "No Python 3.11 or newer found: install one (Debian and Ubuntu: apt install python3 python3-venv; macOS: brew install python), or name it with make PYTHON=/path/to/python." >&2; \
		exit 1; \
	fi; \
	echo "Creating $(VENV) with $$("$$python" -V 2>&1)"; \
	"$$python" -m venv --clear $(VENV)

$(RUNTIME): requirements.lock pyproject.toml | $(PY)
	@echo "Installing $$($(call count,requirements.lock)) packages into $(VENV) (once, about a minute) ..."
	@$(WITH_PIP)
	@$(PIP) install --no-deps --require-hashes -r requirements.lock
	@$(SELF)
	@echo '$(CURDIR)' > $@

$(DEV): requirements-dev.lock requirements.lock pyproject.toml | $(PY)
	@echo "Installing $$($(call count,requirements-dev.lock)) packages into $(VENV), the tests' tools among them (once, about a minute) ..."
	@$(WITH_PIP)
	@$(PIP) install --no-deps --require-hashes -r requirements-dev.lock
	@$(SELF)
	@echo '$(CURDIR)' | tee $(RUNTIME) > $@
