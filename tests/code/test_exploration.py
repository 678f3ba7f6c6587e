"""Statistics of a set of images, and the choice of images to show."""

import io
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visiongate.preparation.exploration import (
    BINS,
    MAX_SAMPLES,
    MAX_SIZES,
    Share,
    Spread,
    choose_quarantined,
    choose_samples,
    explore,
    mean_images,
)
from visiongate.preparation.quality import ImageRow, Reason, Rejection
from visiongate.records.measurements import Measurement


def measured(width: int = 8, brightness: float = 10.0, **changes: Any) -> Measurement:  # noqa: ANN401 - fields
    fields = {"format": "PNG", "height": 8, "mode": "L", "animated": False, "contrast": 3.0} | changes
    nothing = {"sketch": None, "fault": None, "error": None}
    return Measurement(width=width, brightness=brightness, **{**nothing, **fields})


def rows_of(labels: str, split: str | None = None) -> list[ImageRow]:
    return [ImageRow(f"{place}.png", label, f"{place}", split) for place, label in enumerate(labels)]


def test_classes_keep_their_order_and_count_all_images() -> None:
    found = explore(rows_of("babb"), [measured()] * 4, ["a", "b"])
    assert found.classes == [Share("a", 1, 0.25), Share("b", 3, 0.75)]


def test_given_splits_are_counted_by_class() -> None:
    rows = [*rows_of("aab", "test"), *rows_of("b"), *rows_of("bbb", "train")]
    found = explore(rows, [measured()] * 7, ["a", "b"])
    assert found.splits == {"train": {"a": 0, "b": 3}, "test": {"a": 2, "b": 1}}
    assert explore(rows_of("ab"), [measured()] * 2, ["a", "b"]).splits == {}


def test_shapes_depend_on_the_longer_side() -> None:
    found = explore(rows_of("aaaa"), [measured(width) for width in (4, 8, 8, 80)], ["a"])
    assert found.shapes == [
        Share("about square", 2, 0.5),
        Share("landscape", 1, 0.25),
        Share("portrait", 1, 0.25),
    ]
    assert found.aspect == Spread(0.5, 1, 10)


def test_the_mean_image_of_a_class_is_that_of_its_sketches() -> None:
    sketches = np.repeat(np.array([10, 20, 99, 200], dtype=np.uint8), 1024).reshape(-1, 32, 32)
    means = mean_images(rows_of("aaab"), [0, 1, 3], sketches, ["a", "b", "none"])
    assert list(means) == ["a", "b"]
    pixels = np.asarray(Image.open(io.BytesIO(means["a"])))
    assert pixels.shape == (32, 32)
    assert (pixels == 15).all()


def test_formats_and_modes_are_ranked_by_frequency() -> None:
    images = [measured(format="JPEG", mode="RGB"), measured(), measured()]
    found = explore(rows_of("a" * 3), images, ["a"])
    assert found.formats == [Share("PNG", 2, 2 / 3), Share("JPEG", 1, 1 / 3)]
    assert [share.name for share in found.modes] == ["L", "RGB"]


def test_sizes_are_counted_and_only_the_most_frequent_listed() -> None:
    widths = [8, 8, 8, *range(20, 20 + MAX_SIZES)]
    found = explore(rows_of("a" * len(widths)), [measured(width) for width in widths], ["a"])
    assert found.distinct_sizes == MAX_SIZES + 1
    assert len(found.sizes) == MAX_SIZES
    assert found.sizes[0] == Share("8 × 8", 3, 3 / len(widths))
    assert found.width == Spread(8, 23, 29)
    assert found.height == Spread(8, 8, 8)


def test_histograms_hold_every_value() -> None:
    values = [0.0, 31.9, 31.99, 5.5]
    histogram = explore(rows_of("a" * 4), [measured(brightness=value) for value in values], ["a"]).brightness
    assert (histogram.low, histogram.high) == (0, 32)
    assert len(histogram.counts) == BINS
    assert [bin_ for bin_, count in enumerate(histogram.counts) for _ in range(count)] == [0, 5, 31, 31]
    assert histogram.median == pytest.approx(18.7)


@pytest.mark.parametrize("value", [0.0, 255.0, 12.5])
def test_a_histogram_of_one_value_has_a_width(value: float) -> None:
    histogram = explore(rows_of("a"), [measured(brightness=value)], ["a"]).brightness
    assert histogram.low <= value < histogram.high
    assert sum(histogram.counts) == 1


def test_samples_are_the_kept_images_with_the_lowest_hashes_in_any_order() -> None:
    rows = [ImageRow(f"p{n}", "ab"[n % 2], f"{n:02d}") for n in range(20)]
    blank = Rejection(Reason.BLANK, "")
    rejections = {row.path: blank if row.path == "p0" else None for row in rows}
    random.Random(0).shuffle(rows)  # noqa: S311 - no secret
    samples = choose_samples(rows, [rejections[row.path] for row in rows], 3)
    chosen = {label: [rows[index].path for index in found] for label, found in samples.items()}
    assert chosen == {"a": ["p2", "p4", "p6"], "b": ["p1", "p3", "p5"]}


@pytest.mark.parametrize(("classes", "each"), [(MAX_SAMPLES // 4, 4), (MAX_SAMPLES + 20, 1)])
def test_many_classes_have_fewer_samples_each(classes: int, each: int) -> None:
    rows = [ImageRow(f"p{n}", f"c{n % classes}", f"{n:05d}") for n in range(5 * classes)]
    samples = choose_samples(rows, [None] * len(rows), 12)
    assert {len(found) for found in samples.values()} == {each}
    assert len(samples) == classes


def test_every_reason_is_among_the_quarantined_images_shown() -> None:
    duplicates: list[Rejection | None] = [Rejection(Reason.DUPLICATE, "")] * 6
    rejections = [None, *duplicates, Rejection(Reason.BLANK, ""), Rejection(Reason.UNDECODABLE, "")]
    assert choose_quarantined(rejections, 4) == [8, 7, 1, 2]
    assert choose_quarantined(rejections, 50) == [8, 7, 1, 2, 3, 4, 5, 6]
    assert choose_quarantined([None], 50) == []
