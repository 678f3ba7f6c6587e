"""The stage ``optimize``: search for the best settings. It changes no setting.

Its outputs do not depend on the current values of the searched settings; ``recommend`` compares with them.
"""

import torch

from visiongate import paths
from visiongate.adapters.mlflow.runs import open_run
from visiongate.images.integrity import check_arrays
from visiongate.optimization.budget import count_images, first_check, fit_to_images, guess
from visiongate.optimization.fingerprint import check_study, study_fingerprint
from visiongate.optimization.fresh_seeds import Comparison
from visiongate.optimization.judging import load_judging_images
from visiongate.optimization.page import render_search
from visiongate.optimization.paired_training import compare
from visiongate.optimization.plan import plan_search
from visiongate.optimization.pruning import Race
from visiongate.optimization.report import (
    explain_guess,
    format_search,
    summarize_search,
    tabulate_curves,
    tabulate_trials,
)
from visiongate.optimization.storage import JOURNALS, StudyStorage
from visiongate.optimization.study import SearchResult, summarize_study
from visiongate.optimization.trainer import Trainer
from visiongate.optimization.workers import open_runner
from visiongate.records.files import write_text
from visiongate.records.search import (
    StudyRecord,
    read_study_settings,
    read_values,
    write_best,
    write_study,
    write_summary,
    write_tables,
)
from visiongate.settings.schema import Settings
from visiongate.training.fingerprint import data_sha256
from visiongate.training.probes import compute_features
from visiongate.training.validation_metrics import check_metric

# Two sums of the same shares may differ by as much.
ROUNDING = 1e-9


def run(settings: Settings) -> None:
    """Run the study, write the report, and train what `recommend` will compare."""
    transform = check_arrays(paths.TRANSFORMED)
    study = read_study_settings(paths.STUDY)
    check_study(settings, study)
    images = count_images(paths.TRANSFORMED)
    settings = fit_to_images(settings, images)
    compute_features(settings, transform, paths.TRANSFORMED)
    name, optimize = study_fingerprint(study, paths.TRANSFORMED), settings.optimize
    storage = StudyStorage(JOURNALS / f"{name}.journal", optimize.storage)
    judging = load_judging_images(paths.TRANSFORMED, optimize)
    for fold in range(len(judging)):
        labels = torch.from_numpy(judging.val_labels(fold))
        check_metric("optimize.metric", optimize.metric, len(transform.classes), labels)
    plan = plan_search(settings, name, Race(first_check(optimize, images), len(judging)))
    params = {"optimize": optimize.model_dump()}
    with (
        open_runner(settings, storage) as runner,
        open_run(settings.tracking, f"optimize {settings.model.name}", params, {}) as parent,
    ):
        result = summarize_study(
            runner.run(plan, Trainer(settings, paths.TRANSFORMED, "trial", parent.id)), plan
        )
        guessed = _find_guess(result, guess(optimize.metric, judging))
        parent.log_metrics({"best_value": summarize_search(optimize.metric, result).best_value}, 0)
        record = StudyRecord(study, data_sha256(paths.TRANSFORMED), guessed)
        _write(result, record, settings, judging.describe())
        parent.log_artifacts([paths.OPTIMIZE])
    if guessed is None:
        # Only `recommend` depends on the current settings, but torch is loaded here.
        current = read_values(paths.CURRENT)
        comparison = Comparison(name, result.best.values, current, optimize.confirm_seeds)
        if comparison.read_scores() is None:
            compare(settings, paths.TRANSFORMED, comparison)
    storage.discard()
    print(format_search(optimize.metric, summarize_search(optimize.metric, result), optimize.epochs))
    if guessed is not None:
        print(explain_guess(optimize.metric, guessed))


def _find_guess(result: SearchResult, guessed: float | None) -> float | None:
    """Return the accuracy of guessing if no trial is better, otherwise None."""
    return guessed if guessed is not None and result.best_value <= guessed + ROUNDING else None


def _write(result: SearchResult, record: StudyRecord, settings: Settings, judged: str) -> None:
    folder, metric = paths.OPTIMIZE, settings.optimize.metric
    write_best(folder, result.best.values)
    write_tables(
        folder, list(tabulate_trials(metric, result)), tabulate_curves(metric, result), result.importances
    )
    write_study(folder, record)
    write_summary(paths.OPTIMIZE_SUMMARY, summarize_search(metric, result))
    write_text(folder / "index.html", render_search(result, record, settings, judged))
