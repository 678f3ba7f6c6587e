"""Make overrides the settings of a clone: a recipe in ``conf/`` that composes to them, so that the clone can be committed.

A script for the project's environment, called in a clone: ``python compose_settings.py NAME OVERRIDE...``.
"""

import sys

from visiongate.errors import VisiongateError
from visiongate.experiments.listing import leaves
from visiongate.experiments.recipe import PRIMARY, RECIPES, check_recipe, find_recipe
from visiongate.paths import PARAMS
from visiongate.records.files import write_text
from visiongate.settings.composition import CONF, compose_params, compose_values
from visiongate.settings.dataset_page import choose_default
from visiongate.settings.grammar import quote_override


def main(arguments: list[str]) -> int:
    """Write the recipe, choose it in ``conf/config.yaml`` and compose ``params.yaml``; return the exit status."""
    name, *overrides = arguments
    try:
        _compose(name, [quote_override(each) for each in overrides])
    except VisiongateError as error:
        print(f"settings: {error}", file=sys.stderr)
        return 1
    return 0


def _compose(name: str, overrides: list[str]) -> None:
    # Checks the values, too.
    compose_params(CONF, overrides)
    # `debug` is chosen after the recipes, and changes no result.
    shown = {name: value for name, value in leaves(compose_values(CONF, ())) if name.startswith("debug.")}
    values = {**dict(leaves(compose_values(CONF, overrides))), **shown}
    recipe = find_recipe(CONF, values, by_name=True)
    if not recipe.choices and not recipe.values:
        return
    write_text(CONF / RECIPES / f"{name}.yaml", recipe.format(f"# Of Airflow: {' '.join(overrides)}\n"))
    primary = CONF / PRIMARY
    write_text(primary, choose_default(primary.read_text(encoding="utf-8"), RECIPES, name))
    check_recipe(CONF, name, values)
    write_text(PARAMS, compose_params(CONF))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
