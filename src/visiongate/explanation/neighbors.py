"""Nearest training images: those whose embeddings have the most similar direction."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visiongate.images.pixels import Labels

Embeddings = npt.NDArray[np.float32]

# Queries and embeddings that are compared at a time, so that 100,000 images need little more memory than their embeddings.
QUERIES, CHUNK = 256, 8192
# Similarities are rounded, because the last digits of a product depend on the sizes of the matrices.
DECIMALS = 5


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The nearest images of Q images, the nearest first.

    Attributes:
        rows: Of the nearest images, Q×k.
        similarities: Cosine of the embeddings, Q×k, in -1..1.
    """

    rows: Labels
    similarities: npt.NDArray[np.float64]


def find_neighbors(queries: Embeddings, embeddings: Embeddings, count: int) -> Neighbors:
    """Find the nearest images by the cosine of their embeddings. Of equally similar images, the first ones are found.

    Args:
        queries: Embeddings of Q images, Q×D.
        embeddings: Embeddings of the images to search, N×D.
        count: The number of images to find; at most N are found.
    """
    # No queries make one empty block.
    starts = range(0, max(1, len(queries)), QUERIES)
    blocks = [_search(queries[start : start + QUERIES], embeddings, count) for start in starts]
    return Neighbors(
        np.concatenate([block.rows for block in blocks]),
        np.concatenate([block.similarities for block in blocks]),
    )


def _search(queries: Embeddings, embeddings: Embeddings, count: int) -> Neighbors:
    rows = np.empty((len(queries), 0), dtype=np.int64)
    similarities = np.empty((len(queries), 0))
    directions = queries / _lengths(queries)[:, None]
    for start in range(0, len(embeddings), CHUNK):
        chunk = embeddings[start : start + CHUNK]
        found = np.round((directions @ chunk.T / _lengths(chunk)).astype(np.float64), DECIMALS)
        numbers = np.broadcast_to(np.arange(start, start + len(chunk)), found.shape)
        candidates = np.concatenate([rows, numbers], axis=1), np.concatenate([similarities, found], axis=1)
        # The candidates are in ascending order of their rows where they are equally similar.
        best = np.argsort(-candidates[1], axis=1, kind="stable")[:, :count]
        rows, similarities = (np.take_along_axis(each, best, axis=1) for each in candidates)
    return Neighbors(rows, similarities)


def _lengths(vectors: Embeddings) -> Embeddings:
    """Return the length of each vector, N; 1 for a zero vector, which is then similar to none."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return np.where(lengths > 0, lengths, np.float32(1))
