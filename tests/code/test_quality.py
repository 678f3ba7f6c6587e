"""Which images are quarantined, and by which reason."""

from dataclasses import replace

import pytest

from visiongate.errors import DataError
from visiongate.images.decoding import Fault
from visiongate.preparation.quality import (
    MAX_NAMED,
    ImageRow,
    Reason,
    Rejection,
    check_remaining,
    check_rows,
    count_reasons,
    describe_quarantine,
    find_rejections,
)
from visiongate.records.measurements import Measurement
from visiongate.settings.preparation import NearDuplicates, Preparation

LIMITS = Preparation(
    min_side=8,
    min_contrast=1.0,
    near_duplicates=NearDuplicates(max_distance=4, max_difference=4.0),
    samples_per_class=2,
)
SOUND = Measurement("PNG", 8, 8, "L", brightness=100.0, contrast=50.0, sketch=bytes(1024))
BROKEN = Measurement("PNG", fault="truncated", error="image file is truncated")
BLANK = Rejection(Reason.BLANK, "")


def rows_of(*shorthand: str) -> list[ImageRow]:
    """Rows from `path label hash`."""
    return [ImageRow(*row.split()) for row in shorthand]


def reject(rows: list[ImageRow], measurements: list[Measurement] | None = None) -> list[Rejection | None]:
    return find_rejections(rows, measurements or [SOUND] * len(rows), LIMITS)


def reasons(rejections: list[Rejection | None]) -> list[str | None]:
    return [rejection and rejection.reason.value for rejection in rejections]


def details(rejections: list[Rejection | None]) -> list[str | None]:
    return [rejection and rejection.detail for rejection in rejections]


def test_sound_images_are_kept() -> None:
    assert reject(rows_of("a 0 x", "b 0 y", "c 1 z")) == [None, None, None]


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_becomes_the_reason(fault: Fault) -> None:
    broken = replace(BROKEN, fault=fault.value, error="some error")
    assert reject(rows_of("a.jpg 0 x"), [broken]) == [Rejection(Reason(fault.value), "some error")]


@pytest.mark.parametrize(("name", "found"), [("a.jpg", "PNG"), ("a.jpg", "WEBP"), ("a.heic", "JPEG")])
def test_a_misnamed_image_is_kept(name: str, found: str) -> None:
    assert reject([ImageRow(name, "0", "x")], [replace(SOUND, format=found)]) == [None]


@pytest.mark.parametrize(
    ("measurement", "reason"),
    [
        (replace(SOUND, animated=True), "animated"),
        (replace(SOUND, width=7, height=80), "too_small"),
        (replace(SOUND, width=80, height=7), "too_small"),
        (replace(SOUND, contrast=0.99), "blank"),
        (replace(SOUND, contrast=0.0), "blank"),
        (replace(SOUND, width=8, height=8, contrast=1.0), None),
    ],
)
def test_measurements_out_of_the_limits(measurement: Measurement, reason: str | None) -> None:
    assert reasons(reject(rows_of("a 0 x"), [measurement])) == [reason]


def test_the_first_of_equal_images_is_kept() -> None:
    rejections = reject(rows_of("first 0 x", "other 0 y", "second 0 x", "third 0 x"))
    duplicate = Rejection(Reason.DUPLICATE, "same bytes as first", 0)
    assert rejections == [None, None, duplicate, duplicate]


def test_all_copies_with_conflicting_labels_are_quarantined() -> None:
    rejections = reject(rows_of("a cat x", "b cat x", "c dog x", "d fox y"))
    assert reasons(rejections) == [*["label_conflict"] * 3, None]
    assert details(rejections)[:3] == [
        "same bytes as c (dog)",
        "same bytes as c (dog)",
        "same bytes as a (cat), b (cat)",
    ]


def test_a_detail_names_a_few_copies_and_counts_the_rest() -> None:
    rows = [*rows_of("odd dog x"), *(ImageRow(f"p{n}", "cat", "x") for n in range(MAX_NAMED + 3))]
    first, *_, last = details(reject(rows))
    assert first == "same bytes as p0 (cat), p1 (cat), p2 (cat), p3 (cat), p4 (cat) and 3 more"
    assert last == "same bytes as odd (dog)"


def test_the_first_reason_that_applies_wins() -> None:
    """Each image also meets all later reasons, and has a copy under another label."""
    blank = replace(SOUND, contrast=0.0)
    small = replace(blank, width=1, height=1)
    moving = replace(small, animated=True)
    broken = replace(moving, fault="truncated")
    found = [broken, moving, small, blank, SOUND]
    rows = [ImageRow(f"{place}-{label}.png", label, str(place)) for place in range(5) for label in "ab"]
    rejections = reject(rows, [measurement for measurement in found for _ in "ab"])
    assert reasons(rejections)[::2] == [*("truncated", "animated", "too_small", "blank", "label_conflict")]


@pytest.mark.parametrize(
    ("splits", "kept"),
    [
        (["train", "test", "val"], 1),
        (["train", "val", "train"], 1),
        (["test", "test", "train"], 0),
        ([None, "train", "train"], 1),
        ([None, None, None], 0),
    ],
)
def test_the_copy_in_the_most_protected_split_is_kept(splits: list[str | None], kept: int) -> None:
    rejections = reject([ImageRow(f"p{place}", "a", "x", split) for place, split in enumerate(splits)])
    assert [place for place, rejection in enumerate(rejections) if rejection is None] == [kept]
    assert {rejection.original for rejection in rejections if rejection} == {kept}


def test_counts_list_every_reason() -> None:
    counts = count_reasons([None, BLANK, BLANK])
    assert list(counts) == list(Reason)
    assert {reason: count for reason, count in counts.items() if count} == {"blank": 2}


@pytest.mark.parametrize(("rows", "images"), [(["a 0 x"], 2), (["a 0 x", "b 7 y"], 2)])
def test_an_inconsistent_table_raises(rows: list[str], images: int) -> None:
    check_rows(rows_of("a 0 x"), 1, ["0"])
    with pytest.raises(DataError, match=r"dataset\.json"):
        check_rows(rows_of(*rows), images, ["0"])


def test_empty_classes_raise_with_their_reasons() -> None:
    rows = rows_of("a 0 x", "b 1 y", "c 1 z", "d 1 v")
    broken = Rejection(Reason.UNDECODABLE, "")
    check_remaining(rows, [None, None, BLANK, BLANK], ["0", "1"])
    with pytest.raises(DataError) as raised:
        check_remaining(rows, [None, broken, BLANK, BLANK], ["0", "1", "2"])
    first, second = str(raised.value).splitlines()
    assert "'1'" in first
    assert first == (
        "class '1': none of 3 images is left; 2 blank, such as c, d (set dataset.background or "
        "dataset.depth if they are not blank; to keep such images: -S preparation.min_contrast=0.0); 1 undecodable, such as b "
        "(download or copy such files again)"
    )
    assert second == "class '2': none of 0 images is left; add images, or remove it from dataset.classes"


def test_the_quarantine_is_described_by_reason_without_what_validation_reported() -> None:
    rows = [ImageRow(f"p{number}", "0", str(number)) for number in range(7)]
    rejections = [None, Rejection(Reason.TOO_SMALL, ""), *[BLANK] * 4, Rejection(Reason.TRUNCATED, "")]
    blank, small = describe_quarantine(rows, rejections)
    assert blank.startswith("4 blank, such as p2, p3, p4 (")
    assert "-S preparation.min_contrast" in blank
    assert small.startswith("1 too_small, such as p1 (")
