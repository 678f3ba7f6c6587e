"""The training images of a model, with their embeddings, to find those that are similar to an image."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from visiongate.errors import DataError
from visiongate.explanation.neighbors import Embeddings
from visiongate.images.folds import load_folds
from visiongate.images.integrity import check_arrays
from visiongate.images.pixels import load_split
from visiongate.models.embedding import embed
from visiongate.models.predictor import Predictor
from visiongate.records.manifest import read_manifest
from visiongate.records.transform import Transform


@dataclass(frozen=True, slots=True)
class TrainingImages:
    """The images that a model was trained on.

    Attributes:
        embeddings: By the model, N×D.
        paths: N.
        labels: The name of each image's class, N.
    """

    embeddings: Embeddings
    paths: list[str]
    labels: list[str]


def read_training_images(directory: Path, model: Predictor) -> TrainingImages:
    """Read the training images of a model, and compute what the cache of features lacks.

    Args:
        directory: The folder of the pixel arrays. A model of a cross-validated data set was trained on all of them.
        model: A model with embeddings.

    Raises:
        DataError: The pixel arrays are missing, damaged or not those that the model was trained on, or it has no embeddings.
    """
    transform = check_arrays(directory)
    _check_origin(model, transform, directory)
    if transform.protocol == "cross_validation":
        folded = load_folds(directory)
        pixels, manifest = folded.pixels, folded.manifest
    else:
        pixels, manifest = load_split(directory, "train"), read_manifest(directory, "train")
    labels = pa.array(transform.classes).take(pa.array(pixels.labels)).to_pylist()
    return TrainingImages(embed(model, pixels.images), manifest.column("path").to_pylist(), labels)


def _check_origin(model: Predictor, transform: Transform, directory: Path) -> None:
    """Check the preprocessing. It contains mean and deviation of the training images, which differ between two data sets."""
    recorded = model.metadata["transform"]
    for name in Transform.__slots__:
        if name in recorded and recorded[name] != getattr(transform, name):
            raise DataError(
                f"{model.name}: it was trained on other images than those in {directory}, whose {name} differs; check out the "
                "commit of the model and run `dvc pull transformation`, or name the model that `dvc repro train` writes"
            )
