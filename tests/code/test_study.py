import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from visiongate.errors import DivergedError, SettingsError
from visiongate.optimization.space import Values
from visiongate.optimization.storage import Place, StudyError
from visiongate.optimization.study import (
    Report,
    SearchResult,
    fail_running,
    open_study,
    plan_search,
    summarize,
)
from visiongate.optimization.workers import conduct
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.settings.schema import Settings

ROOT = Path(__file__).parents[2]
SETTINGS = replace_settings(
    load_settings(ROOT / "params.yaml"),
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
        return summarize(conduct(plan_search(settings, "test"), place, objective, 1))  # type: ignore[arg-type]


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
    outside = replace_settings(
        SETTINGS, {"model.lr": 1e-5, "model.batch_size": 7, "training.label_smoothing": 0.5}, "test"
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


def test_random_search_is_as_repeatable(tmp_path: Path) -> None:
    settings = replace_settings(SETTINGS, {"optimize.sampler": "random", "optimize.trials": 6}, "test")
    found = run(tmp_path / "a.journal", settings)
    assert len({tuple(trial.values.values()) for trial in found.trials}) == 6
    assert run(tmp_path / "b.journal", settings) == found


def test_hyperband_ends_a_study_the_same_after_an_interruption(tmp_path: Path) -> None:
    settings = replace_settings(
        SETTINGS,
        {"optimize.pruner": "hyperband", "optimize.reduction_factor": 2, "optimize.trials": 20},
        "test",
    )
    stops = [5, 6]

    def interrupted(place: int, values: Values, report: Report) -> float:
        report(1, -9.0)
        if place in stops:
            stops.remove(place)
            raise KeyboardInterrupt
        return bowl(place, values, lambda epoch, value: report(epoch + 1, value) if epoch < 4 else None)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "a.journal", settings, interrupted)
    resumed = run(tmp_path / "a.journal", settings, interrupted)
    assert resumed == run(tmp_path / "b.journal", settings, interrupted)
    assert {len(trial.curve) for trial in resumed.trials} == {1, 2, 4}


def test_a_mistake_in_the_objective_is_not_taken_for_a_bad_trial(tmp_path: Path) -> None:
    def mistaken(*_arguments: object) -> float:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run(tmp_path / "a.journal", objective=mistaken)


def test_a_study_that_another_process_is_at_is_left_alone(tmp_path: Path) -> None:
    with (
        Place(tmp_path / "a.journal").owned(),
        pytest.raises(StudyError, match="another search is at this study"),
    ):
        run(tmp_path / "a.journal")


def test_a_journal_whose_last_line_was_cut_is_taken_up(tmp_path: Path) -> None:
    found = run(tmp_path / "a.journal")
    content = (tmp_path / "a.journal").read_bytes()
    lines = content.splitlines(keepends=True)
    (tmp_path / "a.journal").write_bytes(b"".join(lines[:-1]) + lines[-1][:10])
    assert run(tmp_path / "a.journal") == found


# Several workers


def slow_bowl(place: int, values: Values, report: Report) -> float:
    time.sleep(0.05)
    return bowl(place, values, report)


@dataclass
class Killed:
    """Ends its own process at one place, as often as asked."""

    marks: Path
    times: int

    def __call__(self, place: int, values: Values, report: Report) -> float:
        report(1, -1.0)
        if place == 3 and len(list(self.marks.iterdir())) < self.times:
            (self.marks / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return bowl(place, values, lambda epoch, value: report(epoch + 1, value) if epoch < 4 else None)


def refused(place: int, _values: Values, _report: Report) -> float:
    if place == 2:
        raise SettingsError("model.options.width: no such option")
    time.sleep(0.2)
    return 0.0


def broken(*_arguments: object) -> float:
    raise RuntimeError("a bug")


def run_several(place: Place, settings: Settings, objective: object) -> SearchResult:
    with place.owned():
        return summarize(conduct(plan_search(settings, "test"), place, objective, 2))  # type: ignore[arg-type]


@pytest.fixture(params=["journal", "database"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    address = f"sqlite:///{tmp_path}/study.db" if request.param == "database" else None
    return Place(tmp_path / "a.journal", address)


def states(place: Place) -> list[tuple[int | None, str]]:
    study = open_study(plan_search(SETTINGS, "test"), place)
    return sorted(
        (trial.user_attrs.get("place"), trial.state.name)
        for trial in study.trials
        if trial.state.name != "FAIL"
    )


def test_several_workers_run_every_place_once(place: Place) -> None:
    found = run_several(place, SETTINGS, slow_bowl)
    assert [trial.trial for trial in found.trials] == list(range(12))
    assert found.trials[0].values["model.lr"] == SETTINGS.model.lr
    assert [number for number, _ in states(place)] == list(range(12))


def test_the_trial_of_a_killed_worker_is_run_again(tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    place = Place(tmp_path / "a.journal")
    found = run_several(place, SETTINGS, Killed(tmp_path / "marks", 2))
    assert len(list((tmp_path / "marks").iterdir())) == 2
    assert [trial.trial for trial in found.trials] == list(range(12))
    assert [number for number, _ in states(place)] == list(range(12))


def test_a_trial_that_kills_every_worker_ends_the_study_with_advice(tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    with pytest.raises(StudyError, match=r"trial 3 was killed 3 times, .*signal 9.*lower optimize\.workers"):
        run_several(Place(tmp_path / "a.journal"), SETTINGS, Killed(tmp_path / "marks", 99))


def test_what_a_user_can_act_on_comes_back_from_a_worker(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"model\.options\.width: no such option"):
        run_several(Place(tmp_path / "a.journal"), SETTINGS, refused)


def test_a_worker_with_a_bug_ends_the_study(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a worker ended with exit status 1"):
        run_several(Place(tmp_path / "a.journal"), SETTINGS, broken)


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import test_study as t\n"
        "from pathlib import Path\n"
        "if __name__ == '__main__':\n"
        "    t.run_several(t.Place(Path(sys.argv[2])), t.SETTINGS, t.stay)\n"
    )
    (tmp_path / "main.py").write_text(script)
    command = [
        sys.executable,
        str(tmp_path / "main.py"),
        str(Path(__file__).parent),
        str(tmp_path / "a.journal"),
    ]
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "MARKS": str(tmp_path)}
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.pid"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.kill()
    process.wait()
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert run(tmp_path / "a.journal").trials[0].trial == 0  # nobody holds the journal any more


def stay(*_arguments: object) -> float:
    Path(os.environ["MARKS"], f"{os.getpid()}.pid").touch()
    time.sleep(60)
    return 0.0


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1] if Path("/proc").exists() else True


# A database


def test_a_study_in_a_database_is_taken_up_where_it_was_left(tmp_path: Path) -> None:
    place = Place(tmp_path / "unused", f"sqlite:///{tmp_path}/study.db")
    plan = plan_search(SETTINGS, "test")
    found = summarize(conduct(plan, place, bowl, 1))
    assert found == run(tmp_path / "a.journal")
    assert summarize(conduct(plan, place, broken, 1)) == found
    assert not (tmp_path / "unused").exists()


def test_places_queued_twice_at_once_are_run_once(tmp_path: Path) -> None:
    place = Place(tmp_path / "a.journal")
    plan = plan_search(SETTINGS, "test")
    study = open_study(plan, place)
    for number in (0, 0, 1, 1):
        study.enqueue_trial({}, user_attrs={"place": number})
    study.enqueue_trial({})  # of no place
    assert [trial.trial for trial in run(tmp_path / "a.journal").trials] == list(range(12))
    assert [number for number, _ in states(place)] == list(range(12))


def test_a_worker_taken_for_dead_leaves_its_trial_to_whoever_has_it_now(tmp_path: Path) -> None:
    place = Place(tmp_path / "a.journal")
    plan = plan_search(SETTINGS, "test")
    taken: list[int] = []

    def robbed(number: int, values: Values, report: Report) -> float:
        if number in (1, 2) and number not in taken:
            taken.append(number)
            fail_running(open_study(plan, place))
            if number == 2:
                return 99.0  # finds out at the end
        return bowl(number, values, report)

    found = run(tmp_path / "a.journal", objective=robbed)
    assert taken == [1, 2]
    assert [trial.trial for trial in found.trials] == list(range(12))
    assert found.best_value < 1


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "postgresql+psycopg://me@127.0.0.1:9/studies",
            "(no driver for this database here|Connection refused)",
        ),
        ("sqlite:////nowhere/study.db", "unable to open database file"),
        ("nonsense", "Could not parse"),
        ("oracle://me@somewhere/studies", "there is no driver for this database here"),
    ],
)
def test_a_database_that_is_not_there_is_told_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, message: str
) -> None:
    monkeypatch.setenv("VISIONGATE_STORAGE_PASSWORD", "hunter2")
    with pytest.raises(StudyError, match=message) as raised:
        conduct(plan_search(SETTINGS, "test"), Place(tmp_path, address), bowl, 1)
    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert address in str(raised.value)


def test_a_database_that_breaks_down_is_told(tmp_path: Path) -> None:
    place = Place(tmp_path, f"sqlite:///{tmp_path}/study.db")

    def breaking(*_arguments: object) -> float:
        with closing(sqlite3.connect(tmp_path / "study.db")) as database:
            database.execute("drop table trial_intermediate_values")
        _arguments[2](1, 0.0)  # type: ignore[operator]
        return 0.0

    with pytest.raises(StudyError, match=r"optimize\.storage = 'sqlite:.*trial_intermediate_values"):
        conduct(plan_search(SETTINGS, "test"), place, breaking, 1)


def test_a_password_in_the_settings_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match="VISIONGATE_STORAGE_PASSWORD") as raised:
        replace_settings(SETTINGS, {"optimize.storage": "postgresql://me:hunter2@host/db"}, "params.yaml")
    assert "hunter2" not in str(raised.value)
    replace_settings(SETTINGS, {"optimize.storage": "postgresql://me@host:5432/db"}, "params.yaml")
