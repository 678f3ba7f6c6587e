"""Corruptions: ordered by severity, reproducible, and measured with a model."""

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
    corrupt,
    mean_corruption_accuracy,
    measure_robustness,
    sample_images,
)
from visiongate.models.predictor import open_predictor

DIGITS = (load_digits().images[:40, ..., None] * 15.9).astype(np.uint8)
COLOR = np.random.default_rng(0).integers(256, size=(12, 40, 30, 3), dtype=np.uint8)


def corrupted(images: np.ndarray, name: str, severity: int) -> np.ndarray:
    return corrupt(images, name, severity, np.random.default_rng(5))


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("images", [DIGITS, COLOR])
def test_corruptions_keep_shape_and_grow_with_severity(name: str, images: np.ndarray) -> None:
    results = [corrupted(images, name, severity) for severity in SEVERITIES]

    assert {(each.shape, each.dtype) for each in results} == {(images.shape, np.dtype(np.uint8))}
    distances = [np.abs(each.astype(float) - images).mean() for each in results]
    assert distances[0] > 0
    # A larger shift of noise does not change more pixels.
    assert name == "shift" or distances == sorted(distances)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_are_reproducible_and_copy(name: str) -> None:
    before = DIGITS.copy()

    assert (corrupted(DIGITS, name, 3) == corrupted(DIGITS, name, 3)).all()
    assert (before == DIGITS).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_batch_equals_its_parts_in_sequence(name: str) -> None:
    generator = np.random.default_rng(5)

    parts = [corrupt(COLOR[start : start + 5], name, 2, generator) for start in (0, 5, 10)]

    assert (np.concatenate(parts) == corrupted(COLOR, name, 2)).all()


def test_blur_is_gaussian_and_contrast_keeps_mean() -> None:
    image = COLOR[:1]
    blurred = corrupted(image, "blur", 5)[0, ..., 0].astype(float)
    sigma = 0.2 + 0.4 * np.sqrt(30)
    assert (
        np.abs(blurred - gaussian_filter(image[0, ..., 0].astype(float), sigma, mode="reflect")).max() <= 1.5
    )
    flat = corrupted(image, "contrast", 1).astype(float)
    assert np.allclose(flat.std(axis=(1, 2)), CONTRAST[0] * image.std(axis=(1, 2)), rtol=0.02)
    assert np.allclose(flat.mean(axis=(1, 2)), image.mean(axis=(1, 2)), atol=1)


def test_shift_moves_whole_pixels_and_fills_with_black() -> None:
    white = np.full((20, 10, 10, 1), 255, dtype=np.uint8)

    shifted = corrupted(white, "shift", 5)

    assert set(np.unique(shifted)) == {0, 255}
    black = (shifted == 0).reshape(20, -1).sum(axis=1)
    assert (black > 0).all()
    assert (black % 10 == 0).all() or (black < 100).all()


def test_robustness_does_not_depend_on_batch_size(tmp_path: Path) -> None:
    write_threshold_model(tmp_path / "model.onnx", threshold=127.5)
    model = open_predictor(tmp_path / "model.onnx")
    images, labels = brightness_images(60)

    robustness = measure_robustness(model, images, labels, seed=1, batch_size=60)

    rows = robustness.accuracies
    assert list(rows) == list(CORRUPTIONS)
    assert {values[0] for values in rows.values()} == {1.0}
    # Blur and contrast do not change an image of one color.
    assert set(rows["blur"] + rows["contrast"]) == {1.0}
    assert min(rows["shift"]) < 1.0
    assert measure_robustness(model, images, labels, seed=1, batch_size=7) == robustness


def test_mean_leaves_out_original_images() -> None:
    assert mean_corruption_accuracy({"blur": [1.0, 0.8], "noise": [1.0, 0.4]}) == pytest.approx(0.6)


def test_sample_keeps_proportions_of_classes() -> None:
    labels = np.array([0] * 600 + [1] * 300 + [2] * 100)

    chosen = sample_images(labels, 100, seed=0)

    assert np.bincount(labels[chosen]).tolist() == [60, 30, 10]
    assert (np.diff(chosen) > 0).all()
    assert (sample_images(labels, 100, seed=0) == chosen).all()
    assert (sample_images(labels, 100, seed=1) != chosen).any()
    assert sample_images(labels, 5000, seed=0).tolist() == list(range(1000))
