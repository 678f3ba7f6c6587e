"""Galleries: thumbnails of test images that a person should look at."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from visiongate.evaluation.label_errors import LabelErrors
from visiongate.models.predictions import Predictions
from visiongate.pages.rendering import data_uri

# The longer side of a thumbnail, in pixels.
MAX_SIDE = 96
# A smaller image is enlarged without smoothing and stored without loss.
PIXELATED_SIDE = 48
QUALITY = 85
# Title and lead of each gallery.
_TEXTS = (
    ("Worst mistakes", "The true class had the lowest probability."),
    ("Most confident mistakes", "The wrong class had the highest probability."),
    (
        "Likely label errors",
        "The model is more confident of another class than, on average, for images of that class. Check before you relabel.",
    ),
)


@dataclass(frozen=True, slots=True)
class Tile:
    """An image, uint8 H×W×C of 1 or 3 channels, with two lines of text."""

    image: npt.NDArray[np.uint8]
    title: str
    caption: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """Images of one kind, such as the most confident mistakes."""

    title: str
    lead: str
    tiles: tuple[Tile, ...]


def is_pixelated(image: npt.NDArray[np.uint8]) -> bool:
    """Return whether an image is so small that its pixels are shown."""
    return bool(max(image.shape[:2]) < PIXELATED_SIDE)


def embed(image: npt.NDArray[np.uint8]) -> str:
    """Return the data URI of a thumbnail.

    Small images are PNG, without loss. Larger ones are JPEG: as PNG, photographs take five times the bytes.
    """
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image))
    buffer = io.BytesIO()
    if is_pixelated(image):
        picture.save(buffer, "PNG", optimize=True)
        return data_uri(buffer.getvalue())
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    picture.save(buffer, "JPEG", quality=QUALITY, optimize=True, subsampling=0)
    return data_uri(buffer.getvalue(), "image/jpeg")


def pick_galleries(
    test: Predictions,
    images: npt.NDArray[np.uint8],
    paths: Sequence[str],
    label_errors: LabelErrors,
    max_images: int,
) -> list[Gallery]:
    """Choose the images that a person should look at; an empty gallery is left out.

    Args:
        test: Predictions for N images.
        images: uint8, N×H×W×C.
        paths: N.
        label_errors: Likely label errors, the most suspicious first.
        max_images: Per gallery.
    """
    wrong = np.flatnonzero(~test.correct)
    worst = wrong[np.argsort(test.label_probability[wrong], kind="stable")][:max_images].tolist()
    confident = wrong[np.argsort(-test.confidence[wrong], kind="stable")][:max_images].tolist()
    if confident == worst:
        confident = []
    suspects = zip(label_errors.rows, label_errors.suspects, strict=True)
    doubtful = [
        Tile(images[row], f"labeled {suspect.given}, predicted {suspect.suggested}", paths[row])
        for row, suspect in suspects
    ]
    tiles = (
        _mistakes(test, images, paths, worst),
        _mistakes(test, images, paths, confident),
        doubtful[:max_images],
    )
    return [Gallery(*text, tuple(shown)) for text, shown in zip(_TEXTS, tiles, strict=True) if shown]


def _mistakes(
    test: Predictions, images: npt.NDArray[np.uint8], paths: Sequence[str], rows: Sequence[int]
) -> list[Tile]:
    actual = [test.classes[test.labels[row]] for row in rows]
    predicted = [test.classes[test.predicted[row]] for row in rows]
    return [
        Tile(images[row], f"{label}, predicted {name} ({test.confidence[row]:.0%})", paths[row])
        for row, label, name in zip(rows, actual, predicted, strict=True)
    ]
