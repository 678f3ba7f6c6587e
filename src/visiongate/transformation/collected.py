"""Place collected images: they train models, and judge none.

People correct mistakes rather than confirm answers, so collected images are no random sample: a test split with them would
measure something else, and so would the epoch, the temperature and the thresholds that are chosen on a validation split.
Therefore the images of the source are divided as if there were no others, and none of them moves when images are collected.
"""

from collections.abc import Sequence
from dataclasses import replace

from visiongate.transformation.assignment import Assignment
from visiongate.transformation.units import Candidate, connect


def split_off(images: Sequence[Candidate]) -> tuple[list[int], list[int]]:
    """Return the images that are divided, and the collected ones that only train.

    A class that only collected images have is divided too, because nothing else could judge it; of its images, those that are
    linked to images of the source still follow these.
    """
    known = {image.label for image in images if not image.collected}
    components = connect(images)
    of_source = {part for part, image in zip(components, images, strict=True) if not image.collected}
    joined = [
        image.collected and (image.label in known or part in of_source)
        for part, image in zip(components, images, strict=True)
    ]
    rows = range(len(images))
    return [row for row in rows if not joined[row]], [row for row in rows if joined[row]]


def join_collected(
    images: Sequence[Candidate], divided: Sequence[int], collected: Sequence[int], assignment: Assignment
) -> Assignment:
    """Add the collected images to an assignment of the others: to training, or to no split.

    A collected image is left out if it shows an image that judges a model, or shares a group with one, or is linked to it by
    other collected images. With cross-validation, every image of the source judges a model.

    Args:
        images: All images.
        divided: Those that the assignment has.
        collected: The others.
        assignment: Of the divided images.

    Returns:
        The assignment of all images; a split of None leaves an image out.
    """
    components = connect(images)
    judging = {
        components[row]
        for row, split in zip(divided, assignment.splits, strict=True)
        if split != "train" or assignment.folds is not None
    }
    splits: list[str | None] = [None] * len(images)
    for row, split in zip(divided, assignment.splits, strict=True):
        splits[row] = split
    for row in collected:
        splits[row] = None if components[row] in judging else "train"
    if assignment.folds is None:
        return replace(assignment, splits=splits)
    folds: list[int | None] = [None] * len(images)
    for row, fold in zip(divided, assignment.folds, strict=True):
        folds[row] = fold
    return replace(assignment, splits=splits, folds=folds)
