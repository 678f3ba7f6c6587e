"""Corruptions: graded, the same twice, and measured by the model that is served."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits

from tiny_models import brightness_images, write_threshold_model
from visiongate.evaluation.corruptions import (
    CONTRAST,
    CORRUPTIONS,
    SEVERITIES,
    RobustnessRow,
    corrupt,
    mean_corruption_accuracy,
    measure_robustness,
    sample_images,
)
from visiongate.models.predictor import open_predictor

DIGITS = (load_digits().images[:40, ..., None] * 15.9).astype(np.uint8)
COLOR = np.random.default_rng(0).integers(256, size=(12, 40, 30, 3), dtype=np.uint8)


def spoilt(images: np.ndarray, name: str, severity: int) -> np.ndarray:
    return corrupt(images, name, severity, np.random.default_rng(5))


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("images", [DIGITS, COLOR])
def test_images_keep_their_shape_and_change_more_with_each_severity(name: str, images: np.ndarray) -> None:
    results = [spoilt(images, name, severity) for severity in SEVERITIES]

    assert {(each.shape, each.dtype) for each in results} == {(images.shape, np.dtype(np.uint8))}
    distances = [np.abs(each.astype(float) - images).mean() for each in results]
    assert distances[0] > 0
    # Noise has no scale on which a shift by another whole pixel must change more.
    assert name == "shift" or distances == sorted(distances)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_generator_gives_the_same_and_leaves_the_images_alone(name: str) -> None:
    before = DIGITS.copy()

    assert (spoilt(DIGITS, name, 3) == spoilt(DIGITS, name, 3)).all()
    assert (before == DIGITS).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_batch_is_its_parts_one_after_the_other(name: str) -> None:
    generator = np.random.default_rng(5)

    parts = [corrupt(COLOR[start : start + 5], name, 2, generator) for start in (0, 5, 10)]

    assert (np.concatenate(parts) == spoilt(COLOR, name, 2)).all()


def test_blur_is_that_of_scipy_and_contrast_draws_toward_the_mean() -> None:
    image = COLOR[:1]
    blurred = spoilt(image, "blur", 5)[0, ..., 0].astype(float)
    sigma = 0.2 + 0.4 * np.sqrt(30)
    assert (
        np.abs(blurred - gaussian_filter(image[0, ..., 0].astype(float), sigma, mode="reflect")).max() <= 1.5
    )
    flat = spoilt(image, "contrast", 1).astype(float)
    assert np.allclose(flat.std(axis=(1, 2)), CONTRAST[0] * image.std(axis=(1, 2)), rtol=0.02)
    assert np.allclose(flat.mean(axis=(1, 2)), image.mean(axis=(1, 2)), atol=1)


def test_a_shift_moves_by_whole_pixels_and_fills_with_black() -> None:
    white = np.full((20, 10, 10, 1), 255, dtype=np.uint8)

    shifted = spoilt(white, "shift", 5)

    assert set(np.unique(shifted)) == {0, 255}
    black = (shifted == 0).reshape(20, -1).sum(axis=1)
    assert (black > 0).all()
    assert (black % 10 == 0).all() or (black < 100).all()


@pytest.mark.parametrize(
    ("images", "name", "severity", "told"),
    [
        (DIGITS, "fog", 1, "'fog': no such corruption; there are "),
        (DIGITS, "blur", 0, "0: no such severity"),
        (DIGITS, "blur", 6, "6: no such severity"),
        (DIGITS[..., 0], "blur", 1, "not uint8 images"),
        (DIGITS.astype(float), "blur", 1, "not uint8 images"),
    ],
)
def test_what_cannot_be_spoilt_is_told(images: np.ndarray, name: str, severity: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        corrupt(images, name, severity, np.random.default_rng(0))


def test_robustness_is_measured_by_the_model_whatever_the_batch(tmp_path: Path) -> None:
    write_threshold_model(tmp_path / "model.onnx", threshold=127.5)
    model = open_predictor(tmp_path / "model.onnx")
    images, labels = brightness_images(60)

    rows = measure_robustness(model, images, labels, seed=1, batch_size=60)

    assert [(row.corruption, row.severity) for row in rows] == [
        (name, severity) for name in CORRUPTIONS for severity in (0, *SEVERITIES)
    ]
    assert {row.accuracy for row in rows if row.severity == 0} == {1.0}
    # The mean of an image of one color stays what it is, blurred or flattened.
    assert {row.accuracy for row in rows if row.corruption in {"blur", "contrast"}} == {1.0}
    assert min(row.accuracy for row in rows if row.corruption == "shift") < 1.0
    assert measure_robustness(model, images, labels, seed=1, batch_size=7) == rows


def test_without_images_there_is_nothing_to_measure(tmp_path: Path) -> None:
    write_threshold_model(tmp_path / "model.onnx")
    images, labels = brightness_images(4)

    with pytest.raises(ValueError, match="4 images and 3 labels"):
        measure_robustness(open_predictor(tmp_path / "model.onnx"), images, labels[:3], seed=0, batch_size=2)


def test_the_mean_leaves_the_clean_images_out() -> None:
    rows = [RobustnessRow("blur", 0, 1.0), RobustnessRow("blur", 1, 0.8), RobustnessRow("noise", 1, 0.4)]

    assert mean_corruption_accuracy(rows) == pytest.approx(0.6)
    with pytest.raises(ValueError, match="nothing to average"):
        mean_corruption_accuracy(rows[:1])


def test_a_sample_keeps_the_classes_in_proportion() -> None:
    labels = np.array([0] * 600 + [1] * 300 + [2] * 100)

    chosen = sample_images(labels, 100, seed=0)

    assert np.bincount(labels[chosen]).tolist() == [60, 30, 10]
    assert (np.diff(chosen) > 0).all()
    assert (sample_images(labels, 100, seed=0) == chosen).all()
    assert (sample_images(labels, 100, seed=1) != chosen).any()
    assert sample_images(labels, 5000, seed=0).tolist() == list(range(1000))
