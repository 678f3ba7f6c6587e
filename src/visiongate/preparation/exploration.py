"""Statistics of a set of images, and the choice of images to show."""

import heapq
import io
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from visiongate.preparation.quality import ImageRow, Reason, Rejections
from visiongate.records.measurements import Measurement, Sketches
from visiongate.records.splits import SPLITS

BINS = 32
# Sketches summed at a time: 4 MB.
CHUNK = 4096
MAX_SIZES = 10
# An image with a smaller ratio of its sides is about square.
MAX_SQUARE_RATIO = 1.1
# Of all classes together, so that a page with a thousand classes stays small.
MAX_SAMPLES = 480


@dataclass(frozen=True, slots=True)
class Share:
    """How many images have a value, and their share of all (0 to 1)."""

    name: str
    images: int
    share: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Minimum, median and maximum."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """Images in `BINS` bins of equal width, between two whole numbers around all values."""

    low: int
    high: int
    median: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Exploration:
    """Statistics of a set of images. The lists start with the most frequent value, but ``classes`` are in the model's order.

    Attributes:
        splits: For each given split, its images by class.
        sizes: At most `MAX_SIZES`.
        width: In pixels.
        height: In pixels.
        aspect: Width over height.
        brightness: Mean of the gray pixels, 0 to 255.
        contrast: Standard deviation of the gray pixels, 0 to 127.5.
    """

    classes: list[Share]
    splits: dict[str, dict[str, int]]
    formats: list[Share]
    modes: list[Share]
    sizes: list[Share]
    distinct_sizes: int
    width: Spread
    height: Spread
    shapes: list[Share]
    aspect: Spread
    brightness: Histogram
    contrast: Histogram


def explore(
    rows: Sequence[ImageRow], measurements: Sequence[Measurement], classes: Sequence[str]
) -> Exploration:
    """Describe images that decode; at least one.

    Args:
        rows: The images.
        measurements: The measurement of each image.
        classes: All labels, in the order of the model's outputs.
    """
    per_class = Counter(row.label for row in rows)
    per_split = Counter((row.split, row.label) for row in rows)
    given = [split for split in SPLITS if any(row.split == split for row in rows)]
    sizes = Counter(f"{found.width} × {found.height}" for found in measurements)
    widths = np.array([found.width for found in measurements], dtype=np.float64)
    heights = np.array([found.height for found in measurements], dtype=np.float64)
    aspects = widths / heights
    return Exploration(
        classes=[Share(name, per_class[name], per_class[name] / len(rows)) for name in classes],
        splits={split: {name: per_split[split, name] for name in classes} for split in given},
        formats=_rank(Counter(str(found.format) for found in measurements)),
        modes=_rank(Counter(str(found.mode) for found in measurements)),
        sizes=_rank(sizes)[:MAX_SIZES],
        distinct_sizes=len(sizes),
        width=_spread(widths),
        height=_spread(heights),
        shapes=_rank(Counter(map(_shape, aspects.tolist()))),
        aspect=_spread(aspects),
        brightness=_histogram(np.array([found.brightness for found in measurements], dtype=np.float64)),
        contrast=_histogram(np.array([found.contrast for found in measurements], dtype=np.float64)),
    )


def mean_images(
    rows: Sequence[ImageRow], kept: Sequence[int], sketches: Sketches, classes: Sequence[str]
) -> dict[str, bytes]:
    """Return the mean sketch of each class that has kept images, as a PNG of 32×32 gray pixels."""
    members: defaultdict[str, list[int]] = defaultdict(list)
    for index in kept:
        members[rows[index].label].append(index)
    return {name: _png(_mean(sketches, members[name])) for name in classes if members[name]}


def _mean(sketches: Sketches, rows: Sequence[int]) -> npt.NDArray[np.uint8]:
    total = np.zeros(sketches.shape[1:], dtype=np.int64)
    for start in range(0, len(rows), CHUNK):
        total += sketches[rows[start : start + CHUNK]].sum(axis=0, dtype=np.int64)
    return np.rint(total / len(rows)).astype(np.uint8)


def choose_samples(rows: Sequence[ImageRow], rejections: Rejections, per_class: int) -> dict[str, list[int]]:
    """Choose the kept images of each class with the lowest hashes: a random choice that does not change between runs.

    Args:
        rows: All images.
        rejections: None for each image that is kept.
        per_class: How many of each class at most; with many classes fewer, so that all have about `MAX_SAMPLES`.

    Returns:
        The rows of the images, by class.
    """
    kept: defaultdict[str, list[int]] = defaultdict(list)
    for index, (row, rejection) in enumerate(zip(rows, rejections, strict=True)):
        if rejection is None:
            kept[row.label].append(index)
    limit = min(per_class, max(1, MAX_SAMPLES // max(1, len(kept))))
    return {
        label: heapq.nsmallest(limit, found, key=lambda index: rows[index].sha256)
        for label, found in kept.items()
    }


def choose_quarantined(rejections: Rejections, limit: int) -> list[int]:
    """Choose quarantined images of every reason: the first of each, then the second of each, up to a limit.

    Returns:
        Their rows, sorted by the precedence of the reason, then in the table's order.
    """
    by_reason: dict[Reason, list[int]] = {reason: [] for reason in Reason}
    for index, rejection in enumerate(rejections):
        if rejection:
            by_reason[rejection.reason].append(index)
    ranked = [(rank, index) for found in by_reason.values() for rank, index in enumerate(found)]
    chosen = {index for _, index in heapq.nsmallest(limit, ranked)}
    return [index for found in by_reason.values() for index in found if index in chosen]


def _shape(aspect: float) -> str:
    if aspect > MAX_SQUARE_RATIO:
        return "landscape"
    return "portrait" if aspect < 1 / MAX_SQUARE_RATIO else "about square"


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _rank(counts: Counter[str]) -> list[Share]:
    total = counts.total()
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Share(name, images, images / total) for name, images in ranked]


def _spread(values: npt.NDArray[np.float64]) -> Spread:
    low, median, high = np.quantile(values, [0, 0.5, 1]).tolist()
    return Spread(low, median, high)


def _histogram(values: npt.NDArray[np.float64]) -> Histogram:
    low, high = int(np.floor(values.min())), int(np.floor(values.max())) + 1
    counts, _ = np.histogram(values, BINS, (low, high))
    return Histogram(low, high, float(np.median(values)), tuple(counts.tolist()))
