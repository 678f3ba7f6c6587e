"""The tests and estimates of the check for drift, against SciPy, simulations and what they must not confuse."""

import math
import time

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from visiongate.monitoring.drift.accuracy import Calibration
from visiongate.monitoring.drift.advice import CAUSES, FEW_PICTURES, FLOOD, explain, first_test
from visiongate.monitoring.drift.copies import (
    compare_frequent_groups,
    compare_largest_group,
    find_groups,
    safe_distance,
)
from visiongate.monitoring.drift.distributions import (
    compare_counts,
    compare_marks,
    compare_numbers,
    find_largest_gap,
    kolmogorov_smirnov_bound,
)
from visiongate.monitoring.drift.embeddings import FeatureMap, compare_means, compare_novelty
from visiongate.monitoring.drift.error_level import YEAR_HOURS, adjust_by_holm, spend
from visiongate.monitoring.drift.label_shift import estimate_label_shift
from visiongate.monitoring.drift.sample import Sample
from visiongate.monitoring.drift.tails import (
    binomial_tail,
    chi_squared_tail,
    hypergeometric_tail,
    normal_tail,
    weighted_chi_squared_tail,
)

Floats = npt.NDArray[np.float64]


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("degrees", [1, 2, 5, 9, 1000])
@pytest.mark.parametrize("factor", [0.3, 1, 2, 8])
def test_chi_squared_tails_are_those_of_scipy(degrees: int, factor: float) -> None:
    value = degrees * factor
    assert chi_squared_tail(value, degrees) == pytest.approx(
        stats.chi2.sf(value, degrees), rel=1e-8, abs=1e-290
    )
    # The saddlepoint has an error of some percent, at one degree of freedom of more.
    assert weighted_chi_squared_tail(value, np.ones(degrees)) == pytest.approx(
        stats.chi2.sf(value, degrees), rel=0.12, abs=1e-290
    )


def test_discrete_tails_are_those_of_scipy() -> None:
    assert binomial_tail(30, 1000, 0.01) == pytest.approx(stats.binom.sf(29, 1000, 0.01), rel=1e-9)
    assert hypergeometric_tail(70, 1000, 3500, 40) == pytest.approx(
        stats.hypergeom.sf(39, 3500, 70, 1000), rel=1e-9
    )
    assert hypergeometric_tail(5, 10, 20, 0) == 1
    assert normal_tail(4.0) == pytest.approx(stats.norm.sf(4))


def test_the_tail_of_unequal_weights_is_that_of_a_simulation(generator: np.random.Generator) -> None:
    weights = 0.7 ** np.arange(20)
    sums = (generator.standard_normal((200_000, 20)) ** 2) @ weights
    for share in (0.1, 0.01, 0.001):
        value = float(np.quantile(sums, 1 - share))
        assert weighted_chi_squared_tail(value, weights) == pytest.approx(share, rel=0.15)


@pytest.mark.parametrize(("before", "after"), [(100, 100), (97, 103), (100, 500), (300, 300), (360, 1000)])
@pytest.mark.parametrize("p_value", [0.01, 1e-4, 1e-6])
def test_the_bound_of_kolmogorov_and_smirnov_is_little_above_the_exact_p_value(
    before: int, after: int, p_value: float
) -> None:
    # From two samples with that distance, SciPy computes the exact p-value.
    distance = math.sqrt(math.log(2.16863 / p_value) * (before + after) / (2 * before * after))
    shift = round(distance * before) / before
    values = np.arange(before) / before + 1e-9
    other = (np.arange(after) / after) * (1 - shift) + shift
    exact = stats.ks_2samp(values, other, method="exact")
    bound = kolmogorov_smirnov_bound(float(exact.statistic), before, after)
    assert exact.pvalue <= bound <= 2.5 * exact.pvalue


def test_ties_do_not_alarm(generator: np.random.Generator) -> None:
    """Confidences of a sure model are rounded to 1, most of them."""
    p_values = []
    for _ in range(400):
        before, after = (1 - 10 ** generator.normal(-5, 2, size) for size in (500, 300))
        rounded = [np.clip(each, 0, 1).astype(np.float16) for each in (before, after)]
        p_values.append(compare_numbers(np.sort(rounded[0]), rounded[1]).p_value)
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05


@pytest.mark.parametrize("count", [2, 10, 60])
def test_counts_alarm_no_more_often_than_the_level(count: int, generator: np.random.Generator) -> None:
    shares = generator.dirichlet(np.ones(count))
    p_values = np.array(
        [
            compare_counts(generator.multinomial(1000, shares), generator.multinomial(400, shares)).p_value
            for _ in range(600)
        ]
    )
    for level in (0.05, 0.01):
        # A binomial count is larger once in 1,000 times.
        assert (p_values <= level).sum() <= stats.binom.ppf(0.999, 600, level)


def test_the_largest_gap_explains_a_difference_that_the_mean_hides() -> None:
    before, after = np.repeat([0.0, 1.0], [90, 10]), np.repeat([0.05, 1.0], [95, 5])
    assert find_largest_gap(before, after) == (0.0, 0.9, 0.0)
    assert compare_numbers(before, after).effect == 0.9


def test_counts_find_a_new_category_a_shifted_one_and_many_small_changes() -> None:
    assert compare_counts(np.array([1000, 0]), np.array([490, 10])).p_value < 1e-4
    assert compare_counts(np.array([500, 500]), np.array([190, 310])).p_value < 1e-4
    uneven = np.tile([30, 70], 10)
    assert compare_counts(np.full(20, 100), uneven).p_value < 1e-4
    assert compare_counts(np.array([100]), np.array([100])).p_value == 1


def test_marks_are_compared_by_fishers_exact_test() -> None:
    before, after = np.arange(500) < 5, np.arange(300) < 15
    expected = stats.fisher_exact([[15, 285], [5, 495]], alternative="greater").pvalue
    assert compare_marks(before, after).p_value == pytest.approx(expected)


def test_random_features_measure_the_discrepancy_of_the_kernel(generator: np.random.Generator) -> None:
    before, after = generator.normal(size=(400, 8)), generator.normal(0.4, 1, (300, 8))
    features = FeatureMap.fit(before)
    width = np.median(np.linalg.norm(before[:, None] - before, axis=2)[np.triu_indices(400, 1)])

    def kernel(first: Floats, second: Floats) -> Floats:
        return np.asarray(np.exp(-((first[:, None] - second) ** 2).sum(axis=2) / (2 * width**2)))

    def mean_of_pairs(matrix: Floats) -> float:
        return float((matrix.sum() - np.trace(matrix)) / (len(matrix) * (len(matrix) - 1)))

    unbiased = mean_of_pairs(kernel(before, before)) + mean_of_pairs(kernel(after, after))
    unbiased -= 2 * float(kernel(before, after).mean())
    outcome = compare_means(features(before), features(after), 199)
    assert outcome.effect == pytest.approx(math.sqrt(unbiased), rel=0.15)


@pytest.mark.parametrize("size", [100, 400])
def test_the_limit_of_the_permutations_is_that_of_a_million_of_them(size: int) -> None:
    """Without permutations, the p-value is that of the limit."""
    generator = np.random.default_rng(size)
    embedding = generator.normal(size=(3, 10))[generator.integers(3, size=4000)] + 0.3 * generator.normal(
        size=(4000, 10)
    )
    # Some of the features are a kernel, too, and much faster.
    features = FeatureMap.fit(embedding[:500])(embedding)[:, ::8]
    p_values = []
    for _ in range(1500):
        rows = generator.choice(4000, 400 + size, replace=False)
        p_values.append(compare_means(features[rows[size:]], features[rows[:size]], 0).p_value)
    for level in (0.05, 0.01, 0.002):
        assert np.mean(np.array(p_values) <= level) <= stats.binom.ppf(0.999, 1500, level) / 1500


def test_thousands_against_thousands_take_seconds(generator: np.random.Generator) -> None:
    before, after = (generator.normal(mean, 1, (5000, 64)).astype(np.float16) for mean in (0, 0.1))
    start = time.perf_counter()
    features = FeatureMap.fit(before)
    outcome = compare_means(features(before), features(after), 999)
    assert outcome.p_value < 1e-6
    # On an idle machine with two cores, it takes one second.
    assert time.perf_counter() - start < 20


def test_novelty_is_exact_and_finds_a_few_images_of_a_new_kind() -> None:
    generator = np.random.default_rng(1)
    p_values = []
    for _ in range(300):
        points = generator.normal(size=(700, 8)).astype(np.float32)
        p_values.append(compare_novelty(points[:200], points[200:400], points[400:]).p_value)
    assert np.mean(np.array(p_values) <= 0.05) <= stats.binom.ppf(0.999, 300, 0.05) / 300
    points = generator.normal(size=(1400, 8)).astype(np.float32)
    points[900:940] += 4
    outcome = compare_novelty(points[:400], points[400:900], points[900:])
    assert outcome.p_value < 1e-4
    assert outcome.effect == pytest.approx(40 / 500, abs=0.02)


def test_copies_are_grouped_by_file_and_by_embedding() -> None:
    sketches = np.eye(6, dtype=np.float16)
    sketches[3] = sketches[1]
    sketches[4] = sketches[0] + np.float16(0.001)
    files = ["a", "b", "a", "c", "d", ""]
    assert find_groups(files, None, 0.0).tolist() == [0, 1, 0, 2, 3, 4]
    assert find_groups(files, sketches, 0.1).tolist() == [0, 1, 0, 1, 0, 2]
    assert find_groups(["", ""], np.zeros((2, 4), np.float16), 0.0).tolist() == [0, 0]


def test_images_of_one_class_are_no_copies(generator: np.random.Generator) -> None:
    """A network may put all images of a class nearly at one point."""
    points = (np.eye(3)[generator.integers(3, size=2000)] + generator.normal(0, 0.005, (2000, 3))).astype(
        np.float16
    )
    groups = find_groups([""] * 1000, points[1000:], min(0.1, safe_distance(points[:1000])))
    assert groups.max() + 1 > 900


def test_a_picture_may_be_sent_as_often_as_the_setting_says(generator: np.random.Generator) -> None:
    """A stream that repeats few pictures evenly is no flood."""
    assert compare_largest_group(generator.integers(100, size=1000), 0.02).p_value > 0.01
    flood = np.concatenate([np.zeros(60, int), np.arange(1, 941)])
    assert compare_largest_group(flood, 0.02).p_value < 1e-6


def test_few_pictures_in_turn_are_a_flood(generator: np.random.Generator) -> None:
    """Each is sent no more often than one picture may be."""
    in_turn = np.concatenate([np.arange(5000) % 40, np.arange(40, 540)])
    assert compare_largest_group(in_turn, 0.02).p_value > 0.01
    found = compare_frequent_groups(in_turn, 0.02)
    assert found.p_value < 1e-9
    assert found.effect == pytest.approx(5000 / 5500)
    assert set(found.groups.tolist()) == set(range(40))
    assert compare_frequent_groups(np.arange(5000), 0.02).p_value == 1
    # Each image twice, many pictures, and a third of the images.
    assert compare_frequent_groups(np.repeat(np.arange(2500), 2), 0.02).p_value == 1
    assert compare_frequent_groups(generator.integers(200, size=1000), 0.02).p_value > 0.01
    third = np.concatenate([np.arange(500) % 20, np.arange(20, 1020)])
    assert compare_frequent_groups(third, 0.02).p_value > 0.01


@pytest.mark.parametrize("count", [3, 40])
def test_label_shift_is_estimated_within_its_interval(count: int) -> None:
    covered = []
    for seed in range(30):
        generator = np.random.default_rng(seed)
        rates = 0.8 * np.eye(count) + 0.2 / count
        confusion = np.stack([generator.multinomial(50, row) for row in rates])
        shares = generator.dirichlet(np.full(count, 5.0))
        shift = estimate_label_shift(confusion, generator.multinomial(3000, shares @ rates))
        assert shift.shares.sum() == pytest.approx(1)
        covered.append(((shift.low <= shares) & (shares <= shift.high)).mean())
    assert np.mean(covered) >= 0.9


def test_a_class_that_was_never_recognized_has_a_wide_interval() -> None:
    confusion = np.array([[100, 0, 0], [0, 100, 0], [0, 100, 0]])
    shift = estimate_label_shift(confusion, np.array([100, 200, 0]))
    assert shift.high[2] - shift.low[2] > 0.3


def draw_outputs(
    generator: np.random.Generator, count: int, sharpness: float
) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return confidences of a model that is too sure, predicted classes, and which are correct."""
    logits = generator.normal(sharpness, 1.0, count)
    correct = generator.random(count) < 1 / (1 + np.exp(-logits))
    return 1 / (1 + np.exp(-1.5 * logits)), generator.integers(3, size=count), correct


def test_accuracy_is_estimated_within_its_interval_though_the_model_is_too_sure() -> None:
    covered, p_values = [], []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        confidence, predicted, correct = draw_outputs(generator, 800, 2.0)
        labels = np.where(correct, predicted, (predicted + 1) % 3)
        calibration = Calibration.fit(confidence, predicted, labels, 3)
        blurred, others, actual = draw_outputs(generator, 500, 1.2)
        estimate = calibration.estimate((confidence, predicted), (blurred, others))
        covered.append(estimate.low <= actual.mean() <= estimate.high)
        same, more, _ = draw_outputs(generator, 500, 2.0)
        p_values.append(calibration.estimate((confidence, predicted), (same, more)).p_value)
        assert estimate.p_value < 1e-4
    assert np.mean(covered) >= 0.9
    assert np.mean(np.array(p_values) <= 0.05) <= stats.binom.ppf(0.999, 200, 0.05) / 200


def test_a_reference_without_mistakes_can_be_calibrated() -> None:
    confidence, predicted = np.linspace(0.9, 1, 100), np.zeros(100, int)
    calibration = Calibration.fit(confidence, predicted, predicted, 2)
    estimate = calibration.estimate((confidence, predicted), (confidence, predicted))
    assert 0.95 < estimate.value <= estimate.high <= 1
    assert estimate.drop == 0


def test_holm_adjusts_for_all_tests() -> None:
    assert adjust_by_holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert adjust_by_holm([]) == []


@pytest.mark.parametrize("pause_hours", [1, 24, 168, 1000])
def test_looks_spend_the_yearly_level_however_often_they_are(pause_hours: int) -> None:
    looks = int(YEAR_HOURS // pause_hours)
    spent = sum(spend(0.05, 168, pause_hours) for _ in range(looks))
    assert spent <= 0.05 * (1 + 1e-9)
    assert spend(0.05, 168, None) == spend(0.05, 168, 168)
    assert spend(0.05, 168, -1) == 0
    assert spend(0.05, 10 * YEAR_HOURS, None) == 0.05


def test_the_cause_with_the_largest_effect_is_the_first() -> None:
    camera, new, shares, other = (cause.name for cause in CAUSES)
    assert explain({"brightness": 0.9, "novelty": 0.5, "embeddings": 0.9}) == [camera, new]
    assert explain({"brightness": 0.06, "novelty": 0.1, "classes": 0.08}) == [new, camera]
    assert explain({"flood": 0.05, "classes": 0.4}) == [FLOOD, shares]
    assert explain({"flood": 0.5, "classes": 0.4}, FEW_PICTURES) == [FEW_PICTURES]
    assert explain({"confidence": 0.1}) == [other]
    assert explain({}) == []
    assert first_test(FLOOD, ["flood"]) == first_test(FEW_PICTURES, ["flood"]) == "flood"
    assert first_test(new, ["brightness"]) is None


def test_a_sample_survives_its_file() -> None:
    rows = 5
    sample = Sample(
        times=np.arange(rows),
        predicted=np.zeros(rows, np.int16),
        confidence=np.ones(rows, np.float16),
        probabilities=np.ones((rows, 2), np.float16),
        embedding=np.zeros((rows, 0), np.float16),
        out_of_distribution=np.full(rows, -1, np.int8),
        brightness=np.full(rows, np.nan, np.float32),
        contrast=np.zeros(rows, np.float32),
        width=np.zeros(rows, np.int32),
        height=np.zeros(rows, np.int32),
        format=np.array(["JPEG"] * rows),
        mode=np.array([""] * rows),
        image=np.array(["a" * 64] * rows),
    )
    again = Sample.decode(sample.encode())
    assert again.image.tolist() == sample.image.tolist()
    assert again.take(np.array([1, 3])).times.tolist() == [1, 3]


@pytest.mark.parametrize("count", [3, 40])
def test_no_share_has_changed_for_sure_by_chance(count: int) -> None:
    """Of many intervals at 95%, some miss the share of the held-out images."""
    wrong, missed, found = [], [], []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        rates, shares = 0.8 * np.eye(count) + 0.2 / count, generator.dirichlet(np.full(count, 3.0))
        labels = generator.multinomial(500, shares)
        confusion = np.stack(
            [generator.multinomial(each, row) for each, row in zip(labels, rates, strict=True)]
        )
        shift = estimate_label_shift(confusion, generator.multinomial(400, shares @ rates))
        wrong.append(shift.changed.any())
        usual = labels / labels.sum()
        missed.append(((usual < shift.low) | (usual > shift.high)).any())
        more = 0.7 * shares + 0.3 * np.eye(count)[0]
        found.append(estimate_label_shift(confusion, generator.multinomial(400, more @ rates)).changed[0])
    # Three standard deviations above 5%.
    assert np.mean(wrong) <= 0.15 < np.mean(missed)
    assert np.mean(found) > 0.5
