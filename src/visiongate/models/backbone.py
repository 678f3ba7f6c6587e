"""A frozen backbone as an ONNX graph from pixels to features.

Its export takes seconds, so that the graph is kept beside the cache of features.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from visiongate.errors import SettingsError
from visiongate.models.embedding_networks import EmbeddingNetwork, PooledNetwork
from visiongate.models.normalization import Normalization, statistics_for
from visiongate.models.onnx_export import export_graph
from visiongate.models.predictor import EMBEDDING
from visiongate.models.probe import FEATURE_MAP
from visiongate.models.registry import build_network, parameter_count
from visiongate.records.files import atomic_path, sha256_of
from visiongate.records.transform import Transform
from visiongate.settings.model import Probe
from visiongate.user_cache import cache_folder

SOURCE = Path(__file__).parent
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backbone:
    """A frozen backbone.

    Attributes:
        name: Of the network.
        pretrained: The URL, package or hash of its weights.
        parameters: Their number, without the head.
        graph: From uint8 images, N×H×W×C, to `EMBEDDING` and, if the network ends in pooling, to `FEATURE_MAP`.
    """

    name: str
    pretrained: str
    parameters: int
    graph: onnx.ModelProto


class FeatureExtractor(nn.Module):
    """Maps uint8 images, N×H×W×C, to the features of a network, whose head is not used.

    Args:
        network: With pretrained weights.
        normalize: Maps pixels in 0..1 to the input of the network.
    """

    def __init__(self, network: EmbeddingNetwork, normalize: Normalization) -> None:
        super().__init__()
        self.network, self.normalize = network, normalize

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the embedding, N×D, and the feature map, N×D×h×w, of a network that ends in pooling."""
        inputs = self.normalize(images.permute(0, 3, 1, 2).float() / 255)
        if not isinstance(self.network, PooledNetwork):
            return {EMBEDDING: self.network.embed(inputs)}
        places = self.network.feature_map(inputs)
        return {EMBEDDING: places.mean(dim=(2, 3)), FEATURE_MAP: places}


def load_backbone(model: Probe, transform: Transform) -> Backbone:
    """Return the backbone of a probe.

    Args:
        model: Selects the network and its weights.
        transform: The preprocessing of the images.

    Raises:
        SettingsError: The network has no pretrained weights or no embedding, or its weights cannot be read.
    """
    path = cache_folder() / "backbones" / f"{_fingerprint(model, transform)}.onnx"
    return _read(path) or _export(model, transform, path)


def build_backbone(model: Probe, channels: int, size: int) -> EmbeddingNetwork:
    """Return the network of a probe, with a head that is not used.

    Args:
        model: Selects the network and its weights.
        channels: Of the images.
        size: Height and width of the images, in pixels.

    Raises:
        SettingsError: As `load_backbone`.
    """
    network = build_network(model.name, model.options, channels, size, 2)
    if not isinstance(network, EmbeddingNetwork):
        raise SettingsError(
            f"params.yaml: model.name = {model.name} is invalid: it does not end in a linear layer; choose efficientnet_lite0"
        )
    if getattr(network, "pretrained", None) is None:
        raise SettingsError(
            f"params.yaml: model.options.weights: a probe needs pretrained weights, and those of {model.name} are random; "
            "set a file of weights, or choose model.name=efficientnet_lite0"
        )
    return network


def _export(model: Probe, transform: Transform, path: Path) -> Backbone:
    network = build_backbone(model, len(transform.mode), transform.size)
    normalize = Normalization(statistics_for(network, transform))
    graph = export_graph(FeatureExtractor(network, normalize), transform.input_shape)
    parameters = parameter_count(network) - parameter_count(network.head)
    backbone = Backbone(model.name, str(getattr(network, "pretrained", "")), parameters, graph)
    _keep(backbone, path)
    return backbone


def _keep(backbone: Backbone, path: Path) -> None:
    """Write a backbone; it is exported again next time if that fails."""
    description = [backbone.name, backbone.pretrained, backbone.parameters]
    content = backbone.graph.SerializeToString(deterministic=True)
    head = json.dumps({"sha256": hashlib.sha256(content).hexdigest(), "backbone": description}).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(head + b"\n" + content)
    except OSError as error:
        logger.warning("%s: the backbone is not kept: %s", path, error.strerror)


def _read(path: Path) -> Backbone | None:
    """Read a backbone that `_keep` wrote; return None if it is missing or damaged."""
    try:
        head, content = path.read_bytes().split(b"\n", 1)
        described = json.loads(head)
        if described["sha256"] != hashlib.sha256(content).hexdigest():
            return None
        name, pretrained, parameters = described["backbone"]
        return Backbone(name, pretrained, parameters, onnx.load_model_from_string(content))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _fingerprint(model: Probe, transform: Transform) -> str:
    """Hash all that determines the graph: the settings, a file of weights, the code and the version of torch."""
    weights = Path(str(model.options.get("weights", "")))
    inputs = {
        "model": model.model_dump(include={"name", "options"}),
        "weights": sha256_of(weights) if weights.is_file() else None,
        "input": transform.input_shape,
        "torch": torch.__version__,
        "code": [sha256_of(file) for file in sorted(SOURCE.rglob("*.py"))],
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
