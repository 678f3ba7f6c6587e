"""An experiment's parameters as a recipe in ``conf/experiment`` that composes to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from visiongate.errors import SettingsError, VisiongateError
from visiongate.experiments.listing import leaves
from visiongate.experiments.ranking import ABSENT, find_differences
from visiongate.settings.composition import compose_values

PRIMARY = "config.yaml"
RECIPES = "experiment"
# The groups that choose other groups.
FIRST_GROUPS = ("dataset", "model")
# A group is replaced only if that saves more than one value.
MIN_CHANGES = 2
MAX_NAMES = 5


class RecipeError(VisiongateError):
    """No recipe composes to the parameters."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Choices of groups, and values that replace settings by dotted name."""

    choices: tuple[tuple[str, str], ...]
    values: Mapping[str, Any]

    def format(self, comment: str) -> str:
        """Return the text of the recipe's file, under a comment."""
        defaults = [{f"override /{group}": name} for group, name in self.choices]
        tree: dict[str, Any] = {"defaults": defaults} if defaults else {}
        for name, value in self.values.items():
            *sections, last = name.split(".")
            node = tree
            for section in sections:
                node = node.setdefault(section, {})
            node[last] = value
        return f"# @package _global_\n{comment}{yaml.safe_dump(tree, sort_keys=False)}"


def find_recipe(conf: Path, params: Mapping[str, Any], *, by_name: bool = False) -> Recipe:
    """Find the choices of groups that compose closest to some parameters, and the values that remain to be set.

    Args:
        conf: The folder of the groups.
        params: Every parameter by dotted name.
        by_name: Try only the files with the names of the data set and of the model, which takes a few compositions; the
            recipe may have more values then.

    Raises:
        RecipeError: ``conf/`` does not compose, or composes to a setting that the parameters lack.
    """
    choices: dict[str, str] = {}
    remaining = _try_compose(conf, choices, params)
    for group in _groups(conf) if remaining else ():
        if sum(name.startswith(f"{group.replace('/', '.')}.") for name in remaining or ()) < MIN_CHANGES:
            continue
        for name in _list_files(conf, group, params, by_name=by_name):
            tried = {**choices, group: name}
            differences = _try_compose(conf, tried, params)
            if differences is not None and (remaining is None or len(differences) < len(remaining)):
                choices, remaining = tried, differences
    if remaining is None:
        raise RecipeError(f"{conf}/ does not compose; run `visiongate params`")
    surplus = [name for name, value in remaining.items() if value == ABSENT]
    if surplus:
        raise RecipeError(
            f"{', '.join(surplus[:MAX_NAMES])}: {conf}/ composes to it, but the experiment does not have it; adopt the "
            "experiment on the commit that it started from"
        )
    return Recipe(tuple(choices.items()), remaining)


def check_recipe(conf: Path, name: str, params: Mapping[str, Any]) -> None:
    """Check that a recipe composes to exactly these parameters.

    Raises:
        RecipeError: It composes to others.
    """
    differences = find_differences(_compose(conf, [f"{RECIPES}={name}"]), params)
    if differences:
        raise RecipeError(
            f"experiment={name}: composes to other values of {', '.join(list(differences)[:MAX_NAMES])} than the experiment had"
        )


def _try_compose(conf: Path, choices: Mapping[str, str], params: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how the parameters differ from what the choices compose to, None if these do not compose."""
    try:
        composed = _compose(conf, [f"{group}={name}" for group, name in choices.items()])
    except SettingsError:
        return None
    return find_differences(composed, params)


def _compose(conf: Path, overrides: list[str]) -> dict[str, Any]:
    return dict(leaves(compose_values(conf, overrides)))


def _list_files(conf: Path, group: str, params: Mapping[str, Any], *, by_name: bool) -> list[str]:
    names = sorted(path.stem for path in (conf / group).glob("*.yaml"))
    return [
        name for name in names if not by_name or (group in FIRST_GROUPS and name == params[f"{group}.name"])
    ]


def _groups(conf: Path) -> list[str]:
    """Return the groups of the primary config; those that choose other groups come first."""
    defaults = yaml.safe_load((conf / PRIMARY).read_text(encoding="utf-8"))["defaults"]
    groups = [group for entry in defaults if isinstance(entry, dict) for group in entry if group != RECIPES]
    return [*FIRST_GROUPS, *(group for group in groups if group not in FIRST_GROUPS)]
