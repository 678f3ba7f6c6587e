"""What a baseline sees of an image: pixels, average-pooled to a few a side, the same bits here and in ONNX.

An image of ``size`` pixels a side becomes ``side`` × ``side`` means over equal areas. Where ``size`` does not divide, a pixel
on the line between two areas counts in each by its share: measured in parts of a pixel all the shares are whole numbers, and
so are the sums. Whole numbers add up exactly in any order, and one division rounds them alike everywhere. That matters for
trees, which compare a feature with a threshold that lies between two values seen.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visiongate.images.pixels import Pixels, give_back

CHUNK_BYTES = 2**24  # of the pixels that are turned into floats at a time
EXACT = 2**24  # whole numbers up to this are exact in float32

Features = npt.NDArray[np.float32]
Weights = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Pooling:
    """From uint8 images, N×H×W×C, to features, float32 in 0..1, N×(h·w·C), where h and w are at most ``side``."""

    input_shape: tuple[int, int, int]  # height, width and channels
    side: int  # pixels at most, each way; an image that has no more keeps its own

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and channels of the features."""
        height, width, channels = self.input_shape
        return min(height, self.side), min(width, self.side), channels

    @property
    def dtype(self) -> type[np.floating]:
        """The float in which the sums are exact."""
        height, width, _ = self.input_shape
        return np.float32 if 255 * height * width <= EXACT else np.float64

    @property
    def row_weights(self) -> Weights:
        """h×H: how much each of the image's rows counts in each of the features'."""
        return _overlaps(self.input_shape[0], self.shape[0]).astype(self.dtype)

    @property
    def column_weights(self) -> Weights:
        """w×W: the same for columns."""
        return _overlaps(self.input_shape[1], self.shape[1]).astype(self.dtype)

    @property
    def divisor(self) -> np.floating:
        """What the weighted sum of a white image comes to."""
        area = self.row_weights[0].sum() * self.column_weights[0].sum()
        return self.dtype(255 * area)

    def __call__(self, images: Pixels) -> Features:
        """Pool images, a chunk at a time."""
        rows, columns, divisor = self.row_weights, self.column_weights, self.divisor
        height, width, channels = self.input_shape
        features = np.empty((len(images), int(np.prod(self.shape))), dtype=np.float32)
        step = max(1, CHUNK_BYTES // (height * width * channels * rows.itemsize))
        for start in range(0, len(images), step):
            chunk = images[start : start + step].astype(self.dtype)
            sums = rows @ chunk.reshape(len(chunk), height, width * channels)
            sums = columns @ sums.reshape(-1, width, channels)
            features[start : start + step] = (sums / divisor).reshape(len(chunk), -1)
            give_back(images)
        return features


def _overlaps(size: int, side: int) -> npt.NDArray[np.int64]:
    """Side×size: what each pixel shares with each of ``side`` equal parts, both measured in 1/lcm of the whole."""
    common = np.lcm(size, side)
    edges = np.arange(size + 1) * (common // size)
    bounds = np.arange(side + 1) * (common // side)
    low = np.maximum(edges[:-1], bounds[:-1, None])
    high = np.minimum(edges[1:], bounds[1:, None])
    shared: npt.NDArray[np.int64] = np.maximum(high - low, 0)
    return shared
