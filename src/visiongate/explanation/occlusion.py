"""Occlusion: how much less probable a class becomes when a part of the image is covered.

Zeiler, M. D., Fergus, R. (2014), Visualizing and understanding convolutional networks, ECCV, section 4.2. It works for any
model. Here a map has log-odds instead of probabilities, so that it shows differences between probabilities near 1, too.
"""

import numpy as np
import numpy.typing as npt

from visiongate.images.pixels import Pixels
from visiongate.models.predictor import Predictor, Probabilities

# The side of the patch, as a share of the image's side. Patches overlap by half.
PATCH_SHARE = 1 / 6
# Covered images in memory at a time.
BATCH = 32
# A probability of exactly 0, as that of a random forest, has no logarithm.
MIN_PROBABILITY = 1e-9


def occlusion_map(predictor: Predictor, pixels: Pixels, class_index: int) -> npt.NDArray[np.float32]:
    """Return how much the log-odds of a class fall when a place is covered, float32 H×W.

    Patches have the mean color of the training images. The value of a pixel is the mean over the patches that cover it.

    Args:
        predictor: The model, which runs about 120 times.
        pixels: The model's input, uint8 H×W×C.
        class_index: The class.
    """
    height, width, _ = pixels.shape
    patches = [(rows, columns) for rows in _intervals(height) for columns in _intervals(width)]
    fill = np.rint(255 * np.asarray(predictor.metadata["transform"]["mean"])).astype(np.uint8)
    odds = [_log_odds(predictor.predict(pixels[None]), class_index)]
    for start in range(0, len(patches), BATCH):
        covered = _cover(pixels, patches[start : start + BATCH], fill)
        odds.append(_log_odds(predictor.predict(covered), class_index))
    original, *after = np.concatenate(odds)
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for patch, value in zip(patches, after, strict=True):
        total[patch] += original - value
        count[patch] += 1
    return (total / count).astype(np.float32)


def _intervals(side: int) -> list[slice]:
    """Divide a side into intervals of equal length that overlap by half; the last one ends with the side."""
    length = min(side, max(2, round(PATCH_SHARE * side)))
    starts = {*range(0, side - length, max(1, length // 2)), side - length}
    return [slice(start, start + length) for start in sorted(starts)]


def _cover(pixels: Pixels, patches: list[tuple[slice, slice]], fill: npt.NDArray[np.uint8]) -> Pixels:
    """Return one copy of an image for each patch, with the patch covered."""
    copies = np.repeat(pixels[None], len(patches), axis=0)
    for copy, patch in zip(copies, patches, strict=True):
        copy[patch] = fill
    return copies


def _log_odds(probabilities: Probabilities, class_index: int) -> npt.NDArray[np.float64]:
    """Return the log-odds of a class, N, from the other probabilities, too: float32 rounds a probability near 1."""
    own = probabilities[:, class_index].astype(np.float64)
    others = np.delete(probabilities, class_index, axis=1).sum(axis=1, dtype=np.float64)
    odds: npt.NDArray[np.float64] = np.log(
        np.maximum(own, MIN_PROBABILITY) / np.maximum(others, MIN_PROBABILITY)
    )
    return odds
