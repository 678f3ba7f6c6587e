"""``visiongate adopt``: write the settings of an experiment, or those that `optimize` suggests, as a recipe."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from visiongate import paths
from visiongate.commands.selection import Wanted, describe, find_wanted
from visiongate.errors import DataError, VisiongateError
from visiongate.experiments.listing import leaves
from visiongate.experiments.recipe import check_recipe, find_recipe
from visiongate.optimization.identity import study_settings
from visiongate.records.files import read_json, write_text
from visiongate.settings.composition import CONF
from visiongate.settings.loading import load_settings
from visiongate.settings.schema import Settings
from visiongate.training.fingerprint import data_sha256

EXPERIMENTS = Path("conf/experiment")


def run(experiment: str | None, name: str, metric: str, *, force: bool) -> int:
    """Write the recipe and print how to run it.

    Raises:
        VisiongateError: As `adopt` and `adopt_experiment`.
    """
    wanted = Wanted(experiment, metric) if experiment else None
    path = adopt_experiment(name, wanted, force=force) if wanted else adopt(name, force=force)
    print(f"{path} written; to run it: dvc exp run -S experiment={name}")
    return 0


def adopt(name: str, *, force: bool) -> Path:
    """Write ``conf/experiment/NAME.yaml`` from ``reports/optimize`` and return its path.

    Args:
        name: Of the recipe.
        force: Replace a recipe of this name.

    Raises:
        DataError: There is no report, it is of other settings or images, no trial beats the current settings, or the name is
            none or is taken.
    """
    path = _recipe_path(name)
    study, summary = _read(paths.OPTIMIZE / "study.json"), _read(paths.OPTIMIZE_SUMMARY)
    _check_same(study, load_settings())
    if not study["beaten"]:
        raise DataError(f"{paths.OPTIMIZE}: no trial beats the current settings: there is nothing to adopt")
    values = yaml.safe_load((paths.OPTIMIZE / "best_params.yaml").read_text(encoding="utf-8"))
    _write_recipe(path, _recipe(name, study, summary, values), force=force)
    return path


def adopt_experiment(name: str, wanted: Wanted, *, force: bool) -> Path:
    """Write ``conf/experiment/NAME.yaml`` from an experiment and return its path; it composes to the experiment's parameters.

    Args:
        name: Of the recipe.
        wanted: The experiment.
        force: Replace a recipe of this name.

    Raises:
        DataError: The name is none or is taken.
        VisiongateError: There is no such experiment, or ``conf/`` cannot yield its parameters.
    """
    path = _recipe_path(name)
    experiment = find_wanted(wanted, Path.cwd())
    recipe = find_recipe(CONF, experiment.params)
    before = path.read_text(encoding="utf-8") if path.exists() else None
    _write_recipe(path, recipe.text(describe(experiment, wanted.metric, name)), force=force)
    try:
        check_recipe(CONF, name, experiment.params)
    except VisiongateError:
        path.unlink() if before is None else write_text(path, before)
        raise
    return path


def _recipe_path(name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name):
        raise DataError(f"--name {name} is invalid: use letters, digits, - and _")
    return EXPERIMENTS / f"{name}.yaml"


def _write_recipe(path: Path, text: str, *, force: bool) -> None:
    if path.exists() and path.read_text(encoding="utf-8") != text and not force:
        raise DataError(f"{path} exists: choose another --name, or overwrite it with --force")
    write_text(path, text)


def _read(path: Path) -> Any:  # noqa: ANN401 - whatever JSON gives
    try:
        return read_json(path)
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file; `dvc repro optimize` makes it, `dvc pull` fetches it"
        ) from None


def _check_same(study: Mapping[str, Any], settings: Settings) -> None:
    then, now = dict(leaves(study["settings"])), dict(leaves(study_settings(settings)))
    for key in [*then, *now]:
        if then.get(key) != now.get(key):
            raise DataError(
                f"{paths.OPTIMIZE}: found with other settings: {key} was {then.get(key)!r} and is {now.get(key)!r} in "
                f"{paths.PARAMS}; `dvc repro optimize` searches anew"
            )
    try:
        same = study["data"] == data_sha256(paths.TRANSFORMED)
    except FileNotFoundError as error:
        raise DataError(
            f"{error.filename}: no such file; `dvc repro` makes it, `dvc pull` fetches it"
        ) from None
    if not same:
        raise DataError(f"{paths.OPTIMIZE}: found on other images; `dvc repro optimize` searches anew")


def _recipe(
    name: str, study: Mapping[str, Any], summary: Mapping[str, Any], values: Mapping[str, Any]
) -> str:
    """Write the recipe: what it costs, what it reached, how to run it, and the values with all their digits."""
    model, optimize = study["settings"]["model"]["name"], study["settings"]["optimize"]
    current = "none" if summary["current_value"] is None else f"{summary['current_value']:.4f}"
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *sections, last = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    return (
        "# @package _global_\n"
        f"# Cost: what {model} costs without it; finding it took {summary['epochs']} epochs in {summary['trials']} trials.\n"
        f"# Score: {optimize['metric']} {summary['best_value']:.4f} in a trial of {optimize['epochs']} epochs, "
        f"{current} with the settings as they were;\n"
        f"# {study['verdict']}.\n"
        f"#   dvc exp run -S experiment={name}\n" + yaml.safe_dump(tree, sort_keys=False)
    )
