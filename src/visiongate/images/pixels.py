"""Pixel arrays: each split's images, uint8 in memory-mapped ``.npy``, and the one description of how they were made."""

import math
import mmap
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from visiongate.errors import DataError
from visiongate.records.files import read_json, write_json

CHUNK_BYTES = 2**22  # of pixels counted at a time; the counting takes eight times as much for a while

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Transform:
    """From an image's bytes to a network's input, and from its outputs to names; the content of ``transform.json``."""

    size: int  # both sides, in pixels
    mode: str  # L or RGB
    resize: str  # as in `to_pixels`
    mean: list[float]  # of each channel over the training images, pixels taken as 0..1
    std: list[float]
    classes: list[str]  # in the order of the outputs

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.size, self.size, len(self.mode)


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


def read_manifest(directory: Path, split: str) -> pa.Table:
    """Read where a split's images came from, in the order of the arrays."""
    return pq.read_table(directory / "manifest.parquet", filters=[("split", "=", split)])


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


def write_transform(directory: Path, transform: Transform) -> None:
    """Write ``transform.json``."""
    write_json(directory / "transform.json", asdict(transform))


def read_transform(directory: Path) -> Transform:
    """Read ``transform.json``."""
    return Transform(**read_json(directory / "transform.json"))
