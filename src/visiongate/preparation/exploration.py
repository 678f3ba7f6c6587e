"""What a set of images looks like: counts, sizes, brightness, and which images to show."""

import heapq
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from visiongate.images.measurement import Measurement
from visiongate.preparation.clusters import stack_sketches
from visiongate.preparation.quality import Reason, Row, Verdict
from visiongate.records.splits import SPLITS

BINS = 32
TOP_SIZES = 10
SQUARE = 1.1  # longer over shorter side, under which an image is about square
MAX_SAMPLES = 480  # over all classes, so that a thousand classes still make a page that opens


@dataclass(frozen=True, slots=True)
class Share:
    """How many images have something, and what part of all that is."""

    name: str
    images: int
    share: float  # 0..1


@dataclass(frozen=True, slots=True)
class Spread:
    """The range of a quantity."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """Images in `BINS` bins of equal width from ``low`` to ``high``, whole numbers around all values."""

    low: int
    high: int
    median: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Exploration:
    """Statistics of a set of images, each list with the most frequent first but for the classes."""

    classes: list[Share]  # in the order of the model's outputs
    splits: dict[str, dict[str, int]]  # given ones: images by class
    formats: list[Share]
    modes: list[Share]
    sizes: list[Share]  # at most `TOP_SIZES`
    distinct_sizes: int
    width: Spread  # pixels
    height: Spread  # pixels
    shapes: list[Share]
    aspect: Spread  # width over height
    brightness: Histogram  # mean of the grayscale pixels, 0..255
    contrast: Histogram  # their standard deviation, 0..127.5


def explore(rows: Sequence[Row], measurements: Sequence[Measurement], classes: Sequence[str]) -> Exploration:
    """Describe images that decode.

    Args:
        rows: The images.
        measurements: Of each image, none with a fault; at least one.
        classes: All labels, in the order wanted.
    """
    per_class = Counter(row.label for row in rows)
    per_split = Counter((row.split, row.label) for row in rows)
    given = [split for split in SPLITS if any(row.split == split for row in rows)]
    sizes = Counter(f"{found.width} × {found.height}" for found in measurements)
    aspects = [float(found.width or 0) / float(found.height or 1) for found in measurements]
    return Exploration(
        classes=[Share(name, per_class[name], per_class[name] / len(rows)) for name in classes],
        splits={split: {name: per_split[split, name] for name in classes} for split in given},
        formats=_rank(Counter(str(found.format) for found in measurements)),
        modes=_rank(Counter(str(found.mode) for found in measurements)),
        sizes=_rank(sizes)[:TOP_SIZES],
        distinct_sizes=len(sizes),
        width=_spread([found.width for found in measurements]),
        height=_spread([found.height for found in measurements]),
        shapes=_rank(Counter(map(_shape, aspects))),
        aspect=_spread(aspects),
        brightness=_histogram([found.brightness for found in measurements]),
        contrast=_histogram([found.contrast for found in measurements]),
    )


def mean_images(
    rows: Sequence[Row], measurements: Sequence[Measurement], classes: Sequence[str]
) -> dict[str, bytes]:
    """Average the sketches of each class that has images, as PNG of 32×32 gray pixels."""
    labels = np.array([row.label for row in rows])
    sketches = stack_sketches(measurements)
    means = {name: sketches[labels == name].mean(axis=0) for name in classes if (labels == name).any()}
    return {name: _png(np.rint(mean).astype(np.uint8)) for name, mean in means.items()}


def choose_samples(
    rows: Sequence[Row], verdicts: Sequence[Verdict | None], per_class: int
) -> dict[str, list[int]]:
    """Choose the kept images with the lowest hashes of each class: without regard to order, and the same every time.

    Args:
        rows: All images.
        verdicts: Of each image.
        per_class: At most so many of each class; fewer, but one at least, where all would be over `MAX_SAMPLES`.

    Returns:
        The indices of the images chosen, by class.
    """
    kept: defaultdict[str, list[int]] = defaultdict(list)
    for index, (row, verdict) in enumerate(zip(rows, verdicts, strict=True)):
        if verdict is None:
            kept[row.label].append(index)
    limit = min(per_class, max(1, MAX_SAMPLES // max(1, len(kept))))
    return {
        label: heapq.nsmallest(limit, found, key=lambda index: rows[index].sha256)
        for label, found in kept.items()
    }


def choose_quarantined(verdicts: Sequence[Verdict | None], limit: int) -> list[int]:
    """Choose quarantined images so that every reason is shown: the first of each, then the second of each, up to a limit.

    Returns:
        Their indices, by reason in order of precedence, then in the table's order.
    """
    by_reason: dict[Reason, list[int]] = {reason: [] for reason in Reason}
    for index, verdict in enumerate(verdicts):
        if verdict:
            by_reason[verdict.reason].append(index)
    ranked = [(rank, index) for found in by_reason.values() for rank, index in enumerate(found)]
    chosen = {index for _, index in heapq.nsmallest(limit, ranked)}
    return [index for found in by_reason.values() for index in found if index in chosen]


def _shape(aspect: float) -> str:
    if aspect > SQUARE:
        return "landscape"
    return "portrait" if aspect < 1 / SQUARE else "about square"


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _rank(counts: Counter[str]) -> list[Share]:
    total = counts.total()
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Share(name, images, images / total) for name, images in ranked]


def _spread(values: Iterable[float | None]) -> Spread:
    low, median, high = np.quantile(_array(values), [0, 0.5, 1]).tolist()
    return Spread(low, median, high)


def _histogram(values: Iterable[float | None]) -> Histogram:
    array = _array(values)
    low, high = int(np.floor(array.min())), int(np.floor(array.max())) + 1
    counts, _ = np.histogram(array, BINS, (low, high))
    return Histogram(low, high, float(np.median(array)), tuple(counts.tolist()))


def _array(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    """Gather what was measured."""
    return np.fromiter(values, dtype=np.float64)
