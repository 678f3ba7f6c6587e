"""Which images show the same picture although their bytes differ: re-encoded, resized, brightened, slightly cropped.

Perceptual hashes propose the pairs and 32×32 gray sketches confirm them. Hashes alone would not do: they keep signs and no
sizes, so that thousands of pairs of chest X-rays, and millions of handwritten digits, are within a few bits of each other.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from scipy.fft import dct
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from visiongate.preparation.hamming import Hashes, Indices, Mask, Pairs, close_pairs
from visiongate.settings.preparation import NearDuplicates

Sketches = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

SIDE = 32  # pixels of a sketch
HASH_SIDE = 8  # lowest frequencies in each direction
CHUNK = 4096  # sketches, or pairs of them, worked on at a time: 32 MB in double precision
SIFTED = 1 << 16  # pairs of coarse versions looked at at a time: 32 MB
BLOCKS = 8  # on each side of a sketch's coarse version
ROUNDING = 1e-4  # in single precision, of a coarse version's mean squared difference
EXACT = 1e-9  # the same, in double precision
LEAST_CONTRAST = 1.0  # standard deviation of a sketch's pixels; under it there is no picture to compare
CROWD = 20  # sketches; a larger cluster is no set of copies but a crowd of images that look alike
CROWD_SHARE = 0.5  # within a crowd, of the difference allowed elsewhere


def find_clusters(sketches: Sketches, limits: NearDuplicates) -> list[list[int]]:
    """Gather images into clusters that show the same picture.

    Two images are near-duplicates if their perceptual hashes differ in at most ``max_distance`` bits and their sketches in at
    most ``max_difference``, as `differences` has it. A cluster is all that near-duplicates connect, directly or over others.
    Where more than `CROWD` different sketches are connected, chance has chained what merely looks alike (thousands of
    handwritten ones, say), and only those within `CROWD_SHARE` of ``max_difference`` stay connected.

    A sketch without contrast is like no other: such images are in no cluster.

    Args:
        sketches: uint8, N×32×32.
        limits: The two thresholds.

    Returns:
        The clusters of two images or more, each in ascending order, by their first image.
    """
    flat = sketches.reshape(len(sketches), SIDE * SIDE)
    contrasts = _in_chunks(_contrasts, flat, np.zeros(0, dtype=np.float32))
    shown = np.flatnonzero(contrasts >= LEAST_CONTRAST)
    first, same_as = _distinct(flat[shown])
    links = _Links(flat[shown[first]], limits.max_difference)
    for pairs in close_pairs(links.hashes(), limits.max_distance, links.settle):
        links.offer(pairs)
    members = defaultdict[int, list[int]](list)
    for image, label in zip(shown.tolist(), links.labels()[same_as].tolist(), strict=True):
        members[label].append(image)
    return [found for found in members.values() if len(found) > 1]


def perceptual_hashes(sketches: Sketches) -> Hashes:
    """Hash gray sketches as ``imagehash.phash`` does, all at once.

    A bit for each of the 8×8 lowest frequencies of the discrete cosine transform: whether it is above their median (N. Krawetz,
    Looks Like It, 2011, https://www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html, as ImageHash has it).

    Args:
        sketches: uint8, N×32×32.

    Returns:
        64 bits an image, the first of ``imagehash``'s bits being the highest.
    """
    hashes = np.empty(len(sketches), dtype=np.uint64)
    for start in range(0, len(sketches), CHUNK):
        block = sketches[start : start + CHUNK].astype(np.float64)
        low = dct(dct(block, axis=1)[:, :HASH_SIDE], axis=2)[:, :, :HASH_SIDE].reshape(len(block), -1)
        above = low > np.median(low, axis=1, keepdims=True)
        hashes[start : start + CHUNK] = np.packbits(above, axis=1).view(">u8")[:, 0]
    return hashes


def differences(one: Sketches, other: Sketches) -> npt.NDArray[np.float64]:
    """Tell how much sketches differ, pair by pair, whatever their brightness and contrast.

    Each is taken less its mean and over its standard deviation; the difference is the root mean square of the pixels', which is
    sqrt(2 - 2 r) where r is the correlation: 0 for the same picture, 1.41 for unrelated ones, 2 for a negative.

    Args:
        one: uint8, N×1024, none of a single color.
        other: The same.
    """
    left, right = one.astype(np.int32), other.astype(np.int32)
    pixels = one.shape[1]
    # In whole numbers, so that the result is the same on every machine.
    covariance = pixels * _dot(left, right) - left.sum(axis=1) * right.sum(axis=1)
    variances = [pixels * _dot(side, side) - side.sum(axis=1) ** 2 for side in (left, right)]
    correlation = covariance / np.sqrt(variances[0].astype(np.float64) * variances[1])
    difference: npt.NDArray[np.float64] = np.sqrt(np.maximum(0, 2 - 2 * correlation))
    return difference


def _dot(one: npt.NDArray[np.int32], other: npt.NDArray[np.int32]) -> Indices:
    product: Indices = np.einsum("ij,ij->i", one, other).astype(np.int64)  # 1024 × 255² fits 32 bits
    return product


class _Links:
    """What is connected with what at either limit, while pairs come in."""

    def __init__(self, flat: Sketches, max_difference: float) -> None:
        self._flat = flat
        self._limits = (max_difference, max_difference * CROWD_SHARE)
        self._connected = [np.arange(len(flat)) for _ in self._limits]
        self._coarse = _in_chunks(_coarsen, flat, np.zeros((0, BLOCKS**2), dtype=np.float32))

    def hashes(self) -> Hashes:
        return perceptual_hashes(self._flat.reshape(-1, SIDE, SIDE))

    def offer(self, pairs: Pairs) -> None:
        """Connect those of the pairs whose sketches are alike."""
        for some in _slices(pairs, SIFTED):
            for few in _slices(self._sift(some), CHUNK):  # after each, fewer of the rest are news
                one, other = self._sift(few)
                difference = differences(self._flat[one], self._flat[other])
                for which, limit in enumerate(self._limits):
                    alike = difference <= limit + EXACT
                    self._connect(which, one[alike], other[alike])

    def settle(self, rows: slice, columns: slice, close: Mask) -> Mask:
        """Connect what is alike of rows × columns by a matrix product, and return the pairs that this leaves in doubt."""
        close = close & (self._connected[-1][rows, None] != self._connected[-1][columns])
        if close.any():
            close &= self._may_be_alike(_squares(self._coarse[rows], self._coarse[columns]))
        if not close.any():
            return close
        squares = _squares(_standardize(self._flat[rows]), _standardize(self._flat[columns]))
        unsure = np.zeros_like(close)
        for which, limit in enumerate(self._limits):
            one, other = np.nonzero(close & (squares < limit**2 - ROUNDING))
            self._connect(which, one + rows.start, other + columns.start)
            unsure |= np.abs(squares - limit**2) <= ROUNDING
        return close & unsure

    def labels(self) -> Indices:
        """Number the clusters: one number an image, the same for those connected."""
        loose, strict = self._connected
        crowded = np.bincount(loose, minlength=len(loose))[loose] > CROWD
        labels: Indices = np.where(crowded, len(loose) + strict, loose)
        return labels

    def _sift(self, pairs: Pairs) -> Pairs:
        one, other = pairs
        news = self._connected[-1][one] != self._connected[-1][other]
        one, other = one[news], other[news]
        alike = self._may_be_alike(((self._coarse[one] - self._coarse[other]) ** 2).sum(axis=1))
        return one[alike], other[alike]

    def _may_be_alike(self, squares: npt.NDArray[np.float32]) -> Mask:
        """Tell from coarse versions: means over blocks never differ more than the pixels do (Jensen's inequality)."""
        alike: Mask = squares <= self._limits[0] ** 2 + ROUNDING
        return alike

    def _connect(self, which: int, one: Indices, other: Indices) -> None:
        labels = self._connected[which]
        if len(one):
            edges = np.ones(len(one), dtype=np.int8), (labels[one], labels[other])
            graph = coo_array(edges, shape=(len(labels), len(labels)))
            self._connected[which] = connected_components(graph, directed=False)[1][labels]


def _slices(pairs: Pairs, size: int) -> Iterator[Pairs]:
    one, other = pairs
    for start in range(0, len(one), size):
        yield one[start : start + size], other[start : start + size]


def _in_chunks(change: Callable[[Sketches], Floats], flat: Sketches, empty: Floats) -> Floats:
    return np.concatenate([empty, *(change(flat[at : at + CHUNK]) for at in range(0, len(flat), CHUNK))])


def _contrasts(flat: Sketches) -> Floats:
    contrasts: Floats = flat.std(axis=1, dtype=np.float32)
    return contrasts


def _standardize(flat: Sketches) -> Floats:
    """Take sketches less their mean and over their standard deviation, scaled so that a sum of squares is a mean of them."""
    pixels = flat.astype(np.float32)
    pixels -= pixels.mean(axis=1, keepdims=True)
    standard: Floats = pixels / (pixels.std(axis=1, keepdims=True) * SIDE)
    return standard


def _coarsen(flat: Sketches) -> Floats:
    """Average standardized sketches over 8×8 blocks, scaled likewise."""
    side = SIDE // BLOCKS
    blocks: Floats = _standardize(flat).reshape(-1, BLOCKS, side, BLOCKS, side).mean(axis=(2, 4)) * side
    return blocks.reshape(-1, BLOCKS**2)


def _squares(one: Floats, other: Floats) -> Floats:
    """Sum the squared differences of each row with each other row."""
    squares: Floats = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * (one @ other.T)
    return squares


def _distinct(flat: Sketches) -> tuple[Indices, Indices]:
    """Collapse identical sketches: where each first stands, and which of these every sketch is."""
    numbers: dict[bytes, int] = {}
    same_as = [numbers.setdefault(sketch.tobytes(), len(numbers)) for sketch in flat]
    places = np.array(same_as, dtype=np.int64)
    return np.unique(places, return_index=True)[1], places
