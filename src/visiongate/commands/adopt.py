"""``visiongate adopt``: write the settings of an experiment, or the best ones of `optimize`, as a recipe."""

import re
import textwrap
from pathlib import Path

from visiongate import paths
from visiongate.commands.selection import MAX_WIDTH, Selection, describe, find_selected
from visiongate.errors import DataError, VisiongateError
from visiongate.experiments.listing import leaves
from visiongate.experiments.ranking import find_differences
from visiongate.experiments.recipe import Recipe, check_recipe, find_recipe
from visiongate.optimization.fingerprint import current_values, study_settings
from visiongate.records.files import write_text
from visiongate.records.search import (
    RecommendationRecord,
    StudyRecord,
    Values,
    read_best,
    read_comparison,
    read_study,
    read_summary,
)
from visiongate.settings.composition import CONF, compose_values
from visiongate.settings.loading import load_settings
from visiongate.training.fingerprint import data_sha256

RECIPES = Path("conf/experiment")


def run(experiment: str | None, name: str, metric: str, *, force: bool) -> int:
    """Write the recipe and print how to run it.

    Raises:
        VisiongateError: As `adopt_search` and `adopt_experiment`.
    """
    if experiment is None:
        path = adopt_search(name, force=force)
    else:
        path = adopt_experiment(name, Selection(experiment, metric), force=force)
    print(f"Wrote {path}. To run it: dvc exp run -S experiment={name}")
    return 0


def adopt_search(name: str, *, force: bool) -> Path:
    """Write ``conf/experiment/NAME.yaml`` from the result of the search and return its path.

    The recipe composes to the current parameters with the best values, also if an experiment has set others than ``conf/``,
    such as another data set.

    Args:
        name: The recipe's name.
        force: Whether to replace a recipe of this name.

    Raises:
        DataError: There is no result, it belongs to other settings or images, the best settings are not better than the current
            ones, or the name is invalid or exists.
        VisiongateError: ``conf/`` cannot compose to the settings.
    """
    path = _recipe_path(name)
    study, comparison = read_study(paths.OPTIMIZE), read_comparison(paths.RECOMMENDATION)
    _check_current(study, comparison)
    if not comparison.adoptable:
        raise DataError(f"{paths.RECOMMENDATION}: there is nothing to adopt: {comparison.conclusion}")
    recipe = _find_recipe(read_best(paths.OPTIMIZE))
    _write_recipe(path, recipe.format(_describe_search(name, study, comparison)), force=force)
    return path


def adopt_experiment(name: str, selection: Selection, *, force: bool) -> Path:
    """Write ``conf/experiment/NAME.yaml`` from an experiment and return its path; it composes to the experiment's parameters.

    Args:
        name: The recipe's name.
        selection: The experiment.
        force: Whether to replace a recipe of this name.

    Raises:
        DataError: The name is invalid or exists.
        VisiongateError: There is no such experiment, or ``conf/`` cannot compose to its parameters.
    """
    path = _recipe_path(name)
    experiment = find_selected(selection, Path.cwd())
    recipe = find_recipe(CONF, experiment.params)
    before = path.read_text(encoding="utf-8") if path.exists() else None
    _write_recipe(path, recipe.format(describe(experiment, selection.metric, name)), force=force)
    try:
        check_recipe(CONF, name, experiment.params)
    except VisiongateError:
        path.unlink() if before is None else write_text(path, before)
        raise
    return path


def _find_recipe(best: Values) -> Recipe:
    # Without the defaults of settings that params.yaml does not have.
    params = dict(leaves(load_settings().model_dump(exclude_unset=True)))
    if find_differences(dict(leaves(compose_values(CONF, ()))), params):
        return find_recipe(CONF, params | best, by_name=True)
    return Recipe((), best)


def _recipe_path(name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name):
        raise DataError(f"--name {name} is invalid: use letters, digits, - and _")
    return RECIPES / f"{name}.yaml"


def _write_recipe(path: Path, text: str, *, force: bool) -> None:
    if path.exists() and path.read_text(encoding="utf-8") != text and not force:
        raise DataError(f"{path} exists: choose another --name, or overwrite it with --force")
    write_text(path, text)


def _check_current(study: StudyRecord, comparison: RecommendationRecord) -> None:
    """Check that the result belongs to the current settings and images."""
    settings = load_settings()
    changed = find_differences(
        {**dict(leaves(study.settings)), **comparison.current},
        {**dict(leaves(study_settings(settings))), **current_values(settings)},
    )
    if changed:
        raise DataError(
            f"{paths.RECOMMENDATION}: {', '.join(changed)} changed since the search; run `dvc repro recommend`"
        )
    try:
        data = data_sha256(paths.TRANSFORMED)
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: no such file; run `dvc repro` or `dvc pull`") from None
    if data != study.data:
        raise DataError(f"{paths.OPTIMIZE}: the images changed since the search; run `dvc repro recommend`")


def _describe_search(name: str, study: StudyRecord, comparison: RecommendationRecord) -> str:
    """Return the comment of the recipe: cost, conclusion and command."""
    summary, model = read_summary(paths.OPTIMIZE_SUMMARY), study.settings["model"]["name"]
    lines = [
        f"Cost: as {model} without it; the search took {summary.epochs} epochs in {summary.trials} trials.",
        *textwrap.wrap(comparison.conclusion, MAX_WIDTH),
        f"  dvc exp run -S experiment={name}",
    ]
    return "".join(f"# {line}\n" for line in lines)
