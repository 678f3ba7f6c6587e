"""The calibration by feedback: values against the evaluation's, and an interval that holds in simulations."""

import numpy as np
import numpy.typing as npt
import pytest

from visiongate.evaluation.calibration import expected_calibration_error
from visiongate.monitoring.calibration import BINS, RELIABILITY_BINS, bound_ece, measure_calibration

Floats = npt.NDArray[np.float64]
LEVEL = 0.95


def draw(images: int, world: str, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Return confidences and the probabilities that the answers are correct."""
    confidence = generator.beta(5, 1, images)
    if world == "overconfident":
        return confidence, np.clip(confidence - 0.1, 0, 1)
    if world == "coin":
        return confidence, np.full(images, 0.6)
    return confidence, confidence


def count(confidence: Floats, correct: Floats, bins: int) -> tuple[Floats, Floats, Floats]:
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    return tuple(np.bincount(number, each, bins) for each in (np.ones(len(number)), correct, confidence))  # type: ignore[return-value]


def test_value_is_that_of_the_evaluation() -> None:
    generator = np.random.default_rng(0)
    confidence, probability = draw(700, "overconfident", generator)
    correct = generator.random(700) < probability
    found = measure_calibration(*count(confidence, correct, BINS), LEVEL)
    assert found is not None
    assert found.ece.value == pytest.approx(expected_calibration_error(confidence, correct, RELIABILITY_BINS))
    assert sum(each.labeled for each in found.bins) == 700
    for each in found.bins:
        chosen = (each.low <= confidence) & (confidence < each.high)
        assert each.confidence == pytest.approx(confidence[chosen].mean())
        assert each.accuracy.value == pytest.approx(correct[chosen].mean())
        assert each.accuracy.low <= each.accuracy.value <= each.accuracy.high


def test_without_feedback_there_is_none() -> None:
    zero = np.zeros(BINS)
    assert measure_calibration(zero, zero, zero, LEVEL) is None


@pytest.mark.parametrize("world", ["calibrated", "overconfident", "coin"])
@pytest.mark.parametrize("images", [30, 300, 3000])
def test_interval_contains_the_true_error(world: str, images: int) -> None:
    generator, trials, covered = np.random.default_rng(0), 300, 0
    many = draw(400_000, world, generator)
    total, correct, confidence = count(*many, RELIABILITY_BINS)
    truth = np.abs(correct - confidence).sum() / total.sum()
    for _ in range(trials):
        confidences, probability = draw(images, world, generator)
        hits = generator.random(images) < probability
        counted = count(confidences, hits.astype(float), RELIABILITY_BINS)
        used = counted[0] > 0
        interval = bound_ece(*(each[used] for each in counted), LEVEL)
        covered += interval.low - 1e-3 <= truth <= interval.high
    assert covered / trials >= 0.95
