"""Slices, against counts made by hand, Fisher's tea-tasting odds and the promise that Holm's method makes."""

from collections.abc import Sequence
from math import comb

import numpy as np
import pytest
from scipy.stats import fisher_exact

from visiongate.evaluation.slices import Description, cut_slices
from visiongate.models.predictions import Predictions
from visiongate.records.evaluation import Slice, worst_slice
from visiongate.records.interval import wilson_interval

CLASSES = ("a", "b", "c")


def answers(labels: Sequence[int], right: Sequence[bool]) -> Predictions:
    """Predict each label, or the class after it."""
    guesses = np.array(labels) + ~np.array(right, dtype=bool)
    return Predictions(np.eye(len(CLASSES))[guesses % len(CLASSES)], np.array(labels), CLASSES)


def described(
    count: int,
    *,
    brightness: Sequence[float] | None = None,
    sources: Sequence[str] | None = None,
    groups: Sequence[str | None] | None = None,
    sizes: Sequence[tuple[int | None, int | None]] | None = None,
) -> list[Description]:
    columns = (
        brightness or [100.0] * count,
        sources or ["camera"] * count,
        groups or [None] * count,
        sizes or [(8, 8)] * count,
    )
    return [Description(*each, *size) for *each, size in zip(*columns, strict=True)]


def cut(predictions: Predictions, descriptions: Sequence[Description], smallest: int = 1) -> list[Slice]:
    return cut_slices(predictions, descriptions, 0.95, smallest)


def of(dimension: str, slices: Sequence[Slice]) -> dict[str, Slice]:
    return {found.name: found for found in slices if found.dimension == dimension}


def unlucky(images: int, seed: int, accuracy: float = 0.8) -> Predictions:
    generator = np.random.default_rng(seed)
    return answers(generator.integers(3, size=images).tolist(), generator.random(images) < accuracy)


def test_classes_worked_out_by_hand() -> None:
    predictions = answers([0] * 4 + [1] * 4, [True, False, False, False, True, True, True, True])

    first, second = cut(predictions, described(8))

    interval = wilson_interval(0.25, 4, 0.95)
    # Of 5 right answers among 8, one or none among the slice's 4: 5 × 1 of 70 tables, and there are two slices.
    assert first == Slice(
        "class", "a", 4, 0.25, interval.low, interval.high, -0.75, pytest.approx(2 * 5 / comb(8, 4))
    )
    assert (second.name, second.accuracy, second.gap, second.p_value) == ("b", 1.0, 0.75, 1.0)


def test_thirds_are_named_with_their_bounds() -> None:
    sizes = [(1000, side) for side in (8, 9, 1, 2, 3, 4, 5, 6, 7)]
    brightness = [10.04, 20, 30, 40, 50, 60.26, 70, 80, 90]
    predictions = answers([0] * 9, [False, True, True, True, True, True, True, True, True])

    slices = cut(predictions, described(9, sizes=sizes, brightness=brightness))

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
def test_equal_sizes_stay_together(sides: list[int], expected: dict[str, int]) -> None:
    slices = cut(answers([0] * 6, [True] * 6), described(6, sizes=[(side, side) for side in sides]))

    assert {name: found.images for name, found in of("size", slices).items()} == expected


def test_images_of_unknown_size_are_of_no_size_but_of_the_rest() -> None:
    sizes: list[tuple[int | None, int | None]] = [(2, 2), (3, 3), (4, 4), (None, 4), (4, None), (None, None)]
    predictions = answers([0] * 6, [True, True, False, False, False, True])

    found = of("size", cut(predictions, described(6, sizes=sizes)))

    assert [each.images for each in found.values()] == [1, 1, 1]
    assert found["small (up to 4 pixels)"].gap == pytest.approx(1 - 2 / 5)
    assert of("size", cut(predictions, described(6, sizes=[(None, None)] * 6))) == {}


def test_the_largest_twenty_sources_are_told_apart() -> None:
    sources = [f"site {number:02}" for number in range(25) for _ in range(2)] + ["site 24", "site 03"]
    slices = cut(answers([0] * 52, [True] * 52), described(52, sources=sources))

    names = list(of("source", slices))
    assert names == ["site 03", "site 24", *(f"site {number:02}" for number in range(19) if number != 3)]


def test_the_worst_ten_of_the_groups_that_are_large_enough_are_told_and_all_are_counted() -> None:
    groups = [f"patient {number:02}" for number in range(12) for _ in range(8)] + ["short"] * 7 + [None]
    right = [place >= number // 2 for number in range(12) for place in range(8)] + [False] * 7 + [True]

    slices = cut(answers([0] * 104, right), described(104, groups=groups), smallest=8)

    found = list(of("group", slices).values())
    expected = [f"patient {number:02}" for number in (10, 11, 8, 9, 6, 7, 4, 5, 2, 3)]
    assert [each.name for each in found] == expected
    assert (found[0].images, found[0].accuracy) == (8, 3 / 8)
    table = [[3, 5], [sum(right) - 3, 96 - sum(right) + 3]]
    assert found[0].p_value == pytest.approx(min(12 * fisher_exact(table, "less").pvalue, 1))


def test_adjusted_p_values_are_those_of_the_sequential_procedure() -> None:
    predictions = unlucky(400, seed=3)
    sources = [f"site {place % 7}" for place in range(400)]
    slices = cut(predictions, described(400, sources=sources))

    raw = []
    for found in slices:
        right = round(found.accuracy * found.images)
        rest = int(predictions.correct.sum()) - right
        table = [[right, found.images - right], [rest, 400 - found.images - rest]]
        raw.append(float(fisher_exact(table, "less").pvalue))

    # Holm's own wording: the smallest is held against level / m, the next against level / (m - 1), until one is too large.
    for level in (0.2, 0.5, 0.9):
        rejected = set()
        for step, place in enumerate(np.argsort(raw)):
            if raw[place] > level / (len(raw) - step):
                break
            rejected.add(int(place))
        assert {place for place, found in enumerate(slices) if found.p_value <= level} == rejected
    assert len(slices) == 10


def test_a_model_that_is_equally_good_everywhere_has_seldom_a_bad_slice() -> None:
    sources = [f"site {place % 20}" for place in range(600)]
    lowest = [
        min(found.p_value for found in cut(unlucky(600, seed), described(600, sources=sources)))
        for seed in range(60)
    ]

    assert np.mean(np.array(lowest) < 0.1) <= 0.1


def test_a_truly_bad_source_is_found() -> None:
    generator = np.random.default_rng(0)
    bad = np.arange(600) % 10 == 4
    right = generator.random(600) < np.where(bad, 0.6, 0.95)
    sources = [f"site {place % 10}" for place in range(600)]

    slices = cut(
        answers([place % 3 for place in range(600)], right.tolist()), described(600, sources=sources)
    )

    assert [found.name for found in slices if found.p_value < 0.001] == ["site 4"]
    worst = worst_slice(slices, min_images=30)
    assert worst is not None
    assert worst.name == "site 4"


def test_images_of_one_group_count_as_one_draw() -> None:
    single = unlucky(60, seed=1)
    tenfold = Predictions(single.probabilities.repeat(10, axis=0), single.labels.repeat(10), CLASSES)
    groups = [f"patient {number}" for number in range(60) for _ in range(10)]

    grouped = cut(tenfold, described(600, groups=groups), smallest=1000)

    for found, expected in zip(grouped, cut(single, described(60)), strict=True):
        assert (found.images, found.accuracy) == (10 * expected.images, expected.accuracy)
        assert (found.low, found.high, found.p_value) == (expected.low, expected.high, expected.p_value)


def test_a_class_without_an_image_and_a_slice_without_a_rest_are_left_out() -> None:
    assert [found.name for found in cut(answers([0, 2], [True, True]), described(2))] == ["a", "c"]
    assert cut(answers([1, 1], [True, False]), described(2)) == []


def test_descriptions_of_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="2 predictions, but 3 descriptions"):
        cut(answers([0, 1], [True, True]), described(3))
