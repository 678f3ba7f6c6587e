"""Clusters of near-duplicates: stable names, leaks between given splits, and the choice for the page."""

import numpy as np

from visiongate.preparation.clusters import (
    NAME_LENGTH,
    Cluster,
    choose_clusters,
    count_exposed,
    count_leaks,
    find_leaks,
    kept_clusters,
    name_clusters,
)
from visiongate.preparation.quality import ImageRow, Reason, Rejection
from visiongate.records.measurements import Sketches
from visiongate.records.preparation import Leak
from visiongate.settings.preparation import NearDuplicates

LIMITS = NearDuplicates(max_distance=8, max_difference=0.25)
PICTURES = np.random.default_rng(0).integers(0, 256, (6, 32, 32))
BLANK = Rejection(Reason.BLANK, "")


def shown(picture: int, brighter: int = 0) -> Sketches:
    """Return the sketch of a picture, brightened."""
    sketch: Sketches = (PICTURES[picture] * 0.8 + brighter).astype(np.uint8)
    return sketch


def row(name: str, split: str | None = None, label: str = "a") -> ImageRow:
    return ImageRow(f"{name}.png", label, f"{name:f<64}", split)


def leaks_of(rows: list[ImageRow], pictures: list[int]) -> dict[str, str]:
    """Return the detail of each leaked image, by path."""
    sketches = np.stack([shown(picture, place) for place, picture in enumerate(pictures)])
    clusters = name_clusters(rows, sketches, [None] * len(rows), LIMITS)
    rejections = find_leaks(rows, sketches, clusters)
    assert {rejection.reason for rejection in rejections.values()} <= {Reason.SPLIT_LEAK}
    return {rows[index].path: rejection.detail for index, rejection in rejections.items()}


def test_clusters_are_named_by_their_smallest_hash_and_sorted() -> None:
    rows = [row("9"), row("5"), row("3"), row("7"), row("4")]
    sketches = np.stack([shown(0), shown(1), shown(2), shown(0, 9), shown(2, 9)])
    found = name_clusters(rows, sketches, [None] * 5, LIMITS)
    assert found == [Cluster("3" + "f" * 15, [2, 4]), Cluster("7" + "f" * 15, [0, 3])]
    assert {len(cluster.name) for cluster in found} == {NAME_LENGTH}


def test_quarantined_images_are_in_no_cluster() -> None:
    sketches = np.stack([shown(0), shown(0, 9)])
    assert name_clusters([row("1"), row("2")], sketches, [None, BLANK], LIMITS) == []


def test_only_the_most_protected_split_keeps_a_picture() -> None:
    rows = [row("0", "train"), row("1", "val"), row("2", "test"), row("3", "train"), row("4", "test")]
    assert leaks_of(rows, [0, 0, 0, 1, 0]) == {
        "0.png": "near-duplicate of 2.png (test)",
        "1.png": "near-duplicate of 2.png (test)",
    }
    assert leaks_of(rows[:2], [0, 0]) == {"0.png": "near-duplicate of 1.png (val)"}


def test_near_duplicates_in_one_split_or_without_one_do_not_leak() -> None:
    assert leaks_of([row("0", "train"), row("1", "train")], [0, 0]) == {}
    assert leaks_of([row("0"), row("1")], [0, 0]) == {}
    assert leaks_of([row("0"), row("1", "test")], [0, 0]) == {}


def test_the_most_similar_image_is_named() -> None:
    rows = [row("0", "test"), row("1", "test"), row("2", "train")]
    changed = (PICTURES[0] * 0.8 + np.random.default_rng(1).normal(0, 8, (32, 32))).clip(0, 255)
    sketches = np.stack([changed.astype(np.uint8), shown(0), shown(0, 20)])
    clusters = name_clusters(rows, sketches, [None] * 3, LIMITS)
    assert find_leaks(rows, sketches, clusters) == {
        2: Rejection(Reason.SPLIT_LEAK, "near-duplicate of 1.png (test)", 1)
    }


def test_leaks_are_counted_by_pair_of_splits_and_kind() -> None:
    rows = [
        row("0", "test"),
        row("1", "train"),
        row("2", "train"),
        row("3", "val"),
        row("4", "test"),
        row("5"),
    ]
    rejections = [
        None,
        Rejection(Reason.DUPLICATE, "", 0),
        Rejection(Reason.SPLIT_LEAK, "", 0),
        Rejection(Reason.SPLIT_LEAK, "", 0),
        # Within one split.
        Rejection(Reason.DUPLICATE, "", 0),
        # Without a given split.
        Rejection(Reason.DUPLICATE, "", 0),
    ]
    assert count_leaks(rows, rejections) == [Leak("train", "test", 1, 1), Leak("val", "test", 0, 1)]
    assert count_leaks(rows, [None] * 6) == []


def test_exposed_images_are_counted_once_each() -> None:
    rows = [
        row("0", "test"),
        row("1", "test"),
        row("2", "train"),
        row("3", "train"),
        row("4", "val"),
        row("5"),
    ]
    near = Rejection(Reason.SPLIT_LEAK, "", 0)
    rejections = [None, None, near, Rejection(Reason.DUPLICATE, "", 0), near, None]
    clusters = [Cluster("c", [0, 1, 2, 4, 5])]
    assert count_exposed(rows, rejections, clusters) == {"train": 0, "val": 1, "test": 2}
    assert count_exposed(rows, rejections, []) == {"train": 0, "val": 0, "test": 1}
    assert count_exposed([row("0"), row("1")], [None, None], [Cluster("c", [0, 1])]) == {}


def test_kept_clusters_have_two_kept_images() -> None:
    clusters = [Cluster("a", [0, 1]), Cluster("b", [2, 3, 4])]
    rejections = [None, BLANK, None, BLANK, None]
    assert list(kept_clusters(clusters, rejections)) == [(2, "b"), (4, "b")]


def test_marked_clusters_come_first_and_then_the_largest() -> None:
    clusters = [Cluster(f"{size:02d}", list(range(size))) for size in range(2, 9)]
    names = [cluster.name for cluster in choose_clusters(clusters, [{"02", "03"}, {"02", "05"}], 5)]
    assert names == ["03", "02", "05", "08", "07"]
    assert choose_clusters(clusters, [], 99) == clusters[::-1]
