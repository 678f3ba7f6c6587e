# What make is for: the environment, the pipeline, the tests and the locks. `visiongate --help` lists all other commands.
# Needs Python 3.11 to 3.13, git and GNU make 3.81 or newer.

VENV := .venv
# Modules are run by this path: the scripts in .venv/bin fail when the folder is moved or its path has a space.
PY := $(VENV)/bin/python
RUN := PYTHONPATH=src $(PY) -m
READY := $(VENV)/.ready
# DVC's stages call `python`.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Images of Python often set this. Without bytecode, each process compiles all that it imports, which takes longer than its work.
unexport PYTHONDONTWRITEBYTECODE
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11)
SUITABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
STORE := .dvc/store
STORE_LIMIT := 3000000
LOCK := $(PY) -m uv pip compile --quiet --universal --python-version 3.11 --no-header --annotation-style line $(if $(UPGRADE),--upgrade)
LOCK_HASHES = $(LOCK) --generate-hashes --no-annotate --constraint requirements.lock

# Airflow's packages do not go with the pipeline's.
AIRFLOW := .venv-airflow
AIRFLOW_PY := $(AIRFLOW)/bin/python
AIRFLOW_READY := $(AIRFLOW)/.ready
STANDALONE := PYTHONPATH=dags $(AIRFLOW_PY) dags/visiongate_dags/standalone.py

.DEFAULT_GOAL := help
.PHONY: help setup repro test test-slow check format lock store bench mlflow hooks airflow-init airflow-up airflow-down

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with the pinned packages (PYTHON=python3.12 chooses the interpreter)

repro: $(READY) ## Compose conf/ into params.yaml and rerun the stages that changed
	@$(RUN) visiongate repro $(if $(OFFLINE),--offline)

test: $(READY) ## Run the tests, with coverage
	@$(PY) -m pytest --numprocesses auto --dist worksteal --cov -m "not slow"

test-slow: $(READY) ## Run the tests that start processes, clones and trainings
	@$(PY) -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder -m slow

check: $(READY) ## Check format, style, types, import contracts, params.yaml and workflows; change nothing
	@$(PY) -m ruff format --check --quiet || { echo "Not formatted: run make format" >&2; exit 1; }
	@$(PY) -m ruff check --quiet
	@$(PY) -m mypy
	@report=$$(PYTHONPATH=src $(VENV)/bin/lint-imports --no-logo) || { echo "$$report" >&2; exit 1; }
	@$(RUN) visiongate params --check
	@$(VENV)/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(VENV)/bin/zizmor --quiet --offline --no-progress .github/workflows

format: $(READY) ## Format the code and fix what ruff can fix
	@$(PY) -m ruff format
	@$(PY) -m ruff check --fix-only

# torch's CUDA packages are left out of the first lock: a CUDA build of torch pins them itself, and a CPU build has none.
lock: $(READY) ## Pin the packages: requirements.lock, and with hashes those of production and of the service (UPGRADE=1)
	@cp requirements.lock $(VENV)/resolved.txt
	@$(LOCK) --extra pipeline --extra serve --group dev --output-file $(VENV)/resolved.txt pyproject.toml > /dev/null
	@{ grep '^#' requirements.lock; grep -vE '^(nvidia-|cuda-|triton==)' $(VENV)/resolved.txt; } > $(VENV)/requirements.lock
	@mv $(VENV)/requirements.lock requirements.lock
	@$(LOCK_HASHES) --extra pipeline --extra serve --output-file requirements-production.lock pyproject.toml > /dev/null
	@$(LOCK_HASHES) --extra serve --output-file requirements-serve.lock pyproject.toml > /dev/null

store: $(READY) ## Fill .dvc/store with the outputs in dvc.lock and nothing else
	@rm -rf $(STORE)
	@$(PY) -m dvc push --quiet --remote store
	@bytes=$$(find $(STORE) -type f -exec cat {} + | wc -c); echo "$(STORE): $$((bytes / 1000)) kB of $$(($(STORE_LIMIT) / 1000))"; \
	[ "$$bytes" -le $(STORE_LIMIT) ]

bench: $(READY) ## Measure (BENCH=pipeline and others: docs/benchmarks.md)
	@PYTHONPATH=src $(PY) benchmarks/$(or $(BENCH),pipeline).py $(ARGS)

mlflow: $(READY) ## Open the tracking UI on the store that the stages write to (PORT=5000)
	@$(RUN) visiongate mlflow --port $(or $(PORT),5000)

airflow-init: $(READY) $(AIRFLOW_READY) ## Make .venv-airflow and Airflow's database; print the password of admin once
	@$(STANDALONE) init

airflow-up: $(READY) $(AIRFLOW_READY) ## Start Airflow on this machine in the background (PORT=8080)
	@[ -f .airflow/airflow.db ] || $(STANDALONE) init
	@PORT=$(PORT) $(STANDALONE) up

airflow-down: ## Stop Airflow and what it runs
	@[ ! -x $(AIRFLOW_PY) ] || $(STANDALONE) down

hooks: $(READY) ## Have git check each commit
	@$(PY) -m pre_commit install

# --clear replaces an environment whose interpreter is gone.
$(PY):
	@for python in $(CANDIDATES); do "$$python" -c '$(SUITABLE)' 2> /dev/null && break || python=; done; \
	[ -n "$$python" ] || { echo "None of $(CANDIDATES) is a Python 3.11 to 3.13 with venv (Debian: apt install python3-venv);" \
		"name another: make PYTHON=/path/to/python3.12" >&2; exit 1; }; \
	"$$python" -m venv --clear $(VENV)

# Installs packages with uv in a quarter of pip's time. uv reads no settings of pip: they are written as those of uv, its variables last,
# because the last wins. Where uv fails, pip installs: it knows more ways to log in to an index. No bytecode: most packages are not
# imported by most commands, and compiling all of them would take longer than downloading them.
define PIP_AS_UV
s/\\n/ /g
/find-links=/s/ /,/g
s/^(global|install|:env:)\.index-url=/export UV_DEFAULT_INDEX=/p
s/^(global|install|:env:)\.extra-index-url=/export UV_INDEX=/p
s/^(global|install|:env:)\.find-links=/export UV_FIND_LINKS=/p
s/^(global|install|:env:)\.no-index=/export UV_OFFLINE=/p
s/^(global|install|:env:)\.trusted-host=/export UV_INSECURE_HOST=/p
s/^(global|install|:env:)\.cert=/export SSL_CERT_FILE=/p
s/^(global|install|:env:)\.proxy=/export ALL_PROXY=/p
endef
export PIP_AS_UV
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-compile
UV_INSTALL := -m uv pip install --quiet --system-certs --index-strategy unsafe-best-match
# Of a Python, options.
install = { eval "$$($(PY) -m pip config list | sort -r | sed -nE "$$PIP_AS_UV")" && $(PY) $(UV_INSTALL) --python $(1) $(2); } || $(1) $(PIP_INSTALL) $(2)

$(READY): $(PY) requirements.lock pyproject.toml
	@echo "Installing $$(grep -c == requirements.lock) packages into $(VENV): a minute, more on a slow network"
	@$(PY) $(PIP_INSTALL) "$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)" || echo "uv cannot be installed; pip takes longer" >&2
	@$(call install,$(PY),--requirement requirements.lock)
	@$(PY) $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# Any package of the other environment may change without a need for this one.
$(AIRFLOW_READY): dags/requirements.lock | $(READY)
	@[ -x $(AIRFLOW_PY) ] || $(PY) -m venv --clear $(AIRFLOW)
	@echo "Installing $$(grep -c == dags/requirements.lock) packages into $(AIRFLOW): a minute, more on a slow network"
	@$(call install,$(AIRFLOW_PY),--require-hashes --requirement dags/requirements.lock)
	@touch $@
