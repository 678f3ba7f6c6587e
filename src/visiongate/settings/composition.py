"""Compose ``conf/`` into ``params.yaml``: ``make params``.

DVC composes by itself on ``dvc exp run``, never on ``dvc repro``; so every make target that runs the line comes here first.
"""

import itertools
import math
import sys
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visiongate.errors import SettingsError, VisiongateError
from visiongate.paths import PARAMS
from visiongate.records.files import write_text
from visiongate.settings.schema import parse_settings

CONF = Path("conf")
HEADER = "# Generated from conf/ by `make params`. Do not edit: change conf/, or try a value with `dvc exp run -S`.\n"


def compose_params(conf: Path, overrides: list[str]) -> str:
    """Compose the groups of ``conf`` and return the text of ``params.yaml``, validated.

    Raises:
        SettingsError: Hydra cannot compose, or a value is not allowed.
    """
    return HEADER + OmegaConf.to_yaml(_compose(conf, overrides))


def compose_values(conf: Path, overrides: list[str]) -> dict[str, Any]:
    """Compose the groups of ``conf`` and return the sections as plain values, validated.

    Raises:
        SettingsError: As `compose_params`.
    """
    values = OmegaConf.to_container(_compose(conf, overrides))
    return {str(section): content for section, content in values.items()} if isinstance(values, dict) else {}


def _compose(conf: Path, overrides: list[str]) -> DictConfig:
    try:
        with initialize_config_dir(str(conf.absolute()), version_base="1.3"):
            tree = compose("config", overrides=overrides)
        OmegaConf.resolve(tree)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise SettingsError(f"{conf}/: {' '.join(str(error).split())}") from None
    parse_settings(OmegaConf.to_container(tree), f"{conf}/")
    return tree


def expand_sweeps(overrides: list[str], most: int) -> list[list[str]]:
    """Return every combination of the values that the overrides sweep over, in order; a single one where none does.

    The grammar is Hydra's own, as ``dvc exp run -S`` takes it: ``model.lr=0.01,0.1``, ``model=choice(small_cnn,simple_cnn)``,
    ``training.seed=range(0,5)``.

    Args:
        overrides: What to expand.
        most: Combinations that are allowed.

    Raises:
        SettingsError: An override does not parse or names no single values, or there are too many combinations.
    """
    values = [_values(override, most) for override in overrides]
    if math.prod(map(len, values)) > most:
        raise SettingsError(f"{' '.join(overrides)}: more than {most} combinations")
    return [list(each) for each in itertools.product(*values)]


def _values(override: str, most: int) -> list[str]:
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException as error:
        raise SettingsError(
            f"{override}: not an override, such as model.lr=0.01,0.1: {_first_line(error)}"
        ) from None
    if not parsed.is_sweep_override():
        return [override]
    if not parsed.is_discrete_sweep() or parsed.value_type == ValueType.GLOB_CHOICE_SWEEP:
        raise SettingsError(f"{override}: name the values, as in a,b,c or choice(a,b) or range(0,5)")
    # One more than allowed shows that there are too many; a range may have billions.
    values = itertools.islice(parsed.sweep_string_iterator(), most + 1)
    return [f"{parsed.get_key_element()}={value}" for value in values]


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def main(arguments: list[str]) -> int:
    """Write ``params.yaml`` when the composed text differs from it, and say which; return the exit status.

    Args:
        arguments: Hydra's overrides; or ``--check``, which writes nothing, and fails when the two differ.
    """
    check = arguments == ["--check"]
    try:
        text = compose_params(CONF, [] if check else arguments)
    except VisiongateError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    current = PARAMS.read_text(encoding="utf-8") if PARAMS.exists() else None
    if text == current:
        sys.stdout.write(f"{PARAMS} is up to date with {CONF}/\n")
    elif check:
        sys.stderr.write(f"{PARAMS} is not what {CONF}/ composes: `make params` writes it\n")
        return 1
    else:
        write_text(PARAMS, text)
        sys.stdout.write(f"{PARAMS} composed from {CONF}/\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
