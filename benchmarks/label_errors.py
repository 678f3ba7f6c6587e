"""Count how many flipped labels `visiongate correct` finds: ``make bench BENCH=label_errors ARGS=/data/cats-vs-dogs.zip``.

A share of the labels is flipped at random. The benchmark counts the flipped ones among the first images of the list and among
those that are called likely wrong, and does so for several draws. The archive has a folder per class. Features take some 20 ms
an image, and come from the cache in the next run.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np

from labeled_photos import Photos, read_photos
from visiongate.correction.suspects import LabeledImages, predict_out_of_fold, rank_labels
from visiongate.transformation.units import Candidate

FLIPPED, LOOKED_AT = 0.05, 0.07


@dataclass(frozen=True, slots=True)
class Draw:
    """What is found in one draw, as shares of the flipped labels, and the share of the likely ones that was flipped."""

    found: float
    likely: float
    precision: float


def main() -> None:
    """Print the shares as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--images", type=int, default=1_500)
    parser.add_argument("--draws", type=int, default=10)
    arguments = parser.parse_args()
    photos = read_photos(arguments.archive, arguments.images)
    draws = [flip_labels(photos, seed) for seed in range(arguments.draws)]
    found = [draw.found for draw in draws]
    print(f"{len(photos.labels):,} images, {FLIPPED:.0%} of the labels flipped, {len(draws)} draws\n")
    print("| | mean | lowest |\n|---|---|---|")
    print(f"| found among the first {LOOKED_AT:.0%} | {np.mean(found):.1%} | {min(found):.1%} |")
    for name in ("likely", "precision"):
        values = [getattr(draw, name) for draw in draws]
        title = {"likely": "found among the likely ones", "precision": "flipped, of the likely ones"}[name]
        print(f"| {title} | {np.mean(values):.1%} | {min(values):.1%} |")


def flip_labels(photos: Photos, seed: int) -> Draw:
    """Flip labels, and count those that are found."""
    generator, count = np.random.default_rng(seed), len(photos.labels)
    flipped = generator.choice(count, round(FLIPPED * count), replace=False)
    labels = photos.labels.copy()
    labels[flipped] += generator.integers(1, len(photos.classes), len(flipped))
    labels %= len(photos.classes)
    names = [str(row) for row in range(count)]
    candidates = [Candidate(name, photos.classes[label]) for name, label in zip(names, labels, strict=True)]
    images = LabeledImages(candidates, names, labels, photos.classes)
    suspects = rank_labels(predict_out_of_fold(photos.features, images), images)
    first = [suspect.row for suspect in suspects[: round(LOOKED_AT * count)]]
    likely = [suspect.row for suspect in suspects if suspect.likely]
    return Draw(
        float(np.isin(flipped, first).mean()),
        float(np.isin(flipped, likely).mean()),
        float(np.isin(likely, flipped).mean()),
    )


if __name__ == "__main__":
    main()
