"""Networks by name: ``networks/NAME.py`` holds the network that ``model.name: NAME`` asks for."""

import importlib
import pkgutil
from collections.abc import Mapping
from inspect import signature
from typing import Any

from pydantic import ConfigDict, ValidationError, validate_call
from torch import nn

from visiongate.errors import SettingsError
from visiongate.models import networks


def network_names() -> list[str]:
    """List the networks there are, without importing any."""
    return sorted(module.name for module in pkgutil.iter_modules(networks.__path__))


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
    if name not in network_names():
        raise SettingsError(f"model.name = {name!r}: no such network; there are {', '.join(network_names())}")
    build = importlib.import_module(f"{networks.__name__}.{name}").build
    try:
        network: nn.Module = validate_call(config=ConfigDict(strict=True))(build)(
            channels, size, classes, **options
        )
    except ValidationError as error:
        known = [key for key, kind in signature(build).parameters.items() if kind.kind is kind.KEYWORD_ONLY]
        raise SettingsError(
            "\n".join(_explain(name, known, problem) for problem in error.errors(include_url=False))
        ) from None
    return network


def parameter_count(network: nn.Module) -> int:
    """Count the trained numbers."""
    return sum(parameter.numel() for parameter in network.parameters())


def _explain(name: str, known: list[str], problem: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    key = ".".join(map(str, ("model", "options", *problem["loc"])))
    if problem["type"] == "unexpected_keyword_argument":
        return f"{key} = {problem['input']!r}: unknown option; {name} has {', '.join(known) or 'none'}"
    return f"{key} = {problem['input']!r}: {problem['msg']}"
