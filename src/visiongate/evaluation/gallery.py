"""Galleries: test images worth a look, small enough to lie in a page."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from visiongate.evaluation.label_errors import Suspect
from visiongate.models.predictions import Predictions
from visiongate.pages.rendering import data_uri

LARGEST = 96  # pixels of a tile's longer side
PIXELATED = 48  # below it each pixel is shown as it is, enlarged, and stored without loss
QUALITY = 85


@dataclass(frozen=True, slots=True)
class Tile:
    """An image, and what there is to say of it."""

    image: npt.NDArray[np.uint8]  # H×W×C, of 1 or 3 channels
    title: str
    caption: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """Images of one kind, such as the most confident mistakes."""

    title: str
    lead: str
    tiles: tuple[Tile, ...]


def small_enough(image: npt.NDArray[np.uint8]) -> bool:
    """Tell whether an image is shown pixel by pixel."""
    return bool(max(image.shape[0], image.shape[1]) < PIXELATED)


def embed(image: npt.NDArray[np.uint8]) -> str:
    """Turn an image, uint8 H×W×C of 1 or 3 channels, into an address that holds it, with neither side over `LARGEST`.

    Tiny images are PNG and lose nothing. Larger ones are JPEG: photographs would take five times the bytes as PNG.
    """
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image))
    buffer = io.BytesIO()
    if small_enough(image):
        picture.save(buffer, "PNG", optimize=True)
        return data_uri(buffer.getvalue())
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    picture.save(buffer, "JPEG", quality=QUALITY, optimize=True, subsampling=0)
    return data_uri(buffer.getvalue(), "image/jpeg")


def pick_galleries(
    test: Predictions,
    images: npt.NDArray[np.uint8],
    paths: Sequence[str],
    suspects: Sequence[Suspect],
    most: int,
) -> list[Gallery]:
    """Choose what a person should look at; a gallery without an image is left out.

    Args:
        test: Predictions of N images.
        images: uint8, N×H×W×C.
        paths: Of the images.
        suspects: Images whose label is likely wrong, the most suspicious first.
        most: Images in a gallery, at most.
    """
    own = np.take_along_axis(test.probabilities, test.labels[:, None], axis=1)[:, 0]
    wrong = np.flatnonzero(~test.correct)
    worst = wrong[np.argsort(own[wrong], kind="stable")][:most]
    surest = wrong[np.argsort(-test.confidence[wrong], kind="stable")][:most]

    def tile(index: int, what: str) -> Tile:
        return Tile(images[index], what, paths[index])

    def mistake(index: int) -> Tile:
        names, called = test.classes, test.predicted[index]
        return tile(
            index, f"{names[test.labels[index]]}, taken for {names[called]} ({test.confidence[index]:.0%})"
        )

    galleries = [
        Gallery(
            "Worst mistakes",
            "What the model thought least likely, and was true.",
            tuple(mistake(index) for index in worst),
        ),
        Gallery(
            "Most confident mistakes",
            "Where the model was surest, and wrong.",
            tuple(mistake(index) for index in surest) if surest.tolist() != worst.tolist() else (),
        ),
        Gallery(
            "Likely label errors",
            "Where the model is surer of another class than, on average, of images of that class. Look before you change one.",
            tuple(
                tile(each.index, f"labeled {each.given}, looks like {each.suggested}")
                for each in suspects[:most]
            ),
        ),
    ]
    return [gallery for gallery in galleries if gallery.tiles]
