"""Overrides, such as ``model.lr=1e-4``, in Hydra's grammar.

Hydra reads ``( ) [ ] { } , = # & ' "`` and letters beyond ASCII as grammar or as errors. The value of a text setting, such as a
path, may have any of them, so that it is quoted here unless it is already text in Hydra's grammar.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import OmegaConf

from visiongate.errors import SettingsError
from visiongate.settings.overrides import is_text, quote_text

# VISIONGATE_TRAINING__EPOCHS=20 overrides training.epochs. Other variables have no double underscore.
PREFIX, SEPARATOR = "VISIONGATE_", "__"
# Only the service reads these. They may have a password, which params.yaml would bring into git.
OF_THE_SERVICE = "VISIONGATE_SERVING__"
OTHER_VARIABLES = {
    "VISIONGATE_API_KEY",
    "VISIONGATE_CACHE",
    "VISIONGATE_CACHE_MB",
    "VISIONGATE_LOG_LEVEL",
    "VISIONGATE_MIRROR",
    "VISIONGATE_STORAGE_PASSWORD",
}


def environment_overrides(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the override in each environment variable, such as ``training.epochs=20`` in ``VISIONGATE_TRAINING__EPOCHS``.

    The value of a text setting, such as a path, is taken as it is; other values are Hydra's, such as ``[a, b]``. The service
    reads its variables itself.
    """
    names = sorted(
        name
        for name in environment
        if name.startswith(PREFIX) and SEPARATOR in name and not name.startswith(OF_THE_SERVICE)
    )
    dotted = {name: name.removeprefix(PREFIX).lower().replace(SEPARATOR, ".") for name in names}
    return {name: _from_text(dotted[name], environment[name]) for name in names}


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the names that look like variables of this package but have no effect."""
    return sorted(
        name
        for name in environment
        if name.startswith(PREFIX) and SEPARATOR not in name and name not in OTHER_VARIABLES
    )


def quote_override(override: str) -> str:
    """Return an override whose value is quoted, if it is the value of a text setting and Hydra would not read it as text."""
    name, mark, value = override.partition("=")
    if not mark or not is_text(name.lstrip("+")) or _read_value(override) is not None:
        return override
    return f"{name}={quote_text(value)}"


def read_override(override: str) -> Override:
    """Parse an override.

    Raises:
        SettingsError: Hydra cannot read it; the message has its reason.
    """
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException as error:
        reason = str(error).partition("\n")[0]
        raise SettingsError(
            f"{override}: not an override such as model.lr=0.01; quote a text with special characters, as in "
            f"\"dataset.path='/data/My Pets (2026)'\": {reason}"
        ) from None


def parse_setting(override: str) -> tuple[str, Any]:
    """Return the dotted name, or the group, and the plain value of an override with one value.

    Raises:
        SettingsError: It has another form.
    """
    parsed = read_override(quote_override(override))
    if parsed.is_sweep_override() or parsed.is_delete() or parsed.is_add():
        raise SettingsError(f"{override}: not a setting with one value, such as training.epochs=20")
    # Hydra keeps a quoted text's escapes until the value is resolved.
    tree = OmegaConf.create([parsed.value()])
    OmegaConf.resolve(tree)
    return parsed.get_key_element(), OmegaConf.to_container(tree)[0]  # type: ignore[index]


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


def _from_text(name: str, value: str) -> str:
    override = f"{name}={value}"
    is_readable = value == "null" if is_text(name) else _read_value(override) is not None
    return override if is_readable else f"{name}={quote_text(value)}"


def _read_value(override: str) -> Override | None:
    """Return the override if Hydra reads one value, which is text if the setting is text; None otherwise."""
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        return None
    is_number = isinstance(parsed.value(), bool | int | float | list | dict)
    return None if parsed.is_sweep_override() or (is_text(parsed.key_or_group) and is_number) else parsed


def _sweep_values(override: str, limit: int) -> list[str]:
    parsed = read_override(override)
    if not parsed.is_sweep_override():
        return [override]
    if not parsed.is_discrete_sweep() or parsed.value_type == ValueType.GLOB_CHOICE_SWEEP:
        raise SettingsError(f"{override}: name the values, as in a,b,c or choice(a,b) or range(0,5)")
    values: Iterator[str] = parsed.sweep_string_iterator()
    # One more than the limit shows that there are too many; a range may have billions.
    return [f"{parsed.get_key_element()}={value}" for value in itertools.islice(values, limit + 1)]
