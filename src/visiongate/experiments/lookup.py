"""Find an experiment by its name or commit."""

from visiongate.adapters.git import SHORT_COMMIT, Repository
from visiongate.errors import VisiongateError
from visiongate.experiments.listing import Experiment, list_experiments


class ExperimentNotFoundError(VisiongateError):
    """There is no such experiment, it has not finished, or the name is ambiguous."""


def find_experiment(repository: Repository, name: str) -> Experiment:
    """Return a finished experiment. Those that start from HEAD take precedence.

    Args:
        repository: The repository.
        name: The experiment's name, or at least seven digits of its commit.

    Raises:
        ExperimentNotFoundError: There is no such experiment, it has not finished, or experiments of several other commits
            have the name.
    """
    head = repository.commit("HEAD")
    matching = [
        each
        for each in repository.experiments()
        if name == each.name or (len(name) >= SHORT_COMMIT and each.rev.startswith(name))
    ]
    candidates = [each for each in matching if each.baseline == head] or matching
    if not candidates:
        raise ExperimentNotFoundError(
            f"{name}: no such finished experiment; `visiongate experiments --all` lists them"
        )
    if len(candidates) > 1:
        revisions = ", ".join(each.rev[:SHORT_COMMIT] for each in candidates)
        raise ExperimentNotFoundError(f"{name}: ambiguous; use the commit of one: {revisions}")
    (reference,) = candidates
    (baseline,) = list_experiments(repository.directory, [reference.baseline])
    return next(each for each in baseline.experiments if each.rev == reference.rev)
