"""Labels that are probably wrong, in all splits, by out-of-fold predictions over embeddings.

A logistic regression on embeddings predicts each image without having seen it, its group or its near-duplicates. The embeddings
must come from a backbone that has not seen the labels: a network that was trained on a wrong label often reproduces it.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visiongate.correction.embeddings import Embeddings
from visiongate.correction.linear_model import make_linear_model
from visiongate.evaluation.label_errors import find_label_errors, normalized_margin
from visiongate.images.pixels import Labels
from visiongate.models.predictions import Predictions
from visiongate.records.clusters import read_clusters
from visiongate.records.manifest import read_manifest
from visiongate.records.splits import SPLITS
from visiongate.records.transform import read_transform
from visiongate.transformation.folds import assign_folds
from visiongate.transformation.units import Candidate

FOLDS, SEED = 5, 0


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
    classes, clusters = tuple(read_transform(transformed).classes), read_clusters(prepared)
    images = [
        Candidate(row["sha256"], classes[row["label"]], None, row["group"], clusters.get(row["sha256"]))
        for row in rows
    ]
    labels = np.array([row["label"] for row in rows], dtype=np.int64)
    return LabeledImages(images, [row["path"] for row in rows], labels, classes)


def predict_out_of_fold(embeddings: Embeddings, images: LabeledImages) -> Predictions:
    """Predict each image by a logistic regression that was trained on other folds.

    Groups and near-duplicates stay in one fold.

    Args:
        embeddings: float32, N×D.
        images: The N images.

    Raises:
        DataError: A class has too few images.
    """
    from sklearn.model_selection import PredefinedSplit, cross_val_predict  # noqa: PLC0415 - slow to import

    folds = PredefinedSplit(assign_folds(images.images, FOLDS, SEED))
    model = make_linear_model()
    found = cross_val_predict(model, embeddings, images.labels, cv=folds, method="predict_proba")
    return Predictions(np.asarray(found, dtype=np.float64), images.labels, images.classes)


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
