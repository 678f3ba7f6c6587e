import math
from pathlib import Path

import pytest

from visiongate.config import Settings, load_settings
from visiongate.errors import DivergedError
from visiongate.search.space import Values
from visiongate.search.storage import Place
from visiongate.search.study import Report, SearchResult, plan_search, summarise
from visiongate.search.workers import conduct

ROOT = Path(__file__).parents[2]
SETTINGS = load_settings(ROOT / "params.yaml").with_values(
    {
        "optimize.trials": 12,
        "optimize.epochs": 4,
        "optimize.startup_trials": 3,
        "optimize.pruner": "median",
        "optimize.warmup_epochs": 1,
    },
    "test",
)


def bowl(_place: int, values: Values, report: Report) -> float:
    """Best where lr is 0.02, reached over four epochs."""
    value = -abs(math.log(float(values["model.lr"]) / 0.02))
    for epoch in range(1, 5):
        report(epoch, value - 1 / epoch)
    return value


def run(journal: Path, settings: Settings = SETTINGS, objective: object = bowl) -> SearchResult:
    place = Place(journal)
    with place.owned():
        return summarise(conduct(plan_search(settings, "test"), place, objective, 1))  # type: ignore[arg-type]


def test_trial_0_is_the_current_settings_and_the_best_is_the_best(tmp_path: Path) -> None:
    found = run(tmp_path / "a.journal")
    assert found.trials[0].values == {
        dimension.setting: SETTINGS.value(dimension.setting) for dimension in SETTINGS.optimize.space.values()
    }
    assert [trial.trial for trial in found.trials] == list(range(12))
    complete = [
        trial.value for trial in found.trials if trial.state == "complete" and trial.value is not None
    ]
    assert found.best_value == max(complete) >= complete[0]
    assert math.isclose(sum(found.importances.values()), 1)


def test_hopeless_trials_are_pruned(tmp_path: Path) -> None:
    found = run(tmp_path / "a.journal")
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    assert pruned
    assert all(len(trial.curve) > 1 for trial in pruned)
    assert min(len(trial.curve) for trial in pruned) < 4


def test_an_interrupted_study_ends_as_an_uninterrupted(tmp_path: Path) -> None:
    class Interrupted(BaseException):
        pass

    def interrupted(place: int, values: Values, report: Report) -> float:
        if place in stops:
            stops.remove(place)
            raise Interrupted
        return bowl(place, values, report)

    stops = [0, 2, 7]
    for _ in range(3):
        with pytest.raises(Interrupted):
            run(tmp_path / "b.journal", objective=interrupted)
    resumed = run(tmp_path / "b.journal", objective=interrupted)
    assert not stops
    assert resumed == run(tmp_path / "a.journal")


def test_a_finished_study_trains_nothing_again(tmp_path: Path) -> None:
    found = run(tmp_path / "a.journal")

    def never(*_arguments: object) -> float:
        raise AssertionError("a trial was run again")

    assert run(tmp_path / "a.journal", objective=never) == found


def test_current_settings_outside_the_space_widen_it(tmp_path: Path) -> None:
    outside = SETTINGS.with_values(
        {"model.lr": 1e-5, "model.batch_size": 7, "training.label_smoothing": 0.5}, "test"
    )
    found = run(tmp_path / "a.journal", outside)
    assert found.trials[0].values["model.lr"] == 1e-5
    assert found.trials[0].values["model.batch_size"] == 7


def test_whole_numbers_stay_whole(tmp_path: Path) -> None:
    tree = SETTINGS.model_dump()
    tree["optimize"]["space"] = {
        "width": {"setting": "model.options.width", "kind": "int", "low": 5, "high": 50}
    }
    settings = Settings.model_validate(tree)
    found = run(
        tmp_path / "a.journal", settings, lambda _place, values, _report: float(values["model.options.width"])
    )
    tried = [trial.values["model.options.width"] for trial in found.trials]
    assert all(isinstance(value, int) for value in tried)
    assert all(5 <= value <= 50 for value in tried)
    assert len(set(tried)) > 3


def test_a_diverging_trial_is_passed_over_and_all_of_them_are_told(tmp_path: Path) -> None:
    def some(place: int, values: Values, report: Report) -> float:
        if place % 2:
            raise DivergedError("the loss is no longer a number")
        return bowl(place, values, report)

    found = run(tmp_path / "a.journal", objective=some)
    assert {trial.state for trial in found.trials[1::2]} == {"pruned"}
    assert found.trials[1].value is None

    def all_diverge(*_arguments: object) -> float:
        raise DivergedError("the loss is no longer a number")

    with pytest.raises(DivergedError, match=r"no trial came to its end.*optimize\.space"):
        run(tmp_path / "b.journal", objective=all_diverge)
