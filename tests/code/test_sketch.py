"""The short form of embeddings."""

import numpy as np
import pytest

from visiongate.models.sketch import WIDTH, sketch


def embeddings(count: int, dimensions: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, dimensions)).astype(np.float32)


@pytest.mark.parametrize(("dimensions", "width"), [(2, 2), (WIDTH, WIDTH), (WIDTH + 1, WIDTH), (1280, WIDTH)])
def test_a_sketch_is_no_longer_than_its_width(dimensions: int, width: int) -> None:
    short = sketch(embeddings(5, dimensions))
    assert (short.shape, short.dtype) == ((5, width), np.float16)


def test_a_short_embedding_is_only_brought_to_unit_length() -> None:
    embedding = embeddings(5, 16)
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    assert np.abs(sketch(embedding) - unit).max() < 1e-3
    assert np.array_equal(sketch(embedding), sketch(8 * embedding))
    assert not sketch(np.zeros((1, 16), np.float32)).any()


def test_distances_are_roughly_kept() -> None:
    embedding = embeddings(200, 1280)
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    short = sketch(embedding).astype(np.float32)
    true = np.linalg.norm(unit[:100] - unit[100:], axis=1)
    found = np.linalg.norm(short[:100] - short[100:], axis=1)
    # The standard deviation of a projection to d dimensions is 1 / sqrt(2d).
    assert np.std(found / true) == pytest.approx((2 * WIDTH) ** -0.5, rel=0.3)
    assert np.mean(found / true) == pytest.approx(1, abs=0.03)


def test_a_sketch_does_not_depend_on_its_neighbors() -> None:
    embedding = embeddings(40, 512)
    one_by_one = np.concatenate([sketch(row[None]) for row in embedding])
    assert np.abs(sketch(embedding).astype(float) - one_by_one).max() < 1e-3
