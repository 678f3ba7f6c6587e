import itertools

import numpy as np
import pytest

from visiongate.optimization.confirmation import judge


def test_five_gains_decide_and_the_interval_is_their_range() -> None:
    verdict = judge([1, 2, 3, 4, 5], [0.90, 0.91, 0.92, 0.90, 0.93], [0.91, 0.93, 0.93, 0.93, 0.94])
    assert verdict.p_value == 1 / 32
    assert verdict.better
    assert verdict.confidence == 1 - 2 / 32
    assert (verdict.low, verdict.high) == pytest.approx((0.01, 0.03))
    assert verdict.mean_difference == pytest.approx(0.016)


def test_four_seeds_cannot_decide_however_large_the_gain() -> None:
    verdict = judge([1, 2, 3, 4], [0.1] * 4, [0.9] * 4)
    assert verdict.p_value == 1 / 16
    assert not verdict.decidable
    assert not verdict.better


def test_equal_settings_are_no_better() -> None:
    verdict = judge([1, 2, 3, 4, 5], [0.9] * 5, [0.9] * 5)
    assert verdict.p_value == 1
    assert verdict.decidable
    assert not verdict.better
    assert str(verdict.low) == str(verdict.high) == "0.0"


def test_one_seed_says_nothing() -> None:
    verdict = judge([1], [0.5], [0.6])
    assert verdict.confidence == 0
    assert verdict.low == verdict.high == pytest.approx(0.1)


def test_the_p_value_is_that_of_all_flips_tried_one_by_one() -> None:
    draw = np.random.default_rng(0)
    for count in range(2, 9):
        differences = draw.normal(0.3, 1, count)
        means = [np.mean(signs * differences) for signs in itertools.product([-1, 1], repeat=count)]
        verdict = judge(range(count), [0.0] * count, differences.tolist())
        assert verdict.p_value == np.mean(np.array(means) >= differences.mean() - 1e-12)


def test_the_lower_end_is_above_zero_just_when_the_test_decides() -> None:
    draw = np.random.default_rng(1)
    verdicts = [judge(range(7), [0.0] * 7, draw.normal(0.7, 1, 7).tolist()) for _ in range(200)]
    assert {verdict.better for verdict in verdicts} == {True, False}
    assert all(verdict.better == (verdict.low > 0) for verdict in verdicts)


def test_the_interval_holds_the_true_difference_as_often_as_it_says() -> None:
    draw = np.random.default_rng(2)
    verdicts = [judge(range(6), [0.0] * 6, draw.normal(1, 2, 6).tolist()) for _ in range(2000)]
    held = np.mean([verdict.low <= 1 <= verdict.high for verdict in verdicts])
    assert held == pytest.approx(verdicts[0].confidence, abs=0.02)


def test_values_for_other_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="2 seeds, 2 and 1 values"):
        judge([1, 2], [0.1, 0.2], [0.3])
    with pytest.raises(ValueError, match="0 seeds"):
        judge([], [], [])
