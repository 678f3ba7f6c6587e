"""``visiongate label-next``: which unlabeled images are chosen, and what is written."""

import numpy as np
import pytest

from visiongate.correction.labeling import choose_images
from visiongate.correction.linear_model import train_and_predict


def two_groups(per_group: int) -> tuple[np.ndarray, np.ndarray]:
    """Uncertain images that look alike in two groups, and certain ones."""
    generator = np.random.default_rng(0)
    centers = np.repeat(np.eye(3), per_group, axis=0)
    embeddings = centers + generator.normal(0, 0.01, centers.shape)
    second = np.repeat([0.5, 0.45, 0.01], per_group)
    return embeddings.astype(np.float32), np.stack([1 - second, second], axis=1)


def test_the_chosen_images_are_uncertain_and_unlike_each_other() -> None:
    embeddings, probabilities = two_groups(10)
    chosen = choose_images(embeddings, probabilities, 2)
    # The most uncertain of both groups, not two of the same, and none of the certain ones.
    assert [each.row // 10 for each in chosen] == [0, 1]
    assert [(each.predicted, each.probability) for each in chosen] == [(0, 0.5), (0, 0.55)]
    assert chosen[1].margin == pytest.approx(0.1)


def test_each_image_is_chosen_once_and_no_more_than_there_are() -> None:
    embeddings, probabilities = two_groups(4)
    embeddings[:] = 1
    assert len({each.row for each in choose_images(embeddings, probabilities, 5)}) == 5
    assert len({each.row for each in choose_images(embeddings, probabilities, 50)}) == 12


def test_a_rare_class_can_have_the_weight_of_a_frequent_one() -> None:
    generator = np.random.default_rng(0)
    labels = np.array([0] * 60 + [1] * 3)
    embeddings = generator.normal(0, 1, (63, 300)).astype(np.float32)
    embeddings[labels == 1, :100] += 2
    between = embeddings.mean(axis=0, keepdims=True) + np.repeat([1.0, 0.0], [100, 200]).astype(np.float32)
    rare = [
        train_and_predict(embeddings, labels, between, 3, is_balanced=balanced)[0, 1]
        for balanced in (False, True)
    ]
    assert rare[0] < rare[1]
    # A class without images has the probability 0.
    assert train_and_predict(embeddings, labels, between, 3)[0, 2] == 0
