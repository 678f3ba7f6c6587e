"""Explain the mistakes on the page: heat maps, nearest training images, and a map of the embeddings."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visiongate.evaluation.corruptions import sample_images
from visiongate.evaluation.folds import JudgedFold
from visiongate.explanation.heat_maps import CLASS_ACTIVATION, OCCLUSION, heat_map_outputs, heat_maps
from visiongate.explanation.neighbors import find_neighbors
from visiongate.explanation.overlay import blend
from visiongate.explanation.projection import MAX_IMAGES, MIN_IMAGES, project
from visiongate.images.pixels import Labels, Pixels, PixelSplit
from visiongate.models.embedding import BACKBONE, embed
from visiongate.models.predictions import Predictions
from visiongate.models.predictor import EMBEDDING, Predictor

NEIGHBORS = 3
# Training images among which the nearest are searched, unless their embeddings are cached.
MAX_SEARCHED = 10_000


@dataclass(frozen=True, slots=True)
class SimilarImage:
    """A training image that is similar to a mistake."""

    # uint8, H×W×C.
    image: Pixels
    # The name of its class.
    label: str
    # The cosine of the embeddings.
    similarity: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of a mistake.

    Attributes:
        overlay: The heat map for the predicted class over the image, uint8 H×W×3.
        predicted: The name of the predicted class.
        similar: The nearest training images, the nearest first; empty for a model without embeddings.
    """

    overlay: Pixels
    predicted: str
    similar: tuple[SimilarImage, ...]


@dataclass(frozen=True, slots=True)
class Explanations:
    """The explanations of a page.

    Attributes:
        method: Of the heat maps.
        searched: Training images among which the nearest were searched; 0 for a model without embeddings.
        mistakes: By row of the judged images.
    """

    method: str
    searched: int
    mistakes: Mapping[int, Explanation]


@dataclass(frozen=True, slots=True)
class EmbeddingMap:
    """Judged images in two dimensions.

    Attributes:
        points: N×2.
        rows: The rows of the judged images, N.
    """

    points: npt.NDArray[np.float64]
    rows: Labels


def explain(folds: Sequence[JudgedFold], test: Predictions, rows: Sequence[int]) -> Explanations:
    """Explain predictions for judged images.

    Each image is explained by the model that predicted it. The training images of that model contain neither the image nor its
    near-duplicates.

    Args:
        folds: The judged images, and the models that predicted them.
        test: The predictions.
        rows: The rows of the images to explain.
    """
    mistakes: dict[int, Explanation] = {}
    searched, start = 0, 0
    for fold in folds:
        own = [row for row in rows if start <= row < start + len(fold.test.pixels.labels)]
        if own:
            train = _searched_images(fold)
            searched = max(searched, len(train.labels))
            explained = _explain_fold(fold, train, np.array(own) - start, test.predicted[own])
            mistakes.update(zip(own, explained, strict=True))
        start += len(fold.test.pixels.labels)
    method = CLASS_ACTIVATION if heat_map_outputs(folds[0].model) else OCCLUSION
    return Explanations(method, searched, mistakes)


def map_embeddings(model: Predictor, test: PixelSplit) -> EmbeddingMap | None:
    """Place judged images in two dimensions, at most `MAX_IMAGES`.

    Returns:
        None for a model without embeddings, or for fewer than `MIN_IMAGES`.
    """
    if EMBEDDING not in model.outputs or len(test.labels) < MIN_IMAGES:
        return None
    rows = sample_images(test.labels, MAX_IMAGES, seed=0)
    return EmbeddingMap(project(embed(model, test.images[rows])), rows)


def _searched_images(fold: JudgedFold) -> PixelSplit:
    """Return the training images, or every k-th if a network has to run for them; none if the model has no embeddings."""
    train = fold.train.pixels
    if EMBEDDING not in fold.model.outputs:
        return PixelSplit(train.images[:0], train.labels[:0])
    is_cached = BACKBONE in fold.model.metadata
    step = 1 if is_cached else max(1, math.ceil(len(train.labels) / MAX_SEARCHED))
    return PixelSplit(train.images[::step], train.labels[::step])


def _explain_fold(
    fold: JudgedFold, train: PixelSplit, rows: Labels, predicted: Labels
) -> Iterator[Explanation]:
    """Yield the explanation of some test images of a fold, for their predicted classes."""
    images, classes = fold.test.pixels.images[rows], fold.model.contract.classes
    similar: Iterable[tuple[SimilarImage, ...]] = [()] * len(rows)
    if len(train.labels):
        similar = _find_similar(fold.model, train, images)
    heats = heat_maps(fold.model, images, predicted)
    for image, heat, nearest, number in zip(images, heats, similar, predicted.tolist(), strict=True):
        yield Explanation(blend(image, heat.values), classes[number], nearest)


def _find_similar(model: Predictor, train: PixelSplit, images: Pixels) -> Iterator[tuple[SimilarImage, ...]]:
    found = find_neighbors(embed(model, images), embed(model, train.images), NEIGHBORS)
    for rows, similarities in zip(found.rows.tolist(), found.similarities.tolist(), strict=True):
        yield tuple(
            SimilarImage(train.images[row], model.contract.classes[train.labels[row]], similarity)
            for row, similarity in zip(rows, similarities, strict=True)
        )
