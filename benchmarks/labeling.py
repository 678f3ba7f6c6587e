"""Compare `visiongate label-next` with a random choice: ``make bench BENCH=labeling ARGS=/data/cats-vs-dogs.zip``.

Each draw divides the photos into test images and a pool, of which a few images a class are labeled at first. Then images are
chosen from the pool in rounds, and labeled. After each round, a classifier that is trained on the labeled images is tested. The
archive has a folder per class.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import numpy.typing as npt

from labeled_photos import Photos, read_photos
from visiongate.correction.labeling import choose_images
from visiongate.correction.linear_model import Floats, train_and_predict

TESTED = 500
FIRST_PER_CLASS, PER_ROUND, ROUNDS = 10, 20, 5

Rows = npt.NDArray[np.int64]
# Chooses rows of the pool, with the rows that are labeled.
Choose = Callable[[Photos, Rows, Rows, np.random.Generator], Rows]


def choose_randomly(_photos: Photos, _labeled: Rows, pool: Rows, generator: np.random.Generator) -> Rows:
    """Choose any images."""
    return generator.choice(pool, PER_ROUND, replace=False)


def choose_as_command(photos: Photos, labeled: Rows, pool: Rows, _generator: np.random.Generator) -> Rows:
    """Choose images as the command does."""
    probabilities = _predict(photos, labeled, pool)
    chosen = choose_images(photos.features[pool], probabilities, PER_ROUND)
    return pool[[image.row for image in chosen]]


def main() -> None:
    """Print the mean accuracy by number of labels as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--images", type=int, default=1_500)
    parser.add_argument("--draws", type=int, default=20)
    arguments = parser.parse_args()
    photos = read_photos(arguments.archive, arguments.images)
    methods: dict[str, Choose] = {"random": choose_randomly, "label-next": choose_as_command}
    first = FIRST_PER_CLASS * len(photos.classes)
    counts = [first + PER_ROUND * number for number in range(ROUNDS + 1)]
    print(f"| labels | {' | '.join(map(str, counts))} |\n|---|{'---|' * len(counts)}")
    for name, choose in methods.items():
        accuracies = np.array([simulate(photos, choose, seed) for seed in range(arguments.draws)])
        errors = accuracies.std(axis=0, ddof=1) / np.sqrt(arguments.draws)
        cells = [
            f"{mean:.1%} ± {error:.1%}" for mean, error in zip(accuracies.mean(axis=0), errors, strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def simulate(photos: Photos, choose: Choose, seed: int) -> list[float]:
    """Return the accuracy after each round."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(photos.labels))
    test, rest = order[:TESTED], order[TESTED:]
    numbers = range(len(photos.classes))
    labeled = np.concatenate([rest[photos.labels[rest] == number][:FIRST_PER_CLASS] for number in numbers])
    accuracies = [_test(photos, labeled, test)]
    for _ in range(ROUNDS):
        pool = np.setdiff1d(rest, labeled)
        labeled = np.concatenate([labeled, choose(photos, labeled, pool, generator)])
        accuracies.append(_test(photos, labeled, test))
    return accuracies


def _test(photos: Photos, labeled: Rows, test: Rows) -> float:
    probabilities = _predict(photos, labeled, test)
    return float((probabilities.argmax(axis=1) == photos.labels[test]).mean())


def _predict(photos: Photos, labeled: Rows, others: Rows) -> Floats:
    features, labels = photos.features, photos.labels[labeled]
    return train_and_predict(
        features[labeled], labels, features[others], len(photos.classes), is_balanced=True
    )


if __name__ == "__main__":
    main()
