"""The engine on which a search runs its trials, and the threads of a trial."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from visiongate.engine.pieces import open_engine
from visiongate.engine.processes import open_processes
from visiongate.optimization.rounds import StudyRunner
from visiongate.optimization.storage import StudyStorage
from visiongate.settings.engine import Resources
from visiongate.settings.schema import Settings

logger = logging.getLogger(__name__)

# Up to this image size, a second thread costs more than it computes: beside other processes, a step took twice as long with it.
SMALL_SIZE = 16


@contextmanager
def open_runner(settings: Settings, storage: StudyStorage) -> Iterator[StudyRunner]:
    """Provide what runs the trials of the settings within the block: this process, several processes, or a Ray cluster.

    Args:
        settings: The sections ``engine`` and ``optimize``.
        storage: A journal is locked within the block.

    Raises:
        StudyError: Another process has locked the journal.
        EngineError: The engine cannot be reached.
    """
    engine, workers = settings.engine, settings.engine.workers or 1
    trials = settings.optimize.trials_per_round
    if trials < workers or (trials == 1 and engine.kind == "ray"):
        logger.warning(
            "optimize.trials_per_round = %d: no more trials run at the same time; raise it to use all workers",
            trials,
        )
    is_alone = engine.kind == "ray" or workers == 1
    with storage.lock(), open_engine(engine) if is_alone else open_processes(workers) as opened:
        yield StudyRunner(storage, opened, trial_resources(settings))


def trial_resources(settings: Settings) -> Resources:
    """Return what a cluster reserves for a trial: a core for each thread that ``optimize.threads`` asks for."""
    resources = settings.engine.resources.trial
    return resources.model_copy(update={"cpus": max(resources.cpus, settings.optimize.threads or 0)})


def trial_threads(settings: Settings, size: int) -> int:
    """Return the threads of a trial, which must not depend on the number of workers: its last bits depend on the threads.

    Args:
        settings: The sections ``engine`` and ``optimize``.
        size: Of the images in pixels.
    """
    if settings.optimize.threads is not None:
        return settings.optimize.threads
    if size <= SMALL_SIZE:
        return 1
    if settings.engine.kind == "ray":
        return math.ceil(settings.engine.resources.trial.cpus)
    return torch.get_num_threads()
