"""Labels that are probably wrong, in all splits, by out-of-fold predictions over embeddings.

A logistic regression on embeddings predicts each image without having seen it, its group or its near-duplicates. The embeddings
must come from a backbone that has not seen the labels: a network that was trained on a wrong label often reproduces it.
"""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visiongate.correction.embeddings import Embeddings
from visiongate.correction.linear_model import train_and_predict
from visiongate.errors import DataError
from visiongate.evaluation.label_errors import find_label_errors, normalized_margin
from visiongate.images.pixels import Labels
from visiongate.models.predictions import Predictions
from visiongate.records.clusters import NEAR_COLLECTED_FILE, read_clusters
from visiongate.records.collected_paths import is_collected
from visiongate.records.manifest import read_manifest
from visiongate.records.splits import SPLITS
from visiongate.records.transform import read_transform
from visiongate.text_tables import join_first
from visiongate.transformation.folds import MIN_FOLDS, assign_folds, count_units
from visiongate.transformation.units import Candidate, form_units

FOLDS, SEED = 5, 0
MIN_CLASSES = 2
# Classes that a message names.
MAX_NAMED = 10
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LabeledImages:
    """N prepared images of all splits, in the order of the arrays.

    Attributes:
        images: What ties an image to others: hash, label, group, cluster.
        paths: In the source.
        labels: N, in 0..K-1.
        classes: K names.
    """

    images: list[Candidate]
    paths: list[str]
    labels: Labels
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Suspect:
    """An image, with how much the prediction contradicts its label.

    Attributes:
        row: Of `LabeledImages`.
        sha256: Of the encoded file.
        path: In the source.
        label: Its class.
        suggested: The most probable other class.
        label_probability: Out of fold.
        suggested_probability: Out of fold.
        margin: The label's probability minus that of the suggested class, in -1..1.
        likely: Whether the label is probably wrong: the image is off the diagonal of the confident joint, or among the lowest
            margins, as many as the joint estimates wrong labels.
    """

    row: int
    sha256: str
    path: str
    label: str
    suggested: str
    label_probability: float
    suggested_probability: float
    margin: float
    likely: bool


def read_labeled_images(transformed: Path, prepared: Path) -> LabeledImages:
    """Read the labels, groups and clusters of the images in the pixel arrays.

    Args:
        transformed: The folder of the pixel arrays.
        prepared: The folder of the prepared table, with the clusters.

    Raises:
        DataError: A file is missing or damaged.
    """
    columns = ["sha256", "path", "label", "group"]
    parts = [read_manifest(transformed, split, columns).to_pylist() for split in SPLITS]
    rows = [row for part in parts for row in part]
    classes = tuple(read_transform(transformed).classes)
    clusters = read_clusters(prepared)
    if any(is_collected(row["path"], row["sha256"]) for row in rows):
        clusters |= read_clusters(prepared, NEAR_COLLECTED_FILE)
    images = [
        Candidate(row["sha256"], classes[row["label"]], None, row["group"], clusters.get(row["sha256"]))
        for row in rows
    ]
    labels = np.array([row["label"] for row in rows], dtype=np.int64)
    return LabeledImages(images, [row["path"] for row in rows], labels, classes)


def drop_rare_classes(images: LabeledImages, embeddings: Embeddings) -> tuple[LabeledImages, Embeddings]:
    """Return the images of the classes that can be divided into folds, and log the other classes.

    Raises:
        DataError: Fewer than two classes are left.
    """
    labels = [image.label for image in images.images]
    units = count_units(form_units([image._replace(given=None) for image in images.images], SEED), labels)
    rare = [name for name in images.classes if units[name] < MIN_FOLDS]
    if len(images.classes) - len(rare) < MIN_CLASSES:
        raise DataError(
            f"too few images: labels are checked in classes with at least {MIN_FOLDS} images that are neither of one group nor "
            f"near-duplicates, and {MIN_CLASSES} such classes are needed; add images"
        )
    if rare:
        logger.warning(
            "The labels of %s are not checked: fewer than %d images that are neither of one group nor near-duplicates",
            *(join_first(map(repr, rare), MAX_NAMED), MIN_FOLDS),
        )
    rows = [row for row, label in enumerate(labels) if label not in rare]
    kept = LabeledImages(
        [images.images[row] for row in rows],
        [images.paths[row] for row in rows],
        images.labels[rows],
        images.classes,
    )
    return kept, embeddings[rows]


def predict_out_of_fold(embeddings: Embeddings, images: LabeledImages) -> Predictions:
    """Predict each image by a logistic regression that was trained on other folds.

    Groups and near-duplicates stay in one fold.

    Args:
        embeddings: float32, N×D.
        images: The N images, of the classes that `drop_rare_classes` keeps.

    Raises:
        DataError: The groups of a class cannot be divided into folds.
    """
    folds = np.array(assign_folds(images.images, FOLDS, SEED, "the usual number"))
    probabilities = np.empty((len(folds), len(images.classes)))
    for fold in np.unique(folds):
        rest, own = folds != fold, folds == fold
        probabilities[own] = train_and_predict(
            embeddings[rest], images.labels[rest], embeddings[own], len(images.classes)
        )
    return Predictions(probabilities, images.labels, images.classes)


def rank_labels(predictions: Predictions, images: LabeledImages) -> list[Suspect]:
    """Order all images by their normalized margin, the most suspicious first.

    Args:
        predictions: Out of fold.
        images: The images, in the same order.
    """
    errors = find_label_errors(predictions, images.paths)
    margin, names = normalized_margin(predictions), images.classes
    order = np.argsort(margin, kind="stable").tolist()
    estimated = order[: math.ceil(errors.share * len(order))]
    likely = {*errors.rows, *(row for row in estimated if margin[row] < 0)}
    others = predictions.probabilities.copy()
    np.put_along_axis(others, images.labels[:, None], -1.0, axis=1)
    suggested = others.argmax(axis=1)
    return [
        Suspect(
            row,
            images.images[row].sha256,
            images.paths[row],
            names[images.labels[row]],
            names[suggested[row]],
            float(predictions.label_probability[row]),
            float(others[row, suggested[row]]),
            float(margin[row]),
            row in likely,
        )
        for row in order
    ]
