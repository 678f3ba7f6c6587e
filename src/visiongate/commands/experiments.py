"""``visiongate experiments``: a table of the experiments, and a page with plots."""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visiongate import paths
from visiongate.adapters.git import Repository
from visiongate.experiments.cached_outputs import Cache
from visiongate.experiments.evidence import Evidence, Places
from visiongate.experiments.figures import CURVES
from visiongate.experiments.listing import Experiment, list_experiments
from visiongate.experiments.page import Trials, render_experiments
from visiongate.experiments.queue import last_lines
from visiongate.experiments.ranking import Ranking, lay_out_ranking, rank
from visiongate.experiments.significance import Contest, hold_contest, with_metric
from visiongate.records.files import write_text
from visiongate.settings.loading import load_settings

METRIC = "accuracy"
PAGE = paths.EXPERIMENTS / "index.html"
PLACES = Places(
    gate=paths.GATE,
    intervals=paths.EVALUATION / "intervals.json",
    history=paths.HISTORY,
    predictions=paths.EVALUATION / "predictions.parquet",
    manifest=paths.TRANSFORMED / "manifest.parquet",
    transform=paths.TRANSFORMED / "transform.json",
)
SAID = 2  # lines of what a failed experiment said last


def run(metric: str, rev: str, *, everywhere: bool, as_json: bool) -> int:
    """Print the table, or JSON, and write the page.

    Raises:
        VisiongateError: As `survey`.
    """
    question = Question(metric, rev, everywhere)
    if as_json:
        print(json.dumps(to_json(survey(question, Path.cwd())), indent=2))
    else:
        show(question, Path.cwd())
    return 0


def to_json(trials: Trials) -> dict[str, Any]:
    """Return the ranking as plain values."""
    rows = [
        {"name": row.experiment.name, "value": row.value, "changes": dict(row.changes)}
        for row in trials.ranking.rows
    ]
    return {"metric": trials.ranking.metric, "experiments": rows, "comparison": str(trials.contest)}


@dataclass(frozen=True, slots=True)
class Question:
    """Which experiments, and by what."""

    metric: str = METRIC
    revision: str = "HEAD"  # that they start from
    everywhere: bool = False  # whatever they start from


def survey(question: Question, directory: Path) -> Trials:
    """Read, rank and compare the experiments of a repository.

    Raises:
        GitError: There is no such commit.
        RankingError: Nothing has run, or nothing has the metric.
        DvcError: DVC failed.
    """
    repository = Repository(directory)
    base = repository.commit(question.revision)
    commits = {
        base: None,
        **{each.baseline: None for each in repository.experiments() if question.everywhere},
    }
    found = {each.commit.rev: each for each in list_experiments(directory, list(commits))}
    experiments = [experiment for baseline in found.values() for experiment in baseline.experiments]
    evidence = Evidence(repository, Cache.of(directory), PLACES)
    done = [experiment for experiment in experiments if experiment.state == "done"]
    ranking = rank(question.metric, found[base].commit, done, evidence)
    unfinished = [experiment for experiment in experiments if experiment.state != "done"]
    failed = {
        experiment.name: _last_words(experiment) for experiment in unfinished if experiment.state == "failed"
    }
    column, curves = _curves(ranking, evidence)
    return Trials(ranking, _contest(ranking, evidence), column, curves, unfinished, failed)


def _last_words(experiment: Experiment) -> list[str]:
    known = experiment.log is not None and experiment.log.exists()
    return (
        last_lines(experiment.log.read_text(encoding="utf-8", errors="replace"))
        if known and experiment.log
        else []
    )


def _contest(ranking: Ranking, evidence: Evidence) -> Contest:
    settings = load_settings()
    asked, best = with_metric(settings, ranking.metric), ranking.best
    tried = len({repr(sorted(row.changes.items())) for row in ranking.rows})  # the same again is no other try
    if best is None or asked is None:
        known = "accuracy, balanced_accuracy, f1_macro, log_loss and roc_auc"
        return Contest(
            None, tried, settings.registry.alpha, f"of the metrics, {known} have a test on paired answers"
        )
    return hold_contest(best.experiment, ranking.base.experiment, tried, evidence, asked)


def _curves(ranking: Ranking, evidence: Evidence) -> tuple[str | None, dict[str, Sequence[float]]]:
    """Read the curves of the base and of the best: of the metric where training knows it, else of the validation's."""
    columns = (ranking.metric, "val_accuracy", "val_loss")
    rows = [*ranking.rows[: CURVES - 1], ranking.base]
    found = {row.experiment.name: evidence.curve(row.experiment, columns) for row in rows}
    known = {name: curve for name, curve in found.items() if curve is not None}
    column = next((column for column in columns if any(curve[0] == column for curve in known.values())), None)
    return column, {name: curve[1] for name, curve in known.items() if curve[0] == column}


def tell(trials: Trials) -> str:
    """Lay out the table, what has not finished, and whether the best is better."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = [lay_out_ranking(trials.ranking, width), ""]
    lines += [_tell_unfinished(experiment, trials) for experiment in trials.unfinished]
    best = trials.ranking.best
    if best is not None:
        lines.append(f"Best: {best.experiment.name}. {trials.contest}")
        lines.append(f"As a recipe: visiongate adopt {best.experiment.name} --name recipe")
    return "\n".join(lines)


def _tell_unfinished(experiment: Experiment, trials: Trials) -> str:
    said = " | ".join(list(trials.words.get(experiment.name, []))[-SAID:])
    return f"{experiment.name} {'FAILED' if experiment.state == 'failed' else f'is {experiment.state}'}" + (
        f": {said}" if said else ""
    )


def show(question: Question, directory: Path) -> None:
    """Print the table, and write the page.

    Raises:
        VisiongateError: As `survey`.
    """
    trials = survey(question, directory)
    print(tell(trials))
    write_text(directory / PAGE, render_experiments(trials))
    print(f"Plots: {PAGE}")
