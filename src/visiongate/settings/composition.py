"""``params.yaml``, composed by Hydra from ``conf/``, overrides, environment variables and a file.

DVC composes on ``dvc exp run`` but not on ``dvc repro``. Therefore `visiongate repro` and ``make repro`` compose first.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visiongate.errors import SettingsError
from visiongate.settings.loading import parse_settings

CONF = Path("conf")
HEADER = "# Generated from conf/ by `visiongate params`. Do not edit: change conf/, or try a value with `dvc exp run -S`.\n"
# VISIONGATE_TRAINING__EPOCHS=20 overrides training.epochs. Other variables have no double underscore.
PREFIX, SEPARATOR = "VISIONGATE_", "__"


def compose_params(conf: Path, overrides: Sequence[str] = (), config: Path | None = None) -> str:
    """Return the text of ``params.yaml``, validated.

    Args:
        conf: The folder of the groups.
        overrides: Hydra's, such as ``model.lr=1e-4`` or ``model=resnet18``.
        config: A YAML file whose values replace the composed ones.

    Raises:
        SettingsError: Hydra cannot compose, or a value is invalid.
    """
    return HEADER + OmegaConf.to_yaml(_compose(conf, overrides, config))


def compose_values(conf: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the composed sections as plain values, validated.

    Raises:
        SettingsError: As `compose_params`.
    """
    values = OmegaConf.to_container(_compose(conf, overrides))
    return {str(section): content for section, content in values.items()} if isinstance(values, dict) else {}


def environment_overrides(environment: Mapping[str, str]) -> list[str]:
    """Return the overrides in environment variables, such as ``training.epochs=20`` for ``VISIONGATE_TRAINING__EPOCHS``."""
    names = sorted(name for name in environment if name.startswith(PREFIX) and SEPARATOR in name)
    dotted = {name: name.removeprefix(PREFIX).lower().replace(SEPARATOR, ".") for name in names}
    return [f"{dotted[name]}={environment[name]}" for name in names]


def _compose(conf: Path, overrides: Sequence[str], config: Path | None = None) -> DictConfig:
    try:
        with initialize_config_dir(str(conf.absolute()), version_base="1.3"):
            tree = compose("config", overrides=list(overrides))
        if config is not None:
            tree = _merge(tree, config)
        OmegaConf.resolve(tree)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise SettingsError(f"{config or f'{conf}/'}: {' '.join(str(error).split())}") from None
    parse_settings(OmegaConf.to_container(tree), str(config or f"{conf}/"))
    return tree


def _merge(tree: DictConfig, config: Path) -> DictConfig:
    try:
        values = OmegaConf.load(config)
    except OSError as error:
        raise SettingsError(f"{config}: {error.strerror}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise SettingsError(f"{config}: invalid YAML: {reason}") from None
    if not isinstance(values, DictConfig):
        raise SettingsError(f"{config}: must be a mapping of sections, as in params.yaml")
    tree.merge_with(values)
    return tree


def expand_sweeps(overrides: list[str], limit: int) -> list[list[str]]:
    """Return every combination of the values that the overrides sweep over, in order.

    The grammar is Hydra's: ``model.lr=0.01,0.1``, ``model=choice(small_cnn,simple_cnn)``, ``training.seed=range(0,5)``.

    Args:
        overrides: The overrides.
        limit: Maximum number of combinations.

    Raises:
        SettingsError: An override is invalid, or there are too many combinations.
    """
    values = [_sweep_values(override, limit) for override in overrides]
    if math.prod(map(len, values)) > limit:
        raise SettingsError(f"{' '.join(overrides)}: more than {limit} combinations")
    return [list(combination) for combination in itertools.product(*values)]


def _sweep_values(override: str, limit: int) -> list[str]:
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException as error:
        reason = str(error).partition("\n")[0]
        raise SettingsError(f"{override}: not an override such as model.lr=0.01,0.1: {reason}") from None
    if not parsed.is_sweep_override():
        return [override]
    if not parsed.is_discrete_sweep() or parsed.value_type == ValueType.GLOB_CHOICE_SWEEP:
        raise SettingsError(f"{override}: name the values, as in a,b,c or choice(a,b) or range(0,5)")
    values: Iterator[str] = parsed.sweep_string_iterator()
    # One more than the limit shows that there are too many; a range may have billions.
    return [f"{parsed.get_key_element()}={value}" for value in itertools.islice(values, limit + 1)]
