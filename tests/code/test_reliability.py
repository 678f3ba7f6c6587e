"""Prediction sets, sure answers and novelty: by hand, and their error rate by simulation."""

import numpy as np
import pytest

from visiongate.errors import DataError
from visiongate.models.reliability import (
    fit_min_probability,
    fit_novelty_threshold,
    is_out_of_distribution,
    is_sure,
    min_calibration_images,
    prediction_sets,
)
from visiongate.records.reliability import Reliability, read_reliability


def _reliability(min_probability: float, novelty_threshold: float | None = None) -> Reliability:
    return Reliability(0.1, min_probability, novelty_threshold, images=100)


def test_threshold_is_the_probability_with_the_finite_sample_rank() -> None:
    own = np.linspace(0.01, 0.99, 99)
    probabilities = np.stack([own, 1 - own], axis=1)

    # Of 99 images and a further one, 90 may have at least this probability: ⌈100 · 0.9⌉.
    assert fit_min_probability(probabilities, np.zeros(99, int), 0.1) == pytest.approx(0.1)


@pytest.mark.parametrize(("error_rate", "images"), [(0.05, 19), (0.1, 9), (0.07, 14)])
def test_too_few_images_exclude_no_class(error_rate: float, images: int) -> None:
    probabilities = np.tile([0.9, 0.1], (images, 1))
    labels = np.zeros(images, int)

    assert min_calibration_images(error_rate) == images
    assert fit_min_probability(probabilities, labels, error_rate) == pytest.approx(0.9)
    assert fit_min_probability(probabilities[1:], labels[1:], error_rate) == 0
    assert fit_novelty_threshold(probabilities[1:, 0], error_rate) is None


def test_sets_have_each_class_that_reaches_the_threshold_and_are_never_empty() -> None:
    probabilities = np.array([[0.8, 0.2, 0.0], [0.4, 0.35, 0.25], [0.95, 0.05, 0.0]], np.float32)

    assert prediction_sets(probabilities, _reliability(0.3)).tolist() == [
        [True, False, False],
        [True, True, False],
        [True, False, False],
    ]
    # No class reaches 0.99: the most probable classes that have 0.9 together.
    assert prediction_sets(probabilities, _reliability(0.99)).tolist() == [
        [True, True, False],
        [True, True, True],
        [True, False, False],
    ]
    assert prediction_sets(probabilities, _reliability(0.0)).all()


def test_sure_is_a_set_of_the_predicted_class_only() -> None:
    sets = np.array([[True, False], [True, False], [True, True], [False, False]])

    assert is_sure(sets, np.array([0, 1, 0, 0])).tolist() == [True, False, False, False]


def test_prediction_that_is_not_a_number_is_never_sure() -> None:
    sets = prediction_sets(np.full((1, 2), np.nan), _reliability(0.5))

    assert not is_sure(sets, np.zeros(1, int)).any()
    assert is_out_of_distribution(np.array([np.nan]), _reliability(0.5, 1.0)).all()


@pytest.mark.parametrize("sharpness", [1.0, 4.0])
def test_error_rate_holds_on_average_for_any_model(sharpness: float) -> None:
    generator = np.random.default_rng(0)
    coverages = []
    for _ in range(200):
        logits = sharpness * generator.standard_normal((240, 3))
        labels = np.array([generator.choice(3, p=p) for p in _softmax(logits)])
        probabilities = _softmax(2 * logits)
        lowest = fit_min_probability(probabilities[:40], labels[:40], 0.1)
        sets = prediction_sets(probabilities[40:], _reliability(lowest))
        coverages.append(sets[np.arange(200), labels[40:]].mean())

    assert np.mean(coverages) >= 0.9 - 3 * np.std(coverages) / 200**0.5


def test_novelty_above_the_threshold_is_out_of_distribution() -> None:
    threshold = fit_novelty_threshold(np.arange(99.0), 0.1)

    assert threshold == 89
    assert is_out_of_distribution(np.array([89.0, 90.0]), _reliability(0.5, threshold)).tolist() == [
        False,
        True,
    ]
    assert not is_out_of_distribution(np.array([1e9]), _reliability(0.5)).any()


def test_reliability_is_read_from_metadata() -> None:
    content = {"error_rate": 0.1, "min_probability": 0.4, "novelty_threshold": None, "images": 100}

    assert read_reliability({"reliability": content}, "model.onnx") == _reliability(0.4)
    assert read_reliability({}, "model.onnx") is None
    with pytest.raises(
        DataError, match=r"model.onnx: metadata reliability: min_probability: .*dvc repro train"
    ):
        read_reliability({"reliability": content | {"min_probability": 2}}, "model.onnx")


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
