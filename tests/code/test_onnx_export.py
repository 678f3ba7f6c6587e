import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from visiongate.models.onnx_export import Served, export_onnx
from visiongate.models.registry import build_network

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Served, Path]:
    torch.manual_seed(0)
    served = Served(build_network("small_cnn", {"width": 4}, 1, 8, 3), [0.3], [0.2], 0.5).eval()
    path = tmp_path_factory.mktemp("models") / "model.onnx"
    export_onnx(served, SHAPE, {"classes": ["a", "b", "c"]}, path)
    return served, path


@pytest.mark.parametrize("count", [1, 2, 7])
def test_onnx_gives_the_probabilities_of_the_network(exported: tuple[Served, Path], count: int) -> None:
    served, path = exported
    images = np.random.default_rng(count).integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    (probabilities,) = onnxruntime.InferenceSession(path).run(["probabilities"], {"images": images})
    with torch.no_grad():
        expected = served(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_preprocessing_and_temperature_are_inside(exported: tuple[Served, Path]) -> None:
    served, _ = exported
    images = torch.randint(0, 256, (5, *SHAPE), dtype=torch.uint8)
    with torch.no_grad():
        normalized = (images.permute(0, 3, 1, 2).float() / 255 - 0.3) / 0.2
        expected = torch.softmax(served.network(normalized) / 0.5, dim=1)
        torch.testing.assert_close(served(images), expected)


def test_the_file_explains_itself_and_tells_nothing_of_this_machine(exported: tuple[Served, Path]) -> None:
    _, path = exported
    model = onnx.load(path)
    metadata = {item.key: json.loads(item.value) for item in model.metadata_props}
    assert metadata == {"classes": ["a", "b", "c"]}
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    content = path.read_bytes()
    assert b".py" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


def test_exporting_twice_gives_the_same_bytes(exported: tuple[Served, Path], tmp_path: Path) -> None:
    served, path = exported
    export_onnx(served, SHAPE, {"classes": ["a", "b", "c"]}, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()
