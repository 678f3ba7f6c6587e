"""Where images come from: data sets by registered name, each an iterator over encoded images."""

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from visiongate.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One image as its source gives it."""

    image: bytes  # the encoded file
    label: str
    path: str  # within the source
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A source ready to be read: how many images, the hash of its bytes, and the images in a fixed order."""

    images: int
    sha256: str
    read: Callable[[], Iterator[SourceImage]]


@dataclass(frozen=True, slots=True)
class Source:
    """What is known of a data set before it is read, and how to open it."""

    classes: tuple[str, ...]  # in the order of the model's outputs
    licence: str
    citation: str
    homepage: str
    open: Callable[[], Opened]


SOURCES: dict[str, Source] = {}


def register_source(name: str, source: Source) -> None:
    """Make a source known by name.

    Raises:
        ValueError: The name is taken.
    """
    if name in SOURCES:
        raise ValueError(f"source {name!r} is registered twice")
    SOURCES[name] = source


def find_source(name: str) -> Source:
    """Return the source of that name.

    Raises:
        DataError: There is none; the message names those there are.
    """
    if name not in SOURCES:
        raise DataError(f"dataset.name = {name!r}: no such data set; there are {', '.join(sorted(SOURCES))}")
    return SOURCES[name]


def _open_digits() -> Opened:
    """Open scikit-learn's digits: 1,797 images of 8×8 pixels with 17 levels of grey, spread here over 0..255."""
    import numpy as np  # noqa: PLC0415 - for this source alone
    from sklearn.datasets import load_digits  # noqa: PLC0415 - takes a second

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.uint8)

    def read() -> Iterator[SourceImage]:
        for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            yield SourceImage(_png(image), str(label), f"load_digits/{index:04d}.png")

    return Opened(len(labels), hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest(), read)


def _png(pixels: "npt.NDArray[np.uint8]") -> bytes:
    from PIL import Image  # noqa: PLC0415 - for sources that hold pixels, not files

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


register_source(
    "digits",
    Source(
        classes=tuple("0123456789"),
        licence="CC BY 4.0",
        citation="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998, "
        "https://doi.org/10.24432/C50P49",
        homepage="https://scikit-learn.org/stable/datasets/toy_dataset.html#optical-recognition-of-handwritten-digits-dataset",
        open=_open_digits,
    ),
)
