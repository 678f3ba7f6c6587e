from pathlib import Path

import numpy as np
import pytest

from visiongate.errors import DataError
from visiongate.images.pixels import channel_statistics, load_split, release_memory


def test_channel_statistics_match_numpy() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)
    mean, std = channel_statistics(images, chunk=7)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 1, 2)))


def test_a_constant_channel_is_an_error() -> None:
    with pytest.raises(DataError, match="constant"):
        channel_statistics(np.full((3, 4, 4, 1), 128, np.uint8))


def test_releasing_memory_keeps_the_content(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 64, 64, 3), dtype=np.uint8)
    mapped = np.lib.format.open_memmap(tmp_path / "train.npy", "w+", np.uint8, images.shape)
    mapped[:] = images
    release_memory(mapped)
    assert (mapped == images).all()
    np.save(tmp_path / "train_labels.npy", np.zeros(300, np.int64))
    assert channel_statistics(load_split(tmp_path, "train").images) == channel_statistics(images)
