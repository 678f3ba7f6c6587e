import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tiny_models import transform
from visiongate.models.calibrated_graph import set_temperature
from visiongate.models.examples import make_example
from visiongate.models.model_input import to_input
from visiongate.models.normalization import ChannelStatistics
from visiongate.models.onnx_export import ServingNetwork, export_network
from visiongate.models.onnx_files import write_onnx
from visiongate.models.predictor import open_predictor
from visiongate.models.registry import build_network
from visiongate.records.example import read_example

SHAPE, CLASSES = (8, 8, 1), ["a", "b", "c"]
METADATA = {"classes": CLASSES, "transform": transform(CLASSES, 8)}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[ServingNetwork, Path]:
    torch.manual_seed(0)
    network = ServingNetwork(
        build_network("small_cnn", {"width": 4}, 1, 8, 3), ChannelStatistics((0.3,), (0.2,)), 0.5
    ).eval()
    path = tmp_path_factory.mktemp("models") / "model.onnx"
    export_network(network, SHAPE, METADATA, path)
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
    assert metadata.pop("example")
    assert metadata == METADATA
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    content = path.read_bytes()
    assert b".py" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


def test_export_is_deterministic(exported: tuple[ServingNetwork, Path], tmp_path: Path) -> None:
    network, path = exported
    export_network(network, SHAPE, METADATA, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("resize", ["stretch", "center-crop", "letterbox"])
def test_the_file_has_an_example_of_its_predictions(
    exported: tuple[ServingNetwork, Path], resize: str
) -> None:
    network, path = exported
    model = open_predictor(path)
    example = read_example(model.metadata, str(path))
    assert example is not None
    pixels = to_input(base64.b64decode(example.image), replace(model.contract, resize=resize))
    with torch.no_grad():
        [expected] = network(torch.from_numpy(pixels[None].copy()))["probabilities"].tolist()
    np.testing.assert_allclose(example.probabilities, expected, atol=1e-6)
    # Float32 has nine digits at most.
    assert all(len(str(value)) < 16 for value in example.probabilities)


def test_a_rewritten_file_has_an_example_of_its_own(
    exported: tuple[ServingNetwork, Path], tmp_path: Path
) -> None:
    _, path = exported
    before = open_predictor(path).metadata
    model = onnx.load(path)
    set_temperature(model, 5.0)
    del model.metadata_props[:]
    write_onnx(model, before, tmp_path / "calibrated.onnx")

    calibrated = open_predictor(tmp_path / "calibrated.onnx")
    assert sum(item.key == "example" for item in onnx.load(tmp_path / "calibrated.onnx").metadata_props) == 1
    assert calibrated.metadata["example"]["image"] == before["example"]["image"]
    expected = make_example(calibrated).probabilities
    assert calibrated.metadata["example"]["probabilities"] == pytest.approx(expected, abs=1e-6)
    assert before["example"]["probabilities"] != pytest.approx(expected, abs=1e-3)
