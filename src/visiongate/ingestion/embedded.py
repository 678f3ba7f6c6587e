"""Data sets that are part of an installed package and need no download."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from visiongate.ingestion.source import Source, SourceImage, encode_png

SCHEME = "embedded"


def open_digits() -> Source:
    """Open scikit-learn's digits: 1,797 images of 8×8 pixels, whose 17 gray levels are scaled to 0..255."""
    # Imported here because it takes a second.
    from sklearn.datasets import load_digits  # noqa: PLC0415

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)

    def read() -> Iterator[SourceImage]:
        for index, (image, label) in enumerate(zip(pixels, digits.target, strict=True)):
            yield SourceImage(encode_png(image), str(label), f"load_digits/{index:04d}.png")

    counts: Counter[tuple[str, str | None]] = Counter((str(label), None) for label in digits.target)
    return Source(
        [str(label) for label in range(10)],
        counts,
        Counter(),
        read,
        "10 classes, embedded in scikit-learn",
    )


EMBEDDED = {"digits": open_digits}
