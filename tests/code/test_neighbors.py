"""Nearest training images, and the map of embeddings."""

import numpy as np
import pytest

from visiongate.explanation import neighbors
from visiongate.explanation.neighbors import find_neighbors
from visiongate.explanation.projection import MIN_IMAGES, project


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 5)).astype(np.float32)


@pytest.mark.parametrize("chunk", [1, 7, 8192])
def test_neighbors_are_the_most_similar_images(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "CHUNK", chunk)
    monkeypatch.setattr(neighbors, "QUERIES", 3)
    queries, images = vectors(4), vectors(40, seed=1)

    found = find_neighbors(queries, images, 3)

    cosine = (queries @ images.T) / np.outer(*(np.linalg.norm(each, axis=1) for each in (queries, images)))
    np.testing.assert_array_equal(found.rows, np.argsort(-cosine, axis=1)[:, :3])
    np.testing.assert_allclose(found.similarities, -np.sort(-cosine, axis=1)[:, :3], atol=1e-5)


def test_of_equally_similar_images_the_first_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "CHUNK", 4)
    # The length of an embedding does not matter.
    images = np.ones((10, 3), dtype=np.float32) * np.arange(10, 0, -1, dtype=np.float32)[:, None]
    assert find_neighbors(images[:1], images, 3).rows.tolist() == [[0, 1, 2]]


def test_few_images_and_zero_vectors() -> None:
    found = find_neighbors(vectors(2), np.zeros((2, 5), dtype=np.float32), 3)
    assert found.rows.tolist() == [[0, 1], [0, 1]]
    assert not found.similarities.any()
    assert find_neighbors(vectors(0), vectors(4), 3).rows.shape == (0, 3)


@pytest.mark.parametrize(("count", "size"), [(MIN_IMAGES, 2), (60, 40)])
def test_map_keeps_groups_together_and_is_reproducible(count: int, size: int) -> None:
    groups = np.arange(count) % 2
    embeddings = np.random.default_rng(0).normal(size=(count, size)) + 20 * groups[:, None]

    points = project(embeddings.astype(np.float32))

    assert points.shape == (count, 2)
    between = np.linalg.norm(points[groups == 0].mean(axis=0) - points[groups == 1].mean(axis=0))
    within = np.linalg.norm(points[groups == 0] - points[groups == 0].mean(axis=0), axis=1)
    assert between > within.mean()
    np.testing.assert_array_equal(project(embeddings.astype(np.float32)), points)
