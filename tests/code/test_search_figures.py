import io

import numpy as np
import pytest
from PIL import Image

from visiongate.optimization.figures import Plot, draw_study, rebuild_study
from visiongate.optimization.study import TrialResult
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


def test_losses_have_their_own_sign() -> None:
    losses = [TrialResult(0, "complete", -0.5, [], {}), TrialResult(1, "complete", -0.25, [], {})]
    study = rebuild_study(losses, [], "val_loss")
    assert [trial.value for trial in study.trials] == [0.5, 0.25]
    assert study.best_trial.number == 1
