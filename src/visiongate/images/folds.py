"""Folds of small data sets: which images train, validate and test the model of each fold."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from visiongate.images.pixels import PixelSplit, load_split
from visiongate.records.manifest import read_manifest
from visiongate.records.splits import SPLITS, validation_fold

# No fold: such an image trains the model of each.
TRAINING_ONLY = -1


@dataclass(frozen=True, slots=True)
class FoldedImages:
    """All images of a data set, and the fold of each.

    Attributes:
        pixels: The images.
        manifest: Their manifest, in the same order.
        folds: N, from 0; -1 for a collected image, which only trains.
    """

    pixels: PixelSplit
    manifest: pa.Table
    folds: npt.NDArray[np.int64]

    def __iter__(self) -> Iterator[int]:
        """Iterate over the numbers of the folds."""
        return iter(range(int(self.folds.max()) + 1))

    def rows(self, fold: int, split: str) -> npt.NDArray[np.int64]:
        """Return the rows that are ``train``, ``val`` or ``test`` for the model of a fold.

        The model of a fold is tested on the fold, validated on the next one, and trained on the others.
        """
        validating = self.folds == validation_fold(fold, len(list(self)))
        testing = self.folds == fold
        chosen = {"train": ~validating & ~testing, "val": validating, "test": testing}[split]
        return np.flatnonzero(chosen)

    def split(self, fold: int, split: str) -> PixelSplit:
        """Return the images that are ``train``, ``val`` or ``test`` for the model of a fold."""
        rows = self.rows(fold, split)
        return PixelSplit(self.pixels.images[rows], self.pixels.labels[rows])


def load_folds(directory: Path) -> FoldedImages:
    """Read the images of all folds into memory: the arrays of train, val and test one after the other.

    Raises:
        DataError: A file is missing or damaged.
    """
    splits = [load_split(directory, name) for name in SPLITS]
    manifest = pa.concat_tables([read_manifest(directory, name) for name in SPLITS])
    pixels = PixelSplit(
        np.concatenate([split.images for split in splits]), np.concatenate([split.labels for split in splits])
    )
    return FoldedImages(
        pixels, manifest, manifest.column("fold").fill_null(TRAINING_ONLY).to_numpy().astype(np.int64)
    )
