"""Networks and baselines by name: ``model.name: NAME`` selects ``networks/NAME.py`` or ``baselines/NAME.py``."""

import importlib
import inspect
import logging
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any

from pydantic import ConfigDict, ValidationError, validate_call
from torch import nn

from visiongate.errors import SettingsError
from visiongate.models import baselines, networks
from visiongate.models.pixel_classifier import PixelClassifier
from visiongate.models.pretrained import IMAGENET, PACKAGE

# Published weights were trained on images of 224 pixels or more; they see little in images smaller than this.
MIN_PUBLISHED_SIZE = 96
PUBLISHED = (IMAGENET, PACKAGE)
logger = logging.getLogger(__name__)


def network_names() -> list[str]:
    """List the networks without importing them."""
    return _names(networks)


def baseline_names() -> list[str]:
    """List the baselines without importing them."""
    return _names(baselines)


def build_network(name: str, options: Mapping[str, Any], channels: int, size: int, classes: int) -> nn.Module:
    """Return a network, whose random weights are drawn from torch's global generator.

    Args:
        name: One of `network_names`.
        options: Keyword arguments of the network's ``build``, whose annotations define the valid values.
        channels: Channels of the images.
        size: Height and width of the images, in pixels.
        classes: Number of outputs.

    Raises:
        SettingsError: The network does not exist, or an option is unknown or invalid.
    """
    network: nn.Module = _build(networks, name, options, channels, size, classes)
    if options.get("weights") in PUBLISHED and size < MIN_PUBLISHED_SIZE:
        _warn_of_small_images(size)
    return network


def build_baseline(name: str, options: Mapping[str, Any], seed: int) -> PixelClassifier:
    """Return an unfitted baseline.

    Args:
        name: One of `baseline_names`.
        options: Keyword arguments of the baseline's ``build``, whose annotations define the valid values.
        seed: Of the baseline's random numbers.

    Raises:
        SettingsError: The baseline does not exist, or an option is unknown or invalid.
    """
    baseline: PixelClassifier = _build(baselines, name, options, seed)
    return baseline


def parameter_count(network: nn.Module) -> int:
    """Count the parameters, trained or frozen."""
    return sum(parameter.numel() for parameter in network.parameters())


@cache
def _warn_of_small_images(size: int) -> None:
    """Log a warning once per size: each fold builds a network."""
    logger.warning(
        "transformation.size = %d: published weights see little in images of fewer than %d pixels; enlarge them, "
        "for example by transformation=color_224",
        size,
        MIN_PUBLISHED_SIZE,
    )


def _names(package: ModuleType) -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def _build(package: ModuleType, name: str, options: Mapping[str, Any], *arguments: int) -> Any:  # noqa: ANN401 - a network or a baseline
    """Call ``build`` of a module with options that pydantic checks against its annotations."""
    kind = package.__name__.rpartition(".")[2].removesuffix("s")
    if name not in _names(package):
        raise SettingsError(
            f"params.yaml: model.name = {name!r} is not a {kind}: choose one of {', '.join(_names(package))}"
        )
    build = importlib.import_module(f"{package.__name__}.{name}").build
    try:
        return validate_call(config=ConfigDict(strict=True))(build)(*arguments, **options)
    except ValidationError as error:
        parameters = inspect.signature(build).parameters.values()
        known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
        problems = error.errors(include_url=False)
        raise SettingsError("\n".join(_describe(name, known, problem) for problem in problems)) from None


def _describe(name: str, known: list[str], problem: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    key = ".".join(map(str, ("model", "options", *problem["loc"])))
    if problem["type"] == "unexpected_keyword_argument":
        return f"params.yaml: {key} is unknown: {name} has the options {', '.join(known) or '(none)'}"
    return f"params.yaml: {key} = {problem['input']!r} is invalid: {problem['msg']}"
