import io

import numpy as np
import pytest
from PIL import Image

from visiongate.optimization.figures import Plot, draw_curves, draw_study, rebuild_study
from visiongate.optimization.study import TrialResult
from visiongate.pages.canvas import GREEN
from visiongate.records.search import Value
from visiongate.settings.optimize import SearchRange

SPACE = [
    SearchRange(setting="model.lr", kind="log", low=0.001, high=0.1),
    SearchRange(setting="model.options.width", kind="int", low=8, high=10),
    SearchRange(setting="model.optimizer", kind="choice", choices=["sgd", None, True]),
]
ROWS: list[tuple[float | None, float, int, Value]] = [
    (0.5, 0.01, 8, "sgd"),
    (0.7, 0.1, 10, None),
    (None, 0.001, 9, True),
    (0.6, 0.1, 9, True),
]
METRIC = "val_accuracy"
PLOTS: tuple[Plot, ...] = ("optimization_history", "slice", "parallel_coordinate")


def results(rows: list[tuple[float | None, float, int, Value]]) -> list[TrialResult]:
    return [
        TrialResult(
            index,
            "pruned" if value is None else "complete",
            value,
            [0.5],
            {"model.lr": lr, "model.options.width": width, "model.optimizer": optimizer},
        )
        for index, (value, lr, width, optimizer) in enumerate(rows)
    ]


def test_rebuilt_study_has_the_trials_by_index() -> None:
    study = rebuild_study(results(ROWS), SPACE, METRIC)
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3]
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"]
    assert study.best_trial.params["model.optimizer"] is None


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("count", [1, 4])
def test_plot_is_a_reproducible_picture(plot: Plot, count: int) -> None:
    study = rebuild_study(results(ROWS[:count]), SPACE, METRIC)
    content = draw_study(study, METRIC, plot)
    with Image.open(io.BytesIO(content)) as image:
        assert len(np.unique(np.asarray(image))) > 2
    assert draw_study(study, METRIC, plot) == content


@pytest.mark.parametrize("metric", [METRIC, "val_loss"])
def test_only_the_curve_of_the_best_trial_is_green(metric: str) -> None:
    sign = -1 if metric == "val_loss" else 1
    curves = [[0.2], [0.5, 0.6, 0.7], []]
    trials = [
        TrialResult(index, "pruned", None, [sign * score for score in curve], {})
        for index, curve in enumerate(curves)
    ]

    def count_green(content: bytes) -> int:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=int)
        green = [int(GREEN[start : start + 2], 16) for start in (1, 3, 5)]
        return int((abs(pixels - green).sum(axis=-1) < 12).sum())

    dot, line, none = (count_green(draw_curves(trials, metric, best)) for best in (0, 1, 2))
    assert line > 2 * dot > 0
    assert none == 0
    assert draw_curves(trials, metric, 1) == draw_curves(trials, metric, 1)


def test_losses_have_their_own_sign() -> None:
    losses = [TrialResult(0, "complete", -0.5, [], {}), TrialResult(1, "complete", -0.25, [], {})]
    study = rebuild_study(losses, [], "val_loss")
    assert [trial.value for trial in study.trials] == [0.5, 0.25]
    assert study.best_trial.number == 1
