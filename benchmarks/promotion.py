"""Measure how often a challenger is promoted by chance, and how often because it is better: ``make bench BENCH=promotion``.

It simulates champions and challengers that are correct on the same images as often as two trainings of one network; the
challenger is better by some points. "Strictly better" promotes the model that is correct on more images. The pipeline requires
a p-value below 0.05 of the one-sided exact McNemar test. For images in groups, such as patients, the mistakes are correlated,
and the paired bootstrap over groups is compared with McNemar's test, which assumes independent images.

The benchmark needs no data and takes seconds.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc, ndtri

from visiongate.comparison.paired_test import compare
from visiongate.comparison.predictions import GroundTruth, UnlabeledPredictions
from visiongate.records.interval import wilson_interval
from visiongate.settings.registry import Registry

ALPHA = 0.05
ACCURACY = 0.93
# The share of images that only one of two equally good models predicts correctly.
DISAGREEMENT = 0.06
SIZES = (150, 1_000, 10_000)
GAINS = (0.0, 0.01, 0.02, 0.05)
GROUPS, GROUP_IMAGES = 30, 5
CLASSES = 2

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PromotionCounts:
    """How many of the pairs each rule promotes."""

    images: int
    gain: float
    pairs: int
    strictly_better: int
    mcnemar: int


def main() -> None:
    """Simulate and print the tables."""
    parser = argparse.ArgumentParser(description="Measure how often a model is promoted by chance.")
    parser.add_argument("--pairs", type=int, default=10_000, help="pairs of models with independent images")
    parser.add_argument(
        "--grouped-pairs", type=int, default=1_000, help="pairs of models with grouped images"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    print(
        f"Share of challengers promoted, of {options.pairs:,} pairs each, with Wilson's 95% intervals. "
        f"The champion has an accuracy of {ACCURACY:.0%}; equally good models disagree on {DISAGREEMENT:.0%} of the images.\n"
    )
    print_table([simulate(generator, images, gain, options.pairs) for images in SIZES for gain in GAINS])
    print(
        f"\nEqually good models, {GROUPS} groups of {GROUP_IMAGES} images with correlated mistakes, "
        f"{options.grouped_pairs:,} pairs:\n"
    )
    print_rates(simulate_groups(generator, options.grouped_pairs), options.grouped_pairs)


def simulate(generator: np.random.Generator, images: int, gain: float, pairs: int) -> PromotionCounts:
    """Simulate pairs of models for independent images."""
    won, lost = (DISAGREEMENT + gain) / 2, max(0.0, (DISAGREEMENT - gain) / 2)
    counts = generator.multinomial(images, [won, lost, 1 - won - lost], size=pairs)
    wins, losses = counts[:, 0], counts[:, 1]
    strictly_better, significant = wins > losses, p_values(wins, losses) < ALPHA
    return PromotionCounts(images, gain, pairs, int(strictly_better.sum()), int(significant.sum()))


def p_values(wins: Integers, losses: Integers) -> npt.NDArray[np.float64]:
    """Return the values of `visiongate.comparison.paired_test.mcnemar_p`, vectorized."""
    trials = wins + losses
    values: npt.NDArray[np.float64] = np.where(trials > 0, bdtrc(wins - 1.0, np.maximum(trials, 1), 0.5), 1.0)
    return values


def simulate_groups(generator: np.random.Generator, pairs: int) -> dict[str, int]:
    """Simulate pairs of models for grouped images, and count the promotions by rule."""
    groups = [str(group) for group in range(GROUPS) for _ in range(GROUP_IMAGES)]
    labels = np.zeros(len(groups), dtype=np.int64)
    promoted = {"strictly better": 0, "exact McNemar": 0, "paired bootstrap over groups": 0}
    for _ in range(pairs):
        challenger, champion = draw_by_group(generator), draw_by_group(generator)
        truth = GroundTruth(labels, groups)
        promoted["strictly better"] += int(challenger.sum() > champion.sum())
        for name, test in (("exact McNemar", "mcnemar"), ("paired bootstrap over groups", "bootstrap")):
            comparison = compare(certain(challenger), certain(champion), truth, registry(test))
            promoted[name] += int(comparison.p_value < ALPHA)
    return promoted


def draw_by_group(generator: np.random.Generator) -> Booleans:
    """Return which images are predicted correctly, with correlation within groups."""
    difficulty = ndtri(ACCURACY) * 2**0.5 + generator.normal(0, 1, (GROUPS, 1))
    right: Booleans = (difficulty + generator.normal(0, 1, (GROUPS, GROUP_IMAGES)) > 0).ravel()
    return right


def certain(right: Booleans) -> UnlabeledPredictions:
    """Return predictions for images of the first class."""
    predicted = np.where(right, 0, 1)
    return UnlabeledPredictions(np.eye(CLASSES)[predicted], predicted)


def registry(test: str) -> Registry:
    """Return settings with a test."""
    return Registry.model_validate(
        {
            "name": "simulated",
            "metric": "accuracy",
            "test": test,
            "alpha": ALPHA,
            "samples": 500,
            "seed": 0,
            "allow_lost_classes": False,
            "non_inferiority": None,
        }
    )


def print_table(rows: list[PromotionCounts]) -> None:
    """Print the rates of both rules as a Markdown table."""
    print("| images | true gain | strictly better | exact McNemar, p < 0.05 |")
    print("|---:|---:|---:|---:|")
    for row in rows:
        gain = "none" if row.gain == 0 else f"{row.gain * 100:.0f} points"
        print(
            f"| {row.images:,} | {gain} | {rate(row.strictly_better, row.pairs)} | {rate(row.mcnemar, row.pairs)} |"
        )


def print_rates(promoted: dict[str, int], pairs: int) -> None:
    """Print the rate of each rule as a Markdown table."""
    print("| rule | promoted |")
    print("|---|---:|")
    for name, count in promoted.items():
        print(f"| {name} | {rate(count, pairs)} |")


def rate(count: int, pairs: int) -> str:
    """Format a share with its interval."""
    interval = wilson_interval(count / pairs, pairs, 0.95)
    return f"{interval.value:.1%} ({interval.low:.1%} to {interval.high:.1%})"


if __name__ == "__main__":
    main()
