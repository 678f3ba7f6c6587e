"""The operating point, on validation scores laid out by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from evaluation_settings import evaluation_settings
from visiongate.errors import SettingsError
from visiongate.evaluation.operating_point import choose_threshold, positive_class
from visiongate.models.predictions import Predictions, decide

SCORES = [0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.9]
LABELS = [0, 0, 0, 1, 0, 1, 1, 1]


def predictions(
    scores: Sequence[float] = SCORES, labels: Sequence[int] = LABELS, positive: int = 1
) -> Predictions:
    column = np.array(scores)
    columns = [1 - column, column] if positive == 1 else [column, 1 - column]
    truth = np.array(labels) if positive == 1 else 1 - np.array(labels)
    return Predictions(np.stack(columns, axis=1), truth, ("no", "yes"))


@pytest.mark.parametrize("positive", [0, 1])
def test_youden_takes_the_threshold_with_the_largest_sum(positive: int) -> None:
    name = ("no", "yes")[positive]

    found = choose_threshold(
        predictions(positive=positive), evaluation_settings(threshold="youden", positive=name)
    )

    # Of the second class: at 0.25 all four and three of the four others, at 0.5 three of four and all: the lower of equals.
    assert found == pytest.approx(0.25 if positive == 1 else 0.5)


@pytest.mark.parametrize(("floor", "threshold"), [(1.0, 0.25), (0.75, 0.5), (0.5, 0.5), (0.0, 0.5)])
def test_a_floor_on_recall_is_met_with_the_fewest_false_alarms(floor: float, threshold: float) -> None:
    chosen = evaluation_settings(threshold="recall", recall_floor=floor)

    found = choose_threshold(predictions(), chosen)

    assert found is not None
    assert found == pytest.approx(threshold)
    called = decide(predictions().probabilities, found)
    assert (called[np.array(LABELS) == 1] == 1).mean() >= floor


def test_argmax_has_no_threshold() -> None:
    assert choose_threshold(predictions(), evaluation_settings()) is None


def test_scores_that_are_all_equal_still_give_a_threshold() -> None:
    found = choose_threshold(predictions([0.5] * 8), evaluation_settings(threshold="youden"))

    assert found == 0.0


@pytest.mark.parametrize(
    ("classes", "changes", "told"),
    [
        (("a", "b", "c"), {"threshold": "youden"}, "between two classes, and there are 3: set it to argmax"),
        (("a", "b"), {"positive": "c"}, r"evaluation\.positive = 'c': the classes are a, b"),
    ],
)
def test_what_does_not_fit_the_classes_is_told(
    classes: tuple[str, ...], changes: dict[str, object], told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        positive_class(classes, evaluation_settings(**changes))


def test_the_positive_class_is_the_last_unless_named() -> None:
    assert positive_class(("a", "b"), evaluation_settings()) == 1
    assert positive_class(("a", "b"), evaluation_settings(positive="a")) == 0
    assert positive_class(("a", "b", "c"), evaluation_settings()) is None


def test_a_validation_split_of_one_class_is_told() -> None:
    with pytest.raises(SettingsError, match="has images of one class alone"):
        choose_threshold(predictions(labels=[1] * 8), evaluation_settings(threshold="youden"))


@pytest.mark.parametrize("positive", ["no", "yes"])
@pytest.mark.parametrize("seed", range(40))
def test_the_floor_holds_on_validation_however_sure_the_model_is(positive: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.permutation([0, 1] * 50)
    logits = generator.normal(size=100) * 60 + 30 * labels  # far beyond what 1 - p can tell from 1
    with np.errstate(over="ignore"):
        shares = np.stack([1 / (1 + np.exp(logits)), 1 / (1 + np.exp(-logits))], axis=1)
    validation = Predictions(shares, labels, ("no", "yes"))
    chosen = evaluation_settings(threshold="recall", recall_floor=0.94, positive=positive)

    threshold = choose_threshold(validation, chosen)

    number = ("no", "yes").index(positive)
    called = decide(shares, threshold)
    assert np.count_nonzero(called[labels == number] == number) >= 47  # of 50: 0.94 to the image
