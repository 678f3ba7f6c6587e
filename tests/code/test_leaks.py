"""Leaks: what is planted is found, and nothing else."""

import numpy as np
import pyarrow as pa
import pytest

from visiongate.evaluation.leaks import Leak, find_leaks

Images = dict[str, np.ndarray]


@pytest.fixture
def images() -> Images:
    generator = np.random.default_rng(0)
    return {
        split: generator.integers(256, size=(count, 4, 4, 1), dtype=np.uint8)
        for split, count in (("train", 6), ("val", 3), ("test", 4))
    }


def manifests(images: Images, changes: dict[tuple[str, int], dict[str, str]]) -> dict[str, pa.Table]:
    return {
        split: pa.Table.from_pylist(
            [
                {
                    "path": f"{split}/{row}",
                    "sha256": f"{split}{row}",
                    "group": None,
                    **changes.get((split, row), {}),
                }
                for row in range(len(pixels))
            ],
            pa.schema([(name, pa.string()) for name in ("path", "sha256", "group")]),
        )
        for split, pixels in images.items()
    }


def test_splits_that_share_nothing_leak_nothing(images: Images) -> None:
    groups = {("train", 0): {"group": "a"}, ("test", 0): {"group": "b"}, ("test", 1): {"group": "b"}}

    assert find_leaks(images, manifests(images, groups)) == []


def test_the_same_pixels_file_or_group_is_a_leak_told_once_for_the_strongest_reason(images: Images) -> None:
    images["train"][2] = images["test"][3]
    changes = {
        ("train", 1): {"sha256": "same"},
        ("test", 0): {"sha256": "same"},
        ("val", 0): {"group": "patient"},
        ("test", 1): {"group": "patient"},
        ("test", 3): {"group": "patient"},
    }

    assert find_leaks(images, manifests(images, changes)) == [
        Leak("test/0", "train", "train/1", "file"),
        Leak("test/1", "val", "val/0", "group"),
        Leak("test/3", "train", "train/2", "pixels"),
    ]


def test_a_model_trained_on_the_test_split_is_found_out(images: Images) -> None:
    images["train"] = np.concatenate([images["train"], images["test"]])

    assert [leak.shared for leak in find_leaks(images, manifests(images, {}))] == ["pixels"] * 4
