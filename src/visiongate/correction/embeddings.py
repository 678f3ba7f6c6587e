"""Embeddings of images of any size, by a backbone that has not seen their labels."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from visiongate.images.pixels import Pixels

Embeddings = npt.NDArray[np.float32]
Embed = Callable[[Pixels], Embeddings]

# Smaller images are enlarged, because an ImageNet backbone reduces each side by 32. A logistic regression is right on 93% of
# the digits if their 8 pixels are enlarged, and on 16% otherwise.
MIN_SIDE = 112
# Enlarged images in memory.
CHUNK = 256


def embed_enlarged(embed: Embed, images: Pixels) -> Embeddings:
    """Return the embeddings of images, float32 N×D, enlarged to `MIN_SIDE` pixels if they are smaller.

    Args:
        embed: Computes embeddings, float32 N×D, of images of `backbone_side`.
        images: uint8, N×H×W×C, at least one.
    """
    if images.shape[1] >= MIN_SIDE:
        return embed(images)
    parts = [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]
    return np.concatenate([embed(_enlarge(part)) for part in parts])


def backbone_side(side: int) -> int:
    """Return the side of the backbone's input for images with a side."""
    return max(side, MIN_SIDE)


def _enlarge(images: Pixels) -> Pixels:
    channels = images.shape[-1]
    enlarged = [
        np.asarray(
            Image.fromarray(image[..., 0] if channels == 1 else image).resize(
                (MIN_SIDE, MIN_SIDE), Image.Resampling.BILINEAR
            )
        )
        for image in images
    ]
    return np.stack(enlarged).reshape(len(images), MIN_SIDE, MIN_SIDE, channels)
