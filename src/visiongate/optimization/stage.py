"""Optimize: search for better settings. A leaf of the line: it proposes, and overwrites nothing that the user asked for."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from visiongate import paths
from visiongate.adapters.mlflow.runs import open_run
from visiongate.images.pixels import load_split
from visiongate.models.registry import build_baseline
from visiongate.optimization.confirmation import Verdict, judge
from visiongate.optimization.figures import draw_history, draw_parallel, draw_slices
from visiongate.optimization.identity import fingerprint, study_settings
from visiongate.optimization.outcome import (
    Outcome,
    command,
    explain,
    list_curves,
    list_trials,
    signed,
    summarize_outcome,
    tell,
)
from visiongate.optimization.space import Values
from visiongate.optimization.storage import Place
from visiongate.optimization.study import Plan, Report, plan_search, read_trials, summarize
from visiongate.optimization.workers import conduct
from visiongate.pages.rendering import render_page
from visiongate.records.files import write_csv, write_json, write_text
from visiongate.records.history import EpochMetrics
from visiongate.records.transform import read_transform
from visiongate.settings.loading import replace_settings
from visiongate.settings.model import Baseline
from visiongate.settings.schema import Settings
from visiongate.training.baselines import fit_baseline
from visiongate.training.fingerprint import data_sha256
from visiongate.training.hardware import reproducible
from visiongate.training.loop import Callbacks, fit
from visiongate.training.task import prepare_task

JOURNALS = Path("mlruns/optuna")  # until the study ends; its outcome is what DVC tracks


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
        tried = replace_settings(self.settings, {**values, "training.epochs": epochs}, title)
        with (
            reproducible(tried.training.seed),
            open_run(self.settings.tracking, title, values, {}, parent_id=self.parent) as tracked,
        ):

            def on_epoch(epoch: EpochMetrics, _images_per_second: float) -> None:
                tracked.log_metrics(epoch.defined(), epoch.epoch)
                report(epoch.epoch, epoch.score(metric))

            return _train(tried, Callbacks(on_epoch)).score(metric)


def _train(settings: Settings, listeners: Callbacks) -> EpochMetrics:
    """Train a network or fit a baseline, and return its best epoch."""
    if isinstance(settings.model, Baseline):
        classifier = build_baseline(settings.model.name, settings.model.options, settings.training.seed)
        train, val = (load_split(paths.TRANSFORMED, split) for split in ("train", "val"))
        epoch = fit_baseline(classifier, train, val, read_transform(paths.TRANSFORMED)).epoch
        listeners.on_epoch(epoch, len(train.labels))
        return epoch
    task = prepare_task(paths.TRANSFORMED, settings.network, settings.training)
    return fit(task, settings.network, settings.training, listeners).best


def run(settings: Settings) -> None:
    """Write the study's trials, its best settings and what they are worth to ``reports/optimize``."""
    name = fingerprint(settings, paths.TRANSFORMED)
    place = Place(JOURNALS / f"{name}.journal", settings.optimize.storage)
    plan = plan_search(settings, name)
    params = {"optimize": settings.optimize.model_dump()}
    with place.owned(), open_run(settings.tracking, f"optimize {settings.model.name}", params, {}) as parent:
        found = summarize(
            conduct(plan, place, Trainer(settings, "trial", parent.id), settings.optimize.workers)
        )
        verdict = _confirm(settings, plan, found.best.values, place, parent.id)
        outcome = Outcome(settings.optimize.metric, found, verdict)
        parent.log_metrics({"best_value": signed(outcome.metric, found.best_value)}, 0)
        _write(plan, outcome, settings)
        parent.log_artifacts([paths.OPTIMIZE])
        place.discard()
    print(tell(outcome))


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


def _write(plan: Plan, outcome: Outcome, settings: Settings) -> None:
    found = outcome.found
    write_text(paths.OPTIMIZE / "best_params.yaml", yaml.safe_dump(found.best.values, sort_keys=True))
    rows = list(list_trials(outcome))
    write_csv(paths.OPTIMIZE / "trials.csv", rows, list(rows[0]))
    write_csv(paths.OPTIMIZE / "curves.csv", list_curves(outcome), ["trial", "epoch", "value"])
    importances = ({"setting": key, "importance": value} for key, value in found.importances.items())
    write_csv(paths.OPTIMIZE / "importance.csv", importances, ["setting", "importance"])
    told = {"beaten": outcome.beaten, "verdict": explain(outcome)}
    study = {"settings": study_settings(settings), "data": data_sha256(paths.TRANSFORMED), **told}
    write_json(paths.OPTIMIZE / "study.json", study)
    write_json(paths.OPTIMIZE_SUMMARY, summarize_outcome(outcome))
    write_text(paths.OPTIMIZE / "index.html", _render(plan, outcome, settings))


def _render(plan: Plan, outcome: Outcome, settings: Settings) -> str:
    return render_page(
        "optimization/page.html",
        model=settings.model.name,
        optimize=settings.optimize,
        outcome=outcome,
        summary=summarize_outcome(outcome),
        rows=list(list_trials(outcome)),
        space=plan.space,
        current=plan.fixed[0],
        command=command(outcome.found.best.values),
        history=draw_history(outcome),
        slices=draw_slices(outcome, plan.space),
        parallel=draw_parallel(outcome, plan.space),
        natural=partial(signed, outcome.metric),
        shown=_shorten,
    )


def _shorten(value: object) -> str:
    """Round what a search drew to the digits that can be read."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "null" if value is None else str(value)
