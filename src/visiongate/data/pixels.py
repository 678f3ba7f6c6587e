"""Pixel arrays: each split's images decoded once, uint8 in memory-mapped ``.npy``, and the one description of how."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from visiongate.config import Transformation
from visiongate.data.decoding import Pixels, to_pixels
from visiongate.errors import DataError
from visiongate.files import atomic_path, read_json, write_json

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


@dataclass(frozen=True, slots=True)
class Row:
    """An image's place in the arrays, and where it came from."""

    split: str
    row: int  # within the split
    label: int
    path: str
    sha256: str
    group: str | None


def write_splits(
    directory: Path, rows: Sequence[Row], encoded: Iterable[bytes], settings: Transformation
) -> None:
    """Decode every image into its split's array, and write labels and the manifest beside them.

    Args:
        directory: Where ``SPLIT.npy``, ``SPLIT_labels.npy`` and ``manifest.parquet`` go.
        rows: Each image's place; rows of one split are numbered from 0 without gaps.
        encoded: The images' bytes, in the order of the rows.
        settings: Size, mode and resize rule.

    Raises:
        DataError: An image cannot be decoded; the message names it.
    """
    shape = (settings.size, settings.size, len(settings.mode))
    with ExitStack() as stack:
        arrays = {
            split: np.lib.format.open_memmap(
                stack.enter_context(atomic_path(directory / f"{split}.npy")), "w+", np.uint8, (count, *shape)
            )
            for split, count in Counter(row.split for row in rows).items()
        }
        for row, image in zip(rows, encoded, strict=True):
            arrays[row.split][row.row] = _decode(row.path, image, settings)
        for array in arrays.values():
            array.flush()
    for split in arrays:
        labels = np.array([row.label for row in rows if row.split == split], dtype=np.int64)
        with atomic_path(directory / f"{split}_labels.npy") as temporary:
            np.save(temporary, labels)
    with atomic_path(directory / "manifest.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows]), temporary, compression="zstd")


def load_split(directory: Path, split: str) -> PixelSplit:
    """Map a split's images from disk and read its labels."""
    return PixelSplit(
        np.load(directory / f"{split}.npy", mmap_mode="r"), np.load(directory / f"{split}_labels.npy")
    )


def read_manifest(directory: Path, split: str) -> pa.Table:
    """Read where a split's images came from, in the order of the arrays."""
    return pq.read_table(directory / "manifest.parquet", filters=[("split", "=", split)])


def channel_statistics(images: Pixels, chunk: int = 4096) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, pixels taken as 0..1, in exact integer sums.

    Args:
        images: uint8, N×H×W×C.
        chunk: Images summed at a time, which bounds the memory.

    Raises:
        DataError: A channel is constant, so that it cannot be normalised.
    """
    channels = images.shape[-1]
    histogram = np.zeros((channels, 256), dtype=np.int64)
    for start in range(0, len(images), chunk):
        block = images[start : start + chunk].reshape(-1, channels)
        for channel in range(channels):
            histogram[channel] += np.bincount(block[:, channel], minlength=256)
    levels = np.arange(256) / 255
    shares = histogram / histogram.sum(axis=1, keepdims=True)
    mean = shares @ levels
    std = np.sqrt(shares @ levels**2 - mean**2)
    if (std < 1 / 255 / 16).any():
        raise DataError("the training images all have one colour: there is nothing to learn from them")
    return mean.tolist(), std.tolist()


def write_transform(directory: Path, transform: Transform) -> None:
    """Write ``transform.json``."""
    write_json(directory / "transform.json", asdict(transform))


def read_transform(directory: Path) -> Transform:
    """Read ``transform.json``."""
    return Transform(**read_json(directory / "transform.json"))


def _decode(path: str, image: bytes, settings: Transformation) -> Pixels:
    try:
        return to_pixels(image, settings.size, settings.mode, settings.resize)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
