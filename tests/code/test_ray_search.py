"""The search on a Ray cluster of this machine: the same study as in this process, whatever dies meanwhile."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from ray import cloudpickle

from visiongate.adapters.ray.cluster import connect
from visiongate.adapters.ray.pieces import RayEngine
from visiongate.engine.pieces import Engine, LocalEngine
from visiongate.errors import DivergedError
from visiongate.optimization.plan import plan_search
from visiongate.optimization.rounds import StudyRunner
from visiongate.optimization.storage import StudyStorage
from visiongate.optimization.trials import Objective, Report, TrialResult, read_trials
from visiongate.records.search import Values
from visiongate.settings.engine import Engine as EngineSettings
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.settings.schema import Settings
from waiting import wait_until
from workspaces import ROOT

pytestmark = pytest.mark.slow
# Workers do not see this module's file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def search_settings() -> Settings:
    changes = {"trials": 14, "epochs": 4, "startup_trials": 3, "trials_per_round": 4, "pruner": "halving"}
    return replace_settings(
        load_settings(ROOT / "params.yaml"),
        {f"optimize.{name}": value for name, value in changes.items()} | {"optimize.reduction_factor": 2},
        "test",
    )


def engine_settings(workers: int) -> EngineSettings:
    engine = search_settings().engine
    small = engine.resources.images.model_copy(update={"memory_mb": 64})
    resources = engine.resources.model_copy(update={"images": small, "trial": small})
    changes = {"kind": "ray", "address": "local", "workers": workers, "resources": resources}
    return engine.model_copy(update=changes)


def bowl(index: int, values: Values, report: Report) -> float:
    """Best where lr is 0.02, reached over four epochs; one trial diverges."""
    if index == 5:
        raise DivergedError("the loss is nan")
    value = -abs(math.log(float(values["model.lr"] or 0) / 0.02))
    for epoch in range(1, 5):
        report(epoch, value - 1 / epoch)
        # The trials of a round end in another order than they start.
        time.sleep(0.01 * (4 - index % 4))
    return value


# The epoch in which the worker of a trial ends, the first time that it runs.
DEATHS = {1: 1, 3: 3, 6: 1}


def die_once(marks: Path, index: int, values: Values, report: Report) -> float:
    def report_or_die(epoch: int, score: float) -> None:
        mark = marks / str(index)
        if DEATHS.get(index) == epoch and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        report(epoch, score)

    return bowl(index, values, report_or_die)


def run(engine: Engine, journal: Path, objective: Objective = bowl) -> list[TrialResult]:
    plan, storage = plan_search(search_settings(), "test"), StudyStorage(journal)
    runner = StudyRunner(storage, engine, engine_settings(1).resources.trial)
    with storage.lock():
        return read_trials(runner.run(plan, objective))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with connect(engine_settings(4)):
        yield


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[TrialResult]:
    trials = run(LocalEngine(), tmp_path_factory.mktemp("local") / "a.journal")
    assert {trial.state for trial in trials} == {"complete", "pruned", "failed"}
    return trials


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_study_is_that_of_one_process(tmp_path: Path, expected: list[TrialResult], workers: int) -> None:
    assert run(RayEngine(engine_settings(workers)), tmp_path / "a.journal") == expected


@pytest.mark.usefixtures("cluster")
def test_study_is_the_same_if_workers_are_killed(tmp_path: Path, expected: list[TrialResult]) -> None:
    mortal = partial(die_once, tmp_path)
    assert run(RayEngine(engine_settings(2)), tmp_path / "a.journal", mortal) == expected
    assert {path.name for path in tmp_path.glob("?")} == {"1", "3", "6"}


DRIVER = """
import sys
sys.path[:0] = [{here!r}, {tests!r}]
from pathlib import Path
from test_ray_search import connect, engine_settings, RayEngine, run
if __name__ == "__main__":
    with connect(engine_settings(2)):
        run(RayEngine(engine_settings(2)), Path({journal!r}))
"""


def test_study_is_the_same_if_the_driver_is_killed(tmp_path: Path, expected: list[TrialResult]) -> None:
    journal, script = tmp_path / "a.journal", tmp_path / "driver.py"
    here = Path(__file__).parent
    script.write_text(DRIVER.format(here=str(here), tests=str(here.parent), journal=str(journal)))
    driver = subprocess.Popen([sys.executable, str(script)], start_new_session=True)

    def has_begun() -> bool:
        assert driver.poll() is None
        # Attributes, epochs and ends of trials.
        return journal.exists() and len(journal.read_text().splitlines()) > 20

    wait_until(has_begun, 300)
    driver.kill()
    driver.wait()
    before = journal.read_text()
    assert run(LocalEngine(), journal) == expected
    assert journal.read_text().startswith(before)
