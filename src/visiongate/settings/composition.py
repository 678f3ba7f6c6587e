"""``params.yaml``, composed by Hydra from ``conf/``, overrides, environment variables and a file.

DVC composes on ``dvc exp run`` but not on ``dvc repro``. Therefore `visiongate repro` and ``make repro`` compose first.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from visiongate.errors import SettingsError
from visiongate.settings.grammar import quote_override, read_override
from visiongate.settings.loading import parse_settings
from visiongate.settings.overrides import suggest

CONF = Path("conf")
PRIMARY = "config"
HEADER = "# Generated from conf/ by `visiongate params`. Do not edit: change conf/, or try a value with `dvc exp run -S`.\n"


def compose_params(
    conf: Path,
    overrides: Sequence[str] = (),
    config: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> str:
    """Return the text of ``params.yaml``, validated.

    Args:
        conf: The folder of the groups.
        overrides: Hydra's, such as ``model.lr=1e-4`` or ``model=resnet18``; they take precedence over ``variables``.
        config: A YAML file whose values replace the composed ones.
        variables: The overrides in environment variables, as `environment_overrides` returns them.

    Raises:
        SettingsError: Hydra cannot compose, or a value is invalid. The message names the variable, the override or the file.
    """
    return HEADER + OmegaConf.to_yaml(_compose(conf, overrides, config, variables or {}))


def compose_values(conf: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the composed sections as plain values, validated.

    Raises:
        SettingsError: As `compose_params`.
    """
    values = OmegaConf.to_container(_compose(conf, overrides, None, {}))
    return {str(section): content for section, content in values.items()} if isinstance(values, dict) else {}


def _compose(
    conf: Path, overrides: Sequence[str], config: Path | None, variables: Mapping[str, str]
) -> DictConfig:
    # Where each override comes from.
    origins = {override: name for name, override in variables.items()}
    origins |= {quote_override(override): override for override in overrides}
    source = str(config or f"{conf}/")
    try:
        tree = _compose_groups(conf, [*variables.values(), *map(quote_override, overrides)])
        if config is not None:
            tree = _merge(tree, config)
        OmegaConf.resolve(tree)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        problem = None
        # Without the overrides, conf/ itself may not compose.
        with suppress(HydraException):
            problem = next(_find_problems(conf, origins), None) if isinstance(error, HydraException) else None
        raise SettingsError(problem or f"{source}: {' '.join(str(error).split())}") from None
    given = {_name(override): _name(origin) for override, origin in origins.items()}
    parse_settings(OmegaConf.to_container(tree), source, given if config is None else {})
    return tree


def _compose_groups(conf: Path, overrides: Sequence[str]) -> DictConfig:
    with initialize_config_dir(str(conf.absolute()), version_base="1.3"):
        return compose(PRIMARY, overrides=list(overrides))


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
    # The settings' own check knows all keys, and suggests one.
    with flag_override(tree, "struct", values=False):
        tree.merge_with(values)
    return tree


def _find_problems(conf: Path, origins: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with each override that Hydra refuses.

    Args:
        conf: The folder of the groups.
        origins: Where each override comes from: an environment variable, or the override as it was typed.
    """
    choices = {folder.relative_to(conf).as_posix(): _list_choices(folder) for folder in _list_groups(conf)}
    parsed = {override: read_override(override) for override in origins}
    chosen = [
        text for text, each in parsed.items() if str(each.value()) in choices.get(each.key_or_group, ())
    ]
    known = [*choices, *_list_names(OmegaConf.to_container(_compose_groups(conf, chosen)))]
    for text, each in parsed.items():
        name, origin = each.key_or_group, origins[text]
        start = name if origin.startswith(name) else f"{origin}: {name}"
        if each.is_sweep_override():
            yield f"{text}: several values; `visiongate sweep` runs an experiment with each"
        elif name in choices and text not in chosen:
            yield f"{text}: no such file in {conf}/{name}{suggest(str(each.value()), choices[name])}"
        elif name not in known and not each.is_add():
            yield f"{start}: unknown setting{suggest(name, known)}"


def _name(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def _list_groups(conf: Path) -> list[Path]:
    return sorted(folder for folder in conf.rglob("*") if folder.is_dir())


def _list_choices(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _list_names(node: object, name: str = "") -> Iterator[str]:
    """Yield the dotted names of all sections and values."""
    for key, value in node.items() if isinstance(node, dict) else ():
        inner = f"{name}.{key}".removeprefix(".")
        yield inner
        yield from _list_names(value, inner)
