"""Slices, against counts by hand, and Holm's method by simulation."""

from collections.abc import Sequence
from math import comb

import numpy as np
import pytest
from scipy.stats import fisher_exact

from visiongate.evaluation.slices import ImageAttributes, find_slices
from visiongate.models.predictions import Predictions
from visiongate.records.evaluation import Slice, worst_slice
from visiongate.records.interval import wilson_interval

CLASSES = ("a", "b", "c")


def predict(labels: Sequence[int], right: Sequence[bool]) -> Predictions:
    """Predict each label, or the next class."""
    guesses = np.array(labels) + ~np.array(right, dtype=bool)
    return Predictions(np.eye(len(CLASSES))[guesses % len(CLASSES)], np.array(labels), CLASSES)


def attributes(
    count: int,
    *,
    brightness: Sequence[float] | None = None,
    sources: Sequence[str] | None = None,
    groups: Sequence[str | None] | None = None,
    sizes: Sequence[tuple[float, float]] | None = None,
) -> ImageAttributes:
    return ImageAttributes(
        np.array([width * height for width, height in sizes or [(8, 8)] * count], dtype=float),
        np.array(brightness or [100.0] * count),
        sources or ["camera"] * count,
        groups or [None] * count,
    )


def find(predictions: Predictions, images: ImageAttributes, min_images: int = 1) -> list[Slice]:
    return find_slices(predictions, images, 0.95, min_images)


def of(dimension: str, slices: Sequence[Slice]) -> dict[str, Slice]:
    return {found.name: found for found in slices if found.dimension == dimension}


def unlucky(images: int, seed: int, accuracy: float = 0.8) -> Predictions:
    generator = np.random.default_rng(seed)
    return predict(generator.integers(3, size=images).tolist(), generator.random(images) < accuracy)


def test_classes_by_hand() -> None:
    predictions = predict([0] * 4 + [1] * 4, [True, False, False, False, True, True, True, True])

    first, second = find(predictions, attributes(8))

    interval = wilson_interval(0.25, 4, 0.95)
    # 5 of the 70 ways to place 5 correct predictions have at most one in the slice; times 2 slices.
    assert first == Slice(
        "class", "a", 4, 0.25, interval.low, interval.high, -0.75, pytest.approx(2 * 5 / comb(8, 4))
    )
    assert (second.name, second.accuracy, second.gap, second.p_value) == ("b", 1.0, 0.75, 1.0)


def test_the_folder_of_a_class_is_no_slice_of_its_own() -> None:
    predictions = predict([0] * 4 + [1] * 4, [True] * 8)
    slices = find(predictions, attributes(8, sources=["x"] * 4 + ["y"] * 3 + ["z"]))
    assert [found.name for found in slices] == ["a", "b", "y", "z"]


def test_the_size_of_classes_is_no_slice_of_its_own() -> None:
    predictions = predict([0] * 4 + [1] * 4 + [2] * 4, [False] * 4 + [True] * 8)
    alike = [(8.0, 8.0)] * 8 + [(32.0, 32.0)] * 4
    assert not of("size", find(predictions, attributes(12, sizes=alike)))
    crossed = [(8.0, 8.0)] * 7 + [(32.0, 32.0)] * 5
    assert len(of("size", find(predictions, attributes(12, sizes=crossed)))) == 2


def test_thirds_are_named_with_their_bounds() -> None:
    sizes = [(1000, side) for side in (8, 9, 1, 2, 3, 4, 5, 6, 7)]
    brightness = [10.04, 20, 30, 40, 50, 60.26, 70, 80, 90]
    predictions = predict([0] * 9, [False, True, True, True, True, True, True, True, True])

    slices = find(predictions, attributes(9, sizes=sizes, brightness=brightness))

    assert [(found.dimension, found.name, found.images, found.accuracy) for found in slices] == [
        ("size", "small (up to 3,000 pixels)", 3, 1.0),
        ("size", "medium (over 3,000, up to 6,000 pixels)", 3, 1.0),
        ("size", "large (over 6,000 pixels)", 3, pytest.approx(2 / 3)),
        ("brightness", "dark (up to 30)", 3, pytest.approx(2 / 3)),
        ("brightness", "medium (over 30, up to 60.3)", 3, 1.0),
        ("brightness", "bright (over 60.3)", 3, 1.0),
    ]


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ([5, 5, 5, 5, 5, 9], {"small (up to 25 pixels)": 5, "large (over 25 pixels)": 1}),
        ([2, 5, 5, 5, 5, 5], {"small (up to 4 pixels)": 1, "large (over 4 pixels)": 5}),
        (
            [2, 5, 5, 5, 5, 9],
            {
                "small (up to 4 pixels)": 1,
                "medium (over 4, up to 25 pixels)": 4,
                "large (over 25 pixels)": 1,
            },
        ),
        ([5, 5, 5, 5, 5, 5], {}),
    ],
)
def test_equal_sizes_stay_in_one_slice(sides: list[int], expected: dict[str, int]) -> None:
    slices = find(predict([0] * 6, [True] * 6), attributes(6, sizes=[(side, side) for side in sides]))

    assert {name: found.images for name, found in of("size", slices).items()} == expected


def test_images_of_unknown_size_belong_to_the_rest() -> None:
    sizes = [(2, 2), (3, 3), (4, 4), (np.nan, 4), (4, np.nan), (np.nan, np.nan)]
    predictions = predict([0] * 6, [True, True, False, False, False, True])

    found = of("size", find(predictions, attributes(6, sizes=sizes)))

    assert [each.images for each in found.values()] == [1, 1, 1]
    assert found["small (up to 4 pixels)"].gap == pytest.approx(1 - 2 / 5)
    assert of("size", find(predictions, attributes(6, sizes=[(np.nan, np.nan)] * 6))) == {}


def test_largest_sources_are_slices() -> None:
    sources = [f"site {number:02}" for number in range(25) for _ in range(2)] + ["site 24", "site 03"]
    slices = find(predict([0] * 52, [True] * 52), attributes(52, sources=sources))

    names = list(of("source", slices))
    assert names == ["site 03", "site 24", *(f"site {number:02}" for number in range(19) if number != 3)]


def test_worst_groups_are_returned_and_all_count_for_holm() -> None:
    groups = [f"patient {number:02}" for number in range(12) for _ in range(8)] + ["short"] * 7 + [None]
    right = [place >= number // 2 for number in range(12) for place in range(8)] + [False] * 7 + [True]

    slices = find(predict([0] * 104, right), attributes(104, groups=groups), min_images=8)

    found = list(of("group", slices).values())
    expected = [f"patient {number:02}" for number in (10, 11, 8, 9, 6, 7, 4, 5, 2, 3)]
    assert [each.name for each in found] == expected
    assert (found[0].images, found[0].accuracy) == (8, 3 / 8)
    table = [[3, 5], [sum(right) - 3, 96 - sum(right) + 3]]
    assert found[0].p_value == pytest.approx(min(12 * fisher_exact(table, "less").pvalue, 1))


def test_adjusted_p_values_equal_holms_procedure() -> None:
    predictions = unlucky(400, seed=3)
    sources = [f"site {place % 7}" for place in range(400)]
    slices = find(predictions, attributes(400, sources=sources))

    raw = []
    for found in slices:
        right = round(found.accuracy * found.images)
        rest = int(predictions.correct.sum()) - right
        table = [[right, found.images - right], [rest, 400 - found.images - rest]]
        raw.append(float(fisher_exact(table, "less").pvalue))

    # The smallest is compared with level / m, the next with level / (m - 1), until one is too large.
    for level in (0.2, 0.5, 0.9):
        rejected = set()
        for step, place in enumerate(np.argsort(raw)):
            if raw[place] > level / (len(raw) - step):
                break
            rejected.add(int(place))
        assert {place for place, found in enumerate(slices) if found.p_value <= level} == rejected
    assert len(slices) == 10


def test_uniform_model_rarely_has_a_significant_slice() -> None:
    sources = [f"site {place % 20}" for place in range(600)]
    lowest = [
        min(found.p_value for found in find(unlucky(600, seed), attributes(600, sources=sources)))
        for seed in range(60)
    ]

    assert np.mean(np.array(lowest) < 0.1) <= 0.1


def test_bad_source_is_found() -> None:
    generator = np.random.default_rng(0)
    bad = np.arange(600) % 10 == 4
    right = generator.random(600) < np.where(bad, 0.6, 0.95)
    sources = [f"site {place % 10}" for place in range(600)]

    slices = find(
        predict([place % 3 for place in range(600)], right.tolist()), attributes(600, sources=sources)
    )

    assert [found.name for found in slices if found.p_value < 0.001] == ["site 4"]
    worst = worst_slice(slices, min_images=30)
    assert worst is not None
    assert worst.name == "site 4"


def test_group_counts_as_one_draw() -> None:
    single = unlucky(60, seed=1)
    tenfold = Predictions(single.probabilities.repeat(10, axis=0), single.labels.repeat(10), CLASSES)
    groups = [f"patient {number}" for number in range(60) for _ in range(10)]

    grouped = find(tenfold, attributes(600, groups=groups), min_images=1000)

    for found, expected in zip(grouped, find(single, attributes(60)), strict=True):
        assert (found.images, found.accuracy) == (10 * expected.images, expected.accuracy)
        assert (found.low, found.high, found.p_value) == (expected.low, expected.high, expected.p_value)


def test_empty_slice_and_whole_split_are_left_out() -> None:
    assert [found.name for found in find(predict([0, 2], [True, True]), attributes(2))] == ["a", "c"]
    assert find(predict([1, 1], [True, False]), attributes(2)) == []
