"""Pixel arrays: each split's images, uint8 in memory-mapped ``.npy``, and the one description of how they were made."""

import math
import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from visiongate.errors import DataError

CHUNK_BYTES = 2**22  # of pixels counted at a time; the counting takes eight times as much for a while

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PixelSplit:
    """One split: images uint8, N×H×W×C, mapped from disk, and labels int64, N."""

    images: Pixels
    labels: Labels


def load_split(directory: Path, split: str) -> PixelSplit:
    """Map a split's images from disk and read its labels."""
    return PixelSplit(
        np.load(directory / f"{split}.npy", mmap_mode="r"), np.load(directory / f"{split}_labels.npy")
    )


def channel_statistics(images: Pixels, chunk: int | None = None) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, pixels taken as 0..1, in exact integer sums.

    Args:
        images: uint8, N×H×W×C.
        chunk: Images summed at a time, which bounds the memory; by default as many as have `CHUNK_BYTES`.

    Raises:
        DataError: A channel is constant, so that it cannot be normalized.
    """
    channels = images.shape[-1]
    step = chunk or max(1, CHUNK_BYTES // math.prod(images.shape[1:]))
    histogram = np.zeros((channels, 256), dtype=np.int64)
    for start in range(0, len(images), step):
        block = images[start : start + step].reshape(-1, channels)
        for channel in range(channels):
            histogram[channel] += np.bincount(block[:, channel], minlength=256)
        give_back(images)
    levels = np.arange(256) / 255
    shares = histogram / histogram.sum(axis=1, keepdims=True)
    mean = shares @ levels
    std = np.sqrt(shares @ levels**2 - mean**2)
    if (std < 1 / 255 / 16).any():
        raise DataError("the training images all have one color: there is nothing to learn from them")
    return mean.tolist(), std.tolist()


def give_back(array: npt.NDArray[np.uint8]) -> None:
    """Let go of an array's memory where it is mapped from disk; its content stays, there and in the system's cache."""
    base: object = array.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
