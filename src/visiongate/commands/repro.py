"""``visiongate repro``, ``try``, ``retrain`` and ``registry register``: run DVC and keep the log of the run.

DVC's output is also written to ``logs/repro.log``, and the exit status to ``logs/repro.json``. `visiongate report` reads both
if the run failed.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from visiongate import paths
from visiongate.adapters.processes import program_path
from visiongate.commands import params
from visiongate.commands.default_extras import choose_extras
from visiongate.commands.default_recipe import GROUP as RECIPES
from visiongate.commands.default_recipe import choose_recipe, without_null
from visiongate.commands.page_runs import PIPELINE_PAGES, record_pages
from visiongate.commands.preflight import check_run
from visiongate.commands.source import find_source
from visiongate.errors import DataError, SettingsError
from visiongate.ingestion.inspection import inspect_source
from visiongate.ingestion.stage import download_options
from visiongate.logs import LOGS
from visiongate.records.files import read_json, write_json
from visiongate.settings.composition import CONF, compose_params
from visiongate.settings.dataset_page import FOLDER
from visiongate.settings.grammar import quote_override
from visiongate.settings.loading import parse_settings
from visiongate.settings.overrides import quote_text

LOG = LOGS / "repro.log"
STATUS = LOGS / "repro.json"
REPORTS = tuple(
    path.as_posix()
    for path in (
        paths.EVALUATION,
        paths.OPTIMIZE,
        paths.PREPARATION,
        paths.RECOMMENDATION,
        paths.HISTORY.parent,
        paths.VALIDATION,
    )
)
# Outputs without a cache. With --pull, DVC takes a stage for up to date although one of them was deleted.
IN_GIT = (
    paths.TRAINING_SUMMARY,
    paths.METRICS,
    paths.LATENCY,
    paths.GATE,
    paths.STUDY,
    paths.CURRENT,
    paths.OPTIMIZE_SUMMARY,
    paths.RECOMMENDATION_SUMMARY,
    paths.REGISTRATION,
    paths.MODEL_CARD,
)
NEXT = f"The results are in {paths.EVALUATION}/index.html; `visiongate predict PATH` answers for new images"
# The register stage reads these.
MODEL = tuple(
    path.as_posix()
    for path in (
        paths.TRANSFORMED,
        paths.MODEL_DESCRIPTION,
        paths.MODEL_ONNX,
        paths.EVALUATION,
        paths.HISTORY.parent,
    )
)


def run(config: Path | None, data: str | None, *, offline: bool, minimal: bool) -> int:
    """Compose ``params.yaml``, then rerun the stages that changed; return DVC's exit status.

    Raises:
        VisiongateError: A setting or the images are invalid; no output is removed.
    """
    _prepare(tuple(_overrides_of(data)), config, reads_images=not minimal)
    pull = () if offline else ("--pull",)
    if not minimal:
        again = [] if all(path.exists() for path in IN_GIT) else [["repro"]]
        status = _run(["repro", *pull], *again)
        if status == 0:
            print(NEXT)
        return status
    reports = [] if offline else [["pull", *REPORTS]]
    return _run(["repro", *pull, "--allow-missing"], *reports)


def run_experiment(overrides: tuple[str, ...], data: str | None) -> int:
    """Run one experiment in this work tree; return DVC's exit status.

    Raises:
        VisiongateError: A setting or the images are invalid; no output is removed.
    """
    quoted = [*_overrides_of(data, overrides), *map(quote_override, without_null(overrides))]
    if not quoted:
        raise SettingsError("name what to try, such as model.lr=1e-4, or --data PATH")
    check_run(compose_params(CONF, quoted), reads_images=True)
    return _run(["exp", "run", "--pull", *(part for override in quoted for part in ("-S", override))])


def retrain() -> int:
    """Register the committed model, fetch the data again and rerun the changed stages; return DVC's exit status.

    Raises:
        VisiongateError: A setting or the images are invalid; no output is removed.
    """
    _prepare((), None, reads_images=True)
    status = register()
    return status or _run(["repro", "--force", "--single-item", "ingestion"], ["repro", "--pull"])


def register() -> int:
    """Register the current model in the store, even if no stage changed; return DVC's exit status.

    Raises:
        DataError: Outputs are missing, and the DVC remote does not have them.
    """
    absent = _missing_outputs()
    pull = [["pull", *absent]] if absent else []
    status = _run(*pull, ["repro", "--force", "--single-item", "register"])
    if status and (absent := _missing_outputs()):
        raise DataError(
            f"{', '.join(absent)}: missing, and `dvc pull` cannot fetch them; run `dvc push` where the model was made, or "
            "`visiongate repro` to make it again"
        )
    return status


def read_last_failure(lock: Path) -> tuple[Path | None, bool]:
    """Return the log of the last run if it failed, and whether no other run has succeeded since.

    Args:
        lock: ``dvc.lock``, which a later run by hand has changed.
    """
    if not STATUS.exists() or read_json(STATUS)["status"] == 0:
        return None, False
    return LOG, not lock.exists() or lock.stat().st_mtime <= STATUS.stat().st_mtime


def _prepare(overrides: tuple[str, ...], config: Path | None, *, reads_images: bool) -> None:
    """Compose ``params.yaml``, and write it if the run can start."""
    text, before = params.compose(overrides, config), params.read_data_set()
    check_run(text, reads_images=reads_images)
    params.write(text)
    after = params.read_data_set()
    if before not in (None, after):
        print(f"The data set changes from {before} to {after}; `visiongate use` makes one the default")


def _overrides_of(data: str | None, settings: Sequence[str] = ()) -> list[str]:
    """Return the overrides that choose a folder, an archive, an address or a data set of ``conf/dataset``.

    Args:
        data: What the user names; None for the default.
        settings: The user's other settings, which may choose the recipe.
    """
    if data is None:
        return []
    source = find_source(data)
    if source.page is not None:
        return [f"dataset={source.page}"]
    chosen = [
        f"dataset={FOLDER}",
        *(f"dataset.{key}={quote_text(text)}" for key, text in source.values.items()),
    ]
    return [*chosen, *_choose_defaults(chosen, settings)]


def _choose_defaults(chosen: Sequence[str], settings: Sequence[str]) -> list[str]:
    """Print how the recipe and the packages for the images are chosen, and return the overrides."""
    composed = compose_params(CONF, [*chosen, *map(quote_override, without_null(settings))])
    dataset = parse_settings(yaml.safe_load(composed), str(paths.PARAMS)).dataset
    inspection = inspect_source(dataset, download_options(dataset))
    extras = choose_extras(inspection.extras, settings)
    recipe = choose_recipe(inspection, dataset, settings)
    for line in [extras.reason, recipe.reason if recipe else ""]:
        if line:
            print(line)
    return [*extras.override, *([f"{RECIPES}={recipe.name}"] if recipe and recipe.name else [])]


def _missing_outputs() -> list[str]:
    """Return the outputs that the register stage reads and that are not in the work tree."""
    return [path for path in MODEL if not Path(path).exists()]


def _run(*commands: Sequence[str]) -> int:
    """Run DVC commands one after the other until one fails. If none does, record the commit of the pages."""
    LOGS.mkdir(exist_ok=True)
    STATUS.unlink(missing_ok=True)
    status = 0
    with LOG.open("w", encoding="utf-8") as log:
        for command in commands:
            status = status or _call_dvc(command, log.write)
    write_json(STATUS, {"status": status})
    if status == 0:
        record_pages(PIPELINE_PAGES, Path.cwd())
    return status


def _call_dvc(arguments: Sequence[str], keep: Callable[[str], object]) -> int:
    """Call DVC and return its exit status.

    Each line of the output is passed to ``keep``, except on a terminal, which progress bars need for themselves.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    environment = {**os.environ, "PATH": program_path()}
    if sys.stdout.isatty():
        return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603
    with subprocess.Popen(  # noqa: S603
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            keep(line)
    return process.returncode
