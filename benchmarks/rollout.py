"""Measure what daily looks at a rollout cost: false verdicts, and labels until a true one: ``make bench BENCH=rollout``.

Each stream has some labels a day for a year. Every day somebody looks and decides if the test says so. The anytime-valid test
of `visiongate rollout` is beside the exact McNemar test that is repeated at each look, and beside the same test made once,
after all labels. Then canaries, whose images differ from the champion's, and the yearly detector of `visiongate retrain-check`.

The benchmark needs no data and takes a minute.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from visiongate.monitoring.harm import WEEKS_PER_YEAR
from visiongate.monitoring.sequential import (
    confidence_sequence,
    count_values,
    log_evidence_above,
    log_evidence_below,
    log_evidence_of_fall,
    match_arms,
)

DAYS, WEEKS = 365, 52
LEVEL = 0.05
VALUES = (-1.0, 0.0, 1.0)
# Images that only one of the versions predicts correctly, and by how much the challenger is better.
DISAGREEMENT = 0.08
GAINS = (0.0, 0.01, 0.02, 0.04)
LABELS_A_DAY = (2, 10, 50)
ACCURACY = 0.9
CANARY_SHARE, CANARY_MARGIN = 0.2, 0.02

Booleans = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


def main() -> None:
    """Simulate and print the tables."""
    parser = argparse.ArgumentParser(description="Measure what daily looks at a rollout cost.")
    parser.add_argument("--streams", type=int, default=1000, help="simulated rollouts of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    _print_pairs(generator, options.streams)
    _print_canaries(generator, max(10, options.streams // 5))
    _print_falls(generator, max(10, options.streams // 5))


def _print_pairs(generator: np.random.Generator, streams: int) -> None:
    print(f"Shadows: verdicts in a year of daily looks, {streams} streams, level {LEVEL:.0%}\n")
    print("| labels a day | gain | anytime-valid | days | exact test daily | exact test once |")
    print("|---|---|---|---|---|---|")
    for labels in LABELS_A_DAY:
        for gain in GAINS:
            looks = _draw_looks(generator, streams, labels, gain)
            decided = _decide_anytime(looks)
            p_values = _exact_p_values(looks)
            daily, once = (p_values <= LEVEL).any(axis=1), p_values[:, -1] <= LEVEL
            rates = [_percent(decided.any(axis=1)), _median_day(decided), _percent(daily), _percent(once)]
            print(f"| {labels} | {gain:.0%} | {' | '.join(rates)} |", flush=True)


def _draw_looks(generator: np.random.Generator, streams: int, labels: int, gain: float) -> Counts:
    """Return the losses, ties and wins so far, streams×days×3."""
    shares = [(DISAGREEMENT - gain) / 2, 1 - DISAGREEMENT, (DISAGREEMENT + gain) / 2]
    return generator.multinomial(labels, shares, (streams, DAYS)).cumsum(axis=1)


def _decide_anytime(looks: Counts) -> Booleans:
    """Return at which looks the difference is shown in either direction."""
    limit = -np.log(LEVEL / 2)
    return (log_evidence_above(VALUES, looks, 0.0) >= limit) | (
        log_evidence_below(VALUES, looks, 0.0) >= limit
    )


def _exact_p_values(looks: Counts) -> npt.NDArray[np.float64]:
    """Return the two-sided p-values of the exact McNemar test."""
    losses, wins = looks[..., 0], looks[..., 2]
    p_values: npt.NDArray[np.float64] = np.minimum(
        1, 2 * binom.cdf(np.minimum(losses, wins), losses + wins, 0.5)
    )
    return p_values


def _print_canaries(generator: np.random.Generator, streams: int) -> None:
    print(f"\nCanaries, 20% of 200 labels a week: verdicts in a year of weekly looks, {streams} streams\n")
    print("| accuracy of the canary less the champion's | worse is shown | at most 2 points worse is shown |")
    print("|---|---|---|")
    for gain in (-0.05, -0.02, 0.0, 0.02):
        bounds = [_bound_canary(generator, gain) for _ in range(streams)]
        worse = [any(high < -CANARY_MARGIN for _, high in looks) for looks in bounds]
        fine = [any(low > -CANARY_MARGIN for low, _ in looks) for looks in bounds]
        print(f"| {gain:+.0%} | {_percent(worse)} | {_percent(fine)} |", flush=True)


def _bound_canary(generator: np.random.Generator, gain: float) -> list[tuple[float, float]]:
    """Return the bounds of the difference at weekly looks."""
    labels = 200 * WEEKS
    is_canary = generator.random(labels) < CANARY_SHARE
    correct = generator.random(labels) < ACCURACY + gain * is_canary
    looks = []
    for week in range(4, WEEKS + 1, 4):
        seen = slice(0, 200 * week)
        found = confidence_sequence(*count_values(match_arms(is_canary[seen], correct[seen])), LEVEL)
        looks.append((found.low, found.high))
    return looks


def _print_falls(generator: np.random.Generator, streams: int) -> None:
    print(f"\nFalls of the accuracy from {ACCURACY:.0%} after half a year, weekly looks, {streams} streams\n")
    print(
        "| labels a week | fall | alarms before it | found | weeks until then | interval at 95% each week |"
    )
    print("|---|---|---|---|---|---|")
    for labels in (10, 40, 200):
        for fall in (0.0, 0.05, 0.1, 0.2):
            found = np.array([_find_fall(generator, labels, fall) for _ in range(streams)])
            half, early = WEEKS // 2, found[:, : WEEKS // 2, 0].any(axis=1)
            after = found[~early, half:, 0]
            waited = [1 + int(each.argmax()) for each in after if each.any()]
            cells = [
                _percent(early),
                _percent(after.any(axis=1)),
                f"{np.median(waited):.0f}" if waited else "-",
            ]
            naive = found[:, :half, 1].any(axis=1) if fall else found[:, :, 1].any(axis=1)
            print(f"| {labels} | {fall:.0%} | {' | '.join(cells)} | {_percent(naive)} |", flush=True)


def _find_fall(generator: np.random.Generator, labels: int, fall: float) -> Booleans:
    """Return at which weekly looks a fall is found: by the detector, and by a one-sided exact test of all labels so far."""
    weeks = np.repeat(np.arange(WEEKS), labels)
    correct = generator.random(len(weeks)) < np.where(weeks < WEEKS // 2, ACCURACY, ACCURACY - fall)
    limit = -np.log(LEVEL)
    detected = [
        log_evidence_of_fall(correct[: labels * week], weeks[: labels * week], ACCURACY, WEEKS_PER_YEAR)
        >= limit
        for week in range(1, WEEKS + 1)
    ]
    hits = correct.reshape(WEEKS, labels).sum(axis=1).cumsum()
    naive = binom.cdf(hits, labels * np.arange(1, WEEKS + 1), ACCURACY) <= LEVEL
    return np.stack([np.array(detected), naive], axis=-1)


def _median_day(decided: Booleans) -> str:
    days = [1 + int(stream.argmax()) for stream in decided if stream.any()]
    return f"{np.median(days):.0f}" if len(days) > len(decided) // 2 else "-"


def _percent(found: Sequence[bool] | Booleans) -> str:
    return f"{np.mean(found):.1%}"


if __name__ == "__main__":
    main()
