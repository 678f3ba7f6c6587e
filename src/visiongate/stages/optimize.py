"""Optimize: search for better settings. A leaf of the line: it proposes, and overwrites nothing that the user asked for."""

import hashlib
import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from visiongate import paths
from visiongate.config import Settings
from visiongate.files import sha256_of, write_csv, write_json, write_text
from visiongate.search.space import Values, override
from visiongate.search.storage import Place
from visiongate.search.study import Plan, Report, SearchResult, plan_search, read_trials, summarise
from visiongate.search.verdict import Verdict, judge
from visiongate.search.workers import conduct
from visiongate.tracking.runs import open_run
from visiongate.training.hardware import repeatable
from visiongate.training.loop import Epoch, fit
from visiongate.training.session import prepare_task

SOURCE = Path(__file__).parent.parent
JOURNALS = Path("mlruns/optuna")  # until the study ends; its outcome is what DVC tracks
SHARING = {"workers", "storage"}  # of `optimize`: by whom and where, which makes no other study


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains one trial; goes to other processes by pickle."""

    settings: Settings
    title: str  # of its runs
    parent: str  # id of the run that they are nested in

    def __call__(self, place: int, values: Values, report: Report) -> float:
        """Train with a trial's values and return the metric at the best epoch."""
        metric, epochs = self.settings.optimize.metric, self.settings.optimize.epochs
        title = f"{self.title} {place}"
        tried = self.settings.with_values({**values, "training.epochs": epochs}, title)
        with (
            repeatable(tried.training.seed),
            open_run(self.settings.tracking, title, values, {}, parent_id=self.parent) as tracked,
        ):

            def on_epoch(epoch: Epoch, _images_per_second: float) -> None:
                tracked.log_metrics(asdict(epoch), epoch.epoch)
                report(epoch.epoch, signed(metric, getattr(epoch, metric)))

            task = prepare_task(paths.TRANSFORMED, tried.model, tried.training)
            return signed(metric, getattr(fit(task, tried.model, tried.training, on_epoch).best, metric))


@dataclass(frozen=True, slots=True)
class Outcome:
    """A study, and what became of its best trial on fresh seeds; None where there is nothing to confirm."""

    found: SearchResult
    verdict: Verdict | None


def signed(metric: str, value: float) -> float:
    """Turn a metric into one of which more is better, and back."""
    return -value if metric == "val_loss" else value


def run(settings: Settings) -> None:
    """Write the study's trials, its best settings and what they are worth to ``reports/optimize``."""
    name = fingerprint(settings)
    place = Place(JOURNALS / f"{name}.journal", settings.optimize.storage)
    plan = plan_search(settings, name)
    params = {"optimize": settings.optimize.model_dump()}
    with place.owned(), open_run(settings.tracking, f"optimize {settings.model.name}", params, {}) as parent:
        found = summarise(
            conduct(plan, place, Trainer(settings, "trial", parent.id), settings.optimize.workers)
        )
        outcome = Outcome(found, _confirm(settings, plan, found.best.values, place, parent.id))
        parent.log_metrics({"best_value": signed(settings.optimize.metric, found.best_value)}, 0)
        _write(settings, outcome)
        parent.log_artifacts([paths.OPTIMIZE])
        place.discard()
    print(tell(settings, outcome))


def _confirm(settings: Settings, plan: Plan, best: Values, place: Place, parent: str) -> Verdict | None:
    """Train the best values and the current ones on the same fresh seeds, unless they are the same."""
    current = plan.fixed[0]
    first = settings.training.seed + 1
    seeds = list(range(first, first + settings.optimize.confirm_seeds))
    if not seeds or best == current:
        return None
    arms = [{**values, "training.seed": seed} for seed in seeds for values in (current, best)]
    confirming = Plan(f"{plan.name}-confirm", len(arms), settings.optimize, fixed=dict(enumerate(arms)))
    study = conduct(confirming, place, Trainer(settings, "confirm", parent), settings.optimize.workers)
    values = [float("-inf") if trial.value is None else trial.value for trial in read_trials(study)]
    return judge(seeds, values[::2], values[1::2])


def fingerprint(settings: Settings) -> str:
    """Name the study by everything that a trial's value depends on, so that no journal of another is taken up."""
    parts = [study_settings(settings), data_hashes(), list(_code_hashes())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def study_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that make a study this and no other."""
    tree = settings.model_dump(include={"model", "training", "optimize"})
    tree["optimize"] = {key: value for key, value in tree["optimize"].items() if key not in SHARING}
    return tree


def data_hashes() -> list[str]:
    """Hash what tells the pixel arrays apart."""
    return [sha256_of(paths.TRANSFORMED / name) for name in ("manifest.parquet", "transform.json")]


def _code_hashes() -> Iterable[str]:
    for package in ("models", "training", "search"):
        for file in sorted((SOURCE / package).rglob("*.py")):
            yield sha256_of(file)


def _write(settings: Settings, outcome: Outcome) -> None:
    found, metric = outcome.found, settings.optimize.metric
    write_text(paths.OPTIMIZE / "best_params.yaml", yaml.safe_dump(found.best.values, sort_keys=True))
    rows = list(_rows(found, metric))
    write_csv(paths.OPTIMIZE / "trials.csv", rows, list(rows[0]))
    curves = (
        {"trial": trial.trial, "epoch": epoch, "value": signed(metric, value)}
        for trial in found.trials
        for epoch, value in enumerate(trial.curve, start=1)
    )
    write_csv(paths.OPTIMIZE / "curves.csv", curves, ["trial", "epoch", "value"])
    importances = ({"setting": key, "importance": value} for key, value in found.importances.items())
    write_csv(paths.OPTIMIZE / "importance.csv", importances, ["setting", "importance"])
    write_json(paths.OPTIMIZE / "study.json", {"settings": study_settings(settings), "data": data_hashes()})
    write_json(paths.OPTIMIZE_SUMMARY, _summarise(metric, outcome))


def _rows(found: SearchResult, metric: str) -> Iterable[dict[str, Any]]:
    best: float | None = None
    for trial in found.trials:
        if trial.value is not None and (best is None or trial.value > best):
            best = trial.value
        yield {
            "trial": trial.trial,
            "state": trial.state,
            "value": None if trial.value is None else signed(metric, trial.value),
            "best": None if best is None else signed(metric, best),
            "epochs": len(trial.curve),
        } | trial.values


def _summarise(metric: str, outcome: Outcome) -> dict[str, Any]:
    found, verdict = outcome.found, outcome.verdict
    current = found.trials[0].value
    summary: dict[str, Any] = {
        "trials": len(found.trials),
        "pruned": sum(trial.state == "pruned" for trial in found.trials),
        "epochs": sum(len(trial.curve) for trial in found.trials),
        "best_trial": found.best.trial,
        "best_value": signed(metric, found.best_value),
        "current_value": None if current is None else signed(metric, current),
        "beats_current": verdict is not None and verdict.better,
    }
    if verdict is not None:
        keys = ("mean_difference", "low", "high", "confidence", "p_value")
        summary["confirmed"] = {"seeds": len(verdict.seeds)} | {key: getattr(verdict, key) for key in keys}
    return summary


def tell(settings: Settings, outcome: Outcome) -> str:
    """Say in words what was found, and how to try it."""
    found, metric = outcome.found, settings.optimize.metric
    pruned = sum(trial.state == "pruned" for trial in found.trials)
    head = f"{len(found.trials)} trials, {pruned} pruned; {metric} {abs(found.best_value):.4f} at best"
    current = found.trials[0]
    if current.value is not None and current.value >= found.best_value:
        return f"{head}, with the current settings, which no trial beats"
    now = "none" if current.value is None else f"{abs(current.value):.4f}"
    return (
        f"{head}, {now} with the current settings\n{explain(settings, outcome.verdict)}\n"
        f"to try it: {command(found.best.values)}"
    )


def explain(settings: Settings, verdict: Verdict | None) -> str:
    """Say in words whether the best trial beats the current settings."""
    if verdict is None:
        return "whether that is more than seed noise is not known: optimize.confirm_seeds is 0"
    metric, count = settings.optimize.metric, len(verdict.seeds)
    gain = "lower" if metric == "val_loss" else "higher"
    measured = (
        f"on {count} fresh seeds {metric} is {gain} by {verdict.mean_difference:.4f} on average, "
        f"{verdict.confidence:.0%} interval {verdict.low:.4f} to {verdict.high:.4f}, p = {verdict.p_value:.3f}"
    )
    if verdict.better:
        return f"{measured}: better than the current settings by more than seed noise"
    if not verdict.decidable:
        return f"{measured}: so few seeds cannot tell it from seed noise; optimize.confirm_seeds=5 can"
    return f"{measured}: not shown to be better than the current settings"


def command(values: Values) -> str:
    """Return the command that tries these values, with all their digits."""
    overrides: Sequence[str] = [override(key, value) for key, value in values.items()]
    return "dvc exp run " + " ".join(f"-S {shlex.quote(text)}" for text in overrides)
