"""The images that judge a trial: the validation split or, if it has few images, the folds of a cross-validation.

The best of many trials has a lucky score, the luckier the fewer images judge it. The test split of a holdout is never used.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from visiongate.images.folds import load_folds
from visiongate.images.pixels import Labels, PixelSplit, load_split
from visiongate.records.manifest import read_manifest
from visiongate.records.transform import read_transform
from visiongate.settings.optimize import Optimize
from visiongate.training.one_step import ClassifierRecipe, LabeledFeatures, read_features

Rows = npt.NDArray[np.int64]
# The splits whose images the search may use.
SEARCHED = ("train", "val")


class Fold(NamedTuple):
    """The rows that train a trial, and those that validate it."""

    train: Rows
    val: Rows


@dataclass(frozen=True, slots=True)
class JudgingImages:
    """The images of a search.

    Attributes:
        parts: The images, in parts that are mapped from disk one by one.
        folds: The rows of each fold; they count through all parts.
    """

    parts: Sequence[PixelSplit]
    folds: Sequence[Fold]

    def __len__(self) -> int:
        """Return how often a trial is trained."""
        return len(self.folds)

    def describe(self) -> str:
        """Return in words how many images judge a trial."""
        count = sum(len(fold.val) for fold in self.folds)
        return f"{count:,} validation images" if len(self) == 1 else f"{count:,} images in {len(self)} folds"

    def splits(self, fold: int) -> tuple[PixelSplit, PixelSplit]:
        """Return the images that train and validate in a fold."""
        train, val = (self._take(rows) for rows in self.folds[fold])
        return train, val

    def val_labels(self, fold: int) -> Labels:
        """Return the labels of the images that validate in a fold, without their pixels."""
        return np.concatenate([part.labels for part in self.parts])[self.folds[fold].val]

    def features(self, recipe: ClassifierRecipe) -> Iterator[tuple[LabeledFeatures, LabeledFeatures]]:
        """Yield the features that train and validate in each fold; each image's are computed once."""
        parts = [read_features(recipe, part) for part in self.parts]
        images = LabeledFeatures(
            np.concatenate([part.features for part in parts]), np.concatenate([part.labels for part in parts])
        )
        for fold in self.folds:
            yield images.take(fold.train), images.take(fold.val)

    def _take(self, rows: Rows) -> PixelSplit:
        starts = np.cumsum([0, *(len(part.labels) for part in self.parts)])
        # A whole part stays mapped.
        for part, start in zip(self.parts, starts, strict=False):
            if np.array_equal(rows, np.arange(start, start + len(part.labels))):
                return part
        taken = [
            (part, rows[(start <= rows) & (rows < start + len(part.labels))] - start)
            for part, start in zip(self.parts, starts, strict=False)
        ]
        return PixelSplit(
            np.concatenate([part.images[each] for part, each in taken]),
            np.concatenate([part.labels[each] for part, each in taken]),
        )


def load_judging_images(directory: Path, optimize: Optimize) -> JudgingImages:
    """Read which images judge a trial.

    A cross-validated data set has folds already. Otherwise the training and validation images are divided into
    ``optimize.folds`` folds if the validation split has fewer than ``optimize.min_val_images`` images.

    Raises:
        DataError: A file is missing or damaged.
    """
    if read_transform(directory).protocol == "cross_validation":
        data = load_folds(directory)
        folds = [Fold(data.rows(fold, "train"), data.rows(fold, "val")) for fold in data]
        return JudgingImages([data.pixels], folds)
    parts = [load_split(directory, split) for split in SEARCHED]
    train, val = (part.labels for part in parts)
    if optimize.folds == 1 or len(val) >= optimize.min_val_images:
        return JudgingImages(parts, [Fold(np.arange(len(train)), len(train) + np.arange(len(val)))])
    columns = ["sha256", "group"]
    manifest = pa.concat_tables([read_manifest(directory, split, columns) for split in SEARCHED])
    groups = tuple(row["group"] or row["sha256"] for row in manifest.to_pylist())
    labels = tuple(np.concatenate([train, val]).tolist())
    return JudgingImages(parts, _divide(labels, groups, optimize.folds, optimize.seed))


# Every trial asks for the same folds, which take as long as an epoch of small images.
@lru_cache(maxsize=1)
def _divide(labels: tuple[int, ...], groups: tuple[str, ...], folds: int, seed: int) -> tuple[Fold, ...]:
    """Divide images into folds with equal shares of each class; a group, such as a patient, stays in one fold."""
    count = min(folds, len(set(groups)))
    if len(set(groups)) == len(groups):
        return _deal(np.array(labels), count, np.random.default_rng(seed))
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415 - slow to import

    divided = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class with fewer images than folds is missing in some of them.
        warnings.simplefilter("ignore", UserWarning)
        return tuple(Fold(*rows) for rows in divided.split(labels, np.array(labels), groups))


def _deal(labels: Rows, folds: int, generator: np.random.Generator) -> tuple[Fold, ...]:
    """Divide images that need not stay together: shuffled, sorted by class, and dealt to the folds in turn."""
    shuffled = generator.permutation(len(labels))
    places = np.empty(len(labels), dtype=np.int64)
    places[shuffled[np.argsort(labels[shuffled], kind="stable")]] = np.arange(len(labels)) % folds
    return tuple(
        Fold(np.flatnonzero(places != fold), np.flatnonzero(places == fold)) for fold in range(folds)
    )
