"""Confusions that might have been, against the Beta distribution that each recall then has."""

import numpy as np
import pytest
from scipy.stats import beta

from visiongate.evaluation import confusion_posterior as module
from visiongate.evaluation.confusion_posterior import draw_confusions

CONFUSIONS = np.array([[18, 2, 0], [0, 30, 0], [0, 0, 0]])


def recalls(share: float, samples: int = 20_000) -> np.ndarray:
    drawn = [
        right / np.maximum(there, 1) for right, there, _ in draw_confusions(CONFUSIONS, share, samples, 0)
    ]
    return np.concatenate(drawn, axis=1)


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_each_recall_has_the_interval_of_jeffreys(share: float) -> None:
    for found, right, wrong in zip(recalls(share), (18, 30), (2, 0), strict=False):
        expected = beta(share * right + 0.5, share * wrong + 0.5).ppf([0.025, 0.5, 0.975])
        assert np.quantile(found, [0.025, 0.5, 0.975]) == pytest.approx(expected, abs=0.01)


def test_images_are_neither_lost_nor_made_and_a_class_without_any_stays_without() -> None:
    [(right, there, called)] = draw_confusions(CONFUSIONS, 1.0, 100, 0)

    assert (there == np.array([[20], [30], [0]])).all()
    assert called.sum(axis=0) == pytest.approx(50)
    assert (right <= there + 1e-9).all()
    assert (right[2] == 0).all()


def test_many_classes_are_drawn_a_few_samples_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CELLS", 9 * 30)

    widths = [right.shape[1] for right, _, _ in draw_confusions(CONFUSIONS, 1.0, 100, 0)]

    assert widths == [30, 30, 30, 10]
