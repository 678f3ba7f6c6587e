"""An experiment's parameters as a recipe of ``conf/experiment``: what to choose and to set, so that they come out again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from visiongate.errors import SettingsError, VisiongateError
from visiongate.experiments.listing import leaves
from visiongate.experiments.ranking import ABSENT, difference
from visiongate.settings.composition import compose_values

PRIMARY = "config.yaml"
RECIPES = "experiment"
FIRST = ("dataset", "model")  # these choose others
WORTH = 2  # settings that differ make another choice of their group worth a look
NAMED = 5  # differences that a message names


class RecipeError(VisiongateError):
    """Parameters that no recipe yields."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Choices of groups, and values on top of them."""

    choices: tuple[tuple[str, str], ...]
    values: Mapping[str, Any]

    def text(self, comment: str) -> str:
        """Write the recipe's file, under a comment."""
        defaults = [{f"override /{group}": name} for group, name in self.choices]
        tree: dict[str, Any] = {"defaults": defaults} if defaults else {}
        for name, value in self.values.items():
            *sections, last = name.split(".")
            node = tree
            for section in sections:
                node = node.setdefault(section, {})
            node[last] = value
        return "# @package _global_\n" + comment + (yaml.safe_dump(tree, sort_keys=False) if tree else "{}\n")


def find_recipe(conf: Path, wanted: Mapping[str, Any]) -> Recipe:
    """Find the choices of groups that come closest to some parameters, and the values that are still to be set.

    The data set and the model come first, for they choose others. Where a single setting of a group differs, setting it is as
    short as choosing another.

    Args:
        conf: The settings' source.
        wanted: Every setting by dotted name.

    Raises:
        RecipeError: The parameters lack a setting that the closest choice has: no value on top can take it away.
    """
    choices: dict[str, str] = {}
    left = _distance(conf, choices, wanted)
    for group in _groups(conf) if left else ():
        if sum(name.startswith(f"{group.replace('/', '.')}.") for name in left or ()) < WORTH:
            continue
        for name in sorted(path.stem for path in (conf / group).glob("*.yaml")):
            tried = {**choices, group: name}
            found = _distance(conf, tried, wanted)
            if found is not None and (left is None or len(found) < len(left)):
                choices, left = tried, found
    if left is None:
        raise RecipeError(f"{conf}/ does not compose: `make params` says why")
    surplus = [name for name, value in left.items() if value == ABSENT]
    if surplus:
        raise RecipeError(
            f"{', '.join(surplus[:NAMED])}: composed from {conf}/, and the experiment does not have it: no recipe can take it "
            "away; was it composed from another state of conf/?"
        )
    return Recipe(tuple(choices.items()), left)


def check_recipe(conf: Path, name: str, wanted: Mapping[str, Any]) -> None:
    """Make sure that a recipe composes to exactly these parameters.

    Raises:
        RecipeError: It does not; the message names what differs.
    """
    found = difference(_compose(conf, [f"{RECIPES}={name}"]), wanted)
    if found:
        raise RecipeError(
            f"experiment={name} composes to other parameters than the experiment had: {', '.join(list(found)[:NAMED])}"
        )


def _distance(conf: Path, choices: Mapping[str, str], wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the parameters differ in from what the choices compose to; None where they do not compose."""
    try:
        return difference(_compose(conf, [f"{group}={name}" for group, name in choices.items()]), wanted)
    except SettingsError:
        return None


def _compose(conf: Path, overrides: list[str]) -> dict[str, Any]:
    return dict(leaves(compose_values(conf, overrides)))


def _groups(conf: Path) -> list[str]:
    """List the groups among which the primary config chooses, those that choose others first."""
    defaults = yaml.safe_load((conf / PRIMARY).read_text(encoding="utf-8"))["defaults"]
    groups = [group for entry in defaults if isinstance(entry, dict) for group in entry if group != RECIPES]
    return [*FIRST, *(group for group in groups if group not in FIRST)]
