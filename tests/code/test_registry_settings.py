"""The registry's settings: what cannot decide anything is refused, with the key's name."""

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


def test_the_shipped_settings_decide_by_accuracy_alone() -> None:
    registry = tracked_settings().registry
    assert (registry.metric, registry.test, registry.alpha) == ("accuracy", "auto", 0.05)
    assert registry.non_inferiority is None
    assert (
        "non_inferiority={margin"
        in Path(__file__).parents[2].joinpath("conf/registry/default.yaml").read_text()
    )


def test_non_inferiority_takes_margin_gain_and_share() -> None:
    wanted = {"margin": 0.005, "gain": "latency", "by": 0.2}
    found = parsed(non_inferiority=wanted).registry.non_inferiority
    assert found is not None
    assert found.model_dump() == wanted


@pytest.mark.parametrize(
    ("registry", "told"),
    [
        (
            {"metric": "ece"},
            "registry.metric = 'ece': must be one of accuracy, balanced_accuracy, f1_macro, ",
        ),
        (
            {"metric": "f1_macro", "test": "mcnemar"},
            "registry: test = mcnemar compares accuracy, not metric = f1_macro",
        ),
        (
            {"samples": 19},
            "registry: samples = 19: no p-value of so few lies below alpha = 0.05; give at least 20",
        ),
        ({"samples": 0}, "registry.samples = 0: must be a whole number at least 1"),
        ({"alpha": 0.5}, "registry.alpha = 0.5: must be a number greater than 0 and less than 0.5"),
        (
            {"non_inferiority": {"margin": 0.005, "gain": "size"}},
            "registry.non_inferiority.by: missing; must be ",
        ),
        (
            {"non_inferiority": {"margin": 0, "gain": "size", "by": 0.2}},
            "registry.non_inferiority.margin = 0: must be a number greater than 0",
        ),
        (
            {"non_inferiority": {"margin": 0.1, "gain": "beauty", "by": 0.2}},
            "registry.non_inferiority.gain = 'beauty': must be one of size, latency",
        ),
    ],
)
def test_what_cannot_decide_is_refused(registry: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parsed(**registry)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert parsed(samples=20).registry.samples == 20
