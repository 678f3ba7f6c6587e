"""The catalog of metrics agrees with what is computed and documented."""

import pytest

from visiongate.records.history import COLUMNS
from visiongate.records.metrics import (
    METRICS,
    TEST_METRICS,
    VALIDATION_METRICS,
    lower_is_better,
    title,
)


def test_names_are_unique() -> None:
    assert len(METRICS) == len(set(METRICS)) > 40
    assert not set(TEST_METRICS) & set(VALIDATION_METRICS)


def test_the_validation_metrics_are_those_of_an_epoch() -> None:
    assert set(VALIDATION_METRICS) == {name for name in COLUMNS if name.startswith("val_")}


@pytest.mark.parametrize(
    ("name", "lower"),
    [("accuracy", False), ("test/ece", True), ("val_loss", True), ("my_mse", True), ("custom", False)],
)
def test_a_direction_is_known(name: str, lower: bool) -> None:  # noqa: FBT001
    assert lower_is_better(name) is lower


def test_values_have_the_digits_of_their_kind() -> None:
    assert METRICS["images"].format(1234) == "1,234"
    assert METRICS["accuracy"].format(0.98765) == "0.9877"
    assert METRICS["latency_p50_ms"].format(1.23456) == "1.235"
    assert title("ece") == "Calibration error"
    assert title("custom") == "custom"
