from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from visiongate.errors import SettingsError
from visiongate.models.onnx_export import Served, export_onnx
from visiongate.models.registry import build_network, network_names, parameter_count

ROOT = Path(__file__).parents[2]
SIZES = {"simple_cnn": 1.2e6, "configurable_cnn": 0.42e6, "preact_resnet": 6.5e6}


def recipe_of(name: str) -> dict[str, Any]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return OmegaConf.to_container(compose("config", overrides=[f"model={name}"]).model)


@pytest.mark.parametrize("name", network_names())
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 32), (3, 64)])
def test_each_recipe_builds_a_network_that_learns(name: str, channels: int, size: int) -> None:
    recipe = recipe_of(name)
    assert recipe["name"] == name
    network = build_network(name, recipe["options"], channels, size, 5)
    images = torch.randn(4, channels, size, size)
    if hasattr(network, "initialize"):
        network.initialize(images)
    logits = network(images)
    assert logits.shape == (4, 5)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    assert all(parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("name", sorted({*network_names()} - {"resnet18", "efficientnet_b0"}))
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 52)])
def test_each_network_is_the_same_in_onnx(tmp_path: Path, name: str, channels: int, size: int) -> None:
    torch.manual_seed(0)
    network = build_network(name, {}, channels, size, 3).eval()
    served = Served(network, [0.5] * channels, [0.25] * channels, 1.5)
    export_onnx(served, (size, size, channels), {}, tmp_path / "model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, channels), dtype=np.uint8)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {"images": images})
    with torch.no_grad():
        assert np.allclose(found, served(torch.from_numpy(images)).numpy(), atol=1e-5)


def test_each_network_has_a_recipe_and_each_recipe_a_network() -> None:
    assert set(network_names()) <= {path.stem for path in (ROOT / "conf/model").glob("*.yaml")}


def test_networks_have_about_as_many_parameters_as_they_say() -> None:
    for name, size in SIZES.items():
        assert parameter_count(build_network(name, {}, 3, 32, 10)) == pytest.approx(size, rel=0.05)
    assert parameter_count(build_network("small_cnn", {}, 1, 8, 10)) == 56554
    small, large = (build_network("small_cnn", {"width": width}, 1, 8, 10) for width in (8, 16))
    assert parameter_count(small) < parameter_count(large)


def test_speed_cnn_whitens_what_it_sees() -> None:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.avg_pool2d(torch.randn(400, 1, 36, 36, generator=generator), 5, 1)
    network = build_network("speed_cnn", {"patch": 4, "stride": 2, "stem": 32}, 1, 32, 2)
    network.initialize(smooth)
    outputs = torch.nn.functional.conv2d(smooth, network.stem.weight, stride=4)
    half = outputs.shape[1] // 2
    assert torch.equal(outputs[:, :half], -outputs[:, half:])
    covariance = torch.cov(outputs[:, :half].transpose(0, 1).flatten(1))
    largest = covariance[:4, :4]  # main directions, where the floor counts for little
    assert torch.allclose(largest, torch.eye(4), atol=0.1)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("nonsense", {}, "model.name = 'nonsense': no such network; there are configurable_cnn, "),
        ("small_cnn", {"depth": 3}, "model.options.depth = 3: unknown option; small_cnn has width, dropout"),
        ("resnet18", {"depth": 3}, "model.options.depth = 3: unknown option; resnet18 has weights"),
        ("small_cnn", {"width": 0}, "model.options.width = 0: Input should be greater than or equal to 1"),
        ("small_cnn", {"width": "8"}, "model.options.width = '8': Input should be a valid integer"),
        ("improved_cnn", {"blocks": []}, "model.options.blocks = []: List should have at least 1 item"),
    ],
)
def test_a_wrong_name_or_option_is_told(name: str, options: dict[str, object], told: str) -> None:
    with pytest.raises(SettingsError) as error:
        build_network(name, options, 1, 8, 10)
    assert told in str(error.value)
