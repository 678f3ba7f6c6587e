"""Assign images to splits by their content, so that new images move no or few old ones.

The splits divide the interval [0, 1) by their shares. With the method ``hash``, the position of a unit decides; with
``stratified``, its rank among the units of its class.
"""

import logging
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Literal

from visiongate.errors import DataError
from visiongate.records.splits import SPLITS
from visiongate.settings.transformation import Split
from visiongate.transformation.missing_classes import ClassFiller
from visiongate.transformation.units import Candidate, Unit, form_units

Method = Literal["hash", "stratified"]
# Classes that a message names.
EXAMPLES = 3
logger = logging.getLogger(__name__)


def assign_splits(images: Sequence[Candidate], split: Split, method: Method) -> list[str]:
    """Assign each image to a split.

    Given splits are kept. If the source gives no ``val`` or no ``test``, that split is drawn from its ``train``. An image
    without a given split follows the images that it is linked to: those of its cluster before those of its group, and the most
    protected of several splits (test, then val, then train).

    Method ``hash``: a key is independent of labels, so every class is drawn with the same shares, up to chance. A new image
    can only move images that it is linked to: a unit with k keys changes its key with probability 1 / (k + 1). A new image of
    an existing group moves no image, unless it is a near-duplicate of an image outside the group.

    Method ``stratified``: the units of each class are sorted by position and cut at the shares, so the number of images of a
    class in a split differs from its share by less than the images of a unit. A unit with several classes counts for the
    rarest of them. A new image can also move the unit on each side of a cut of its class.

    If a class would be missing from a split, the unit with this class whose position is nearest moves there, provided that no
    class loses its last image in the unit's split. The training split goes first and takes the last image too, because a class
    without training images cannot be predicted. The unit may move back when the class has more images.

    Args:
        images: All images of the data set.
        split: The shares and the seed.
        method: How the splits are drawn.

    Returns:
        ``train``, ``val`` or ``test`` for each image.

    Raises:
        DataError: A class has no training images, or a split has no images. A class that ``val`` or ``test``
            misses is a warning in the log.
    """
    units = form_units(images, split.seed)
    labels = [image.label for image in images]
    splits = [""] * len(images)
    drawn = _draw_by_rank(units, labels, split) if method == "stratified" else _draw_by_position(units, split)
    for unit, name in drawn:
        for member in unit.members:
            splits[member] = name
    filler = ClassFiller(splits, units, labels)
    for name in ("train", "test", "val"):
        filler.fill(name, partial(_distance, name=name, split=split), at_any_cost=name == "train")
    _check_classes(splits, images)
    _check_empty(splits, units, labels)
    _warn_of_missing_classes(splits, labels)
    return splits


def _draw_by_position(units: Sequence[Unit], split: Split) -> Iterator[tuple[Unit, str]]:
    for unit in units:
        yield unit, _choose(unit.choices, unit.position, split)


def _draw_by_rank(units: Sequence[Unit], labels: Sequence[str], split: Split) -> Iterator[tuple[Unit, str]]:
    """Draw from the units of each class, in the order of their positions, by the middle of each one's range of images."""
    sizes = Counter(labels)
    strata = defaultdict[tuple[str, ...], list[Unit]](list)
    for unit in units:
        rarest = min({labels[member] for member in unit.members}, key=lambda label: (sizes[label], label))
        strata[rarest, *unit.choices].append(unit)
    for stratum in strata.values():
        total, before = sum(len(unit.members) for unit in stratum), 0
        for unit in sorted(stratum, key=lambda unit: unit.position):
            yield unit, _choose(unit.choices, (before + len(unit.members) / 2) / total, split)
            before += len(unit.members)


def _choose(choices: Sequence[str], position: float, split: Split) -> str:
    # Rounding can leave the last edge just below 1.
    return choices[min(bisect_right(_interval_edges(choices, split), position), len(choices)) - 1]


def _interval_edges(choices: Sequence[str], split: Split) -> list[float]:
    """Return the start of each split's interval, and the end of the last."""
    shares: list[float] = [getattr(split, name) for name in choices]
    return [0.0, *(edge / sum(shares) for edge in accumulate(shares))]


def _distance(unit: Unit, name: str, split: Split) -> float | None:
    """Return the distance of a unit's position from the interval of a split, None if it may not be assigned to the split."""
    if name not in unit.choices:
        return None
    edges, index = _interval_edges(unit.choices, split), unit.choices.index(name)
    return max(edges[index] - unit.position, unit.position - edges[index + 1])


def _check_classes(splits: Sequence[str], images: Sequence[Candidate]) -> None:
    if untrained := _find_missing(splits, [image.label for image in images])["train"]:
        counts = Counter(
            name for name, image in zip(splits, images, strict=True) if image.label == untrained[0]
        )
        held_out = " and ".join(f"{count} in {name}" for name, count in sorted(counts.items()))
        raise DataError(
            f"{_list_classes(untrained)} no training images: the data set's own splits have those of {untrained[0]!r} "
            f"elsewhere, {held_out}; add images to the training split, leave the class out with dataset.exclude, or pool all "
            "images with evaluation.protocol=cross_validation"
        )


def _check_empty(splits: Sequence[str], units: Sequence[Unit], labels: Sequence[str]) -> None:
    empty = " and ".join(name for name in SPLITS if name not in splits)
    if empty and len(units) == len(labels):
        label, images = Counter(labels).most_common(1)[0]
        raise DataError(
            f"no images for {empty}: too few images: the largest class, {label!r}, has {images}; at least {len(SPLITS)} are "
            "needed; add images"
        )
    if empty:
        raise DataError(
            f"no images for {empty}: groups and near-duplicates link the {len(labels)} images too closely to divide them; add "
            "images of other groups, or change preparation.near_duplicates or dataset.group"
        )


def _find_missing(splits: Sequence[str], labels: Sequence[str]) -> dict[str, list[str]]:
    """Return the classes without images in each split."""
    present = set(zip(splits, labels, strict=True))
    return {name: [label for label in sorted(set(labels)) if (name, label) not in present] for name in SPLITS}


def _warn_of_missing_classes(splits: Sequence[str], labels: Sequence[str]) -> None:
    without = _find_missing(splits, labels)
    for name, effect in (("val", "the best epoch is chosen without"), ("test", "nothing measures")):
        if without[name]:
            one = len(without[name]) == 1
            logger.warning(
                "%s no images in %s: %s %s",
                _list_classes(without[name]),
                name,
                effect,
                "it" if one else "them",
            )


def _list_classes(labels: Sequence[str]) -> str:
    names = ", ".join(repr(label) for label in labels[:EXAMPLES])
    if len(labels) == 1:
        return f"class {names} has"
    return (
        f"{len(labels)} classes, such as {names}, have" if len(labels) > EXAMPLES else f"classes {names} have"
    )
