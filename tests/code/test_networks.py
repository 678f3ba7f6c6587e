from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tiny_models import transform
from visiongate.errors import SettingsError
from visiongate.models.networks.speed_cnn import Block
from visiongate.models.normalization import ChannelStatistics
from visiongate.models.onnx_export import ServingNetwork, export_network
from visiongate.models.registry import build_network, network_names, parameter_count

ROOT = Path(__file__).parents[2]
# They take longer, need 32 pixels and end alike: test_transfer exports a small backbone.
BACKBONES = {
    "convnext_tiny",
    "efficientnet_b0",
    "efficientnet_lite0",
    "efficientnet_lite2",
    "mobilenet_v3_large",
    "resnet18",
}
SIZES = {"simple_cnn": 1.2e6, "configurable_cnn": 0.42e6, "preact_resnet": 6.5e6}


@cache
def recipe_of(name: str) -> dict[str, Any]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return OmegaConf.to_container(compose("config", overrides=[f"model={name}"]).model)


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [
        (name, channels, size)
        for name in network_names()
        for channels, size in (
            [(1, 33), (3, 64)] if name in BACKBONES else [(1, 8), (1, 28), (3, 32), (3, 64)]
        )
    ],
)
def test_each_recipe_builds_a_network_with_gradients(name: str, channels: int, size: int) -> None:
    recipe = recipe_of(name)
    assert recipe["name"] == name
    network = build_network(name, recipe["options"], channels, size, 5)
    statistics = getattr(network, "statistics", None)
    images = torch.randn(4, len(statistics.mean) if statistics else channels, size, size)
    if hasattr(network, "initialize"):
        network.initialize(images)
    logits = network(images)
    assert logits.shape == (4, 5)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    assert all(parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad)


@pytest.mark.no_cover
@pytest.mark.parametrize("name", sorted({*network_names()} - BACKBONES))
def test_onnx_and_torch_agree_for_each_network(tmp_path: Path, name: str) -> None:
    # A size that no pooling divides evenly.
    channels, size = 3, 52
    torch.manual_seed(0)
    network = build_network(name, {}, channels, size, 3).eval()
    serving = ServingNetwork(network, ChannelStatistics((0.5,) * channels, (0.25,) * channels), 1.5)
    metadata = {"transform": transform(("a", "b", "c"), size, "RGB")}
    export_network(serving, (size, size, channels), metadata, tmp_path / "model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, channels), dtype=np.uint8)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    expected = serving(torch.from_numpy(images))
    outputs = [output.name for output in session.get_outputs()]
    assert outputs == list(expected)
    for output, values in zip(outputs, session.run(None, {"images": images}), strict=True):
        assert np.allclose(values, expected[output].detach().numpy(), atol=1e-4), output


def test_published_weights_warn_of_small_images_once(caplog: pytest.LogCaptureFixture) -> None:
    for size in (95, 95, 96):
        build_network("efficientnet_lite0", {"weights": "package"}, 3, size, 2)
    assert [record.message.partition(":")[0] for record in caplog.records] == ["transformation.size = 95"]


def test_each_network_has_a_recipe() -> None:
    assert set(network_names()) <= {path.stem for path in (ROOT / "conf/model").glob("*.yaml")}


def test_parameter_counts_match_the_documentation() -> None:
    for name, size in SIZES.items():
        assert parameter_count(build_network(name, {}, 3, 32, 10)) == pytest.approx(size, rel=0.05)
    assert parameter_count(build_network("small_cnn", {}, 1, 8, 10)) == 56554
    small, large = (build_network("small_cnn", {"width": width}, 1, 8, 10) for width in (8, 16))
    assert parameter_count(small) < parameter_count(large)


def test_speed_cnn_whitens_patches() -> None:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.avg_pool2d(torch.randn(400, 1, 36, 36, generator=generator), 5, 1)
    network = build_network("speed_cnn", {"patch": 4, "stride": 2, "stem": 32}, 1, 32, 2)
    network.initialize(smooth)
    outputs = torch.nn.functional.conv2d(smooth, network.stem.weight, stride=4)
    half = outputs.shape[1] // 2
    assert torch.equal(outputs[:, :half], -outputs[:, half:])
    covariance = torch.cov(outputs[:, :half].transpose(0, 1).flatten(1))
    # The variance floor matters little in the first principal directions.
    largest = covariance[:4, :4]
    assert torch.allclose(largest, torch.eye(4), atol=0.1)


def test_speed_cnn_may_leave_out_pixels() -> None:
    network = build_network("speed_cnn", {"patch": 1, "stride": 2, "widths": [8]}, 1, 8, 2)
    assert network.stem(torch.zeros(1, 1, 8, 8)).shape[-1] == 4


def test_speed_cnn_starts_as_the_identity_past_its_third_convolution() -> None:
    block = Block(8, 8, depth=3).eval()
    shallow = Block(8, 8, depth=2).eval()
    images = torch.randn(2, 8, 6, 6)
    with torch.no_grad():
        pooled = torch.nn.functional.gelu(torch.nn.functional.max_pool2d(images, 2))
        expected = torch.nn.functional.gelu(shallow(images) + pooled)
        assert torch.allclose(block(images), expected, atol=1e-4)


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_speed_cnn_skips_only_what_the_pooling_drops(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 8, size, size, generator=generator)
    block = Block(8, 16, depth=2)
    results = []
    for skips in (True, False):
        # The norms are in training mode both times.
        block.training = skips
        block.zero_grad()
        outputs = block(images)
        outputs.square().sum().backward()
        results.append((outputs, block.conv1.weight.grad))
    (skipped, gradient), (whole, expected) = results
    assert whole.shape[-1] == size // 2
    assert torch.allclose(skipped, whole, atol=1e-5)
    assert torch.allclose(gradient, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "key"),
    [
        ("nonsense", {}, "model.name"),
        ("small_cnn", {"depth": 3}, "model.options.depth"),
        ("small_cnn", {"width": 0}, "model.options.width"),
        ("small_cnn", {"width": "8"}, "model.options.width"),
        ("improved_cnn", {"blocks": []}, "model.options.blocks"),
    ],
)
def test_an_invalid_name_or_option_raises_an_error(name: str, options: dict[str, object], key: str) -> None:
    with pytest.raises(SettingsError, match=key):
        build_network(name, options, 1, 8, 10)
