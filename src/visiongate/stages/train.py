"""Train: fit the network, keep its best epoch, calibrate it, and export it to ONNX."""

from dataclasses import asdict, fields

from safetensors.torch import save

from visiongate import paths
from visiongate.config import Model, Settings
from visiongate.data.pixels import Transform, read_transform
from visiongate.files import atomic_path, sha256_of, write_csv, write_json
from visiongate.models.onnx_export import Served, export_onnx
from visiongate.models.registry import parameter_count
from visiongate.reporting.progress import TrainingProgress
from visiongate.tracking.runs import open_run
from visiongate.training.calibration import fit_temperature
from visiongate.training.hardware import repeatable
from visiongate.training.loop import Epoch, Fitted, Task, fit, predict_logits
from visiongate.training.session import prepare_task


def run(settings: Settings) -> None:
    """Write the model to ``models/`` and the training's history to ``reports/training/``."""
    model, training = settings.model, settings.training
    params = {"model": model.model_dump(), "training": training.model_dump()}
    with repeatable(training.seed):
        task = prepare_task(paths.TRANSFORMED, model, training)
        with (
            open_run(settings.tracking, f"train {model.name}", params, {}) as tracked,
            TrainingProgress(model.name, training.epochs) as progress,
        ):

            def on_epoch(epoch: Epoch, images_per_second: float) -> None:
                progress.show(epoch, images_per_second)
                tracked.log_metrics({**asdict(epoch), "images_per_second": images_per_second}, epoch.epoch)

            fitted = fit(task, model, training, on_epoch)
            temperature = fit_temperature(predict_logits(task, task.val, model.batch_size), task.val.labels)
            _write_model(task, model, temperature)
            _write_reports(task, fitted, temperature)
            tracked.set_tags({"visiongate.model_sha256": sha256_of(paths.MODEL_ONNX)})
    print(
        f"{model.name}: validation accuracy {fitted.best.val_accuracy:.2%} at epoch {fitted.best.epoch} of "
        f"{len(fitted.history)}, in {task.hardware.precision} on {task.hardware.device}"
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
        "val_accuracy": fitted.best.val_accuracy,
        "val_loss": fitted.best.val_loss,
        "temperature": temperature,
        "parameters": parameter_count(task.network),
    }
    write_json(paths.TRAINING_SUMMARY, summary)
