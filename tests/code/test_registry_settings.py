"""The registry's settings."""

from pathlib import Path
from typing import Any

import pytest

from visiongate.errors import SettingsError
from visiongate.settings.loading import parse_settings
from visiongate.settings.schema import Settings
from workspaces import tracked_settings


def parsed(**registry: Any) -> Settings:  # noqa: ANN401
    tree = tracked_settings().model_dump()
    tree["registry"] |= registry
    return parse_settings(tree, "params.yaml")


def test_default_settings_compare_accuracy() -> None:
    registry = tracked_settings().registry
    assert (registry.metric, registry.test, registry.alpha) == ("accuracy", "auto", 0.05)
    assert registry.non_inferiority is None
    assert (
        "non_inferiority={margin"
        in Path(__file__).parents[2].joinpath("conf/registry/default.yaml").read_text()
    )


def test_non_inferiority_has_margin_gain_and_share() -> None:
    wanted = {"margin": 0.005, "gain": "latency", "by": 0.2}
    found = parsed(non_inferiority=wanted).registry.non_inferiority
    assert found is not None
    assert found.model_dump() == wanted


@pytest.mark.parametrize(
    ("registry", "key"),
    [
        ({"metric": "ece"}, "registry.metric"),
        ({"metric": "f1_macro", "test": "mcnemar"}, "mcnemar"),
        ({"samples": 19}, "samples"),
        ({"samples": 0}, "registry.samples"),
        ({"alpha": 0.5}, "registry.alpha"),
        ({"non_inferiority": {"margin": 0.005, "gain": "size"}}, "registry.non_inferiority.by"),
        ({"non_inferiority": {"margin": 0, "gain": "size", "by": 0.2}}, "registry.non_inferiority.margin"),
        ({"non_inferiority": {"margin": 0.1, "gain": "price", "by": 0.2}}, "registry.non_inferiority.gain"),
    ],
)
def test_invalid_settings_are_errors(registry: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsError, match=key) as caught:
        parsed(**registry)
    assert "\n" not in str(caught.value)


def test_fewest_samples_that_can_be_significant_are_valid() -> None:
    assert parsed(samples=20).registry.samples == 20
