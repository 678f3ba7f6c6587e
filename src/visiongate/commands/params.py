"""``visiongate params``: compose ``conf/`` into ``params.yaml``."""

import logging
import os
from pathlib import Path

import yaml

from visiongate.paths import PARAMS
from visiongate.records.files import write_text
from visiongate.settings.composition import CONF, compose_params
from visiongate.settings.grammar import environment_overrides, unknown_variables

logger = logging.getLogger(__name__)


def run(overrides: tuple[str, ...], config: Path | None, *, check: bool) -> int:
    """Write ``params.yaml`` if the composed text differs from it; with ``check``, compare it with ``conf/`` and write nothing.

    Returns:
        1 if ``check`` finds a difference.

    Raises:
        SettingsError: Hydra cannot compose, or a value is invalid.
    """
    if not check:
        write(compose(overrides, config))
        return 0
    if _read() == compose_params(CONF, overrides, config):
        print(f"{PARAMS} is up to date with {CONF}/")
        return 0
    print(f"{PARAMS} is out of date with {CONF}/: run `visiongate params`")
    return 1


def compose(overrides: tuple[str, ...], config: Path | None) -> str:
    """Return the text of ``params.yaml`` with overrides, environment variables and a file, which are printed and listed in it.

    Raises:
        SettingsError: Hydra cannot compose, or a value is invalid.
    """
    for name in unknown_variables(os.environ):
        logger.warning(
            "%s has no effect: the variable of a setting is VISIONGATE_SECTION__KEY; choose a file of conf/ by an override, "
            "such as model=resnet18, and the data set by `visiongate use`",
            name,
        )
    variables = environment_overrides(os.environ)
    sources = [f"the file {config}"] if config else []
    sources += [f"the environment: {override}" for override in variables.values()]
    text = compose_params(CONF, overrides, config, variables)
    for source in sources:
        print(f"From {source}")
    return "".join([*(f"# From {' '.join(source.split())}\n" for source in sources), text])


def write(text: str) -> None:
    """Write ``params.yaml`` if it differs, and print a line."""
    current = _read()
    if text == current:
        print(f"{PARAMS} is up to date with {CONF}/")
        return
    write_text(PARAMS, text)
    print(f"{PARAMS} composed from {CONF}/")


def _read() -> str | None:
    return PARAMS.read_text(encoding="utf-8") if PARAMS.exists() else None


def read_data_set() -> str | None:
    """Return the name of the data set in ``params.yaml``, None if it cannot be read."""
    try:
        return str(yaml.safe_load(_read() or "")["dataset"]["name"])
    except (yaml.YAMLError, TypeError, KeyError):
        return None
