"""The stage `train`: fit the model, keep its best epoch, calibrate it and export it to ONNX.

With cross-validation, it also fits a model for each fold; see `visiongate.training.cross_validation`.
"""

import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path

from safetensors.torch import save

from visiongate import paths
from visiongate.adapters.mlflow.environment import describe_environment
from visiongate.adapters.mlflow.runs import KEPT, Run
from visiongate.images.folds import load_folds
from visiongate.images.integrity import check_arrays
from visiongate.images.pixels import load_split
from visiongate.models.predictor import Predictor, open_predictor
from visiongate.models.reliability import min_calibration_images
from visiongate.models.summary import HEADER
from visiongate.records.files import atomic_path, sha256_of, write_json, write_text
from visiongate.records.history import write_history
from visiongate.records.model import (
    ModelDescription,
    TrainingSummary,
    write_model_description,
    write_training_summary,
)
from visiongate.records.registry_tags import MODEL_TAG
from visiongate.records.reliability import read_reliability
from visiongate.records.transform import Transform
from visiongate.settings.model import Model
from visiongate.settings.schema import Settings
from visiongate.text_tables import format_table
from visiongate.training import distributed
from visiongate.training.calibration import fit_temperature
from visiongate.training.cross_validation import fit_on_folds, train_network_on_folds
from visiongate.training.finishing import finish
from visiongate.training.hardware import reproducible
from visiongate.training.loop import FitResult, predict_split
from visiongate.training.memory import explain_out_of_memory
from visiongate.training.one_step import fit_one_step, read_features
from visiongate.training.probes import compute_features
from visiongate.training.recipes import make_recipe
from visiongate.training.task import prepare_task
from visiongate.training.tracked_fit import Part, fit_tracked, open_checkpoint, open_training_run
from visiongate.training.trained_model import TrainedModel, describe_network, finished

log = logging.getLogger(__name__)

# What each process runs in a training with several processes.
COMMAND = ("src/run.py", "train")


def run(settings: Settings) -> None:
    """Write the model to ``models/``, and the reports of the training to ``reports/training/``."""
    transform, launch, engine = check_arrays(paths.TRANSFORMED), settings.training.launch, settings.engine
    processes = launch.processes * launch.machines
    if not isinstance(settings.model, Model):
        _empty_folds()
        _train_in_one_step(settings, transform)
    elif distributed.is_launched():
        train_in_process(settings)
    elif engine.kind == "ray" and (processes > 1 or engine.resources.training.gpus):
        distributed.run_on_cluster(partial(train_in_process, settings), launch, engine)
    elif processes > 1:
        distributed.launch(COMMAND, launch)
    else:
        train_in_process(settings)


def train_in_process(settings: Settings) -> None:
    """Train a network in this process, or in its part of a group of processes; the first one writes the outputs."""
    with (
        distributed.process_group(),
        reproducible(settings.training.seed),
        explain_out_of_memory(settings.network.batch_size, settings.training.accumulation),
    ):
        _train_network(settings, check_arrays(paths.TRANSFORMED))


def _train_network(settings: Settings, transform: Transform) -> None:
    if distributed.rank() == 0:
        _empty_folds()
    if transform.protocol == "cross_validation":
        with open_training_run(settings) as tracked:
            trained, result = train_network_on_folds(settings, transform, tracked)
            if tracked is not None:
                for epoch in result.history:
                    tracked.log_metrics(epoch.defined(), epoch.epoch)
            _write(settings, transform, trained, result, tracked)
    else:
        _train_on_split(settings, transform)
    if distributed.rank() == 0:
        _remove_checkpoints()


def _train_on_split(settings: Settings, transform: Transform) -> None:
    """Train once, with the validation split."""
    task = prepare_task(paths.TRANSFORMED, settings.network, settings.training)
    checkpoint = open_checkpoint(paths.CHECKPOINT, settings, task)
    with open_training_run(settings, checkpoint.run_id) as tracked:
        result = fit_tracked(settings, task, Part(settings.model.name, checkpoint), tracked)
        logits = predict_split(task, task.network, settings.network.batch_size)
        temperature = fit_temperature(logits, task.val.labels)
        trained = _finished_on_split(describe_network(task, transform, temperature), settings)
        _write(settings, transform, trained, result, tracked)


def _train_in_one_step(settings: Settings, transform: Transform) -> None:
    """Fit a baseline or a probe."""
    compute_features(settings, transform, paths.TRANSFORMED)
    with open_training_run(settings) as tracked:
        recipe = make_recipe(settings, transform)
        if transform.protocol == "cross_validation":
            trained, result = fit_on_folds(recipe, load_folds(paths.TRANSFORMED), settings)
        else:
            train, val = (
                read_features(recipe, load_split(paths.TRANSFORMED, name)) for name in ("train", "val")
            )
            fitted = fit_one_step(recipe, train, val)
            trained = _finished_on_split(fitted.classifier.describe(fitted.temperature), settings)
            result = FitResult([fitted.epoch], fitted.epoch)
        _write(settings, transform, trained, result, tracked)
        if tracked is not None:
            tracked.log_metrics(result.best.defined(), result.best.epoch)
            tracked.log_artifacts([path for path in (paths.PIXEL_IMPORTANCE,) if path.exists()])


def _finished_on_split(trained: TrainedModel, settings: Settings) -> TrainedModel:
    def finish_file(path: Path) -> None:
        train, val = (load_split(paths.TRANSFORMED, split) for split in ("train", "val"))
        finish(path, train, val, settings)

    return finished(trained, finish_file)


def _warn_of_few_images(predictor: Predictor) -> None:
    reliability = read_reliability(predictor.metadata, predictor.name)
    if reliability is not None and not reliability.min_probability:
        log.warning(
            "%d validation images are too few for training.reliability.error_rate = %g: no prediction can be called sure; add "
            "images until there are %d, or raise the rate",
            reliability.images,
            reliability.error_rate,
            min_calibration_images(reliability.error_rate),
        )


def _empty_folds() -> None:
    """Make an empty ``models/folds``, which also exists without cross-validation, because DVC expects it."""
    paths.FOLDS.mkdir(parents=True, exist_ok=True)
    for stale in paths.FOLDS.iterdir():
        stale.unlink()


def _remove_checkpoints() -> None:
    for checkpoint in paths.CHECKPOINT.parent.glob(f"{paths.CHECKPOINT.stem}*{paths.CHECKPOINT.suffix}"):
        checkpoint.unlink()


def _write(
    settings: Settings,
    transform: Transform,
    trained: TrainedModel,
    result: FitResult,
    tracked: Run | None,
) -> None:
    """Write the ONNX file, the weights and the reports, and print the result; only the first process has a run."""
    if tracked is None:
        return
    with atomic_path(paths.MODEL_WEIGHTS) as temporary:
        tensors = {name: value.contiguous() for name, value in trained.tensors.items()}
        temporary.write_bytes(save(tensors, trained.tensor_metadata))
    trained.export(paths.MODEL_ONNX)
    # The options of export change the temperature.
    predictor = open_predictor(paths.MODEL_ONNX)
    temperature = predictor.temperature or trained.temperature
    _warn_of_few_images(predictor)
    if trained.draw is not None:
        trained.draw(paths.PIXEL_IMPORTANCE)
    description = ModelDescription(
        network=settings.model.name,
        options=settings.model.options,
        pretrained=trained.pretrained,
        parameters=trained.parameters,
        temperature=temperature,
        transform=asdict(transform),
    )
    write_model_description(paths.MODEL_DESCRIPTION, description)
    write_text(paths.MODEL_SUMMARY, format_table(HEADER, trained.layers, width=None) + "\n")
    write_history(paths.HISTORY, result.history)
    best, epochs = result.best, len(result.history)
    summary = TrainingSummary(best, epochs, temperature, trained.parameters, trained.hardware)
    write_training_summary(paths.TRAINING_SUMMARY, summary)
    write_json(paths.TRAINING_ENVIRONMENT, describe_environment())
    kept = {f"{KEPT}{name}": value for name, value in result.best.defined().items()}
    tracked.log_metrics(kept, len(result.history) + 1)
    tracked.set_tags({MODEL_TAG: sha256_of(paths.MODEL_ONNX)})
    epoch = f" at epoch {best.epoch} of {epochs}" if isinstance(settings.model, Model) else ""
    print(
        f"{settings.model.name}: {'' if transform.folds is None else f'mean of {transform.folds} folds: '}validation accuracy "
        f"{best.val_accuracy:.2%}{epoch}, {trained.hardware}"
    )
