"""The stage ``optimize``: search for better settings. It reports them and changes no setting."""

import logging
from dataclasses import dataclass
from pathlib import Path

from visiongate import paths
from visiongate.adapters.mlflow.runs import open_run
from visiongate.images.integrity import check_arrays
from visiongate.images.pixels import load_split
from visiongate.models.registry import build_baseline
from visiongate.optimization.confirmation import Confirmation, confirm
from visiongate.optimization.fingerprint import study_fingerprint, study_settings
from visiongate.optimization.page import render_search
from visiongate.optimization.report import (
    SearchReport,
    format_conclusion,
    format_report,
    summarize_search,
    tabulate_curves,
    tabulate_trials,
)
from visiongate.optimization.storage import StudyStorage
from visiongate.optimization.study import Report, StudyPlan, plan_search, read_trials, summarize_study
from visiongate.optimization.workers import run_study
from visiongate.records.files import write_text
from visiongate.records.history import EpochMetrics
from visiongate.records.search import (
    StudyRecord,
    Values,
    write_best,
    write_study,
    write_summary,
    write_tables,
)
from visiongate.records.transform import read_transform
from visiongate.settings.loading import replace_settings
from visiongate.settings.model import Baseline
from visiongate.settings.schema import Settings
from visiongate.training.baselines import fit_baseline
from visiongate.training.fingerprint import data_sha256
from visiongate.training.hardware import reproducible
from visiongate.training.loop import Callbacks, fit
from visiongate.training.task import prepare_task

# Journals of unfinished studies. DVC tracks the result only.
JOURNALS = Path("mlruns/optuna")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains one trial, as an MLflow run. It can be pickled for other processes.

    Attributes:
        settings: The settings that a trial's values replace.
        title: The start of the runs' names.
        parent: The id of the run that contains the runs.
    """

    settings: Settings
    title: str
    parent: str

    def __call__(self, index: int, values: Values, report: Report) -> float:
        """Train with a trial's values and return the score of the best epoch."""
        metric, epochs = self.settings.optimize.metric, self.settings.optimize.epochs
        title = f"{self.title} {index}"
        settings = replace_settings(self.settings, {**values, "training.epochs": epochs}, title)
        with (
            reproducible(settings.training.seed),
            open_run(self.settings.tracking, title, values, {}, parent_id=self.parent) as run,
        ):

            def on_epoch(epoch: EpochMetrics, _images_per_second: float) -> None:
                run.log_metrics(epoch.defined(), epoch.epoch)
                report(epoch.epoch, epoch.score(metric))

            return _train(settings, Callbacks(on_epoch)).score(metric)


def _train(settings: Settings, callbacks: Callbacks) -> EpochMetrics:
    """Train a network or fit a baseline, and return the best epoch."""
    if isinstance(settings.model, Baseline):
        classifier = build_baseline(settings.model.name, settings.model.options, settings.training.seed)
        train, val = (load_split(paths.TRANSFORMED, split) for split in ("train", "val"))
        epoch = fit_baseline(classifier, train, val, read_transform(paths.TRANSFORMED)).epoch
        callbacks.on_epoch(epoch, len(train.labels))
        return epoch
    task = prepare_task(paths.TRANSFORMED, settings.network, settings.training)
    return fit(task, settings.network, settings.training, callbacks).best


def run(settings: Settings) -> None:
    """Run the study, confirm its best trial on fresh seeds, and write the report."""
    check_arrays(paths.TRANSFORMED)
    name = study_fingerprint(settings, paths.TRANSFORMED)
    storage = StudyStorage(JOURNALS / f"{name}.journal", settings.optimize.storage)
    plan = plan_search(settings, name)
    params = {"optimize": settings.optimize.model_dump()}
    with storage.lock(), open_run(settings.tracking, f"optimize {settings.model.name}", params, {}) as parent:
        trainer = Trainer(settings, "trial", parent.id)
        result = summarize_study(run_study(plan, storage, trainer, settings.optimize.workers))
        confirmation = _confirm(settings, plan, result.best.values, storage, parent.id)
        report = SearchReport(settings.optimize.metric, result, confirmation)
        parent.log_metrics({"best_value": summarize_search(report).best_value}, 0)
        _write(report, plan, settings)
        parent.log_artifacts([paths.OPTIMIZE])
        storage.discard()
    print(format_report(report))


def _confirm(
    settings: Settings, plan: StudyPlan, best: Values, storage: StudyStorage, parent: str
) -> Confirmation | None:
    """Train the best and the current settings with the same fresh seeds, unless they are equal or a training diverges."""
    current = plan.fixed[0]
    first = settings.training.seed + 1
    seeds = list(range(first, first + settings.optimize.confirm_seeds))
    if not seeds or best == current:
        return None
    trials: list[Values] = [{**values, "training.seed": seed} for seed in seeds for values in (current, best)]
    confirming = StudyPlan(
        f"{plan.name}-confirm", len(trials), settings.optimize, fixed=dict(enumerate(trials))
    )
    study = run_study(confirming, storage, Trainer(settings, "confirm", parent), settings.optimize.workers)
    scores = [trial.value for trial in read_trials(study) if trial.value is not None]
    if len(scores) < len(trials):
        logger.warning("A training on a fresh seed diverged; the best trial is not confirmed")
        return None
    return confirm(seeds, scores[::2], scores[1::2])


def _write(report: SearchReport, plan: StudyPlan, settings: Settings) -> None:
    folder, result = paths.OPTIMIZE, report.result
    write_best(folder, result.best.values)
    write_tables(folder, list(tabulate_trials(report)), tabulate_curves(report), result.importances)
    data = data_sha256(paths.TRANSFORMED)
    write_study(folder, StudyRecord(study_settings(settings), data, report.beaten, format_conclusion(report)))
    write_summary(paths.OPTIMIZE_SUMMARY, summarize_search(report))
    write_text(folder / "index.html", render_search(report, plan.space, settings))
