"""Which trials of a study have finished, and which this process runs, as its storage has it.

Several machines may share a study in a database. A trial belongs to the one that wrote it first. While its process lives, it
sends heartbeats; a trial without them is run again.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import optuna
from optuna import Study
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from visiongate.optimization.storage import HEARTBEAT_SECONDS, StudyStorage
from visiongate.optimization.trials import INDEX, index_of

logger = logging.getLogger(__name__)

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
ACTIVE = (*FINISHED, TrialState.RUNNING)


class Ledger:
    """The trials of a study in its storage; it is created if it does not exist.

    Args:
        name: The study's name.
        storage: A journal must be locked.

    Raises:
        StudyError: The storage is unavailable.
    """

    def __init__(self, name: str, storage: StudyStorage) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._records = storage.open()
        self.study: Study = optuna.create_study(
            storage=self._records,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.NopPruner(),
        )
        self._study_id = self._records.get_study_id_from_name(name)
        self._own: set[int] = set()
        # In a database, they may be running on another machine.
        if storage.address is None:
            self._fail_running()

    def claim(self, trial: FrozenTrial) -> int | None:
        """Start a trial, as `History.propose` returns it; return its id, None if another machine was faster."""
        trial_id = self._records.create_new_trial(self._study_id, trial)
        self._own.add(trial_id)
        self._send_heartbeats()
        number, index = self._records.get_trial_number_from_id(trial_id), index_of(trial)
        if any(other.number < number for other in self.active() if index_of(other) == index):
            self._own.remove(trial_id)
            self._records.set_trial_state_values(trial_id, TrialState.FAIL)
            return None
        return trial_id

    def active(self) -> list[FrozenTrial]:
        """Return the trials that have finished or are running."""
        trials = self.study.get_trials(deepcopy=False, states=ACTIVE)
        return [trial for trial in trials if INDEX in trial.user_attrs]

    def finished(self) -> dict[int, FrozenTrial]:
        """Return the finished trials by index."""
        return {index_of(trial): trial for trial in self.active() if trial.state in FINISHED}

    def release(self) -> None:
        """Send no more heartbeats of the trials that this process has claimed, because all have finished."""
        self._own.clear()

    def taken(self) -> set[int]:
        """Return the indices of the trials that have finished or are running, without those of machines that were lost."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(self.study)
        return {index_of(trial) for trial in self.active()}

    @contextmanager
    def heartbeats(self) -> Iterator[None]:
        """Tell the other machines within the block that this process lives; a journal has none."""
        done = Event()

        def beat() -> None:
            while not done.wait(HEARTBEAT_SECONDS):
                self._send_heartbeats()

        thread = Thread(target=beat, daemon=True)
        if isinstance(self._records, RDBStorage):
            thread.start()
        try:
            yield
        finally:
            done.set()

    def _send_heartbeats(self) -> None:
        if not isinstance(self._records, RDBStorage):
            return
        try:
            for trial_id in tuple(self._own):
                self._records.record_heartbeat(trial_id)
        except SQLAlchemyError as error:
            logger.warning("optimize.storage: no heartbeat could be sent: %s", " ".join(str(error).split()))

    def _fail_running(self) -> None:
        """Mark the trials of an interrupted process."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)
