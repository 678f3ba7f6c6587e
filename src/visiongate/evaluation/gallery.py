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

# The longer side of a thumbnail, in pixels, and that of a similar training image.
MAX_SIDE, SIMILAR_SIDE = 96, 64
# A smaller image is enlarged without smoothing and stored without loss.
PIXELATED_SIDE = 48
QUALITY = 85
# With a larger share of mistakes, most suspected labels are mistakes of the model.
MAX_TRUSTED_ERRORS = 0.2
# Title and lead of each gallery.
_TEXTS = (
    (
        "Likely label errors",
        "The model is more confident of another class than usual for images of that class. visiongate correct mends those.",
    ),
    (
        "Worst mistakes",
        "The lowest probabilities of the true class. Likely label errors and the most confident mistakes are listed apart.",
    ),
    ("Most confident mistakes", "The other mistakes with the highest probability of the wrong class."),
)


@dataclass(frozen=True, slots=True)
class Tile:
    """An image, uint8 H×W×C of 1 or 3 channels, with two lines of text."""

    # Of the image in its split.
    row: int
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


def thumbnail_uri(image: npt.NDArray[np.uint8], side: int = MAX_SIDE) -> str:
    """Return the data URI of a thumbnail.

    Small images are PNG, without loss. Larger ones are JPEG: as PNG, photographs take five times the bytes.

    Args:
        image: uint8, H×W×C of 1 or 3 channels.
        side: The longer side of the thumbnail, in pixels.
    """
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image))
    buffer = io.BytesIO()
    if is_pixelated(image):
        picture.save(buffer, "PNG", optimize=True)
        return data_uri(buffer.getvalue())
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    picture.save(buffer, "JPEG", quality=QUALITY, optimize=True, subsampling=0)
    return data_uri(buffer.getvalue(), "image/jpeg")


def pick_galleries(
    test: Predictions,
    images: npt.NDArray[np.uint8],
    paths: Sequence[str],
    label_errors: LabelErrors,
    max_images: int,
) -> list[Gallery]:
    """Choose the images that a person should look at: each in one gallery. An empty gallery is left out.

    Args:
        test: Predictions for N images.
        images: uint8, N×H×W×C.
        paths: N.
        label_errors: Likely label errors, the most suspicious first.
        max_images: Per gallery.
    """
    wrong = np.flatnonzero(~test.correct)
    orders = (
        np.array(label_errors.rows, dtype=np.int64),
        wrong[np.argsort(test.label_probability[wrong], kind="stable")],
        wrong[np.argsort(-test.confidence[wrong], kind="stable")],
    )
    shown: set[int] = set()
    galleries = []
    doubts = (_doubt(len(wrong) / len(test.labels)), "", "")
    for (title, lead), doubt, order in zip(_TEXTS, doubts, orders, strict=True):
        rows = [row for row in order.tolist() if row not in shown][:max_images]
        shown.update(rows)
        tiles = tuple(Tile(row, images[row], _describe(test, row), paths[row]) for row in rows)
        galleries.append(Gallery(title, lead + doubt, tiles))
    return [gallery for gallery in galleries if gallery.tiles]


def _doubt(errors: float) -> str:
    """Return what to think of suspected labels, if the model has a large share of mistakes."""
    if errors <= MAX_TRUSTED_ERRORS:
        return ""
    return f" Most of these labels are probably correct, because the model is wrong on {errors:.0%} of the images."


def _describe(test: Predictions, row: int) -> str:
    label, predicted = (test.classes[values[row]] for values in (test.labels, test.predicted))
    return f"{label}, predicted {predicted} ({test.confidence[row]:.0%})"
