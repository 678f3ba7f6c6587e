"""The stage `train`: fit the model, keep its best epoch, calibrate it and export it to ONNX."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from visiongate import paths
from visiongate.adapters.mlflow.environment import describe_environment
from visiongate.adapters.mlflow.runs import MODEL_TAG, Run, open_run
from visiongate.images.pixels import load_split
from visiongate.models.baseline_export import export_baseline
from visiongate.models.onnx_export import ServingNetwork, export_network
from visiongate.models.registry import build_baseline, parameter_count
from visiongate.models.summary import HEADER, Layer, summarize
from visiongate.records.files import atomic_path, sha256_of, write_json, write_text
from visiongate.records.history import EpochMetrics, write_history
from visiongate.records.model import (
    ModelDescription,
    TrainingSummary,
    write_model_description,
    write_training_summary,
)
from visiongate.records.transform import read_transform
from visiongate.settings.model import Baseline
from visiongate.settings.schema import Settings
from visiongate.text_tables import format_table
from visiongate.training import distributed
from visiongate.training.baselines import fit_baseline
from visiongate.training.calibration import fit_temperature
from visiongate.training.checkpoint import Checkpoint, weights_sha256
from visiongate.training.fingerprint import code_sha256, data_sha256
from visiongate.training.hardware import reproducible
from visiongate.training.loop import Callbacks, FitResult, fit, predict_split
from visiongate.training.memory import explain_out_of_memory
from visiongate.training.pixel_importance import draw_pixel_importance
from visiongate.training.progress import TrainingProgress
from visiongate.training.task import Task, prepare_task
from visiongate.training.tensorboard import open_epoch_log

# What each process runs in a training with several processes.
COMMAND = ("src/run.py", "train")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A trained network or baseline, ready to be written."""

    result: FitResult
    # All trained values by name.
    tensors: Mapping[str, Tensor]
    parameters: int
    pretrained: str | None
    # Precision and device.
    hardware: str
    temperature: float
    layers: list[Layer]
    # Writes the ONNX file, given its metadata and path.
    export: Callable[[Mapping[str, object], Path], None]


def run(settings: Settings) -> None:
    """Write the model to ``models/``, and the reports of the training to ``reports/training/``."""
    if isinstance(settings.model, Baseline):
        _train_baseline(settings)
        return
    launch = settings.training.launch
    if launch.processes * launch.machines > 1 and not distributed.is_launched():
        distributed.launch(COMMAND, launch)
        return
    with distributed.process_group(), reproducible(settings.training.seed):
        _train_network(settings)


def _train_network(settings: Settings) -> None:
    model, training = settings.network, settings.training
    with explain_out_of_memory(model.batch_size, training.accumulation):
        task = prepare_task(paths.TRANSFORMED, model, training)
        checkpoint = Checkpoint(paths.CHECKPOINT, _checkpoint_inputs(settings, task))
        if distributed.rank() > 0:
            fit(task, model, training, Callbacks(), checkpoint)
            predict_split(task, task.network, model.batch_size)
            return
        with _open_run(settings, checkpoint.run_id) as tracked:
            checkpoint.run_id = tracked.id
            with _callbacks(settings, task, tracked) as callbacks:
                result = fit(task, model, training, callbacks, checkpoint)
            logits = predict_split(task, task.network, model.batch_size)
            temperature = fit_temperature(logits, task.val.labels)
            _write(settings, _describe_network(task, result, temperature), tracked)
    checkpoint.remove()


@contextmanager
def _open_run(settings: Settings, interrupted_id: str = "") -> Iterator[Run]:
    name, params = f"train {settings.model.name}", _params(settings)
    with open_run(settings.tracking, name, params, {}, interrupted_id=interrupted_id) as tracked:
        yield tracked


@contextmanager
def _callbacks(settings: Settings, task: Task, tracked: Run) -> Iterator[Callbacks]:
    """Yield callbacks that show, log and track each epoch."""
    name, training = settings.model.name, settings.training
    log_directory = paths.TENSORBOARD / "-".join(filter(None, (name, tracked.id[:8])))
    with (
        open_epoch_log(log_directory, enabled=training.tensorboard) as epoch_log,
        TrainingProgress(name, training.epochs, len(task.train), training.monitor) as progress,
    ):

        def on_epoch(epoch: EpochMetrics, images_per_second: float) -> None:
            progress.show(epoch, images_per_second)
            epoch_log.write(epoch)
            tracked.log_metrics({**epoch.defined(), "images_per_second": images_per_second}, epoch.epoch)

        def on_resumed(history: list[EpochMetrics]) -> None:
            logger.info("Resuming after epoch %d from %s", len(history), paths.CHECKPOINT)
            for epoch in history:
                epoch_log.write(epoch)
                tracked.log_metrics(epoch.defined(), epoch.epoch)

        def on_checkpoint_rejected(reason: str) -> None:
            logger.warning("%s: not resumed, training starts from epoch 1: %s", paths.CHECKPOINT, reason)

        yield Callbacks(on_epoch, progress.advance, on_resumed, on_checkpoint_rejected)


def _checkpoint_inputs(settings: Settings, task: Task) -> dict[str, Any]:
    hardware = task.hardware
    return {
        **{
            f"{name}.{key}": value
            for name, section in _params(settings).items()
            for key, value in section.items()
        },
        "data": data_sha256(paths.TRANSFORMED),
        "code": code_sha256(),
        "initial weights": weights_sha256(task.network),
        "torch": torch.__version__,
        "hardware": f"{hardware.precision} on {hardware.device}",
        "threads": torch.get_num_threads(),
    }


def _params(settings: Settings) -> dict[str, dict[str, object]]:
    return {"model": settings.model.model_dump(), "training": settings.training.model_dump()}


def _describe_network(task: Task, result: FitResult, temperature: float) -> TrainedModel:
    transform = read_transform(paths.TRANSFORMED)
    hardware = f"{task.hardware.precision} on {task.hardware.device}"
    network = task.network.cpu().float()
    serving = ServingNetwork(network, transform.mean, transform.std, temperature)
    return TrainedModel(
        result=result,
        tensors=network.state_dict(),
        parameters=parameter_count(network),
        pretrained=getattr(network, "pretrained", None),
        hardware=hardware,
        temperature=temperature,
        layers=summarize(network, transform.input_shape),
        export=lambda metadata, path: export_network(serving, transform.input_shape, metadata, path),
    )


def _train_baseline(settings: Settings) -> None:
    name, transform = settings.model.name, read_transform(paths.TRANSFORMED)
    train, val = (load_split(paths.TRANSFORMED, split) for split in ("train", "val"))
    with _open_run(settings) as tracked:
        classifier = build_baseline(name, settings.model.options, settings.training.seed)
        fitted = fit_baseline(classifier, train, val, transform)
        tracked.log_metrics(fitted.epoch.defined(), 1)
        baseline, figure = fitted.baseline, paths.PIXEL_IMPORTANCE
        title = f"{name}: importance of each pixel"
        draw_pixel_importance(classifier.importances(), baseline.pooling, transform.classes, title, figure)
        tensors = {key: torch.from_numpy(array) for key, array in classifier.tensors().items()}
        trained = TrainedModel(
            result=FitResult([fitted.epoch], fitted.epoch),
            tensors=tensors,
            parameters=sum(tensor.numel() for tensor in tensors.values()),
            pretrained=None,
            hardware="fp32 on cpu",
            temperature=baseline.temperature,
            layers=[
                (key, name, "×".join(map(str, tensor.shape)), f"{tensor.numel():,}")
                for key, tensor in tensors.items()
            ],
            export=lambda metadata, path: export_baseline(baseline, metadata, path),
        )
        _write(settings, trained, tracked)
        tracked.log_artifacts([figure])


def _write(settings: Settings, trained: TrainedModel, tracked: Run) -> None:
    """Write the ONNX file, the weights and the reports, and print the result."""
    transform = asdict(read_transform(paths.TRANSFORMED))
    with atomic_path(paths.MODEL_WEIGHTS) as temporary:
        temporary.write_bytes(save({name: value.contiguous() for name, value in trained.tensors.items()}))
    metadata = {"classes": transform["classes"], "transform": transform, "temperature": trained.temperature}
    trained.export(metadata, paths.MODEL_ONNX)
    description = ModelDescription(
        network=settings.model.name,
        options=settings.model.options,
        pretrained=trained.pretrained,
        parameters=trained.parameters,
        temperature=trained.temperature,
        transform=transform,
    )
    write_model_description(paths.MODEL_DESCRIPTION, description)
    write_text(paths.MODEL_SUMMARY, format_table(HEADER, trained.layers, width=None) + "\n")
    history, best = trained.result.history, trained.result.best
    write_history(paths.HISTORY, history)
    summary = TrainingSummary(best, len(history), trained.temperature, trained.parameters, trained.hardware)
    write_training_summary(paths.TRAINING_SUMMARY, summary)
    write_json(paths.TRAINING_ENVIRONMENT, describe_environment())
    tracked.set_tags({MODEL_TAG: sha256_of(paths.MODEL_ONNX)})
    print(
        f"{settings.model.name}: validation accuracy {best.val_accuracy:.2%} at epoch {best.epoch} of {len(history)}, "
        f"{trained.hardware}"
    )
