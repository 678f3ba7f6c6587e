"""``visiongate experiments``: a table of the experiments, and a page with plots."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visiongate import paths
from visiongate.adapters.git import Repository
from visiongate.commands.page_runs import record_pages
from visiongate.experiments.cache import Cache
from visiongate.experiments.listing import list_experiments
from visiongate.experiments.page import ExperimentReport, render_experiments
from visiongate.experiments.ranking import Ranking, format_ranking, rank_experiments
from visiongate.experiments.results import ResultPaths, ResultReader
from visiongate.experiments.significance import (
    SignificanceTest,
    compare_with_baseline,
    registry_with_metric,
)
from visiongate.records.files import write_text
from visiongate.records.metrics import PAIRED_METRICS
from visiongate.settings.loading import load_settings

PAGE = paths.EXPERIMENTS / "index.html"
RESULTS = ResultPaths(
    gate=paths.GATE,
    intervals=paths.EVALUATION / "intervals.json",
    predictions=paths.EVALUATION / "predictions.parquet",
    manifest=paths.TRANSFORMED / "manifest.parquet",
    transform=paths.TRANSFORMED / "transform.json",
)


@dataclass(frozen=True, slots=True)
class Query:
    """Which experiments to show.

    Attributes:
        metric: The metric to rank them by.
        revision: The commit that they start from.
        everywhere: Whether to include those that start from other commits.
    """

    metric: str
    revision: str = "HEAD"
    everywhere: bool = False


def run(metric: str, rev: str, *, everywhere: bool, as_json: bool) -> int:
    """Print the table, or JSON, and write the page.

    Raises:
        VisiongateError: As `collect`.
    """
    query = Query(metric, rev, everywhere)
    if as_json:
        print(json.dumps(to_json(collect(query, Path.cwd())), indent=2))
    else:
        show(query, Path.cwd())
    return 0


def show(query: Query, directory: Path) -> None:
    """Print the table and write the page.

    Raises:
        VisiongateError: As `collect`.
    """
    report = collect(query, directory)
    print(format_report(report))
    write_text(directory / PAGE, render_experiments(report))
    record_pages([paths.EXPERIMENTS.name], directory)
    print(f"Plots: {PAGE}")


def collect(query: Query, directory: Path) -> ExperimentReport:
    """Read, rank and compare the experiments of a repository.

    Raises:
        GitError: There is no such commit.
        RankingError: No experiment has finished, or none has the metric.
        DvcError: DVC failed.
    """
    repository = Repository(directory)
    base = repository.commit(query.revision)
    others = [each.baseline for each in repository.experiments() if query.everywhere]
    baselines = {
        each.commit.rev: each for each in list_experiments(directory, list(dict.fromkeys([base, *others])))
    }
    experiments = [experiment for each in baselines.values() for experiment in each.experiments]
    reader = open_reader(directory)
    done = [experiment for experiment in experiments if experiment.state == "done"]
    ranking = rank_experiments(query.metric, baselines[base].commit, done, reader)
    unfinished = [experiment for experiment in experiments if experiment.state != "done"]
    return ExperimentReport(ranking, _test_best(ranking, reader), unfinished)


def open_reader(directory: Path) -> ResultReader:
    """Return a reader of the results that the stages write."""
    return ResultReader(Repository(directory), Cache.of(directory), RESULTS)


def to_json(report: ExperimentReport) -> dict[str, Any]:
    """Return the ranking as plain values."""
    experiments = [
        {"name": each.experiment.name, "value": each.value, "changes": dict(each.changes)}
        for each in report.ranking.experiments
    ]
    return {
        "metric": report.ranking.metric,
        "experiments": experiments,
        "better": report.significance.better,
        "comparison": str(report.significance),
    }


def format_report(report: ExperimentReport) -> str:
    """Return the table, the unfinished experiments, and whether the best one is better than the baseline."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = [format_ranking(report.ranking, width), ""]
    lines += [f"{each.name}: {each.state}" for each in report.unfinished]
    best = report.ranking.best
    if best is not None:
        lines.append(f"{report.ranking.headline(best)} {report.significance}")
        if report.advised:
            lines.append(f"To keep its settings: visiongate adopt {best.experiment.name} --name NAME")
    return "\n".join(lines)


def _test_best(ranking: Ranking, reader: ResultReader) -> SignificanceTest:
    settings = load_settings()
    registry, best = registry_with_metric(settings, ranking.metric), ranking.best
    if best is None or registry is None:
        reason = f"the metric has no paired test; use one of {', '.join(PAIRED_METRICS)}"
        return SignificanceTest(None, ranking.tried, settings.registry.alpha, reason)
    return compare_with_baseline(
        best.experiment, ranking.baseline.experiment, ranking.tried, reader, registry
    )
