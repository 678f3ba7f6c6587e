"""Assign images to the folds of a cross-validation."""

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np

from visiongate.errors import DataError
from visiongate.transformation.missing_classes import ClassFiller
from visiongate.transformation.units import Candidate, Unit, form_units

# One fold tests a model, one validates it, and at least one trains it.
MIN_FOLDS = 3
logger = logging.getLogger(__name__)


def assign_folds(
    images: Sequence[Candidate], folds: int, seed: int, setting: str = "evaluation.folds"
) -> list[int]:
    """Assign each image to a fold, so that linked images share a fold and each class is spread evenly.

    Given splits are ignored. The units are taken in the order of their positions and assigned by scikit-learn's
    ``StratifiedGroupKFold``, so the folds depend neither on the order of the images nor on their names. A new image can move
    others, as in every balanced assignment.

    Args:
        images: All images of the data set.
        folds: How many folds; fewer are made if a class has fewer units.
        seed: Another seed gives other folds.
        setting: What ``folds`` comes from, for the warning about fewer folds.

    Returns:
        The fold of each image, from 0.

    Raises:
        DataError: A class has fewer than `MIN_FOLDS` units.
    """
    units = sorted(
        form_units([image._replace(given=None) for image in images], seed), key=lambda unit: unit.position
    )
    labels = [image.label for image in images]
    folds = _limit_folds(folds, units, labels, setting)
    places = _balance(units, labels, folds)
    filler = ClassFiller(places, units, labels)
    for fold in range(folds):
        filler.fill(fold, lambda unit: unit.position)
    _check_spread(places, labels)
    return places


def count_units(units: Sequence[Unit], labels: Sequence[str]) -> Counter[str]:
    """Count the units with an image of each class."""
    return Counter(label for unit in units for label in {labels[member] for member in unit.members})


def _limit_folds(folds: int, units: Sequence[Unit], labels: Sequence[str], setting: str) -> int:
    """Return the number of folds that the class with the fewest units allows."""
    counts = count_units(units, labels)
    label, fewest = min(counts.items(), key=lambda item: (item[1], item[0]))
    if fewest < MIN_FOLDS:
        # A training, a validation and a test split need as many images of one class.
        holdout = ", or set evaluation.protocol=holdout" if max(counts.values()) >= MIN_FOLDS else ""
        raise DataError(
            f"too few images: class {label!r} has {_describe(labels.count(label), fewest)}; cross-validation needs at "
            f"least {MIN_FOLDS} images of each class that are neither of one group nor near-duplicates; add images of this "
            f"class{holdout}"
        )
    if fewest < folds:
        logger.warning(
            "%d folds instead of %s = %d: class %r has %s",
            *(fewest, setting, folds, label, _describe(labels.count(label), fewest)),
        )
    return min(folds, fewest)


def _describe(images: int, units: int) -> str:
    linked = f", linked by groups or as near-duplicates to {units}" if units < images else ""
    return f"{images} {'image' if images == 1 else 'images'}{linked}"


def _balance(units: Sequence[Unit], labels: Sequence[str], folds: int) -> list[int]:
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415 - slow to import

    ranks = np.empty(len(labels), dtype=np.int64)
    for rank, unit in enumerate(units):
        ranks[unit.members] = rank
    places = np.empty(len(labels), dtype=np.int64)
    for fold, (_, members) in enumerate(StratifiedGroupKFold(folds).split(ranks, labels, ranks)):
        places[members] = fold
    numbers: list[int] = places.tolist()
    return numbers


def _check_spread(places: Sequence[int], labels: Sequence[str]) -> None:
    """Check that every model has training images of every class: those outside two folds."""
    present = set(zip(labels, places, strict=True))
    counts = Counter(label for label, _ in present)
    for label in sorted(label for label, count in counts.items() if count < MIN_FOLDS):
        raise DataError(
            f"class {label!r}: its images are in {counts[label]} folds only, because they share groups with those of other "
            f"classes, but cross-validation needs {MIN_FOLDS}; add images of other groups, or set evaluation.protocol=holdout"
        )
