"""A source of labeled images."""

import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image


@dataclass(frozen=True, slots=True)
class SourceImage:
    """A labeled image.

    Attributes:
        image: The encoded file.
        label: Class name.
        path: Unique path within the source.
        split: The split that the source gives, if any.
        group: Name of the group, if any.
    """

    image: bytes
    label: str
    path: str
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Labeled images that can be read.

    Attributes:
        classes: Class names in the order of the model's outputs.
        counts: Number of images by class and given split; the split is None if the source gives none.
        ignored: Number of files that are not images of a class, by reason.
        read: Yields the images in the order of their paths.
        layout: How the source was understood, in one line.
        warnings: What a person should check.
        extras: Number of images whose names claim a format that needs a package, by its name in ``dataset.extras``.
    """

    classes: list[str]
    counts: Counter[tuple[str, str | None]]
    ignored: Counter[str]
    read: Callable[[], Iterator[SourceImage]]
    layout: str
    warnings: tuple[str, ...] = ()
    extras: Counter[str] = field(default_factory=Counter)

    @property
    def images(self) -> int:
        """The number of images."""
        return self.counts.total()


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode uint8 pixels, H×W or H×W×3, without loss."""
    buffer = io.BytesIO()
    # Small images hardly compress. Level 1 yields the same size as higher levels, four times as fast.
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
