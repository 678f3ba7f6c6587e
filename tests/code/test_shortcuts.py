"""Properties of the files that predict the class are found, and chance is no such property."""

import numpy as np
import pytest

from visiongate.preparation.quality import ImageRow
from visiongate.preparation.shortcuts import Shortcut, find_shortcuts
from visiongate.records.measurements import Measurement

CLASSES = ("cat", "dog", "horse")


def find(images: list[tuple[str, int, str, str]]) -> list[Shortcut]:
    """Find shortcuts among images of a label, a side in pixels, a format and a mode."""
    rows = [ImageRow(f"{number}.png", label, str(number)) for number, (label, *_) in enumerate(images)]
    measurements = [
        Measurement(kind, side, side, mode, animated=False, brightness=9.0, contrast=9.0, sketch=None)
        for _, side, kind, mode in images
    ]
    return find_shortcuts(rows, measurements, CLASSES)


def of(
    label: str, count: int, side: int = 180, kind: str = "JPEG", mode: str = "RGB"
) -> list[tuple[str, int, str, str]]:
    return [(label, side, kind, mode)] * count


def test_a_class_with_a_size_of_its_own_is_found() -> None:
    (shortcut,) = find(
        [*of("cat", 40), *of("dog", 40), *of("horse", 38, 32), *of("horse", 2), *of("cat", 3, 32)]
    )
    assert shortcut == Shortcut("size", {"horse": "32 × 32"})
    assert str(shortcut).startswith(
        "the size of the images alone predicts the class horse (32 × 32); a model can"
    )
    assert "transformation.size" in str(shortcut)


def test_formats_and_modes_are_found() -> None:
    images = [*of("cat", 12, kind="PNG"), *of("dog", 12), *of("horse", 12, mode="L")]
    assert find(images) == [
        Shortcut("format", {"cat": "PNG"}),
        Shortcut("color mode", {"horse": "L"}),
    ]


@pytest.mark.parametrize(
    "images",
    [
        [*of("cat", 95), *of("dog", 5)],
        [*of("cat", 95), *of("dog", 12)],
        [*of("cat", 9, 32), *of("dog", 40)],
        [("cat", side, "JPEG", "RGB") for side in range(50)]
        + [("dog", side, "JPEG", "RGB") for side in range(99, 149)],
        [*of("cat", 30, 32), *of("cat", 10), *of("dog", 40)],
        of("cat", 40),
        [],
    ],
    ids=["rare", "constant", "few", "distinct", "three quarters", "one class", "none"],
)
def test_nothing_is_found_without_a_rule(images: list[tuple[str, int, str, str]]) -> None:
    assert find(images) == []


@pytest.mark.parametrize("sizes", [2, 5, 40])
def test_random_sizes_give_no_alarm(sizes: int) -> None:
    generator = np.random.default_rng(sizes)
    for _ in range(40):
        labels = [label for label in CLASSES for _ in range(20)]
        assert find([(label, int(generator.integers(sizes)), "JPEG", "RGB") for label in labels]) == []
