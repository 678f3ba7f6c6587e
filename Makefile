# One vocabulary for people, hooks and CI. It needs Python 3.11 to 3.13, git and GNU make 3.81 or newer; the rest goes
# into .venv, which every target makes when it is missing or older than requirements.lock.

VENV := .venv
# Modules are run by this path, not by name: commands in .venv/bin break when the folder is moved or has a space in its name.
PY := $(VENV)/bin/python
RUN := PYTHONPATH=src $(PY)
READY := $(VENV)/.ready
REGISTRY = $(RUN) -m visiongate.commands.registry
# What a person gives as NAME=value reaches a recipe by the environment, so that no text of theirs becomes a command.
# DVC's stages call `python`.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

CANDIDATES := $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11)
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
ADDRESS := from visiongate import config; from visiongate.tracking import store; \
	print(store.open_store(config.load_settings().tracking).address)
STORE := .dvc/store
STORE_LIMIT := 2000000

.DEFAULT_GOAL := help
.PHONY: help setup params repro register gate adopt experiments sweep branch registry rollback compare trace test check lint types drift format lock store mlflow bench hooks

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with the pinned packages (PYTHON=python3.12 chooses the interpreter)
	@echo "$(VENV) is ready"

params: $(READY) ## Compose conf/ into params.yaml
	@$(RUN) -m visiongate.compose

repro: params ## Rebuild whatever changed, from the raw images to a registered model
	@echo "Running the stages that changed"
	@$(PY) -m dvc repro --pull

register: params ## Register the model at hand, also where nothing changed: into a store that does not know it yet
	@$(PY) -m dvc repro --force --single-item register

gate: $(READY) ## Print the gate's verdict; fail if it does (BASE=main judges the rules on the largest drop too)
	@$(RUN) -m visiongate.commands.gate $(if $(filter-out undefined,$(origin BASE)),--base="$$BASE")

adopt: params ## Write the best settings that optimize found, or those of FROM=experiment, into conf/experiment/NAME.yaml (NAME=tuned; FORCE=1 overwrites)
	@$(RUN) -m visiongate.commands.adopt --name="$${NAME:-tuned}" $(if $(filter-out undefined,$(origin FROM)),--from="$$FROM") \
		--metric="$${METRIC:-accuracy}" $(if $(FORCE),--force)

experiments: $(READY) ## Show what has been tried, the best first, and whether it is better (METRIC=accuracy; REV=commit, ALL=1: from other commits)
	@$(RUN) -m visiongate.commands.experiments --metric="$${METRIC:-accuracy}" --rev="$${REV:-HEAD}" $(if $(ALL),--all)

sweep: params ## Try every combination of GRID='model.lr=0.01,0.02 model=small_cnn,simple_cnn', or each line of LIST=file (JOBS=2 STAGE=evaluate NAME=sweep DRY=1)
	@$(RUN) -m visiongate.commands.sweep $(if $(filter-out undefined,$(origin GRID)),--grid="$$GRID") \
		$(if $(filter-out undefined,$(origin LIST)),--list="$$LIST") $(if $(filter-out undefined,$(origin JOBS)),--jobs="$$JOBS") --stage="$${STAGE:-evaluate}" \
		--name="$${NAME:-sweep}" --metric="$${METRIC:-accuracy}" $(if $(DRY),--dry) $(if $(FORCE),--force)

branch: $(READY) ## Make an experiment a branch, with its settings in conf/ (FROM=experiment or best, by METRIC=accuracy; NAME=branch)
	@$(RUN) -m visiongate.commands.branch --from="$$FROM" --metric="$${METRIC:-accuracy}" --name="$$NAME"

registry: $(READY) ## List the registered versions: aliases, decision, accuracy, date, commit, reason
	@$(REGISTRY) show

rollback: $(READY) ## Put the previous champion back (TO=3 chooses a version; WHY='it was slow'; FORCE=1 takes one that never passed the gate)
	@$(REGISTRY) rollback $(if $(value TO),--to="$$TO") $(if $(value WHY),--why="$$WHY") $(if $(FORCE),--force)

compare: $(READY) ## Put the best runs side by side (TOP=5 METRIC=test/accuracy)
	@$(REGISTRY) compare --top="$${TOP:-5}" --metric="$${METRIC:-test/accuracy}"

trace: $(READY) ## Say what a model was made from (VERSION=models:/NAME@champion; VERIFY=1 makes it again in a temporary clone, and compares)
	@$(REGISTRY) trace $(if $(value VERSION),"$$VERSION") $(if $(VERIFY),--verify)

test: $(READY) ## Run the tests, with coverage
	@echo "Testing"
	@$(PY) -m pytest --numprocesses auto --cov

check: lint types drift ## Check format, style, import contracts, types and params.yaml; change nothing

lint: $(READY) ## Check format, style and import contracts
	@echo "Checking format, style and import contracts"
	@$(PY) -m ruff format --check --quiet || { echo "Not formatted: run make format" >&2; exit 1; }
	@$(PY) -m ruff check --quiet
	@report=$$($(RUN) $(VENV)/bin/lint-imports --no-logo) || { echo "$$report" >&2; exit 1; }

types: $(READY) ## Check types
	@echo "Checking types"
	@$(PY) -m mypy

drift: $(READY) ## Check that params.yaml is what conf/ composes
	@$(RUN) -m visiongate.compose --check

format: $(READY) ## Format the code and fix what can be fixed
	@$(PY) -m ruff format
	@$(PY) -m ruff check --fix-only

lock: $(READY) ## Pin what pyproject.toml asks for in requirements.lock (UPGRADE=1 takes the newest versions)
	@echo "Resolving for Python 3.11 to 3.13, on every platform"
	@cp requirements.lock $(VENV)/resolved.txt
	@$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --group dev $(if $(UPGRADE),--upgrade) \
		--no-header --annotation-style line --output-file $(VENV)/resolved.txt pyproject.toml > /dev/null
	@{ grep '^#' requirements.lock; grep -vE '^(nvidia-|cuda-|triton==)' $(VENV)/resolved.txt; } > $(VENV)/requirements.lock
	@mv $(VENV)/requirements.lock requirements.lock
	@echo "requirements.lock pins $$(grep -c == requirements.lock) packages"

store: $(READY) ## Make .dvc/store hold what dvc.lock names and nothing else
	@echo "Filling $(STORE) anew"
	@rm -rf $(STORE)
	@$(PY) -m dvc push --quiet --remote store
	@bytes=$$(find $(STORE) -type f -exec cat {} + | wc -c); \
	echo "$(STORE): $$((bytes / 1000)) kB, of at most $$(($(STORE_LIMIT) / 1000))"; \
	[ "$$bytes" -le $(STORE_LIMIT) ]

mlflow: $(READY) ## Open the tracking UI on the store that the stages write to (PORT=5000)
	@address=$$($(RUN) -c '$(ADDRESS)') || exit 1; \
	case $$address in http*) echo "MLflow runs at $$address"; exit;; esac; \
	echo "MLflow on $$address: http://127.0.0.1:$(or $(PORT),5000)"; \
	MLFLOW_DISABLE_TELEMETRY=true $(PY) -m mlflow server --backend-store-uri "$$address" \
		--artifacts-destination mlruns/artifacts --port $(or $(PORT),5000) --workers 1

bench: $(READY) ## Measure the line's time and where it goes (BENCH=data, training, optimize, promotion, remote: a part of it against what one would use instead)
	@$(RUN) benchmarks/$(or $(BENCH),line).py

hooks: $(READY) ## Have git run format, lint and drift before each commit
	@$(PY) -m pre_commit install

# Both rules stop with one line when something is missing. --clear replaces an environment whose interpreter is gone.
$(PY):
	@for python in $(CANDIDATES); do \
		"$$python" -c '$(SUITABLE)' 2> /dev/null && break || python=; \
	done; \
	if [ -z "$$python" ]; then \
		echo "No Python 3.11 to 3.13 among: $(CANDIDATES). Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2> /dev/null; then \
		echo "$$python cannot make environments: install its venv module (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv --clear $(VENV)

# pip shows nothing when quiet, and hundreds of lines when not: dots say that it is alive.
$(READY): $(PY) requirements.lock
	@echo "Installing $$(grep -c == requirements.lock) packages into $(VENV): a minute or two, more on a slow network"
	@(while kill -0 $$$$; do printf .; sleep 3 > /dev/null; done) 2> /dev/null & dots=$$!; \
	$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements.lock; \
	status=$$?; kill $$dots; echo; exit $$status
	@touch $@
