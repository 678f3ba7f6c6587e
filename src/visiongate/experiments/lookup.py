"""The experiment that a person names."""

from collections.abc import Sequence

from visiongate.adapters.git import SHORT_COMMIT, ExperimentReference, Repository
from visiongate.errors import VisiongateError
from visiongate.experiments.listing import Experiment, list_experiments


class NoExperimentError(VisiongateError):
    """There is no such experiment, it has not run, or there are several."""


def find_experiment(repository: Repository, name: str) -> Experiment:
    """Find an experiment that has run, by its name or its commit; one that starts from HEAD before those that do not.

    Raises:
        NoExperimentError: There is none, several start from other commits, or it is still to run or has failed.
    """
    head = repository.commit("HEAD")
    found = [each for each in repository.experiments() if _is_meant(each, name)]
    near = [each for each in found if each.baseline == head] or found
    if not near:
        raise NoExperimentError(f"FROM={name}: {_explain(repository, head, name)}")
    if len(near) > 1:
        listed = ", ".join(f"{each.rev[:SHORT_COMMIT]} from {each.baseline[:SHORT_COMMIT]}" for each in near)
        raise NoExperimentError(
            f"FROM={name}: several experiments have this name; name the commit of one: {listed}"
        )
    (reference,) = near
    (baseline,) = list_experiments(repository.directory, [reference.baseline])
    return next(each for each in baseline.experiments if each.rev == reference.rev)


def _is_meant(reference: ExperimentReference, name: str) -> bool:
    return name == reference.name or (len(name) >= SHORT_COMMIT and reference.rev.startswith(name))


def _explain(repository: Repository, head: str, name: str) -> str:
    (baseline,) = list_experiments(repository.directory, [head])
    states = {experiment.name: experiment.state for experiment in baseline.experiments}
    if name in states:
        return f"this experiment is {states[name]}: there is nothing to take from it"
    return f"no such experiment; {_name_some(sorted(states))}"


def _name_some(names: Sequence[str]) -> str:
    return (
        f"there are {', '.join(names)}"
        if names
        else "none starts from this commit; `make experiments ALL=1` lists all"
    )
