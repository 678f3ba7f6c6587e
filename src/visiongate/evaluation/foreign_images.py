"""Images of other data sets, which ship with scikit-learn, in the form of a model's input."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from PIL import Image

from visiongate.models.predictor import Contract, Images

# Enough to tell a share of 5% from one of 50%.
MAX_IMAGES = 64
# The side of the parts of the sample photos, in pixels, which are 640 by 427.
TILE = 106
# Data sets whose images show handwritten digits.
HANDWRITING = frozenset({"digits", "mnist"})


def load_foreign_images(contract: Contract, dataset: str) -> dict[str, Images]:
    """Return foreign images by name, uint8 N×H×W×C.

    Args:
        contract: Of the model.
        dataset: The name of the data set; images of the same kind are left out.
    """
    return {
        name: np.stack([_fit(image, contract) for image in draw()])
        for name, draw in SOURCES.items()
        if not (name == "handwritten digits" and dataset in HANDWRITING)
    }


def _fit(image: Image.Image, contract: Contract) -> Images:
    height, width, channels = contract.input_shape
    resized = image.convert(contract.mode).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8).reshape(height, width, channels)


def _draw_digits() -> Sequence[Image.Image]:
    from sklearn.datasets import load_digits  # noqa: PLC0415 - slow to import

    # The gray levels are 0 to 16.
    return [Image.fromarray(np.uint8(digit * 255 / 16)) for digit in load_digits().images[:MAX_IMAGES]]


def _draw_tiles() -> Sequence[Image.Image]:
    from sklearn.datasets import load_sample_images  # noqa: PLC0415 - slow to import

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    return [
        photo.crop((left, top, left + TILE, top + TILE))
        for photo in photos
        for top in range(0, photo.height - TILE, TILE)
        for left in range(0, photo.width - TILE, TILE)
    ][:MAX_IMAGES]


SOURCES: Mapping[str, Callable[[], Sequence[Image.Image]]] = MappingProxyType(
    {"handwritten digits": _draw_digits, "parts of photos": _draw_tiles}
)
