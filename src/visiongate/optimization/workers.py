"""Run a study in this process, or in several processes that share the cores."""

from collections.abc import Callable

import torch
from optuna import Study
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from visiongate.optimization.progress import SearchProgress
from visiongate.optimization.storage import StudyError, StudyStorage
from visiongate.optimization.study import (
    Objective,
    StudyPlan,
    fail_interrupted,
    open_study,
    read_trials,
    run_trials,
)

# Between two looks at the progress of the workers.
POLL_SECONDS = 1.0


def run_study(plan: StudyPlan, storage: StudyStorage, objective: Objective, workers: int) -> Study:
    """Run the trials that have not finished, show the progress, and return the study.

    Args:
        plan: The study.
        storage: Its storage; a journal must be locked.
        objective: Trains a trial. Several workers require one that can be pickled.
        workers: Processes. One worker runs in this process.

    Raises:
        StudyError: The storage is unavailable, or a worker failed or was killed.
    """
    study = open_study(plan, storage)
    # In a database, they may be running on another machine; its heartbeat shows whether they are.
    if storage.address is None:
        fail_interrupted(study)
    with SearchProgress(plan.title, plan.trials, plan.optimize.metric) as progress:
        progress.resume(read_trials(study))
        if workers == 1:
            run_trials(plan, storage, objective, progress.show)
        else:
            _run_processes(plan, storage, objective, workers, lambda: progress.show(read_trials(study)))
    return study


def _run_processes(
    plan: StudyPlan, storage: StudyStorage, objective: Objective, workers: int, show: Callable[[], None]
) -> None:
    """Run several workers. If one fails, PyTorch terminates the others; if this process dies, the workers end, too."""
    threads = max(1, torch.get_num_threads() // workers)
    try:
        processes = spawn(_run_worker, (plan, storage, objective, threads), nprocs=workers, join=False)
        while not processes.join(timeout=POLL_SECONDS):
            show()
        show()
    except ProcessRaisedException as error:
        # The message ends with the traceback of the worker.
        cause = str(error).strip().splitlines()[-1]
        raise StudyError(f"a worker failed: {cause}; fix it and run the stage again to resume") from error
    except ProcessExitedException as error:
        raise StudyError(
            f"a worker was killed ({error.signal_name or error.exit_code}); if memory ran out, lower optimize.workers; run the "
            "stage again to resume"
        ) from None


def _run_worker(
    _rank: int, plan: StudyPlan, storage: StudyStorage, objective: Objective, threads: int
) -> None:
    torch.set_num_threads(threads)
    run_trials(plan, storage, objective)
