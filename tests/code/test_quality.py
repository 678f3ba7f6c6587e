"""Quality: one reason for each image that is left out, by precedence, and none left out silently."""

from dataclasses import replace

import pytest

from visiongate.config import NearDuplicates, Preparation
from visiongate.data.decoding import Fault, Measurement
from visiongate.data.quality import (
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
from visiongate.errors import DataError

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


def test_an_undecodable_image_says_what_the_decoder_said() -> None:
    assert judge(rows_of("a 0 x"), [BROKEN], LIMITS) == [
        Verdict(Reason.UNDECODABLE, "image file is truncated")
    ]


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
    duplicate = Verdict(Reason.DUPLICATE, "same bytes as first")
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
    small = replace(SOUND, width=1, height=1, contrast=0.0)
    blank = replace(SOUND, contrast=0.0)
    rows = rows_of("a 0 x", "b 1 x", "c 0 y", "d 1 y", "e 0 z", "f 1 z")
    assert reasons(rows, [BROKEN, BROKEN, small, small, blank, blank]) == [
        *("undecodable", "undecodable"),
        *("too_small", "too_small"),
        *("blank", "blank"),
    ]


def test_every_row_has_a_measurement() -> None:
    with pytest.raises(ValueError, match="zip"):
        judge(rows_of("a 0 x"), [], LIMITS)


def test_counts_name_every_reason() -> None:
    assert count_reasons([None, BLANK, BLANK]) == {
        Reason.UNDECODABLE: 0,
        Reason.TOO_SMALL: 0,
        Reason.BLANK: 2,
        Reason.LABEL_CONFLICT: 0,
        Reason.DUPLICATE: 0,
    }


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
