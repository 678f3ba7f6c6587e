"""Optimize: search for better settings. A leaf of the line: it proposes, and overwrites nothing that the user asked for."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import yaml

from visiongate import paths
from visiongate.config import Settings
from visiongate.files import sha256_of, write_csv, write_json, write_text
from visiongate.search.study import Report, SearchResult, Values, search
from visiongate.tracking.runs import Run, open_run
from visiongate.training.hardware import repeatable
from visiongate.training.loop import Epoch, Listeners, fit
from visiongate.training.session import prepare_task

SOURCE = Path(__file__).parent.parent
JOURNALS = Path("mlruns/optuna")  # until the study ends; its outcome is what DVC tracks


def run(settings: Settings) -> None:
    """Write the study's trials and its best settings to ``reports/optimize``."""
    name = _fingerprint(settings)
    journal = JOURNALS / f"{name}.journal"
    params = {"optimize": settings.optimize.model_dump()}
    with open_run(settings.tracking, f"optimize {settings.model.name}", params, {}) as parent:

        def objective(place: int, values: Values, report: Report) -> float:
            return _train(settings, place, values, report, parent)

        found = search(settings, journal, name, objective)
        parent.log_metrics({"best_value": found.best_value}, 0)
        _write(found)
        parent.log_artifacts([paths.OPTIMIZE])
    journal.unlink()
    print(_verdict(found, settings.optimize.metric))


def _train(settings: Settings, place: int, values: Values, report: Report, parent: Run) -> float:
    """Train with a trial's values and return the metric at the best epoch; losses negated, so that more is better."""
    metric = settings.optimize.metric
    tried = settings.with_values({**values, "training.epochs": settings.optimize.epochs}, f"trial {place}")
    with (
        repeatable(tried.training.seed),
        open_run(settings.tracking, f"trial {place}", values, {}, parent=parent) as tracked,
    ):
        task = prepare_task(paths.TRANSFORMED, tried.network, tried.training)

        def on_epoch(epoch: Epoch, _images_per_second: float) -> None:
            tracked.log_metrics(epoch.metrics(), epoch.epoch)
            report(epoch.epoch, epoch.score(metric))

        return fit(task, tried.network, tried.training, Listeners(on_epoch)).best.score(metric)


def _fingerprint(settings: Settings) -> str:
    """Name the study by everything that a trial's value depends on, so that no journal of another is taken up."""
    sections = settings.model_dump(include={"model", "training", "optimize"})
    data = [sha256_of(paths.TRANSFORMED / name) for name in ("manifest.parquet", "transform.json")]
    return hashlib.sha256(json.dumps([sections, data, list(_code_hashes())]).encode()).hexdigest()[:16]


def _code_hashes() -> Iterable[str]:
    for package in ("models", "training", "search"):
        for file in sorted((SOURCE / package).rglob("*.py")):
            yield sha256_of(file)


def _write(found: SearchResult) -> None:
    write_text(paths.OPTIMIZE / "best_params.yaml", yaml.safe_dump(found.best.values, sort_keys=True))
    rows, best = [], float("-inf")
    for trial in found.trials:
        best = max(best, trial.value or best) if trial.state == "complete" else best
        rows.append(
            {
                "trial": trial.trial,
                "state": trial.state,
                "value": trial.value,
                "best": best,
                "epochs": len(trial.curve),
            }
            | trial.values
        )
    write_csv(paths.OPTIMIZE / "trials.csv", rows, list(rows[0]))
    curves = (
        {"trial": trial.trial, "epoch": epoch, "value": value}
        for trial in found.trials
        for epoch, value in enumerate(trial.curve, start=1)
    )
    write_csv(paths.OPTIMIZE / "curves.csv", curves, ["trial", "epoch", "value"])
    importances = ({"setting": key, "importance": value} for key, value in found.importances.items())
    write_csv(paths.OPTIMIZE / "importance.csv", importances, ["setting", "importance"])
    write_json(paths.OPTIMIZE_SUMMARY, _summarise(found))


def _summarise(found: SearchResult) -> dict[str, float | None]:
    return {
        "trials": len(found.trials),
        "pruned": sum(trial.state == "pruned" for trial in found.trials),
        "best_trial": found.best.trial,
        "best_value": found.best_value,
        "current_value": found.trials[0].value,
    }


def _verdict(found: SearchResult, metric: str) -> str:
    pruned = sum(trial.state == "pruned" for trial in found.trials)
    head = f"{len(found.trials)} trials, {pruned} pruned; {metric} {found.best_value:.4f} at best"
    if found.best.trial == 0:
        return f"{head}, with the current settings, which no trial beats"
    current = found.trials[0].value
    overrides = " ".join(f"-S {key}={_shorten(value)}" for key, value in found.best.values.items())
    return (
        f"{head}, {'none' if current is None else f'{current:.4f}'} with the current settings; "
        f"to try it: dvc exp run {overrides}"
    )


def _shorten(value: object) -> object:
    """Round what a search drew to the digits that matter; ``best_params.yaml`` has them all."""
    return f"{value:.4g}" if isinstance(value, float) else value
