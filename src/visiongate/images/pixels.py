"""Pixel arrays: the images of each split as one uint8 array in a memory-mapped ``.npy`` file."""

import math
import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from visiongate.errors import DataError

# Pixels counted at a time. Counting needs eight times as much memory.
CHUNK_BYTES = 2**22
# Below a sixteenth of a gray level, a channel is constant but for rounding.
MIN_STD = 1 / 255 / 16

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
# Pixels of each level, C×256.
Histogram = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PixelSplit:
    """A split.

    Attributes:
        images: uint8, N×H×W×C, mapped from disk.
        labels: int64, N.
    """

    images: Pixels
    labels: Labels


def load_split(directory: Path, split: str) -> PixelSplit:
    """Map a split's images from disk and read its labels."""
    return PixelSplit(
        np.load(directory / f"{split}.npy", mmap_mode="r"), np.load(directory / f"{split}_labels.npy")
    )


def channel_statistics(images: Pixels, chunk: int | None = None) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel, pixels scaled to 0..1, from exact integer counts.

    Args:
        images: uint8, N×H×W×C.
        chunk: Images counted at a time; by default about `CHUNK_BYTES`.

    Raises:
        DataError: A channel is constant and cannot be normalized.
    """
    step = chunk or max(1, CHUNK_BYTES // math.prod(images.shape[1:]))
    histogram = np.zeros((images.shape[-1], 256), dtype=np.int64)
    for start in range(0, len(images), step):
        histogram += count_levels(images[start : start + step])
        release_memory(images)
    return level_statistics(histogram)


def count_levels(pixels: Pixels) -> Histogram:
    """Count the pixels of each level, channel by channel.

    Args:
        pixels: uint8, …×C.

    Returns:
        int64, C×256.
    """
    channels = pixels.reshape(-1, pixels.shape[-1])
    return np.stack([np.bincount(levels, minlength=256) for levels in channels.T])


def level_statistics(histogram: Histogram) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel, pixels scaled to 0..1.

    Args:
        histogram: The sum of `count_levels` over all images.

    Raises:
        DataError: A channel is constant and cannot be normalized.
    """
    levels = np.arange(256) / 255
    shares = histogram / histogram.sum(axis=1, keepdims=True)
    mean = shares @ levels
    std = np.sqrt(shares @ levels**2 - mean**2)
    if (std < MIN_STD).any():
        raise DataError(
            "training images: a color channel is constant; the images must differ to be classified"
        )
    return mean.tolist(), std.tolist()


def release_memory(array: npt.NDArray[np.uint8]) -> None:
    """Release the memory of an array that is mapped from disk. Its content stays in the file."""
    base: object = array.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
