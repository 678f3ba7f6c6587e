"""Clusters of a data set: names that stay, leaks between given splits, and what is shown of them."""

import numpy as np

from visiongate.images.measurement import Measurement
from visiongate.preparation.clusters import (
    NAME_LENGTH,
    Cluster,
    Leak,
    choose_clusters,
    count_exposed,
    count_leaks,
    judge_leaks,
    kept_clusters,
    name_clusters,
)
from visiongate.preparation.quality import Reason, Row, Verdict
from visiongate.settings.schema import NearDuplicates

LIMITS = NearDuplicates(max_distance=8, max_difference=0.25)
PICTURES = np.random.default_rng(0).integers(0, 256, (6, 32, 32))
BLANK = Verdict(Reason.BLANK, "")


def shown(picture: int, brighter: int = 0) -> Measurement:
    """An image that shows a picture, somewhat brighter."""
    pixels = (PICTURES[picture] * 0.8 + brighter).astype(np.uint8)
    return Measurement(
        *("PNG", 32, 32, "L"),
        animated=False,
        brightness=0.0,
        contrast=0.0,
        sketch=pixels.tobytes(),
        fault=None,
        error=None,
    )


def row(name: str, split: str | None = None, label: str = "a") -> Row:
    return Row(f"{name}.png", label, f"{name:f<64}", split)


def leaks_of(rows: list[Row], pictures: list[int]) -> dict[str, str]:
    """What each image left out is said to be like."""
    measurements = [shown(picture, place) for place, picture in enumerate(pictures)]
    clusters = name_clusters(rows, measurements, [None] * len(rows), LIMITS)
    verdicts = judge_leaks(rows, measurements, clusters)
    assert {verdict.reason for verdict in verdicts.values()} <= {Reason.SPLIT_LEAK}
    return {rows[index].path: verdict.detail for index, verdict in verdicts.items()}


def test_clusters_are_named_by_their_smallest_hash_and_sorted() -> None:
    rows = [row("9"), row("5"), row("3"), row("7"), row("4")]
    measurements = [shown(0), shown(1), shown(2), shown(0, 9), shown(2, 9)]
    found = name_clusters(rows, measurements, [None] * 5, LIMITS)
    assert found == [Cluster("3" + "f" * 15, [2, 4]), Cluster("7" + "f" * 15, [0, 3])]
    assert {len(cluster.name) for cluster in found} == {NAME_LENGTH}


def test_what_is_left_out_already_is_in_no_cluster() -> None:
    measurements = [shown(0), shown(0, 9)]
    assert name_clusters([row("1"), row("2")], measurements, [None, BLANK], LIMITS) == []


def test_a_picture_stays_in_the_most_protected_split_only() -> None:
    rows = [row("0", "train"), row("1", "val"), row("2", "test"), row("3", "train"), row("4", "test")]
    assert leaks_of(rows, [0, 0, 0, 1, 0]) == {
        "0.png": "near-duplicate of 2.png (test)",
        "1.png": "near-duplicate of 2.png (test)",
    }
    assert leaks_of(rows[:2], [0, 0]) == {"0.png": "near-duplicate of 1.png (val)"}


def test_near_duplicates_within_a_split_or_without_one_leak_nothing() -> None:
    assert leaks_of([row("0", "train"), row("1", "train")], [0, 0]) == {}
    assert leaks_of([row("0"), row("1")], [0, 0]) == {}
    assert leaks_of([row("0"), row("1", "test")], [0, 0]) == {}


def test_the_likest_image_is_named() -> None:
    rows = [row("0", "test"), row("1", "test"), row("2", "train")]
    changed = (PICTURES[0] * 0.8 + np.random.default_rng(1).normal(0, 8, (32, 32))).clip(0, 255)
    measurements = [shown(0), shown(0), shown(0, 20)]
    measurements[0] = Measurement(
        *("PNG", 32, 32, "L"),
        animated=False,
        brightness=0.0,
        contrast=0.0,
        sketch=changed.astype(np.uint8).tobytes(),
        fault=None,
        error=None,
    )
    clusters = name_clusters(rows, measurements, [None] * 3, LIMITS)
    assert judge_leaks(rows, measurements, clusters) == {
        2: Verdict(Reason.SPLIT_LEAK, "near-duplicate of 1.png (test)", 1)
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
    verdicts = [
        None,
        Verdict(Reason.DUPLICATE, "", 0),
        Verdict(Reason.SPLIT_LEAK, "", 0),
        Verdict(Reason.SPLIT_LEAK, "", 0),
        Verdict(Reason.DUPLICATE, "", 0),  # within a split
        Verdict(Reason.DUPLICATE, "", 0),  # of no split
    ]
    assert count_leaks(rows, verdicts) == [Leak("train", "test", 1, 1), Leak("val", "test", 0, 1)]
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
    near = Verdict(Reason.SPLIT_LEAK, "", 0)
    verdicts = [None, None, near, Verdict(Reason.DUPLICATE, "", 0), near, None]
    clusters = [Cluster("c", [0, 1, 2, 4, 5])]
    assert count_exposed(rows, verdicts, clusters) == {"train": 0, "val": 1, "test": 2}
    assert count_exposed(rows, verdicts, []) == {"train": 0, "val": 0, "test": 1}
    assert count_exposed([row("0"), row("1")], [None, None], [Cluster("c", [0, 1])]) == {}


def test_clusters_that_are_left_are_those_with_two_kept() -> None:
    clusters = [Cluster("a", [0, 1]), Cluster("b", [2, 3, 4])]
    verdicts = [None, BLANK, None, BLANK, None]
    assert list(kept_clusters(clusters, verdicts)) == [(2, "b"), (4, "b")]


def test_marked_clusters_are_shown_before_others_and_the_largest_first() -> None:
    clusters = [Cluster(f"{size:02d}", list(range(size))) for size in range(2, 9)]
    names = [cluster.name for cluster in choose_clusters(clusters, [{"02", "03"}, {"02", "05"}], 5)]
    assert names == ["03", "02", "05", "08", "07"]
    assert choose_clusters(clusters, [], 99) == clusters[::-1]
