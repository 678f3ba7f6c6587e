"""The features of the baselines: average-pooled pixels, with the same bits in numpy and in ONNX.

An image of ``size`` pixels a side becomes ``side`` × ``side`` means over equal areas. If ``size`` is not a multiple of
``side``, a pixel on the border of two areas counts in each by its share. The shares are measured in fractions of a pixel that
make all of them integers. Sums of integers do not depend on their order, and a single division rounds the same everywhere.
This matters to trees, whose thresholds lie between two feature values.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visiongate.images.pixels import Pixels, release_memory

# Bytes of the pixels that are converted to floats at once.
CHUNK_BYTES = 2**24
# Integers up to this value are exact in float32.
MAX_EXACT = 2**24

Features = npt.NDArray[np.float32]
Weights = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Pooling:
    """Average pooling of uint8 images, N×H×W×C, to features, float32 in 0..1, N×(h·w·C)."""

    # Height, width and channels.
    input_shape: tuple[int, int, int]
    # The maximum of h and w; a smaller image keeps its size.
    side: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the pooled image."""
        height, width, channels = self.input_shape
        return min(height, self.side), min(width, self.side), channels

    @property
    def dtype(self) -> type[np.floating]:
        """The smallest float type in which the sums are exact."""
        height, width, _ = self.input_shape
        return np.float32 if 255 * height * width <= MAX_EXACT else np.float64

    @property
    def row_weights(self) -> Weights:
        """The weight of each image row in each pooled row, h×H."""
        return _overlaps(self.input_shape[0], self.shape[0]).astype(self.dtype)

    @property
    def column_weights(self) -> Weights:
        """The weight of each image column in each pooled column, w×W."""
        return _overlaps(self.input_shape[1], self.shape[1]).astype(self.dtype)

    @property
    def divisor(self) -> np.floating:
        """The weighted sum of a white image."""
        area = self.row_weights[0].sum() * self.column_weights[0].sum()
        return self.dtype(255 * area)

    def __call__(self, images: Pixels) -> Features:
        """Pool images in chunks."""
        rows, columns, divisor = self.row_weights, self.column_weights, self.divisor
        height, width, channels = self.input_shape
        features = np.empty((len(images), int(np.prod(self.shape))), dtype=np.float32)
        step = max(1, CHUNK_BYTES // (height * width * channels * rows.itemsize))
        for start in range(0, len(images), step):
            chunk = images[start : start + step].astype(self.dtype)
            sums = rows @ chunk.reshape(len(chunk), height, width * channels)
            sums = columns @ sums.reshape(-1, width, channels)
            features[start : start + step] = (sums / divisor).reshape(len(chunk), -1)
            release_memory(images)
        return features


def _overlaps(size: int, side: int) -> npt.NDArray[np.int64]:
    """Return the overlap of each pixel with each of ``side`` equal parts, in units of 1/lcm of the whole, side×size."""
    common = np.lcm(size, side)
    edges = np.arange(size + 1) * (common // size)
    bounds = np.arange(side + 1) * (common // side)
    low = np.maximum(edges[:-1], bounds[:-1, None])
    high = np.minimum(edges[1:], bounds[1:, None])
    shared: npt.NDArray[np.int64] = np.maximum(high - low, 0)
    return shared
