"""The experiment that FROM names, for ``make adopt`` and ``make branch``."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import SHORT_COMMIT, Repository
from visiongate.commands.experiments import PLACES, Question, survey
from visiongate.experiments.cached_outputs import Cache
from visiongate.experiments.evidence import Evidence
from visiongate.experiments.listing import Experiment
from visiongate.experiments.lookup import NoExperimentError, find_experiment

BEST = "best"
WIDTH = 124  # characters of a comment


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asks for."""

    source: str  # an experiment's name or commit, or `BEST`
    metric: str


def find_wanted(wanted: Wanted, directory: Path) -> Experiment:
    """Find the experiment, or the best of those that start from HEAD.

    Raises:
        NoExperimentError: There is none.
        VisiongateError: As `survey`.
    """
    if not wanted.source:
        raise NoExperimentError("FROM names no experiment: give one of `make experiments`, or FROM=best")
    if wanted.source != BEST:
        return find_experiment(Repository(directory), wanted.source)
    best = survey(Question(wanted.metric), directory).ranking.best
    if best is None:
        raise NoExperimentError(f"no experiment has {wanted.metric}")
    return best.experiment


def describe(experiment: Experiment, metric: str, recipe: str) -> str:
    """Write the comment that a recipe opens with: what it costs, what it reached, where it comes from, how to run it."""
    lines = textwrap.wrap(f"Cost: {_cost(experiment)}. Score: {_score(experiment, metric)}.", WIDTH)
    lines.append(
        f"From experiment {experiment.name}, which started from commit {experiment.baseline[:SHORT_COMMIT]}."
    )
    lines.append(f"  dvc exp run -S experiment={recipe}")
    return "".join(f"# {line}\n" for line in lines)


def _cost(experiment: Experiment) -> str:
    """Say what training took, as far as it was recorded: an experiment keeps no times."""
    known = experiment.metrics
    epochs = known.get(f"{paths.TRAINING_SUMMARY.stem}.epochs", known.get("epochs"))
    if epochs is None or "parameters" not in known:
        return "not recorded"
    return f"{epochs:.0f} epochs of {known['parameters']:,.0f} parameters"


def _score(experiment: Experiment, metric: str) -> str:
    value = experiment.metrics.get(metric)
    if value is None:
        return f"{metric} is not known"
    directory = Path.cwd()
    evidence = Evidence(Repository(directory), Cache.of(directory), PLACES)
    interval = evidence.intervals(experiment).get(metric)
    shown = "" if interval is None else f" ({interval.low:.4f} to {interval.high:.4f})"
    images = experiment.metrics.get("images")
    return f"{metric} {value:.4f}{shown}" + ("" if images is None else f", {images:.0f} test images")
