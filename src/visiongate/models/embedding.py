"""Embeddings of images, and what a model with a frozen backbone computes from them, through the cache of features."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from visiongate.errors import DataError
from visiongate.images.pixels import release_memory
from visiongate.models.feature_cache import FeatureCache, Features
from visiongate.models.feature_graph import FeatureGraph, feature_graph, head_graph
from visiongate.models.predictor import (
    ACTIVATION_MAP,
    EMBEDDING,
    INPUT,
    Images,
    Outputs,
    Predictor,
    divide,
    open_session,
)

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# In a model's metadata: the name of the frozen backbone whose features are cached.
BACKBONE = "backbone"
# Images whose features are computed before they are written to the cache.
CHUNK = 256


class Embedder:
    """Computes embeddings that the cache lacks.

    Args:
        graph: From pixels to the embedding.
    """

    def __init__(self, graph: FeatureGraph) -> None:
        self._graph = graph
        self._cache = FeatureCache(graph.sha256, graph.size)
        self._session: InferenceSession | None = None

    def __call__(self, images: Images) -> Features:
        """Return the embeddings, float32 N×D, of at least one image.

        Args:
            images: uint8, N×H×W×C.
        """
        parts = []
        for start in range(0, len(images), CHUNK):
            chunk = images[start : start + CHUNK]
            parts.append(self._embed(chunk))
            release_memory(images)
        return np.concatenate(parts)

    def _embed(self, images: Images) -> Features:
        keys = image_keys(images)
        found = self._cache.read(keys)
        missing = {key: index for index, key in enumerate(keys) if key not in found}
        if missing:
            computed = dict(zip(missing, self._compute(images[list(missing.values())]), strict=True))
            self._cache.write(computed)
            found |= computed
        return np.stack([found[key] for key in keys])

    def _compute(self, images: Images) -> Features:
        if self._session is None:
            self._session = open_session(self._graph.content)
        return run_features(self._session, images)


def image_keys(images: Images) -> list[bytes]:
    """Return the keys of images, uint8 N×H×W×C, in the cache of features."""
    return [hashlib.sha256(image.tobytes()).digest() for image in images]


def run_features(session: "InferenceSession", images: Images) -> Features:
    """Compute the features, float32 N×D, of at least one image, uint8 N×H×W×C."""
    return np.concatenate([session.run([EMBEDDING], {INPUT: batch})[0] for batch in divide(images)])


def embed(predictor: Predictor, images: Images) -> Features:
    """Return the embeddings, float32 N×D, of at least one image.

    Args:
        predictor: A model with an embedding.
        images: uint8, N×H×W×C.

    Raises:
        DataError: The model has no embedding.
    """
    if EMBEDDING not in predictor.outputs:
        raise DataError(
            f"{predictor.name}: the model has no embedding; train a network that ends in pooling and a linear layer, or a probe"
        )
    if BACKBONE not in predictor.metadata:
        return predictor.run(images, [EMBEDDING])[EMBEDDING]
    return _split(predictor.source)[0](images)


def run_cached(predictor: Predictor, images: Images, names: Sequence[str]) -> Outputs:
    """Return the outputs that `Predictor.run` returns; a frozen backbone computes only the features that the cache lacks.

    Args:
        predictor: Any model.
        images: uint8, N×H×W×C.
        names: Of the model's outputs.
    """
    if BACKBONE not in predictor.metadata or ACTIVATION_MAP in names:
        return predictor.run(images, names)
    embedder, head = _split(predictor.source)
    features = embedder(images)
    others = [name for name in names if name != EMBEDDING]
    parts = [head.run(others, {EMBEDDING: batch}) for batch in divide(features)] if others else []
    outputs = {name: np.concatenate(values) for name, *values in zip(others, *parts, strict=True)}
    return {name: features if name == EMBEDDING else outputs[name] for name in names}


def _split(source: Path | bytes) -> tuple[Embedder, "InferenceSession"]:
    """Return a model's two parts."""
    if isinstance(source, bytes):
        return _split_content(source, 0)
    return _split_content(source, source.stat().st_mtime_ns)


# The models of all folds, the final model and a champion are used in turn.
@lru_cache(maxsize=16)
def _split_content(source: Path | bytes, _modified: int) -> tuple[Embedder, "InferenceSession"]:
    model = onnx.load_model_from_string(source.read_bytes() if isinstance(source, Path) else source)
    return Embedder(feature_graph(model)), open_session(head_graph(model))
