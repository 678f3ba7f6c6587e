"""References of models that do not exist, with random numbers."""

import numpy as np

from visiongate.records.drift_reference import DriftReference

SHA256 = "a" * 64


def make_reference(
    *,
    rows: int = 20,
    classes: tuple[str, ...] = ("cat", "dog"),
    embedding: int | None = 8,
    model_sha256: str = SHA256,
    seed: int = 0,
) -> DriftReference:
    """Return the reference of a model that is usually sure, and often right."""
    random = np.random.default_rng(seed)
    count = len(classes)
    probabilities = random.dirichlet(np.full(count, 0.2), rows).astype(np.float16)
    predicted = probabilities.argmax(axis=1).astype(np.int16)
    labels = np.where(random.random(rows) < 0.9, predicted, random.integers(count, size=rows)).astype(
        np.int16
    )
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    return DriftReference(
        classes=classes,
        protocol="holdout",
        model_sha256=model_sha256,
        images=rows,
        labels=labels,
        predicted=predicted,
        probabilities=probabilities,
        embedding=None if embedding is None else random.normal(size=(rows, embedding)).astype(np.float16),
        out_of_distribution=random.random(rows) < 0.05,
        brightness=random.random(rows, np.float32),
        contrast=random.random(rows, np.float32),
        width=random.integers(1, 4000, rows, np.int32),
        height=random.integers(1, 4000, rows, np.int32),
        file_bytes=random.integers(100, 10**6, rows, np.int32),
        formats=("JPEG", "PNG"),
        format=random.integers(-1, 2, rows, np.int8),
        modes=("L", "RGB"),
        mode=random.integers(0, 2, rows, np.int8),
        class_counts=confusion.sum(axis=1),
        confusion=confusion,
    )
