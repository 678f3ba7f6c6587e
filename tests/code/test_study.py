import math
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from visiongate.engine.pieces import Engine, LocalEngine
from visiongate.engine.processes import open_processes
from visiongate.errors import DivergedError, EngineError, NotLearningError, SettingsError
from visiongate.optimization.failures import Failure, SearchFailedError
from visiongate.optimization.ledger import Ledger
from visiongate.optimization.plan import plan_search
from visiongate.optimization.proposals import History
from visiongate.optimization.rounds import StudyRunner
from visiongate.optimization.storage import StudyError, StudyStorage
from visiongate.optimization.study import SearchResult, summarize_study
from visiongate.optimization.trials import Report
from visiongate.records.search import Values
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


def bowl(_index: int, values: Values, report: Report) -> float:
    """Best where lr is 0.02, reached over four epochs."""
    value = -abs(math.log(float(values["model.lr"]) / 0.02))
    for epoch in range(1, 5):
        report(epoch, value - 1 / epoch)
    return value


def run(journal: Path, settings: Settings = SETTINGS, objective: object = bowl) -> SearchResult:
    return run_on(LocalEngine(), StudyStorage(journal), settings, objective)


def run_on(
    engine: Engine, storage: StudyStorage, settings: Settings = SETTINGS, objective: object = bowl
) -> SearchResult:
    plan = plan_search(settings, "test")
    with storage.lock():
        return summarize_study(StudyRunner(storage, engine).run(plan, objective), plan)  # type: ignore[arg-type]


def test_the_best_value_is_the_maximum_of_the_complete_trials(tmp_path: Path) -> None:
    result = run(tmp_path / "a.journal")
    assert [trial.trial for trial in result.trials] == list(range(12))
    complete = [trial.value for trial in result.trials if trial.value is not None]
    assert result.best_value == max(complete)


def test_current_settings_do_not_change_the_search(tmp_path: Path) -> None:
    changed = replace_settings(SETTINGS, {"model.lr": 1e-5, "model.batch_size": 7}, "test")
    assert run(tmp_path / "a.journal", changed) == run(tmp_path / "b.journal")


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_first_trials_have_the_values_known_to_work(tmp_path: Path, sampler: str) -> None:
    tree = replace_settings(
        SETTINGS, {"optimize.sampler": sampler, "optimize.trials": 4}, "test"
    ).model_dump()
    tree["optimize"]["space"]["lr"]["start"] = [0.02, 0.05]
    settings = Settings.model_validate(tree)
    trials = run(tmp_path / "a.journal", settings).trials
    assert [trial.values["model.lr"] for trial in trials[:2]] == [0.02, 0.05]
    assert trials[0].values["model.batch_size"] == 32
    assert len({trial.values["model.lr"] for trial in trials}) == 4
    random = replace_settings(settings, {"optimize.sampler": "random"}, "test")
    assert run(tmp_path / "b.journal", random).trials[0].values["model.lr"] != 0.02


def test_importances_need_ten_complete_trials(tmp_path: Path) -> None:
    assert run(tmp_path / "a.journal").importances == {}
    result = run(tmp_path / "b.journal", replace_settings(SETTINGS, {"optimize.pruner": "none"}, "test"))
    assert math.isclose(sum(result.importances.values()), 1)


def test_search_whose_trials_are_all_pruned_completes_the_best_one(tmp_path: Path) -> None:
    halving = {"optimize.pruner": "halving", "optimize.reduction_factor": 4, "optimize.trials": 3}
    result = run(tmp_path / "a.journal", replace_settings(SETTINGS, halving, "test"))
    assert [trial.state for trial in result.trials] == ["pruned"] * 3 + ["complete"]
    first = max(result.trials[:3], key=lambda trial: trial.curve[0])
    assert result.best.values == first.values


def test_bad_trials_are_pruned(tmp_path: Path) -> None:
    result = run(tmp_path / "a.journal")
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    assert pruned
    assert all(len(trial.curve) > 1 for trial in pruned)
    assert min(len(trial.curve) for trial in pruned) < 4


def test_interrupted_study_has_the_same_result(tmp_path: Path) -> None:
    class Interrupted(BaseException):
        pass

    def interrupted(index: int, values: Values, report: Report) -> float:
        if index in stops:
            stops.remove(index)
            raise Interrupted
        return bowl(index, values, report)

    stops = [0, 2, 7]
    for _ in range(3):
        with pytest.raises(Interrupted):
            run(tmp_path / "b.journal", objective=interrupted)
    resumed = run(tmp_path / "b.journal", objective=interrupted)
    assert not stops
    assert resumed == run(tmp_path / "a.journal")


def test_finished_study_trains_nothing(tmp_path: Path) -> None:
    result = run(tmp_path / "a.journal")

    def never(*_arguments: object) -> float:
        raise AssertionError("a trial was run again")

    assert run(tmp_path / "a.journal", objective=never) == result


def test_int_range_suggests_integers(tmp_path: Path) -> None:
    tree = SETTINGS.model_dump()
    tree["optimize"]["space"] = {
        "width": {"setting": "model.options.width", "kind": "int", "low": 5, "high": 50}
    }
    settings = Settings.model_validate(tree)
    result = run(
        tmp_path / "a.journal", settings, lambda _index, values, _report: float(values["model.options.width"])
    )
    tried = [trial.values["model.options.width"] for trial in result.trials]
    assert all(isinstance(value, int) for value in tried)
    assert all(5 <= value <= 50 for value in tried)
    assert len(set(tried)) > 3


def test_failed_trials_keep_their_message(tmp_path: Path) -> None:
    def some(index: int, values: Values, report: Report) -> float:
        if index % 2:
            raise DivergedError("the loss is\nnot finite")
        return bowl(index, values, report)

    result = run(tmp_path / "a.journal", objective=some)
    failed = result.trials[1::2]
    assert {trial.state for trial in failed} == {"failed"}
    assert {(trial.value, trial.failure) for trial in failed} == {
        (None, Failure("DivergedError", "the loss is not finite"))
    }


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            DivergedError("the loss is nan"),
            "all 12 trials diverged; the learning rate is the likely cause: lower it in optimize.space.lr (0.001 to 0.1)",
        ),
        (
            NotLearningError("it learns nothing"),
            "all 12 trials learned nothing; the learning rate is the likely cause: raise or lower it tenfold in optimize.space",
        ),
        (
            SettingsError("params.yaml: transformation.size = 8 is too small for resnet18"),
            "all 12 trials failed; the first message: params.yaml: transformation.size = 8 is too small for resnet18",
        ),
    ],
)
def test_search_whose_trials_all_fail_names_the_cause_in_one_line(
    tmp_path: Path, error: Exception, message: str
) -> None:
    def fail(*_arguments: object) -> float:
        raise error

    with pytest.raises(SearchFailedError) as raised:
        run(tmp_path / "b.journal", objective=fail)
    assert str(raised.value).startswith(message)


def test_divergence_without_a_searched_learning_rate_shows_the_first_message(tmp_path: Path) -> None:
    tree = SETTINGS.model_dump()
    del tree["optimize"]["space"]["lr"]

    def diverge(*_arguments: object) -> float:
        raise DivergedError("the loss is nan. Lower model.lr (now 9)")

    with pytest.raises(SearchFailedError, match=r"all 12 trials diverged; the first message: .*now 9"):
        run(tmp_path / "a.journal", Settings.model_validate(tree), diverge)


def test_random_search_is_reproducible(tmp_path: Path) -> None:
    settings = replace_settings(SETTINGS, {"optimize.sampler": "random", "optimize.trials": 6}, "test")
    result = run(tmp_path / "a.journal", settings)
    assert len({tuple(trial.values.values()) for trial in result.trials}) == 6
    assert run(tmp_path / "b.journal", settings) == result


def test_interrupted_hyperband_has_the_same_result(tmp_path: Path) -> None:
    settings = replace_settings(
        SETTINGS,
        {"optimize.pruner": "hyperband", "optimize.reduction_factor": 2, "optimize.trials": 20},
        "test",
    )
    stops = [5, 6]

    def interrupted(index: int, values: Values, report: Report) -> float:
        report(1, -9.0)
        if index in stops:
            stops.remove(index)
            raise KeyboardInterrupt
        return bowl(index, values, lambda epoch, value: report(epoch + 1, value) if epoch < 4 else None)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "a.journal", settings, interrupted)
    resumed = run(tmp_path / "a.journal", settings, interrupted)
    assert resumed == run(tmp_path / "b.journal", settings, interrupted)
    assert {len(trial.curve) for trial in resumed.trials} == {1, 2, 4}


def test_bug_in_the_objective_raises(tmp_path: Path) -> None:
    def mistaken(*_arguments: object) -> float:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run(tmp_path / "a.journal", objective=mistaken)


def test_study_of_another_process_raises(tmp_path: Path) -> None:
    with StudyStorage(tmp_path / "a.journal").lock(), pytest.raises(StudyError, match=r"a\.journal"):
        run(tmp_path / "a.journal")


def test_second_claim_of_a_trial_is_refused(tmp_path: Path) -> None:
    storage, proposed = (
        StudyStorage(tmp_path / "unused", f"sqlite:///{tmp_path}/study.db"),
        History(plan_search(SETTINGS, "test")).propose(0),
    )
    first, second = Ledger("test", storage), Ledger("test", storage)
    assert first.claim(proposed) is not None
    assert second.claim(proposed) is None
    assert [trial.number for trial in first.active()] == [0]


# Rounds


ROUNDS = replace_settings(
    SETTINGS, {"optimize.trials_per_round": 4, "optimize.pruner": "halving", "optimize.trials": 14}, "test"
)


def test_trials_of_a_round_know_only_earlier_rounds(tmp_path: Path) -> None:
    """A round whose trials end in another order, or are interrupted, has the same trials."""

    class Backwards(LocalEngine):
        def stream(self, function, pieces, resources=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            return super().stream(function, list(pieces)[::-1], resources)

    expected = run(tmp_path / "a.journal", ROUNDS)
    assert len({tuple(trial.values.values()) for trial in expected.trials}) == 14
    assert run_on(Backwards(), StudyStorage(tmp_path / "b.journal"), ROUNDS) == expected
    assert run(tmp_path / "c.journal").trials != expected.trials


def test_interrupted_round_has_the_same_result(tmp_path: Path) -> None:
    def interrupted(index: int, values: Values, report: Report) -> float:
        if index in stops:
            stops.remove(index)
            report(1, 0.0)
            raise KeyboardInterrupt
        return bowl(index, values, report)

    stops = [1, 6, 7, 13]
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "b.journal", ROUNDS, interrupted)
    assert run(tmp_path / "b.journal", ROUNDS, interrupted) == run(tmp_path / "a.journal", ROUNDS)
    assert not stops


def test_epochs_are_in_the_storage_while_a_trial_runs(tmp_path: Path) -> None:
    def look(index: int, values: Values, report: Report) -> float:
        report(1, 0.5)
        (own,) = [trial for trial in Ledger("test", other).active() if trial.user_attrs["index"] == index]
        assert own.intermediate_values == {1: 0.5}
        assert own.params == values
        return 0.5

    # A journal would take the trial for an interrupted one.
    other = StudyStorage(tmp_path / "unused", f"sqlite:///{tmp_path}/study.db")
    settings = replace_settings(SETTINGS, {"optimize.trials": 2, "optimize.pruner": "none"}, "test")
    assert run_on(LocalEngine(), other, settings, look).best_value == 0.5


def test_machines_that_share_a_database_divide_the_trials(tmp_path: Path) -> None:
    storage, started = StudyStorage(tmp_path / "unused", f"sqlite:///{tmp_path}/study.db"), list[int]()

    def count(index: int, values: Values, report: Report) -> float:
        started.append(index)
        return bowl(index, values, report)

    # SQLite's tables are made by the first one.
    Ledger("test", storage)
    with ThreadPoolExecutor(2) as machines:
        first, second = machines.map(lambda _: run_on(LocalEngine(), storage, ROUNDS, count), range(2))
    assert first == second == run(tmp_path / "a.journal", ROUNDS)
    assert sorted(started) == list(range(len(first.trials)))


# Several workers


def slow_bowl(index: int, values: Values, report: Report) -> float:
    # The trials of a round end in another order than they start.
    time.sleep(0.05 * (4 - index % 4))
    return bowl(index, values, report)


def kill_worker(index: int, values: Values, report: Report) -> float:
    if index == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return bowl(index, values, report)


def raise_bug(*_arguments: object) -> float:
    raise ValueError("no such option")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["journal", "database"])
def test_study_is_the_same_for_any_number_of_workers(kind: str, tmp_path: Path) -> None:
    expected = run(tmp_path / "a.journal", ROUNDS)
    for workers in (2, 4):
        address = f"sqlite:///{tmp_path}/{workers}.db" if kind == "database" else None
        with open_processes(workers) as engine:
            storage = StudyStorage(tmp_path / f"{workers}.journal", address)
            assert run_on(engine, storage, ROUNDS, slow_bowl) == expected


@pytest.mark.slow
def test_study_resumes_after_a_worker_was_killed(tmp_path: Path) -> None:
    storage = StudyStorage(tmp_path / "a.journal")
    with open_processes(2) as engine, pytest.raises(EngineError, match=r"SIGKILL.*engine\.workers"):
        run_on(engine, storage, ROUNDS, kill_worker)
    assert run(tmp_path / "a.journal", ROUNDS) == run(tmp_path / "b.journal", ROUNDS)


@pytest.mark.slow
def test_error_of_a_worker_is_raised_with_its_traceback(tmp_path: Path) -> None:
    with open_processes(2) as engine, pytest.raises(ValueError, match="no such option") as raised:
        run_on(engine, StudyStorage(tmp_path / "a.journal"), ROUNDS, raise_bug)
    assert "in raise_bug" in str(raised.value.__cause__)


# A database


def test_study_in_a_database_has_the_same_result_and_resumes(tmp_path: Path) -> None:
    storage = StudyStorage(tmp_path / "unused", f"sqlite:///{tmp_path}/study.db")
    result = run_on(LocalEngine(), storage)
    assert result == run(tmp_path / "a.journal")
    assert run_on(LocalEngine(), storage, objective=raise_bug) == result
    storage.discard()
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://me@127.0.0.1:9/studies",
        "sqlite:////nowhere/study.db",
        "nonsense",
        "oracle://me@somewhere/studies",
    ],
)
def test_unavailable_database_is_reported_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("VISIONGATE_STORAGE_PASSWORD", "hunter2")
    with pytest.raises(StudyError, match=r"optimize\.storage") as raised:
        run_on(LocalEngine(), StudyStorage(tmp_path, address))
    assert "hunter2" not in str(raised.value)
    assert address in str(raised.value)


def test_password_in_the_settings_raises() -> None:
    with pytest.raises(SettingsError, match="VISIONGATE_STORAGE_PASSWORD") as raised:
        replace_settings(SETTINGS, {"optimize.storage": "postgresql://me:hunter2@host/db"}, "params.yaml")
    assert "hunter2" not in str(raised.value)
    replace_settings(SETTINGS, {"optimize.storage": "postgresql://me@host:5432/db"}, "params.yaml")
