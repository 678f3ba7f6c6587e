"""Quality: one reason for each image that is left out, by precedence, and none left out silently."""

from dataclasses import replace

import pytest

from visiongate.errors import DataError
from visiongate.images.decoding import Fault
from visiongate.images.measurement import Measurement
from visiongate.preparation.quality import (
    NAMED,
    Reason,
    Row,
    Verdict,
    check_complete,
    check_remaining,
    check_rows,
    count_reasons,
    judge,
)
from visiongate.settings.schema import NearDuplicates, Preparation

LIMITS = Preparation(
    min_side=8,
    min_contrast=1.0,
    near_duplicates=NearDuplicates(max_distance=4, max_difference=4.0),
    samples_per_class=2,
)
SOUND = Measurement("PNG", 8, 8, "L", False, 100.0, 50.0, bytes(1024), None, None)  # noqa: FBT003 - a field
BROKEN = replace(
    SOUND, brightness=None, contrast=None, fault=Fault.TRUNCATED, error="image file is truncated"
)
BLANK = Verdict(Reason.BLANK, "")


def reasons(rows: list[Row], measurements: list[Measurement]) -> list[str | None]:
    return [verdict and verdict.reason.value for verdict in judge(rows, measurements, LIMITS)]


def rows_of(*shorthand: str) -> list[Row]:
    """Rows from `path label hash`."""
    return [Row(*row.split()) for row in shorthand]


def sound(rows: list[Row]) -> list[Verdict | None]:
    return judge(rows, [SOUND] * len(rows), LIMITS)


def test_sound_images_are_kept() -> None:
    assert sound(rows_of("a 0 x", "b 0 y", "c 1 z")) == [None, None, None]


@pytest.mark.parametrize("fault", Fault)
def test_what_cannot_be_decoded_says_what_the_decoder_said(fault: Fault) -> None:
    broken = replace(BROKEN, fault=fault, error="so and so")
    assert judge(rows_of("a.jpg 0 x"), [broken], LIMITS) == [Verdict(Reason(fault.value), "so and so")]


@pytest.mark.parametrize(
    ("name", "found", "claimed"),
    [
        ("a.jpg", "PNG", "JPEG"),
        ("a.PNG", "JPEG", "PNG"),
        ("deep/b.c/a.svg", "GIF", "SVG"),
        ("a.tiff", "MPO", "TIFF"),
        ("a.jpeg", "MPO", None),
        ("a.JFIF", "JPEG", None),
        ("a.pgm", "PPM", None),
        ("a", "PNG", None),
        ("a.0001", "PNG", None),
        (".png", "JPEG", None),
    ],
)
def test_an_extension_that_claims_another_format_is_wrong(name: str, found: str, claimed: str | None) -> None:
    (verdict,) = judge([Row(name, "0", "x")], [replace(SOUND, format=found)], LIMITS)
    wrong = Verdict(Reason.WRONG_FORMAT, f"named as {claimed}, but its bytes are {found}")
    assert verdict == (wrong if claimed else None)


def test_an_animation_is_out() -> None:
    moving = replace(SOUND, format="GIF", animated=True)
    assert judge(rows_of("a.gif 0 x"), [moving], LIMITS) == [
        Verdict(Reason.ANIMATED, "GIF of more than one frame")
    ]


def test_a_measurement_without_a_fault_has_its_numbers() -> None:
    with pytest.raises(ValueError, match="lacks a number"):
        judge(rows_of("a 0 x"), [replace(SOUND, width=None)], LIMITS)


@pytest.mark.parametrize(("width", "height", "kept"), [(8, 8, True), (7, 80, False), (80, 7, False)])
def test_either_side_may_be_too_small(width: int, height: int, kept: bool) -> None:  # noqa: FBT001 - a parameter
    (verdict,) = judge(rows_of("a 0 x"), [replace(SOUND, width=width, height=height)], LIMITS)
    expected = Verdict(Reason.TOO_SMALL, f"{width}×{height} pixels, a side under 8")
    assert verdict == (None if kept else expected)


@pytest.mark.parametrize(("contrast", "kept"), [(1.0, True), (0.99, False), (0.0, False)])
def test_an_image_without_contrast_is_blank(contrast: float, kept: bool) -> None:  # noqa: FBT001 - a parameter
    (verdict,) = judge(rows_of("a 0 x"), [replace(SOUND, contrast=contrast)], LIMITS)
    expected = Verdict(Reason.BLANK, f"contrast {contrast:g}, under 1")
    assert verdict == (None if kept else expected)


def test_the_first_of_equal_images_is_kept_and_named() -> None:
    verdicts = sound(rows_of("first 0 x", "other 0 y", "second 0 x", "third 0 x"))
    duplicate = Verdict(Reason.DUPLICATE, "same bytes as first", 0)
    assert verdicts == [None, None, duplicate, duplicate]


def test_equal_images_under_two_labels_are_all_out_and_name_each_other() -> None:
    verdicts = sound(rows_of("a cat x", "b dog x", "c fox y"))
    assert verdicts == [
        Verdict(Reason.LABEL_CONFLICT, "same bytes as b (dog)"),
        Verdict(Reason.LABEL_CONFLICT, "same bytes as a (cat)"),
        None,
    ]


def test_a_conflict_comes_before_a_duplicate_whose_first_is_not_kept() -> None:
    verdicts = sound(rows_of("a cat x", "b cat x", "c dog x"))
    assert [verdict and verdict.detail for verdict in verdicts] == [
        "same bytes as c (dog)",
        "same bytes as c (dog)",
        "same bytes as a (cat), b (cat)",
    ]
    assert {verdict and verdict.reason for verdict in verdicts} == {Reason.LABEL_CONFLICT}


def test_many_copies_are_counted_rather_than_named() -> None:
    rows = [*rows_of("odd dog x"), *(Row(f"p{n}", "cat", "x") for n in range(NAMED + 3))]
    first, *_, last = sound(rows)
    assert first is not None
    assert last is not None
    assert first.detail == "same bytes as p0 (cat), p1 (cat), p2 (cat), p3 (cat), p4 (cat) and 3 more"
    assert last.detail == "same bytes as odd (dog)"


def test_an_image_has_the_first_reason_that_holds() -> None:
    """Each image is all that comes after its reason too, and has a copy under another label."""
    blank = replace(SOUND, contrast=0.0)
    small = replace(blank, width=1, height=1)
    moving = replace(small, animated=True)
    wrong = replace(moving, format="GIF")
    broken = replace(wrong, fault=Fault.TRUNCATED)
    found = [broken, wrong, moving, small, blank, SOUND]
    rows = [Row(f"{place}-{label}.png", label, str(place)) for place in range(6) for label in "ab"]
    assert reasons(rows, [measurement for measurement in found for _ in "ab"])[::2] == [
        *("truncated", "wrong_format", "animated", "too_small", "blank", "label_conflict")
    ]


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
def test_of_copies_in_several_given_splits_the_most_protected_is_kept(
    splits: list[str | None], kept: int
) -> None:
    rows = [Row(f"p{place}", "a", "x", split) for place, split in enumerate(splits)]
    verdicts = sound(rows)
    assert [place for place, verdict in enumerate(verdicts) if verdict is None] == [kept]
    told = f"same bytes as p{kept} ({splits[kept]})" if splits[kept] else f"same bytes as p{kept}"
    assert {verdict for verdict in verdicts if verdict} == {Verdict(Reason.DUPLICATE, told, kept)}


def test_a_misnamed_copy_is_no_reason_to_lose_the_other() -> None:
    found = [replace(SOUND, format="JPEG")] * 3
    rows = rows_of("a.png 0 x", "b.jpg 0 x", "c.jpg 0 x")
    assert reasons(rows, found) == ["wrong_format", None, "duplicate"]
    assert reasons(rows_of("a.png 0 x", "b.gif 0 x"), found[:2]) == ["wrong_format"] * 2


def test_a_misnamed_copy_under_another_label_is_a_conflict_for_the_other() -> None:
    rows = rows_of("a.png cat x", "b.jpg dog x")
    wrong, conflict = judge(rows, [replace(SOUND, format="JPEG")] * 2, LIMITS)
    assert wrong is not None
    assert wrong.reason is Reason.WRONG_FORMAT
    assert conflict == Verdict(Reason.LABEL_CONFLICT, "same bytes as a.png (cat)")


def test_every_row_has_a_measurement() -> None:
    with pytest.raises(ValueError, match="zip"):
        judge(rows_of("a 0 x"), [], LIMITS)


def test_counts_name_every_reason() -> None:
    counts = count_reasons([None, BLANK, BLANK])
    assert list(counts) == list(Reason)
    assert {reason: count for reason, count in counts.items() if count} == {Reason.BLANK: 2}


def test_a_table_with_missing_rows_is_refused() -> None:
    check_rows(rows_of("a 0 x"), 1, ["0"])
    with pytest.raises(DataError, match="speaks of 2 images, the table has 1"):
        check_rows(rows_of("a 0 x"), 2, ["0"])


def test_a_label_that_is_no_class_is_refused_by_the_image_s_name() -> None:
    with pytest.raises(DataError, match="b: its label '7' is none of the classes"):
        check_rows(rows_of("a 0 x", "b 7 y"), 2, ["0"])


def test_a_class_left_empty_is_named_with_its_reasons() -> None:
    rows = rows_of("a 0 x", "b 1 y", "c 1 z", "d 1 v")
    broken = Verdict(Reason.UNDECODABLE, "")
    check_remaining(rows, [None, None, BLANK, BLANK], ["0", "1"])
    with pytest.raises(DataError) as raised:
        check_remaining(rows, [None, broken, BLANK, BLANK], ["0", "1", "2"])
    assert str(raised.value).splitlines() == [
        "class '1': no image is left, 3 came in: 2 blank, 1 undecodable",
        "class '2': no image is left, 0 came in",
    ]


def test_all_images_left_out_is_one_line() -> None:
    with pytest.raises(DataError, match=r"^no image is left, 2 came in: 2 blank$"):
        check_remaining(rows_of("a 0 x", "b 1 y"), [BLANK, BLANK], ["0", "1"])


def test_every_image_is_accounted_for() -> None:
    check_complete(3, 2, 1)
    with pytest.raises(DataError, match="3 images came in, but 2 were kept and 0 quarantined"):
        check_complete(3, 2, 0)
