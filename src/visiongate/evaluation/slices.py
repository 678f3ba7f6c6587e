"""Slices: on which parts of the test split is the model less accurate than on the rest, by more than chance?"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.stats import fisher_exact

from visiongate.images.pixels import Pixels
from visiongate.models.predictions import Predictions
from visiongate.records.evaluation import Slice
from visiongate.records.interval import effective_draws, number_groups, wilson_interval

MAX_SOURCES, MAX_GROUPS = 20, 10
SIZES, BRIGHTNESSES = ("small", "medium", "large"), ("dark", "medium", "bright")

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ImageAttributes:
    """The attributes that define slices, one value per image.

    Attributes:
        pixels: Width times height of the original image; NaN if unknown.
        brightness: Mean of the model's input, 0..255.
        sources: The top folder of each path.
        groups: None for an image without a group.
        independence: How many independent images each image is worth, at most 1.
    """

    pixels: Floats
    brightness: Floats
    sources: Sequence[str]
    groups: Sequence[str | None]
    independence: float = 1.0


@dataclass(frozen=True, slots=True)
class _Part:
    """A slice's images, N, and the accuracy and independent draws of these images and of the rest."""

    dimension: str
    name: str
    mask: Mask
    accuracy: tuple[float, float]
    draws: tuple[float, ...]


def read_attributes(images: Pixels, manifest: pa.Table, independence: float = 1.0) -> ImageAttributes:
    """Return the attributes of images.

    Args:
        images: uint8, N×H×W×C.
        manifest: Columns ``path``, ``group``, ``width`` and ``height``, in the same order.
        independence: How many independent images each image is worth, at most 1.
    """
    sides = [manifest.column(name).cast(pa.float64()).to_numpy() for name in ("width", "height")]
    return ImageAttributes(
        sides[0] * sides[1],
        np.array([float(image.mean()) for image in images]),
        [path.partition("/")[0] for path in manifest.column("path").to_pylist()],
        manifest.column("group").to_pylist(),
        independence,
    )


def find_slices(
    predictions: Predictions, attributes: ImageAttributes, confidence: float, min_images: int
) -> list[Slice]:
    """Evaluate a split by class, by thirds of size and brightness, by source and by group.

    Each slice is compared with the rest by Fisher's exact test, one-sided. Holm's method adjusts the p-values for the number of
    slices, so that the worst of many is not just the unluckiest. Images of a group count as in `find_intervals`, except in a
    slice that is a group.

    Fisher, R. A. (1935), The design of experiments, section 21.1 of later editions; Holm, S. (1979), A simple sequentially
    rejective multiple test procedure, Scandinavian Journal of Statistics 6, 65-70.

    Args:
        predictions: Of N images.
        attributes: Of the same images.
        confidence: Of the intervals.
        min_images: Smaller groups are not slices.

    Returns:
        Classes in order; thirds, ascending; the `MAX_SOURCES` largest sources; the `MAX_GROUPS` worst groups. A slice that is
        empty or the whole split is left out, and so is a third or a source with exactly the images of one or several classes,
        such as the folder of a class.
    """
    numbers = number_groups(attributes.groups)
    masks = _distinct(_masks(predictions, attributes, min_images), predictions.labels)
    parts = [_measure(dimension, name, mask, predictions.correct, numbers) for dimension, name, mask in masks]
    parts = [
        replace(part, draws=tuple(attributes.independence * each for each in part.draws)) for part in parts
    ]
    p_values = _adjust([_fisher_p(part) for part in parts])
    slices = [_to_slice(part, p_value, confidence) for part, p_value in zip(parts, p_values, strict=True)]
    groups = sorted(
        (each for each in slices if each.dimension == "group"), key=lambda each: (each.accuracy, -each.images)
    )
    return [each for each in slices if each.dimension != "group"] + groups[:MAX_GROUPS]


def _masks(
    predictions: Predictions, attributes: ImageAttributes, min_images: int
) -> Iterator[tuple[str, str, Mask]]:
    """Yield dimension, name and images of every slice."""
    for number, name in enumerate(predictions.classes):
        yield "class", name, predictions.labels == number
    yield from _thirds("size", attributes.pixels, SIZES, " pixels")
    # To a tenth, as in the names of the slices.
    yield from _thirds("brightness", attributes.brightness.round(1), BRIGHTNESSES, "")
    sources = Counter(attributes.sources)
    largest = sorted(sources, key=lambda name: (-sources[name], name))[:MAX_SOURCES]
    groups = Counter(attributes.groups)
    large = sorted(name for name, images in groups.items() if name is not None and images >= min_images)
    for dimension, column, names in (
        ("source", attributes.sources, largest),
        ("group", attributes.groups, large),
    ):
        values = np.array(column, dtype=object)
        yield from ((dimension, name, values == name) for name in names)


def _distinct(
    masks: Iterable[tuple[str, str, Mask]], labels: npt.NDArray[np.int64]
) -> Iterator[tuple[str, str, Mask]]:
    """Drop slices that are empty, the whole split, or other names of classes, such as the folder or the size of a class."""
    for dimension, name, mask in masks:
        is_classes = (
            dimension not in {"class", "group"} and not np.intersect1d(labels[mask], labels[~mask]).size
        )
        if mask.any() and not mask.all() and not is_classes:
            yield dimension, name, mask


def _thirds(
    dimension: str, values: Floats, names: tuple[str, str, str], unit: str
) -> Iterator[tuple[str, str, Mask]]:
    """Yield three parts of nearly equal size; two or none if too many values are equal."""
    bounds = _find_bounds(values[np.isfinite(values)])
    if not len(bounds):
        return
    part = np.where(np.isfinite(values), np.searchsorted(bounds, values), -1)
    first, last = f"{bounds[0]:,.10g}", f"{bounds[-1]:,.10g}"
    yield dimension, f"{names[0]} (up to {first}{unit})", part == 0
    if len(bounds) > 1:
        yield dimension, f"{names[1]} (over {first}, up to {last}{unit})", part == 1
    yield dimension, f"{names[-1]} (over {last}{unit})", part == len(bounds)


def _find_bounds(values: Floats) -> Floats:
    """Return the one or two values nearest to the thirds; none if all values are equal."""
    levels, counts = np.unique(values, return_counts=True)
    below = counts.cumsum()[:-1]
    if not len(below):
        return levels[:0]
    cuts = [int(np.abs(3 * below - third * len(values)).argmin()) for third in (1, 2)]
    return levels[np.unique(cuts)]


def _measure(dimension: str, name: str, mask: Mask, correct: Mask, groups: npt.NDArray[np.int64]) -> _Part:
    draws = np.arange(len(correct)) if dimension == "group" else groups
    return _Part(
        dimension,
        name,
        mask,
        (float(correct[mask].mean()), float(correct[~mask].mean())),
        (effective_draws(draws[mask]), effective_draws(draws[~mask])),
    )


def _fisher_p(part: _Part) -> float:
    """Return the probability of so low an accuracy if the slice is not worse than the rest."""
    table = []
    for accuracy, draws in zip(part.accuracy, part.draws, strict=True):
        right = round(accuracy * round(draws))
        table.append([right, round(draws) - right])
    return float(fisher_exact(table, alternative="less").pvalue)


def _adjust(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's method."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * np.asarray(p_values)[order]), 1)
    return [float(p_value) for p_value in adjusted]


def _to_slice(part: _Part, p_value: float, confidence: float) -> Slice:
    accuracy, rest = part.accuracy
    interval = wilson_interval(accuracy, part.draws[0], confidence)
    images = int(np.count_nonzero(part.mask))
    return Slice(
        part.dimension, part.name, images, accuracy, interval.low, interval.high, accuracy - rest, p_value
    )
