"""McNemar's test, against the binomial test of SciPy and against its own promise."""

import numpy as np
import pytest
from scipy.stats import binomtest

from visiongate.evaluation.comparison import Comparison, compare


def outcome(both: int, wins: int, losses: int, neither: int) -> Comparison:
    challenger = np.repeat([True, True, False, False], [both, wins, losses, neither])
    champion = np.repeat([True, False, True, False], [both, wins, losses, neither])
    return compare(challenger, champion)


@pytest.mark.parametrize(("wins", "losses"), [(1, 0), (0, 1), (5, 0), (10, 2), (30, 30), (600, 500)])
def test_p_value_is_that_of_the_binomial_test(wins: int, losses: int) -> None:
    expected = binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue
    comparison = outcome(7, wins, losses, 3)
    assert (comparison.images, comparison.wins, comparison.losses) == (10 + wins + losses, wins, losses)
    assert comparison.p_value == pytest.approx(expected, rel=1e-9)


def test_five_wins_without_a_loss_are_just_enough() -> None:
    assert outcome(0, 5, 0, 0).p_value == pytest.approx(1 / 32)
    assert outcome(0, 4, 0, 0).p_value == pytest.approx(1 / 16)


def test_equal_answers_show_nothing() -> None:
    assert outcome(50, 0, 0, 10).p_value == 1.0


def test_equally_good_models_are_seldom_called_better() -> None:
    generator = np.random.default_rng(0)
    right = generator.random((2, 2000, 300)) < 0.9
    promoted = [compare(mine, theirs).p_value < 0.05 for mine, theirs in zip(*right, strict=True)]
    assert 0.01 < np.mean(promoted) < 0.05


def test_different_images_are_refused() -> None:
    with pytest.raises(ValueError, match="not the same images"):
        compare(np.ones(3, dtype=bool), np.ones(4, dtype=bool))
