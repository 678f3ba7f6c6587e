"""The budget of a search: with few images, a trial needs more epochs before it can be judged, and there are fewer trials."""

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visiongate.images.pixels import load_split
from visiongate.settings.loading import replace_settings
from visiongate.settings.model import Model
from visiongate.settings.optimize import Optimize
from visiongate.settings.schema import Settings

if TYPE_CHECKING:
    # It imports torch, and `recommend` often trains nothing.
    from visiongate.optimization.judging import JudgingImages

logger = logging.getLogger(__name__)


def first_check(optimize: Optimize, images: int) -> int:
    """Return the first epoch after which a trial has trained on ``optimize.min_images`` images, and may be pruned."""
    return max(1, math.ceil(optimize.min_images / images))


def fit_to_images(settings: Settings, images: int) -> Settings:
    """Return the settings with as many epochs per trial as `first_check` requires, and about as many epochs in all.

    Args:
        settings: The settings. A baseline or a probe is fitted in one step, which counts as one epoch.
        images: The number of training images.
    """
    optimize = settings.optimize
    if not isinstance(settings.model, Model):
        return replace_settings(settings, {"optimize.epochs": 1}, "optimize")
    epochs = first_check(optimize, images)
    if epochs <= optimize.epochs:
        return settings
    trials = max(1, optimize.trials * optimize.epochs // epochs)
    logger.info(
        "%d training images are few: %d trials of %d epochs instead of %d of %d (optimize.min_images is %d)",
        *(images, trials, epochs, optimize.trials, optimize.epochs, optimize.min_images),
    )
    return replace_settings(settings, {"optimize.epochs": epochs, "optimize.trials": trials}, "optimize")


def count_images(directory: Path) -> int:
    """Return the number of training images."""
    return len(load_split(directory, "train").labels)


def guess(metric: str, images: "JudgingImages") -> float | None:
    """Return the validation accuracy of the most frequent class as the answer to every image; None for another metric."""
    if metric != "val_accuracy":
        return None
    labels = [images.val_labels(fold) for fold in range(len(images))]
    return float(np.mean([np.bincount(each).max() / len(each) for each in labels]))
