"""Anytime-valid tests: they keep their level however often somebody looks, and find differences that are there."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest

from visiongate.monitoring.sequential import (
    DIFFERENCE,
    SHARE,
    Floats,
    confidence_sequence,
    count_values,
    log_evidence_above,
    log_evidence_below,
    log_evidence_of_fall,
    match_arms,
)

STREAMS, DAYS, PAIRS = 1000, 365, 10
VALUES = [-1.0, 0.0, 1.0]
LEVEL = 0.05


def _looks(losses: float, wins: float, seed: int) -> Floats:
    """Return the counts of losses, ties and wins at the daily looks at many streams, streams×days×3."""
    shares = [losses, 1 - losses - wins, wins]
    daily = np.random.default_rng(seed).multinomial(PAIRS, shares, (STREAMS, DAYS))
    return daily.cumsum(axis=1).astype(np.float64)


def _share_decided(evidence: Floats, level: float) -> float:
    return float((evidence >= -math.log(level)).any(axis=1).mean())


@pytest.mark.parametrize(
    ("losses", "wins", "margin"), [(0.05, 0.05, 0.0), (0.01, 0.01, 0.0), (0.08, 0.06, 0.02)]
)
def test_of_a_thousand_streams_with_daily_looks_no_more_than_the_level_are_decided_wrongly(
    losses: float, wins: float, margin: float
) -> None:
    looks = _looks(losses, wins, seed=1)

    above = _share_decided(log_evidence_above(VALUES, looks, -margin), LEVEL / 2)
    below = _share_decided(log_evidence_below(VALUES, looks, -margin), LEVEL / 2)

    assert above + below <= LEVEL


def test_an_exact_test_at_each_look_does_not_keep_the_level() -> None:
    looks = _looks(0.05, 0.05, seed=1)[:100, 30::30]

    decided = [
        any(binomtest(int(wins), int(wins + losses)).pvalue <= LEVEL for losses, _, wins in stream)
        for stream in looks
    ]

    # A dozen looks are enough.
    assert np.mean(decided) > 2 * LEVEL


@pytest.mark.parametrize(("losses", "wins", "margin"), [(0.02, 0.06, 0.0), (0.04, 0.04, 0.03)])
def test_a_difference_that_is_there_is_found(losses: float, wins: float, margin: float) -> None:
    looks = _looks(losses, wins, seed=2)

    assert _share_decided(log_evidence_above(VALUES, looks, -margin), LEVEL / 2) > 0.95


def test_evidence_is_a_martingale_at_the_border_of_the_hypothesis() -> None:
    # The expectation over all outcomes of six pairs, exactly.
    losses, ties, wins = 0.2, 0.55, 0.25
    shares = dict(zip(VALUES, (losses, ties, wins), strict=True))
    expected = 0.0
    for outcome in itertools.product(VALUES, repeat=6):
        values, counts = count_values(outcome)
        probability = math.prod(shares[each] for each in outcome)
        expected += probability * math.exp(log_evidence_above(values, counts, wins - losses))

    assert expected == pytest.approx(1)


def test_without_ties_only_discordant_pairs_count() -> None:
    few = log_evidence_above(VALUES, [3, 0, 9], 0.0)

    assert few == pytest.approx(log_evidence_above(VALUES, [3, 10_000, 9], 0.0))


def test_the_bounds_are_where_the_evidence_reaches_the_level() -> None:
    counts = [12.0, 300.0, 40.0]

    bounds = confidence_sequence(VALUES, counts, LEVEL)

    assert bounds.value == pytest.approx(28 / 352)
    assert bounds.low < bounds.value < bounds.high
    assert log_evidence_above(VALUES, counts, bounds.low) == pytest.approx(math.log(2 / LEVEL), abs=1e-6)
    assert log_evidence_below(VALUES, counts, bounds.high) == pytest.approx(math.log(2 / LEVEL), abs=1e-6)


@pytest.mark.parametrize("accuracy", [0.5, 0.9, 0.99])
def test_the_bounds_cover_the_truth_at_all_looks(accuracy: float) -> None:
    hits = np.random.default_rng(3).binomial(PAIRS, accuracy, (STREAMS, DAYS)).cumsum(axis=1)
    looks = np.stack([PAIRS * np.arange(1, DAYS + 1) - hits, hits], axis=-1)

    missed = (log_evidence_above([0, 1], looks, accuracy, SHARE) >= math.log(2 / LEVEL)) | (
        log_evidence_below([0, 1], looks, accuracy, SHARE) >= math.log(2 / LEVEL)
    )

    assert missed.any(axis=1).mean() <= LEVEL


def test_without_observations_everything_is_possible() -> None:
    bounds = confidence_sequence([], [], LEVEL)

    assert (bounds.low, bounds.high) == (DIFFERENCE.low, DIFFERENCE.high)
    assert log_evidence_of_fall(np.zeros(0, bool), np.zeros(0, np.int64), 0.9, 52.18) == -math.inf


def test_more_of_the_same_narrows_the_bounds() -> None:
    widths = []
    for size in (1, 10, 100):
        bounds = confidence_sequence(VALUES, [3 * size, 90 * size, 7 * size], LEVEL)
        widths.append(bounds.high - bounds.low)

    assert widths == sorted(widths, reverse=True)


def test_blocks_of_two_arms_have_the_difference_of_the_accuracies() -> None:
    generator = np.random.default_rng(4)
    is_canary = generator.random(200_000) < 0.1
    correct = generator.random(200_000) < np.where(is_canary, 0.9, 0.8)

    differences = match_arms(is_canary, correct)

    assert len(differences) > 0.9 * is_canary.sum()
    assert differences.mean() == pytest.approx(0.1, abs=0.01)


def test_later_labels_change_no_block() -> None:
    generator = np.random.default_rng(5)
    is_canary, correct = generator.random(500) < 0.2, generator.random(500) < 0.7

    early, late = match_arms(is_canary[:300], correct[:300]), match_arms(is_canary, correct)

    assert (late[: len(early)] == early).all()


def _falls(accuracy: Floats, seed: int, streams: int) -> Floats:
    """Return the evidence of a fall below 0.9 at weekly looks at a year with 40 labels a week, streams×weeks."""
    weeks = np.repeat(np.arange(len(accuracy)), 40)
    generator = np.random.default_rng(seed)
    found = np.empty((streams, len(accuracy)))
    for stream in range(streams):
        correct = generator.random(len(weeks)) < accuracy[weeks]
        for week in range(len(accuracy)):
            seen = weeks <= week
            found[stream, week] = log_evidence_of_fall(correct[seen], weeks[seen], 0.9, 52.18)
    return found


def test_a_steady_accuracy_rarely_seems_to_fall_in_a_year() -> None:
    assert _share_decided(_falls(np.full(52, 0.9), seed=6, streams=100), LEVEL) <= LEVEL


def test_a_fall_after_a_good_half_year_is_found_within_weeks() -> None:
    accuracy = np.where(np.arange(52) < 26, 0.95, 0.75)

    found = _falls(accuracy, seed=7, streams=20) >= -math.log(LEVEL)

    assert not found[:, :26].any()
    assert found[:, 31].mean() > 0.9


def test_leaving_out_early_periods_lowers_the_evidence_of_a_fall() -> None:
    weeks = np.repeat(np.arange(20), 40)
    correct = np.random.default_rng(8).random(len(weeks)) < 0.85

    evidence = [
        log_evidence_of_fall(correct[weeks >= first], weeks[weeks >= first], 0.9, 52.18) for first in (0, 10)
    ]

    assert evidence[1] <= evidence[0]
