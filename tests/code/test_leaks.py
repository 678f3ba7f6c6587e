"""Leaks between the test split and the others."""

import numpy as np
import pyarrow as pa
import pytest

from visiongate.evaluation.leaks import find_leaks
from visiongate.records.evaluation import Leak

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


def test_separate_splits_have_no_leaks(images: Images) -> None:
    groups = {("train", 0): {"group": "a"}, ("test", 0): {"group": "b"}, ("test", 1): {"group": "b"}}

    assert find_leaks(images, manifests(images, groups)) == []


def test_each_leak_is_reported_once_with_strongest_reason(images: Images) -> None:
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


def test_whole_test_split_in_training_split_leaks(images: Images) -> None:
    images["train"] = np.concatenate([images["train"], images["test"]])

    assert [leak.shared for leak in find_leaks(images, manifests(images, {}))] == ["pixels"] * 4
