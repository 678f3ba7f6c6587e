"""The first and the last step of a run, which are the same as tasks of Airflow and in pods. Needs no Airflow."""

import logging
from collections.abc import Mapping, Sequence

from visiongate_dags.clone import (
    Clone,
    keep_settings,
    make_clone,
    record_success,
    remove_old_clones,
    run_stages,
)
from visiongate_dags.feedback import collect_labels
from visiongate_dags.proposals import propose
from visiongate_dags.results import Values, read_registration

# Stages that may have to run although DVC sees no change.
FETCHES, REGISTERS = "ingestion", "register"

logger = logging.getLogger(__name__)


def prepare(
    clone: Clone,
    data: str | None,
    overrides: Sequence[str],
    keep_runs: int,
    feedback: Mapping[str, str] | None = None,
) -> str:
    """Make the clone of the run with its settings, remove old ones, and return the commit that the run works on.

    Args:
        clone: The clone to make.
        data: As in `make_clone`.
        overrides: As in `make_clone`.
        keep_runs: Number of the latest clones to keep.
        feedback: The prediction log whose labels to collect; None to collect none.

    Raises:
        RunError: As `make_clone`, `collect_labels` and `remove_old_clones`.
        TemporaryError: A process was killed.
    """
    make_clone(clone, data, overrides)
    if feedback is not None:
        collect_labels(clone, feedback)
    commit = clone.git("rev-parse", "HEAD")
    for name in remove_old_clones(clone.folder.parent, keep_runs):
        logger.info("Removed the clone of an earlier run, %s", name)
    logger.info("The run works in %s on commit %s", clone.folder, commit)
    return commit


def register(clone: Clone, stages: Sequence[str], base: str, commit: str) -> Values:
    """Compare the model with the champion of this moment, register it, and propose it if it is promoted.

    Args:
        clone: The clone of the run.
        stages: The stages to run.
        base: The commit of the repository.
        commit: The commit with the run's settings.

    Raises:
        RunError: A stage or git failed.
        TemporaryError: A stage was killed, or lost its network.
    """
    if commit != base:
        keep_settings(clone)
    run_stages(clone, stages, {REGISTERS})
    made = read_registration(clone)
    made |= propose(clone, made, base)
    record_success(clone)
    return made
