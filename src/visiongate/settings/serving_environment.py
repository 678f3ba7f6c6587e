"""The settings of the service and of what reads its log: ``params.yaml`` if there is one, and environment variables.

Containers set the variables; Hydra is not needed. A variable of a setting is named as elsewhere, such as
``VISIONGATE_SERVING__LIMITS__FILES``.
"""

import difflib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from visiongate.errors import SettingsError
from visiongate.settings.fields import Section
from visiongate.settings.loading import load_settings, parse_as
from visiongate.settings.monitoring import Monitoring
from visiongate.settings.overrides import is_text
from visiongate.settings.serving import Serving

PREFIX = "VISIONGATE_"
SECTIONS = tuple(f"{PREFIX}{section.upper()}" for section in ("serving", "monitoring"))
PREFIXES = tuple(f"{section}__" for section in SECTIONS)
# What containers and platforms set; the long name of the same setting takes precedence.
SHORT_NAMES = {
    "MODEL_PATH": "serving.model",
    "HOST": "serving.host",
    "PORT": "serving.port",
    "LOG_LEVEL": "serving.log_level",
    "MLFLOW_TRACKING_URI": "serving.registry.uri",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "serving.tracing.endpoint",
}


# Of the command line.
OPTIONS = {
    "serving.model": "MODEL",
    "serving.host": "--host",
    "serving.port": "--port",
    "monitoring.drift.window_hours": "--window",
    "monitoring.drift.yearly_level": "--yearly-level",
}
logger = logging.getLogger(__name__)


class _Sections(Section):
    serving: Serving = Serving()
    monitoring: Monitoring = Monitoring()


@dataclass(frozen=True, slots=True)
class Deployment:
    """What the service and the commands that read its log need to know.

    Attributes:
        serving: The settings; the address of the registry is filled in if there is one.
        monitoring: What is concluded from the log.
        registered_name: Of the registered model; None without ``params.yaml``.
    """

    serving: Serving
    monitoring: Monitoring
    registered_name: str | None


def load_serving(
    params: Path, environment: Mapping[str, str], options: Mapping[str, object] | None = None
) -> Deployment:
    """Return the settings of the service.

    Args:
        params: ``params.yaml``; if the file is missing, the defaults are used.
        environment: The environment variables.
        options: Values of `OPTIONS` that take precedence, by dotted name.

    Raises:
        SettingsError: A value is invalid; the message names the file or the variable.
    """
    settings = load_settings(params) if params.exists() else None
    sections = (
        _Sections(serving=settings.serving, monitoring=settings.monitoring) if settings else _Sections()
    )
    tree: dict[str, Any] = sections.model_dump()
    if settings and settings.serving.registry.uri is None:
        tree["serving"]["registry"]["uri"] = settings.tracking.uri
    _warn_of_unread(environment, tree)
    origins: dict[str, str] = {}
    for variable, name in _variables(environment):
        _set(tree, name, _parse(name, environment[variable], variable), variable)
        origins[name] = variable
    for name, value in (options or {}).items():
        origins[name] = OPTIONS[name]
        _set(tree, name, value, origins[name])
    sections = parse_as(_Sections, tree, str(params), origins)
    return Deployment(sections.serving, sections.monitoring, settings.registry.name if settings else None)


def _warn_of_unread(environment: Mapping[str, str], tree: Mapping[str, Any]) -> None:
    """Warn of variables that look like those of settings and are not.

    They are no errors, because Kubernetes sets such names for a Service that is called ``visiongate-serving``.
    """
    names = {name.replace("__", "_"): name for name in _list_variables(tree, PREFIX)}
    for variable in sorted(environment):
        if variable.startswith(SECTIONS) and not variable.startswith(PREFIXES):
            similar = difflib.get_close_matches(variable, names, n=1)
            advice = f"; did you mean {names[similar[0]]}?" if similar else ""
            logger.warning("%s is not a setting, and is ignored%s", variable, advice)


def _list_variables(tree: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Yield the names of the variables of all settings."""
    for key, value in tree.items():
        name = f"{prefix}{key.upper()}"
        if isinstance(value, dict) and value:
            yield from _list_variables(value, f"{name}__")
        else:
            yield name


def _variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each variable of a setting and the setting's name, those that take precedence last."""
    for variable, name in SHORT_NAMES.items():
        if environment.get(variable):
            yield variable, name
    for variable in sorted(environment):
        if variable.startswith(PREFIXES):
            yield variable, variable.removeprefix(PREFIX).lower().replace("__", ".")


def _set(tree: dict[str, Any], name: str, value: object, origin: str) -> None:
    *sections, key = name.split(".")
    for section in sections:
        if not isinstance(tree.get(section), dict):
            raise SettingsError(f"{origin}: {section} in {name} is not a section of the settings")
        tree = tree[section]
    tree[key] = value


def _parse(name: str, text: str, variable: str) -> Any:  # noqa: ANN401 - the value of any setting
    """Return the value of a variable: of a text setting as it is, of others as YAML."""
    if name == "serving.log_level":
        return text.upper()
    if is_text(name):
        return None if text in {"", "null"} else text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise SettingsError(f"{variable} = {text!r}: invalid value of {name}") from None
