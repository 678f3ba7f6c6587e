"""Brightness and contrast of a model's input, against NumPy in floating point."""

import numpy as np
import pytest

from visiongate.images.exposure import measure_exposure


@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 8, 1), (32, 32, 3), (224, 224, 3)])
def test_exposure_is_mean_and_standard_deviation_of_the_pixels(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    brightness, contrast = measure_exposure(pixels)
    assert brightness == pytest.approx(float((pixels / 255).mean()), abs=1e-12)
    assert contrast == pytest.approx(float((pixels / 255).std()), abs=1e-12)


@pytest.mark.parametrize(("level", "brightness"), [(0, 0.0), (255, 1.0)])
def test_a_blank_image_has_no_contrast(level: int, brightness: float) -> None:
    assert measure_exposure(np.full((224, 224, 3), level, np.uint8)) == (brightness, 0.0)


def test_the_strongest_contrast_is_a_half() -> None:
    assert measure_exposure(np.array([[0, 255], [255, 0]], np.uint8)) == (0.5, 0.5)
