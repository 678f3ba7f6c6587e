from pathlib import Path

import pytest
import torch
import yaml

from visiongate.errors import SettingsError
from visiongate.models.registry import build_network, network_names, parameter_count

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("config", sorted((ROOT / "conf/model").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_recipe_builds_a_network_that_learns(config: Path, channels: int) -> None:
    recipe = yaml.safe_load(config.read_text())
    network = build_network(recipe["name"], recipe["options"], channels, 5)
    logits = network(torch.randn(4, channels, 32, 32))
    assert logits.shape == (4, 5)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_each_network_has_a_recipe_and_each_recipe_a_network() -> None:
    assert network_names() == sorted(path.stem for path in (ROOT / "conf/model").glob("*.yaml"))


def test_width_changes_the_number_of_parameters() -> None:
    small, large = (build_network("small_cnn", {"width": width}, 1, 10) for width in (8, 16))
    assert parameter_count(small) < parameter_count(large)
    assert parameter_count(build_network("small_cnn", {}, 1, 10)) == 56554


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        (
            "nonsense",
            {},
            "model.name = 'nonsense': no such network; there are residual_cnn, resnet18, small_cnn",
        ),
        ("small_cnn", {"depth": 3}, "model.options.depth = 3: unknown option; small_cnn has width, dropout"),
        ("resnet18", {"depth": 3}, "model.options.depth = 3: unknown option; resnet18 has none"),
        ("small_cnn", {"width": 0}, "model.options.width = 0: Input should be greater than or equal to 1"),
        ("small_cnn", {"width": "8"}, "model.options.width = '8': Input should be a valid integer"),
        ("residual_cnn", {"blocks": []}, "model.options.blocks = []: List should have at least 1 item"),
    ],
)
def test_a_wrong_name_or_option_is_told(name: str, options: dict[str, object], told: str) -> None:
    with pytest.raises(SettingsError) as error:
        build_network(name, options, 1, 10)
    assert told in str(error.value)
