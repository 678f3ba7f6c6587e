"""The reference of a model: what its outputs and its images were like before it was served, for `visiongate drift`."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from visiongate.evaluation.corruptions import sample_images
from visiongate.evaluation.folds import Split
from visiongate.images.exposure import measure_exposure
from visiongate.images.pixels import Labels, Pixels, release_memory
from visiongate.models.embedding import BACKBONE, embed
from visiongate.models.predictions import Predictions
from visiongate.models.predictor import EMBEDDING, Predictor
from visiongate.models.sketch import WIDTH, Sketch, sketch
from visiongate.records.drift_reference import UNKNOWN, DriftReference, Protocol, rows_that_fit
from visiongate.records.files import sha256_of

# Of the draw. With another one, the references of a model would differ by chance.
SEED = 0
# Images whose embeddings are computed at a time.
CHUNK = 256

Codes = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Judgment:
    """What models that had not seen the images said of them.

    Attributes:
        predictions: In the order of the images.
        protocol: How the images judged the model.
        outside: Whether each image was called out of distribution, N; None if the model cannot say.
    """

    predictions: Predictions
    protocol: Protocol
    outside: Flags | None = None


def build_reference(model: Predictor, judged: Split, judgment: Judgment, max_images: int) -> DriftReference:
    """Describe the images that judged a model, and what was predicted for them.

    With cross-validation, the outputs are those of the models of the folds, because the exported model has learned from all
    images. Its embeddings of them say what it makes of new images only if a frozen backbone computes them.

    Args:
        model: The exported model.
        judged: The images.
        judgment: Of these images.
        max_images: How many of them become rows. There may be fewer, because many classes need more space.
    """
    predictions, outside = judgment.predictions, judgment.outside
    has_embedding = EMBEDDING in model.outputs and (
        judgment.protocol == "holdout" or BACKBONE in model.metadata
    )
    fitting = rows_that_fit(len(predictions.classes), WIDTH if has_embedding else 0)
    rows = sample_images(predictions.labels, min(max_images, fitting), SEED)
    exposures = _measure_exposures(judged.pixels.images, rows)
    stored = judged.manifest.take(pa.array(rows))
    formats, format_codes = _encode(stored.column("format"))
    modes, mode_codes = _encode(stored.column("mode"))
    confusion = _count_confusion(predictions)
    return DriftReference(
        classes=predictions.classes,
        protocol=judgment.protocol,
        model_sha256=_hash(model.source),
        images=len(predictions.labels),
        labels=predictions.labels[rows].astype(np.int16),
        predicted=predictions.predicted[rows].astype(np.int16),
        probabilities=predictions.probabilities[rows].astype(np.float16),
        embedding=_sketch_images(model, judged.pixels.images, rows) if has_embedding else None,
        out_of_distribution=None if outside is None else outside[rows],
        brightness=exposures[:, 0],
        contrast=exposures[:, 1],
        width=_integers(stored.column("width")),
        height=_integers(stored.column("height")),
        file_bytes=_integers(stored.column("bytes")),
        formats=formats,
        format=format_codes,
        modes=modes,
        mode=mode_codes,
        class_counts=confusion.sum(axis=1),
        confusion=confusion,
    )


def _measure_exposures(images: Pixels, rows: Labels) -> npt.NDArray[np.float32]:
    exposures = np.array([measure_exposure(images[row]) for row in rows], np.float32)
    release_memory(images)
    return exposures


def _sketch_images(model: Predictor, images: Pixels, rows: Labels) -> Sketch:
    chunks = (images[rows[start : start + CHUNK]] for start in range(0, len(rows), CHUNK))
    sketches: Sketch = np.concatenate([sketch(embed(model, chunk)) for chunk in chunks])
    return sketches


def _count_confusion(predictions: Predictions) -> npt.NDArray[np.int64]:
    classes = len(predictions.classes)
    pairs = predictions.labels * classes + predictions.predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def _encode(values: pa.ChunkedArray) -> tuple[tuple[str, ...], Codes]:
    """Return the distinct values in alphabetical order, and the place of each value; `UNKNOWN` for null."""
    names = tuple(sorted(values.drop_null().unique().to_pylist()))
    places = {name: place for place, name in enumerate(names)}
    return names, np.array([places.get(value, UNKNOWN) for value in values.to_pylist()], np.int8)


def _integers(values: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    integers: npt.NDArray[np.int32] = values.cast(pa.int32()).to_numpy()
    return integers


def _hash(source: Path | bytes) -> str:
    return sha256_of(source) if isinstance(source, Path) else hashlib.sha256(source).hexdigest()
