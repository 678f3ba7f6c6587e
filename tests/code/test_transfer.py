import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from visiongate.errors import SettingsError
from visiongate.models.registry import build_network
from visiongate.models.torchvision_import import import_torchvision
from visiongate.models.transfer import Transfer


def build(weights: str, channels: int = 3, name: str = "resnet18") -> Transfer:
    network = build_network(name, {"weights": weights}, channels, 32, 5)
    assert isinstance(network, Transfer)
    return network


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision publishes them: a thousand classes, three channels."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(import_torchvision().models.resnet18(weights=None).state_dict(), path)
    return path


def test_a_local_file_gives_the_backbone_its_weights_and_leaves_the_head(published: Path) -> None:
    network, state = build(str(published)), torch.load(published, weights_only=True)
    assert torch.equal(network.backbone.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])
    assert torch.equal(network.backbone.conv1.weight, state["conv1.weight"])
    assert network.head.out_features == 5
    assert network.pretrained == f"sha256:{hashlib.sha256(published.read_bytes()).hexdigest()}"
    assert build("none").pretrained is None


def test_a_gray_image_gives_what_the_same_image_in_color_gives(published: Path) -> None:
    gray = torch.rand(2, 1, 32, 32)
    one, three = build(str(published), 1).eval(), build(str(published), 3).eval()
    assert torch.allclose(one.backbone(gray), three.backbone(gray.expand(2, 3, 32, 32)), atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
def test_what_this_project_wrote_can_be_trained_on_from(tmp_path: Path, name: str) -> None:
    torch.manual_seed(2)
    trained = build("none", name=name)
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    network = build(str(tmp_path / "model.safetensors"), name=name)
    assert all(
        torch.equal(a, b)
        for a, b in zip(network.backbone.parameters(), trained.backbone.parameters(), strict=True)
    )


def test_weights_that_cannot_be_fetched_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request._opener", None)  # which may have been made without a proxy
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(
        SettingsError,
        match=r"model\.options\.weights = 'imagenet': https://\S+resnet18\S+ cannot be fetched: .*refused.*; bring that file",
    ):
        build("imagenet")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('it ran')",)


@pytest.mark.parametrize("content", [b"", b"nonsense", pickle.dumps(Evil()), pickle.dumps([1])])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_holds_no_weights_is_told_and_runs_nothing(
    tmp_path: Path, content: bytes, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"model\.options\.weights = '\S+': no file of weights: "):
        build(str(path))


def test_a_missing_file_and_another_networks_weights_are_told(tmp_path: Path, published: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"weights = 'lost\.pth': no such file; or choose imagenet or none"
    ):
        build("lost.pth")
    with pytest.raises(
        SettingsError, match=r"another network's: features\.0\.0\.weight is missing, as are \d+ more"
    ):
        build(str(published), name="efficientnet_b0")
    state = torch.load(published, weights_only=True)
    state["bn1.weight"] = torch.ones(7)
    save_file(state, tmp_path / "odd.safetensors")
    with pytest.raises(SettingsError, match=r"bn1\.weight is \[7\] and must be \[64\]"):
        build(str(tmp_path / "odd.safetensors"))


def test_names_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    torch.save({1: torch.ones(2)}, tmp_path / "odd.pth")
    with pytest.raises(SettingsError, match="another network's"):
        build(str(tmp_path / "odd.pth"))


def test_a_frozen_backbone_keeps_its_statistics() -> None:
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
