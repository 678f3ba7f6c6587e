"""How often luck makes a champion, and how often a better model does: ``make bench BENCH=promotion``.

Champions and challengers are drawn whose answers to the same images are right or wrong together as often as two trainings of
one network are; the challenger is better by a number of points. "Strictly better" promotes whoever is right on more images;
ours asks the one-sided exact McNemar test for a p-value below 0.05. Where the images come in groups (patients, say), the
mistakes do too, and the paired bootstrap over groups is compared with McNemar's test, which takes the images for independent.

It needs no data, and takes seconds.
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
DISAGREEMENT = 0.06  # of images that only one of two equally good models gets right
SIZES = (150, 1_000, 10_000)
GAINS = (0.0, 0.01, 0.02, 0.05)
GROUPS, TOGETHER = 30, 5
CLASSES = 2

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Row:
    """How often each rule promotes."""

    images: int
    gain: float
    luck: int  # promoted by "strictly better"
    test: int  # and by the test
    pairs: int


def main() -> None:
    """Simulate and print the tables."""
    parser = argparse.ArgumentParser(description="Measure how often luck is promoted.")
    parser.add_argument("--pairs", type=int, default=10_000, help="champions and challengers of each kind")
    parser.add_argument(
        "--grouped-pairs", type=int, default=1_000, help="and of those whose images come in groups"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    print(
        f"Share of challengers promoted, of {options.pairs:,} pairs each, with Wilson's 95 % intervals. "
        f"The champion is right on {ACCURACY:.0%}; equally good models disagree on {DISAGREEMENT:.0%} of the images.\n"
    )
    print_table([simulate(generator, images, gain, options.pairs) for images in SIZES for gain in GAINS])
    print(
        f"\nEqually good models, {GROUPS} groups of {TOGETHER} images that share their mistakes, "
        f"{options.grouped_pairs:,} pairs:\n"
    )
    print_rates(simulate_groups(generator, options.grouped_pairs), options.grouped_pairs)


def simulate(generator: np.random.Generator, images: int, gain: float, pairs: int) -> Row:
    """Draw pairs and count those that each rule promotes."""
    # The gain turns images that only the champion gets right into ones that only the challenger does, and then some.
    won, lost = (DISAGREEMENT + gain) / 2, max(0.0, (DISAGREEMENT - gain) / 2)
    counts = generator.multinomial(images, [won, lost, 1 - won - lost], size=pairs)
    wins, losses = counts[:, 0], counts[:, 1]
    return Row(images, gain, int((wins > losses).sum()), int((p_values(wins, losses) < ALPHA).sum()), pairs)


def p_values(wins: Integers, losses: Integers) -> npt.NDArray[np.float64]:
    """Return the p-values of the exact McNemar test, as `visiongate.comparison.paired_test.mcnemar_p` does one by one."""
    trials = wins + losses
    values: npt.NDArray[np.float64] = np.where(trials > 0, bdtrc(wins - 1.0, np.maximum(trials, 1), 0.5), 1.0)
    return values


def simulate_groups(generator: np.random.Generator, pairs: int) -> dict[str, int]:
    """Count what each rule promotes where mistakes come by the group."""
    groups = [str(group) for group in range(GROUPS) for _ in range(TOGETHER)]
    labels = np.zeros(len(groups), dtype=np.int64)
    promoted = {"strictly better": 0, "exact McNemar": 0, "paired bootstrap over groups": 0}
    for _ in range(pairs):
        mine, theirs = draw_by_group(generator), draw_by_group(generator)
        exam = GroundTruth(labels, groups)
        promoted["strictly better"] += int(mine.sum() > theirs.sum())
        for name, test in (("exact McNemar", "mcnemar"), ("paired bootstrap over groups", "bootstrap")):
            found = compare(certain(mine), certain(theirs), exam, registry(test))
            promoted[name] += int(found.p_value < ALPHA)
    return promoted


def draw_by_group(generator: np.random.Generator) -> Booleans:
    """Draw whether each image is right: a model reads some groups badly."""
    ease = ndtri(ACCURACY) * 2**0.5 + generator.normal(0, 1, (GROUPS, 1))
    right: Booleans = (ease + generator.normal(0, 1, (GROUPS, TOGETHER)) > 0).ravel()
    return right


def certain(right: Booleans) -> UnlabeledPredictions:
    """Return predictions for images of the first class."""
    predicted = np.where(right, 0, 1)
    return UnlabeledPredictions(np.eye(CLASSES)[predicted], predicted)


def registry(test: str) -> Registry:
    """The settings of one test."""
    return Registry.model_validate(
        {
            "name": "simulated",
            "metric": "accuracy",
            "test": test,
            "alpha": ALPHA,
            "samples": 500,
            "seed": 0,
            "non_inferiority": None,
        }
    )


def print_table(rows: list[Row]) -> None:
    """Print the rates of both rules as a Markdown table."""
    print("| images | true gain | strictly better | exact McNemar, p < 0.05 |")
    print("|---:|---:|---:|---:|")
    for row in rows:
        gain = "none" if row.gain == 0 else f"{row.gain * 100:.0f} points"
        print(f"| {row.images:,} | {gain} | {rate(row.luck, row.pairs)} | {rate(row.test, row.pairs)} |")


def print_rates(promoted: dict[str, int], pairs: int) -> None:
    """Print the rate of each rule as a Markdown table."""
    print("| rule | promoted |")
    print("|---|---:|")
    for name, count in promoted.items():
        print(f"| {name} | {rate(count, pairs)} |")


def rate(count: int, pairs: int) -> str:
    """Say a share with its interval."""
    interval = wilson_interval(count / pairs, pairs, 0.95)
    return f"{interval.value:.1%} ({interval.low:.1%} to {interval.high:.1%})"


if __name__ == "__main__":
    main()
