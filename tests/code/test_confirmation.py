import itertools

import numpy as np
import pytest

from visiongate.optimization.confirmation import confirm, is_decided


def test_five_gains_are_significant_and_the_interval_is_their_range() -> None:
    confirmation = confirm([0.01, 0.02, 0.01, 0.03, 0.01])
    assert confirmation.p_value == 1 / 32
    assert confirmation.better
    assert confirmation.confidence == 1 - 2 / 32
    assert (confirmation.low, confirmation.high) == pytest.approx((0.01, 0.03))
    assert confirmation.mean_difference == pytest.approx(0.016)


def test_four_seeds_are_never_significant() -> None:
    confirmation = confirm([0.8] * 4)
    assert confirmation.p_value == 1 / 16
    assert not confirmation.better


def test_equal_settings_are_not_better() -> None:
    confirmation = confirm([0.0] * 5)
    assert confirmation.p_value == 1
    assert not confirmation.better
    assert str(confirmation.low) == str(confirmation.high) == "0.0"


def test_one_seed_has_confidence_zero() -> None:
    confirmation = confirm([0.1])
    assert confirmation.confidence == 0
    assert confirmation.low == confirmation.high == pytest.approx(0.1)


def test_p_value_equals_that_of_all_sign_flips() -> None:
    draw = np.random.default_rng(0)
    for count in range(2, 9):
        differences = draw.normal(0.3, 1, count)
        means = [np.mean(signs * differences) for signs in itertools.product([-1, 1], repeat=count)]
        confirmation = confirm(differences.tolist())
        assert confirmation.p_value == np.mean(np.array(means) >= differences.mean() - 1e-12)


def test_lower_bound_is_above_zero_exactly_if_significant() -> None:
    draw = np.random.default_rng(1)
    confirmations = [confirm(draw.normal(0.7, 1, 7).tolist()) for _ in range(200)]
    assert {confirmation.better for confirmation in confirmations} == {True, False}
    assert all(confirmation.better == (confirmation.low > 0) for confirmation in confirmations)


def test_interval_has_the_stated_coverage() -> None:
    draw = np.random.default_rng(2)
    confirmations = [confirm(draw.normal(1, 2, 6).tolist()) for _ in range(2000)]
    held = np.mean([confirmation.low <= 1 <= confirmation.high for confirmation in confirmations])
    assert held == pytest.approx(confirmations[0].confidence, abs=0.02)


def test_no_difference_raises() -> None:
    with pytest.raises(ValueError, match="no differences"):
        confirm([])


def test_stopping_when_the_test_is_decided_changes_no_decision() -> None:
    draw = np.random.default_rng(3)
    ends = []
    for _ in range(300):
        differences = draw.normal(0.8, 1, 7).tolist()
        end = next((n for n in range(8) if is_decided(differences[:n], 7)), None)
        ends.append(end)
        assert end is None or not confirm(differences).better
    assert None in ends
    assert min(end for end in ends if end is not None) < 4


def test_one_loss_decides_a_test_with_five_seeds() -> None:
    assert not is_decided([], 5)
    assert not is_decided([0.01, 0.02], 5)
    assert is_decided([-0.001], 5)
    assert is_decided([0.01, 0.0], 5)
    # Too few seeds are decided before any training.
    assert is_decided([], 4)
