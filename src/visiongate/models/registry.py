"""Models by name: ``networks/NAME.py`` or ``baselines/NAME.py`` holds what ``model.name: NAME`` asks for."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pydantic import ConfigDict, ValidationError, validate_call
from torch import nn

from visiongate.errors import SettingsError
from visiongate.models import baselines, networks
from visiongate.models.pixel_classifier import PixelClassifier


def network_names() -> list[str]:
    """List the networks there are, without importing any."""
    return _names(networks)


def baseline_names() -> list[str]:
    """List the baselines there are, without importing any."""
    return _names(baselines)


def build_network(name: str, options: Mapping[str, Any], channels: int, size: int, classes: int) -> nn.Module:
    """Make a network with random weights, drawn from torch's global generator.

    Args:
        name: One of `network_names`.
        options: The keyword arguments of its ``build``, whose annotations say what is allowed.
        channels: Of the images.
        size: Of the images, in pixels a side.
        classes: Outputs.

    Raises:
        SettingsError: There is no such network, or an option is unknown or out of range.
    """
    network: nn.Module = _build(networks, name, options, channels, size, classes)
    return network


def build_baseline(name: str, options: Mapping[str, Any], seed: int) -> PixelClassifier:
    """Make a classifier of scikit-learn that is not fitted yet.

    Args:
        name: One of `baseline_names`.
        options: The keyword arguments of its ``build``, whose annotations say what is allowed.
        seed: Of all that it draws.

    Raises:
        SettingsError: There is no such baseline, or an option is unknown or out of range.
    """
    baseline: PixelClassifier = _build(baselines, name, options, seed)
    return baseline


def parameter_count(network: nn.Module) -> int:
    """Count the trained numbers."""
    return sum(parameter.numel() for parameter in network.parameters())


def _names(package: ModuleType) -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def _build(package: ModuleType, name: str, options: Mapping[str, Any], *given: int) -> Any:  # noqa: ANN401 - a model of any kind
    """Call the ``build`` of a package's module with what is given and the options, checked against its annotations."""
    kind = package.__name__.rpartition(".")[2].removesuffix("s")
    if name not in _names(package):
        raise SettingsError(f"model.name = {name!r}: no such {kind}; there are {', '.join(_names(package))}")
    build = importlib.import_module(f"{package.__name__}.{name}").build
    try:
        return validate_call(config=ConfigDict(strict=True))(build)(*given, **options)
    except ValidationError as error:
        parameters = inspect.signature(build).parameters.values()
        known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
        raise SettingsError(
            "\n".join(_explain(name, known, problem) for problem in error.errors(include_url=False))
        ) from None


def _explain(name: str, known: list[str], problem: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    key = ".".join(map(str, ("model", "options", *problem["loc"])))
    if problem["type"] == "unexpected_keyword_argument":
        return f"{key} = {problem['input']!r}: unknown option; {name} has {', '.join(known) or 'none'}"
    return f"{key} = {problem['input']!r}: {problem['msg']}"
