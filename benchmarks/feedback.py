"""What `visiongate collect` makes of feedback that lies, and what collected images would do to splits.

    python benchmarks/feedback.py lies      lies that are taken, and honest labels that are doubted, of 20 streams
    python benchmarks/feedback.py splits    images of the source that move if collected ones are divided with them

Both use scikit-learn's digits. A sixth of the answers are lies: another class, drawn at random. Honest people tell about each
mistake, and about a fifth of the correct answers.
"""

import argparse
import warnings
from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.svm import SVC

from visiongate.monitoring.opinions import Answer, Knowledge, weigh
from visiongate.settings.collecting import CollectRules
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.transformation.protocol import assign_images
from visiongate.transformation.units import Candidate

STREAMS, CLASSES, KEYS = 20, 10, 6
CONFIRMED, LIES = 0.2, 1 / 6
COLLECTED = 200


def lies() -> None:
    """Print what is taken and doubted with keys and without."""
    warnings.simplefilter("ignore")
    pixels, labels = load_digits(return_X_y=True)
    models = {
        "logistic regression": LogisticRegression(max_iter=2000),
        "support vectors": SVC(probability=True),
    }
    for name, model in models.items():
        probabilities = cross_val_predict(model, pixels / 16, labels, method="predict_proba")
        accuracy = float((probabilities.argmax(axis=1) == labels).mean())
        for keys in (0, KEYS):
            counts = sum(
                (_count(probabilities, labels, seed, keys) for seed in range(STREAMS)), Counter[str]()
            )
            told = {kind: counts[f"{kind} taken"] + counts[f"{kind} doubted"] for kind in ("lie", "honest")}
            print(
                f"{name}, accuracy {accuracy:.1%}, {keys or 'no'} keys: {counts['lie taken'] / told['lie']:.1%} of "
                f"{told['lie'] / STREAMS:.0f} lies taken, {counts['honest doubted'] / told['honest']:.1%} of "
                f"{told['honest'] / STREAMS:.0f} honest labels doubted"
            )


def _count(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], seed: int, keys: int
) -> Counter[str]:
    answers = list(_tell(probabilities, labels, seed, keys))
    known = Knowledge(tuple(map(str, range(CLASSES))), {})
    opinions = weigh((answer for _, answer in answers), known, CollectRules())
    return Counter(
        f"{kind} {'taken' if opinions[answer.sha256].doubt is None else 'doubted'}"
        for kind, answer in answers
    )


def _tell(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], seed: int, keys: int
) -> Iterator[tuple[str, Answer]]:
    """Yield honest answers and lies; with keys, one of them lies."""
    dice = np.random.default_rng(seed)
    for row in dice.permutation(len(labels)):
        true, predicted, is_lie = int(labels[row]), int(probabilities[row].argmax()), dice.random() < LIES
        if not is_lie and true == predicted and dice.random() > CONFIRMED:
            continue
        label = int(dice.choice(np.delete(np.arange(CLASSES), true))) if is_lie else true
        giver = None if not keys else "liar" if is_lie else f"honest {dice.integers(keys - 1)}"
        yield (
            "lie" if is_lie else "honest",
            Answer(
                prediction_id=str(row),
                sha256=str(row),
                label=str(label),
                predicted=str(predicted),
                confidence=float(probabilities[row, predicted]),
                probability=float(probabilities[row, label]),
                classes=CLASSES,
                model="digits",
                version="1",
                time_us=int(row),
                given_by=giver,
            ),
        )


def splits() -> None:
    """Print how many images of the source move, if the collected ones are divided with them and if they are not."""
    labels = load_digits().target
    source = [Candidate(f"{row:04d}", str(label)) for row, label in enumerate(labels)]
    for method in ("stratified", "hash"):
        settings = replace_settings(load_settings(), {"transformation.split.method": method}, "benchmark")
        before = assign_images(source, settings.transformation.split, settings.evaluation).splits
        moved = {False: 0, True: 0}
        for seed in range(STREAMS):
            dice = np.random.default_rng(seed)
            # Mistakes are mostly of a few classes.
            chosen = dice.choice([1, 3, 8, 9], COLLECTED)
            for is_collected in moved:
                new = [
                    Candidate(f"{seed}-{row}", str(label), collected=is_collected)
                    for row, label in enumerate(chosen)
                ]
                after = assign_images([*source, *new], settings.transformation.split, settings.evaluation)
                moved[is_collected] += sum(map(str.__ne__, map(str, before), map(str, after.splits)))
        print(
            f"{method}: {moved[False] / STREAMS:.1f} of {len(source)} images move if {COLLECTED} others are divided with them, "
            f"{moved[True] / STREAMS:.1f} as collected images"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measurement", choices=["lies", "splits"])
    {"lies": lies, "splits": splits}[parser.parse_args().measurement]()
