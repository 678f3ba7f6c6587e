"""Data sets that are part of an installed package and need no download."""

from collections import Counter
from collections.abc import Iterator
from importlib.metadata import distribution

import numpy as np

from visiongate.ingestion.source import Source, SourceImage, encode_png

SCHEME = "embedded"
# Part of scikit-learn, and what `sklearn.datasets.load_digits` reads: for each image 64 gray levels of 0 to 16, and its label.
DIGITS = "sklearn/datasets/data/digits.csv.gz"


def open_digits() -> Source:
    """Open scikit-learn's digits: 1,797 images of 8×8 pixels, whose 17 gray levels are scaled to 0..255."""
    # Importing scikit-learn takes longer than everything else that the stage does.
    table = np.loadtxt(str(distribution("scikit-learn").locate_file(DIGITS)), delimiter=",")
    pixels = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = [str(int(label)) for label in table[:, -1]]

    def read() -> Iterator[SourceImage]:
        for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            yield SourceImage(encode_png(image), label, f"load_digits/{index:04d}.png")

    counts: Counter[tuple[str, str | None]] = Counter((label, None) for label in labels)
    return Source(
        [str(label) for label in range(10)],
        counts,
        Counter(),
        read,
        "10 classes, embedded in scikit-learn",
    )


EMBEDDED = {"digits": open_digits}
