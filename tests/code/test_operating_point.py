"""The operating point, on scores by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from evaluation_settings import evaluation_settings
from visiongate.errors import SettingsError
from visiongate.evaluation.operating_point import choose_threshold, positive_class
from visiongate.models.predictions import Predictions
from visiongate.models.probabilities import decide

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
def test_youden_maximizes_sensitivity_plus_specificity(positive: int) -> None:
    name = ("no", "yes")[positive]

    found = choose_threshold(
        predictions(positive=positive), evaluation_settings(threshold="youden", positive=name)
    )

    # Sensitivity plus specificity is 1.75 at 0.25 and at 0.5; the lower threshold wins.
    assert found == pytest.approx(0.25 if positive == 1 else 0.5)


@pytest.mark.parametrize(("floor", "threshold"), [(1.0, 0.25), (0.75, 0.5), (0.5, 0.5), (0.0, 0.5)])
def test_recall_floor_has_fewest_false_positives(floor: float, threshold: float) -> None:
    chosen = evaluation_settings(threshold="recall", recall_floor=floor)

    found = choose_threshold(predictions(), chosen)

    assert found is not None
    assert found == pytest.approx(threshold)
    called = decide(predictions().probabilities, found)
    assert (called[np.array(LABELS) == 1] == 1).mean() >= floor


def test_argmax_has_no_threshold() -> None:
    assert choose_threshold(predictions(), evaluation_settings()) is None


def test_equal_scores_have_a_threshold() -> None:
    found = choose_threshold(predictions([0.5] * 8), evaluation_settings(threshold="youden"))

    assert found == 0.0


@pytest.mark.parametrize(
    ("classes", "changes", "key"),
    [
        (("a", "b", "c"), {"threshold": "youden"}, r"evaluation\.threshold"),
        (("a", "b"), {"positive": "c"}, r"evaluation\.positive"),
    ],
)
def test_settings_that_do_not_fit_the_classes_are_refused(
    classes: tuple[str, ...], changes: dict[str, object], key: str
) -> None:
    with pytest.raises(SettingsError, match=key):
        positive_class(classes, evaluation_settings(**changes))


def test_positive_class_is_the_last_by_default() -> None:
    assert positive_class(("a", "b"), evaluation_settings()) == 1
    assert positive_class(("a", "b"), evaluation_settings(positive="a")) == 0
    assert positive_class(("a", "b", "c"), evaluation_settings()) is None


def test_validation_split_of_one_class_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"evaluation\.threshold"):
        choose_threshold(predictions(labels=[1] * 8), evaluation_settings(threshold="youden"))


@pytest.mark.parametrize("positive", ["no", "yes"])
@pytest.mark.parametrize("seed", range(10))
def test_recall_floor_holds_for_saturated_probabilities(positive: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.permutation([0, 1] * 50)
    logits = generator.normal(size=100) * 60 + 30 * labels
    with np.errstate(over="ignore"):
        shares = np.stack([1 / (1 + np.exp(logits)), 1 / (1 + np.exp(-logits))], axis=1)
    validation = Predictions(shares, labels, ("no", "yes"))
    chosen = evaluation_settings(threshold="recall", recall_floor=0.94, positive=positive)

    threshold = choose_threshold(validation, chosen)

    number = ("no", "yes").index(positive)
    called = decide(shares, threshold)
    # A recall of 0.94 on 50 images.
    assert np.count_nonzero(called[labels == number] == number) >= 47
