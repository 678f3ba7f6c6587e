"""The experiment that a user selects, for ``visiongate adopt`` and ``visiongate branch``."""

import logging
import textwrap
from dataclasses import dataclass
from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import SHORT_COMMIT, Repository
from visiongate.commands.experiments import Query, collect, open_reader
from visiongate.experiments.listing import Experiment
from visiongate.experiments.lookup import ExperimentNotFoundError, find_experiment

BEST = "best"
MAX_WIDTH = 124
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Selection:
    """A selected experiment: its name or commit, or ``best`` by a metric."""

    source: str
    metric: str


def find_selected(selection: Selection, directory: Path) -> Experiment:
    """Return the selected experiment; ``best`` is one of those that start from HEAD.

    Raises:
        ExperimentNotFoundError: There is no such experiment.
        VisiongateError: As `collect`.
    """
    if selection.source != BEST:
        return find_experiment(Repository(directory), selection.source)
    best = collect(Query(selection.metric), directory).ranking.best
    if best is None:
        raise ExperimentNotFoundError(f"no experiment has {selection.metric}")
    if best.passed is False:
        logger.warning("The gate of the best experiment, %s, FAILED", best.experiment.name)
    return best.experiment


def describe(experiment: Experiment, metric: str, recipe: str) -> str:
    """Return the comment of a recipe: cost, score, origin and command."""
    lines = textwrap.wrap(
        f"Cost: {_format_cost(experiment)}. Score: {_format_score(experiment, metric)}.", MAX_WIDTH
    )
    lines.append(f"From experiment {experiment.name} on commit {experiment.baseline[:SHORT_COMMIT]}.")
    lines.append(f"  dvc exp run -S experiment={recipe}")
    return "".join(f"# {line}\n" for line in lines)


def _format_cost(experiment: Experiment) -> str:
    metrics = experiment.metrics
    epochs = metrics.get(f"{paths.TRAINING_SUMMARY.stem}.epochs", metrics.get("epochs"))
    if epochs is None or "parameters" not in metrics:
        return "not recorded"
    return f"{epochs:.0f} epochs of {metrics['parameters']:,.0f} parameters"


def _format_score(experiment: Experiment, metric: str) -> str:
    value = experiment.metrics.get(metric)
    if value is None:
        return f"{metric} is unknown"
    interval = open_reader(Path.cwd()).read_intervals(experiment).get(metric)
    bounds = "" if interval is None else f" ({interval.low:.4f} to {interval.high:.4f})"
    images = experiment.metrics.get("images")
    return f"{metric} {value:.4f}{bounds}" + ("" if images is None else f", {images:.0f} test images")
