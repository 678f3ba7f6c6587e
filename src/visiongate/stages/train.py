"""Train: fit the network, keep its best epoch, calibrate it, and export it to ONNX."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields

import torch
from safetensors.torch import save

from visiongate import paths
from visiongate.config import Model, Settings
from visiongate.data.pixels import Transform, read_transform
from visiongate.files import atomic_path, sha256_of, write_csv, write_json
from visiongate.models.onnx_export import Served, export_onnx
from visiongate.models.registry import parameter_count
from visiongate.reporting.progress import TrainingProgress
from visiongate.tracking.runs import MODEL_TAG, Run, open_run
from visiongate.training import distributed
from visiongate.training.calibration import fit_temperature
from visiongate.training.checkpoint import Checkpoint, Origin, weights_sha256
from visiongate.training.fingerprint import code_sha256, data_sha256
from visiongate.training.hardware import repeatable
from visiongate.training.loop import Epoch, Fitted, Listeners, fit, predict_split
from visiongate.training.memory import memory_explained
from visiongate.training.session import prepare_task
from visiongate.training.task import Task

COMMAND = ("src/run.py", "train")  # what each process runs, where there are several


def run(settings: Settings) -> None:
    """Write the model to ``models/`` and the training's history to ``reports/training/``."""
    how = settings.training.launch
    if how.processes * how.machines > 1 and not distributed.is_launched():
        distributed.launch(COMMAND, how)
        return
    with distributed.joined(), repeatable(settings.training.seed):
        _train(settings)


def _train(settings: Settings) -> None:
    model, training = settings.network, settings.training
    with memory_explained(model.batch_size, training.accumulation):
        task = prepare_task(paths.TRANSFORMED, model, training)
        checkpoint = Checkpoint(paths.CHECKPOINT, _origin(settings, task))
        if distributed.rank() > 0:
            fit(task, model, training, Listeners(), checkpoint)
            predict_split(task, task.network, model.batch_size)
            return
        with _tracked(settings) as tracked:
            with TrainingProgress(model.name, training.epochs, len(task.train), training.monitor) as progress:
                fitted = fit(task, model, training, _listen(tracked, progress), checkpoint)
            logits = predict_split(task, task.network, model.batch_size)
            temperature = fit_temperature(logits, task.val.labels)
            _write_model(task, model, temperature)
            _write_reports(task, fitted, temperature)
            tracked.set_tags({MODEL_TAG: sha256_of(paths.MODEL_ONNX)})
    checkpoint.remove()
    print(
        f"{model.name}: validation accuracy {fitted.best.val_accuracy:.2%} at epoch {fitted.best.epoch} of "
        f"{len(fitted.history)}, in {task.hardware.precision} on {task.hardware.device}"
    )


@contextmanager
def _tracked(settings: Settings) -> Iterator[Run]:
    model, training = settings.model, settings.training
    params = {"model": model.model_dump(), "training": training.model_dump()}
    with open_run(settings.tracking, f"train {model.name}", params, {}) as tracked:
        yield tracked


def _listen(tracked: Run, progress: TrainingProgress) -> Listeners:
    def on_epoch(epoch: Epoch, images_per_second: float) -> None:
        progress.show(epoch, images_per_second)
        tracked.log_metrics({**epoch.metrics(), "images_per_second": images_per_second}, epoch.epoch)

    def on_restored(history: list[Epoch]) -> None:
        print(f"continues after epoch {len(history)}, from {paths.CHECKPOINT}")
        for epoch in history:
            tracked.log_metrics(epoch.metrics(), epoch.epoch)

    def on_refused(reason: str) -> None:
        print(f"{paths.CHECKPOINT} is not continued, and training starts anew: {reason}")

    return Listeners(on_epoch, progress.advance, on_restored, on_refused)


def _origin(settings: Settings, task: Task) -> Origin:
    sections = {"model": settings.model.model_dump(), "training": settings.training.model_dump()}
    machine = f"{task.hardware.precision} on {task.hardware.device}, {torch.get_num_threads()} threads"
    return Origin(
        settings={
            f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()
        },
        data=data_sha256(paths.TRANSFORMED),
        code=code_sha256(),
        start=weights_sha256(task.network),
        environment=f"torch {torch.__version__}, {machine}",
    )


def _write_model(task: Task, model: Model, temperature: float) -> None:
    """Write the file to serve, and the weights and description to train on from."""
    transform = read_transform(paths.TRANSFORMED)
    network = task.network.cpu().float()
    with atomic_path(paths.MODEL_WEIGHTS) as temporary:
        temporary.write_bytes(save({key: value.contiguous() for key, value in network.state_dict().items()}))
    served = Served(network, transform.mean, transform.std, temperature)
    metadata = {"classes": transform.classes, "transform": asdict(transform)}
    export_onnx(served, transform.input_shape, metadata, paths.MODEL_ONNX)
    write_json(paths.MODEL_DESCRIPTION, _describe(task, model, transform, temperature))


def _describe(task: Task, model: Model, transform: Transform, temperature: float) -> dict[str, object]:
    return {
        "network": model.name,
        "options": model.options,
        "pretrained": getattr(task.network, "pretrained", None),
        "parameters": parameter_count(task.network),
        "temperature": temperature,
        "transform": asdict(transform),
    }


def _write_reports(task: Task, fitted: Fitted, temperature: float) -> None:
    rows = [asdict(epoch) for epoch in fitted.history]
    write_csv(paths.HISTORY, rows, [field.name for field in fields(Epoch)])
    summary = {
        "best_epoch": fitted.best.epoch,
        "epochs": len(fitted.history),
        **{name: value for name, value in fitted.best.metrics().items() if name.startswith("val_")},
        "temperature": temperature,
        "parameters": parameter_count(task.network),
        "precision": task.hardware.precision,
    }
    write_json(paths.TRAINING_SUMMARY, summary)
