import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from visiongate.models.normalization import ChannelStatistics
from visiongate.models.onnx_export import ServingNetwork, export_network
from visiongate.models.registry import build_network

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[ServingNetwork, Path]:
    torch.manual_seed(0)
    network = ServingNetwork(
        build_network("small_cnn", {"width": 4}, 1, 8, 3), ChannelStatistics((0.3,), (0.2,)), 0.5
    ).eval()
    path = tmp_path_factory.mktemp("models") / "model.onnx"
    export_network(network, SHAPE, {"classes": ["a", "b", "c"]}, path)
    return network, path


@pytest.mark.parametrize("count", [1, 2, 7])
def test_onnx_and_torch_give_equal_probabilities(exported: tuple[ServingNetwork, Path], count: int) -> None:
    network, path = exported
    images = np.random.default_rng(count).integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    (probabilities,) = onnxruntime.InferenceSession(path).run(["probabilities"], {"images": images})
    with torch.no_grad():
        expected = network(torch.from_numpy(images))["probabilities"].numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_the_file_contains_preprocessing_and_temperature(exported: tuple[ServingNetwork, Path]) -> None:
    network, _ = exported
    images = torch.randint(0, 256, (5, *SHAPE), dtype=torch.uint8)
    with torch.no_grad():
        normalized = (images.permute(0, 3, 1, 2).float() / 255 - 0.3) / 0.2
        expected = torch.softmax(network.network(normalized) / 0.5, dim=1)
        torch.testing.assert_close(network(images)["probabilities"], expected)


def test_the_file_has_metadata_and_no_local_paths(exported: tuple[ServingNetwork, Path]) -> None:
    _, path = exported
    model = onnx.load(path)
    metadata = {item.key: json.loads(item.value) for item in model.metadata_props}
    assert metadata == {"classes": ["a", "b", "c"]}
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    content = path.read_bytes()
    assert b".py" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


def test_export_is_deterministic(exported: tuple[ServingNetwork, Path], tmp_path: Path) -> None:
    network, path = exported
    export_network(network, SHAPE, {"classes": ["a", "b", "c"]}, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()
