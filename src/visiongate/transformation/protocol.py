"""Decide how the images of a data set judge a model, and assign them accordingly."""

import logging
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from visiongate.records.splits import SPLITS, fold_split
from visiongate.settings.evaluation import Evaluation
from visiongate.settings.transformation import Split
from visiongate.transformation.assignment import Assignment
from visiongate.transformation.collected import join_collected, split_off
from visiongate.transformation.folds import assign_folds
from visiongate.transformation.splits import Method, assign_splits
from visiongate.transformation.units import Candidate

# Below, the default test share of 10% has fewer than 100 images, and the 95% interval of an accuracy of 90% is wider than
# ±6 points. Cross-validation tests on all images instead, and trains the final model on all of them.
HOLDOUT_IMAGES = 1000
# Below, a class of ten has fewer than 100 expected test images, and chance changes their number by more than a tenth. Above,
# chance matters less than that a new image moves no other.
HASH_IMAGES = 10_000
logger = logging.getLogger(__name__)


def assign_images(images: Sequence[Candidate], split: Split, evaluation: Evaluation) -> Assignment:
    """Choose a protocol and a method, and assign each image to a split and a fold.

    Collected images change nothing about those of the source: `visiongate.transformation.collected`.

    Args:
        images: All images of the data set.
        split: Method, shares and seed.
        evaluation: Protocol and number of folds.

    Raises:
        DataError: A class has too few images.
    """
    divided, collected = split_off(images)
    # Only a collected image, whose class the source does not have, is linked by `near` here.
    own = [images[row]._replace(near=images[row].near if images[row].collected else None) for row in divided]
    assignment = _divide(own, split, evaluation)
    return join_collected(images, divided, collected, assignment) if collected else assignment


def _divide(images: Sequence[Candidate], split: Split, evaluation: Evaluation) -> Assignment:
    given = {image.given for image in images if image.given}
    if is_cross_validated(len(images), given, split, evaluation):
        if given:
            logger.info("%s", describe_pooling(given))
        folds = assign_folds(images, evaluation.folds, split.seed)
        splits = [fold_split(fold) for fold in folds]
        return Assignment("cross_validation", "kfold", splits, folds)
    method = _choose_method(split, len(images))
    return Assignment("holdout", method, assign_splits(images, split, method))


def _choose_method(split: Split, images: int) -> Method:
    if split.method == "hash" or split.method == "stratified":  # noqa: PLR1714 - narrows the type
        return split.method
    return "stratified" if images < HASH_IMAGES else "hash"


def is_cross_validated(images: int, given: AbstractSet[str], split: Split, evaluation: Evaluation) -> bool:
    """Return whether cross-validation judges the models.

    Args:
        images: Number of images.
        given: The splits that the source gives.
        split: How splits are drawn.
        evaluation: Protocol.
    """
    if evaluation.protocol != "auto":
        return evaluation.protocol == "cross_validation"
    if split.method != "auto":
        return split.method == "kfold"
    return images < HOLDOUT_IMAGES and "test" not in given


def describe_pooling(given: AbstractSet[str]) -> str:
    """Return that cross-validation ignores the splits that the source gives, and how to keep them."""
    names = ", ".join(name for name in SPLITS if name in given)
    return f"cross-validation pools the images of the data set's own splits ({names}); evaluation.protocol=holdout keeps them"
