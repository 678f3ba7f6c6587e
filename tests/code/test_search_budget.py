"""A search of few images has longer trials, and fewer of them."""

from pathlib import Path

import numpy as np
import pytest

from visiongate.images.pixels import PixelSplit
from visiongate.optimization.budget import first_check, fit_to_images, guess
from visiongate.optimization.judging import Fold, JudgingImages
from visiongate.settings.loading import load_settings, replace_settings

SETTINGS = load_settings(Path(__file__).parents[2] / "params.yaml")


@pytest.mark.parametrize(
    ("images", "first", "trials", "epochs"),
    [(1438, 1, 8, 8), (125, 8, 8, 8), (72, 14, 4, 14), (10, 100, 1, 100)],
)
def test_few_images_get_more_epochs_and_fewer_trials(
    images: int, first: int, trials: int, epochs: int
) -> None:
    optimize = fit_to_images(SETTINGS, images).optimize
    assert first_check(SETTINGS.optimize, images) == first
    assert (optimize.trials, optimize.epochs) == (trials, epochs)


def test_the_rule_can_be_turned_off() -> None:
    settings = replace_settings(SETTINGS, {"optimize.min_images": 0}, "test")
    assert fit_to_images(settings, 10) == settings


def test_guessing_answers_with_the_most_frequent_class() -> None:
    pixels = PixelSplit(np.zeros((6, 2, 2, 1), np.uint8), np.array([0, 1, 0, 2, 2, 1]))
    images = JudgingImages(
        [pixels], [Fold(np.arange(2), np.arange(2, 6)), Fold(np.arange(4), np.arange(4, 6))]
    )
    assert guess("val_accuracy", images) == 0.5
    assert guess("val_loss", images) is None
