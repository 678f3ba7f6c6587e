import hashlib
import pickle
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tiny_models import transform
from visiongate.errors import SettingsError
from visiongate.models.efficientnet_lite import SameConv2d
from visiongate.models.normalization import ChannelStatistics, Normalization, statistics_for
from visiongate.models.onnx_export import ServingNetwork, export_network
from visiongate.models.pretrained import IMAGENET_STATISTICS, statistics_metadata
from visiongate.models.registry import build_network
from visiongate.models.torchvision_import import import_torchvision
from visiongate.models.transfer import TransferNetwork
from visiongate.records.transform import Transform


def build(weights: str, channels: int = 3, name: str = "resnet18") -> TransferNetwork:
    network = build_network(name, {"weights": weights}, channels, 32, 5)
    assert isinstance(network, TransferNetwork)
    return network


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like those that torchvision publishes: 1,000 classes, three channels."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(import_torchvision().models.resnet18(weights=None).state_dict(), path)
    return path


def test_a_file_sets_the_weights_of_the_backbone(published: Path) -> None:
    network, state = build(str(published)), torch.load(published, weights_only=True)
    assert torch.equal(network.backbone.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])
    assert torch.equal(network.backbone.conv1.weight, state["conv1.weight"])
    assert network.head.out_features == 5
    assert network.pretrained == f"sha256:{hashlib.sha256(published.read_bytes()).hexdigest()}"
    assert build("none").pretrained is None


def test_a_gray_image_gives_the_same_features_in_both_modes(published: Path) -> None:
    gray = torch.rand(2, 1, 32, 32)
    one, three = build(str(published), 1).eval(), build(str(published), 3).eval()
    assert one.statistics == three.statistics == IMAGENET_STATISTICS
    normalize = Normalization(IMAGENET_STATISTICS)
    expected = three.embed(normalize(gray.expand(2, 3, 32, 32)))
    assert torch.equal(one.embed(normalize(gray)), expected)


def test_random_weights_take_the_channels_and_the_statistics_of_the_images() -> None:
    network, transform = build("none", 1), Transform(32, "L", "stretch", [0.3], [0.2], ["a", "b"])
    assert network.embed(torch.rand(2, 1, 32, 32)).shape == (2, 512)
    assert statistics_for(network, transform) == ChannelStatistics((0.3,), (0.2,))


def test_a_gray_model_of_this_project_is_a_valid_start_for_gray_images_only(tmp_path: Path) -> None:
    path, gray = tmp_path / "model.safetensors", ChannelStatistics((0.3,), (0.2,))
    save_file(build("none", 1).state_dict(), path, statistics_metadata(gray))
    network = build(str(path), 1)
    assert network.statistics == gray
    assert network.embed(torch.rand(2, 1, 32, 32)).shape == (2, 512)
    with pytest.raises(SettingsError, match=r"conv1\.weight has the shape \[64, 1, 7, 7\]"):
        build(str(path), 3)


TORCHVISION = ["resnet18", "efficientnet_b0", "mobilenet_v3_large", "convnext_tiny"]


@pytest.mark.parametrize("name", TORCHVISION)
def test_imagenet_images_are_normalized_as_torchvision_publishes(name: str) -> None:
    published = import_torchvision().models.get_model_weights(name).DEFAULT.transforms()
    images = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)
    expected = import_torchvision().transforms.functional.normalize(
        images / 255, published.mean, published.std
    )
    torch.testing.assert_close(Normalization(IMAGENET_STATISTICS)(images / 255), expected)


@pytest.mark.parametrize("name", TORCHVISION)
@torch.no_grad()
def test_the_backbone_computes_the_features_of_torchvision(tmp_path: Path, name: str) -> None:
    torch.manual_seed(3)
    reference = import_torchvision().models.get_model(name, weights=None).eval()
    for norm in reference.modules():
        if isinstance(norm, (nn.BatchNorm2d, nn.LayerNorm)):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
    torch.save(reference.state_dict(), tmp_path / "published.pth")
    network = build(str(tmp_path / "published.pth"), name=name).eval()
    images = torch.randn(2, 3, 75, 75)
    top = reference.get_submodule("fc" if name == "resnet18" else "classifier")
    seen: list[torch.Tensor] = []
    # The first linear layer sees the pooled features.
    linear = next(layer for layer in top.modules() if isinstance(layer, nn.Linear))
    linear.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    reference(images)
    torch.testing.assert_close(network.embed(images), seen[0])


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
def test_a_model_of_this_project_is_a_valid_start(tmp_path: Path, name: str) -> None:
    torch.manual_seed(2)
    trained = build("none", name=name)
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    network = build(str(tmp_path / "model.safetensors"), name=name)
    assert all(
        torch.equal(a, b)
        for a, b in zip(network.backbone.parameters(), trained.backbone.parameters(), strict=True)
    )


def test_a_failed_download_raises_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # urllib caches an opener that may ignore the proxy. Nothing listens on the proxy's port.
    monkeypatch.setattr("urllib.request._opener", None)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(SettingsError, match=r"model\.options\.weights.*resnet18"):
        build("imagenet")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('it ran')",)


@pytest.mark.parametrize("content", [b"", b"nonsense", pickle.dumps(Evil()), pickle.dumps([1])])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_without_weights_raises_an_error_and_runs_no_code(
    tmp_path: Path, content: bytes, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"model\.options\.weights"):
        build(str(path))


def test_a_missing_file_and_weights_of_another_network_raise_errors(tmp_path: Path, published: Path) -> None:
    with pytest.raises(SettingsError, match=r"lost\.pth"):
        build("lost.pth")
    with pytest.raises(SettingsError, match=r"features\.0\.0\.weight"):
        build(str(published), name="efficientnet_b0")
    state = torch.load(published, weights_only=True)
    state["bn1.weight"] = torch.ones(7)
    save_file(state, tmp_path / "odd.safetensors")
    with pytest.raises(SettingsError, match=r"bn1\.weight"):
        build(str(tmp_path / "odd.safetensors"))


def test_a_state_dict_with_other_keys_raises_an_error(tmp_path: Path) -> None:
    torch.save({1: torch.ones(2)}, tmp_path / "odd.pth")
    with pytest.raises(SettingsError, match="conv1"):
        build(str(tmp_path / "odd.pth"))


def test_a_frozen_backbone_keeps_its_batch_norm_statistics() -> None:
    network = build("none")
    network.backbone.requires_grad_(requires_grad=False)
    before = network.backbone.bn1.running_mean.clone()
    network.train()
    network(torch.rand(4, 3, 32, 32))
    assert network.head.training
    assert torch.equal(network.backbone.bn1.running_mean, before)
    network.backbone.requires_grad_(requires_grad=True)
    network.train()
    network(torch.rand(4, 3, 32, 32))
    assert not torch.equal(network.backbone.bn1.running_mean, before)


def test_the_activation_map_explains_the_logit_in_torch_and_onnx(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(SameConv2d(3, 6, 3, 2), nn.ReLU(), SameConv2d(6, 4, 5, 2))
    network = TransferNetwork(backbone, nn.Linear(4, 2), dropout=0.5).eval()
    # Gray images of an odd size.
    shape = (13, 13, 1)
    serving = ServingNetwork(network, IMAGENET_STATISTICS, 2.0)
    export_network(serving, shape, {"transform": transform(side=13)}, tmp_path / "model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    names = ["probabilities", "embedding", "activation_map"]
    outputs = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(names, {"images": images})
    with torch.no_grad():
        expected = serving(torch.from_numpy(images))
    for name, values in zip(names, outputs, strict=True):
        np.testing.assert_allclose(values, expected[name], atol=1e-5)
    probabilities, embedding, activation_map = outputs
    assert (embedding.shape, activation_map.shape) == ((5, 4), (5, 2, 4, 4))
    logits = activation_map.mean(axis=(2, 3)) + network.head.bias.detach().numpy()
    np.testing.assert_allclose(probabilities, torch.softmax(torch.from_numpy(logits) / 2.0, dim=1), atol=1e-5)
