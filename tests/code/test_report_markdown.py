"""Numbers, settings and names as the report's Markdown has them."""

from dataclasses import replace

import pytest

from pull_requests import make_judged
from visiongate.review.report.class_sections import tabulate_confusion, tabulate_slices
from visiongate.review.report.data_sections import tabulate_images
from visiongate.review.report.markdown import change, code, fence, figure, listed, reveal, setting
from visiongate.review.report.snapshot import Pair


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.99328859, "0.9933"),
        (1797, "1,797"),
        (125260.55, "125,261"),
        (1.079e-06, "1e-06"),
        (0.0, "0"),
        (1e300, "1e+300"),
        (10**20, "1e+20"),
    ],
)
def test_numbers_have_four_digits(value: float, told: str) -> None:
    assert figure(value) == told


@pytest.mark.parametrize(
    ("now", "base", "told"),
    [
        (0.95, 0.9, "+0.05"),
        (3, 12345, "-12,342"),
        (0.90001, 0.90002, "="),
        (1e308, -1e308, ""),
        ("0.9", 0.9, ""),
        (True, 0.5, ""),
    ],
)
def test_differences_are_those_that_show(now: object, base: object, told: str) -> None:
    assert change(now, base) == told


def test_settings_are_written_as_yaml_has_them() -> None:
    values = (None, True, 0.1, "text", (1, "a"), tuple(range(30)))
    assert [setting(value) for value in values[:5]] == ["`null`", "`true`", "`0.1`", "`text`", "`[1, a]`"]
    assert setting(values[5]).endswith("…`")


def test_names_are_cut_and_counted() -> None:
    assert code("x" * 61) == f"`{'x' * 59}…`"
    assert code(" a\n b ") == "`a b`"
    assert code("`a`") == "`` `a` ``"
    assert listed(["a", "b", "c"], 2) == "`a`, `b` and 1 more"
    assert fence("```` x", "sh") == "`````sh\n```` x\n`````"


def test_what_cannot_be_seen_is_spelled_out() -> None:
    assert reveal("a\u202eb\u200b\x00\u3164\x1b[1mc\x1b[0m") == "a\\u202eb\\u200b\\x00\\u3164c"
    assert reveal("e" + "\u0301" * 9) == "e\u0301\u0301"


def test_a_model_without_mistakes_and_slices_without_images_are_told() -> None:
    judged = make_judged(classes=20)
    right = replace(judged.now, confusion=[Pair("a", "a", 3)])
    assert tabulate_confusion(replace(judged, now=right), 20) == "No test image is taken for another class."
    small = replace(judged.now, params={"evaluation.slice_images": 31})
    assert "No slice has 31 test images" in tabulate_slices(replace(judged, now=small), 20)


def test_a_quarantine_that_is_empty_is_told() -> None:
    judged = make_judged(base=None)
    text = tabulate_images(replace(judged, now=replace(judged.now, quarantine=[])), 20)
    assert text.endswith("No image is quarantined.")
