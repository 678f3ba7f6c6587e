"""Train: fit the model, keep its best epoch, calibrate it, and export it to ONNX."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from visiongate import paths
from visiongate.adapters.mlflow.runs import MODEL_TAG, Run, open_run
from visiongate.images.pixels import load_split
from visiongate.models.baseline_export import export_baseline
from visiongate.models.onnx_export import ServingNetwork, export_network
from visiongate.models.registry import build_baseline, parameter_count
from visiongate.models.summary import HEADER, summarize
from visiongate.records.files import atomic_path, sha256_of, write_csv, write_json, write_text
from visiongate.records.transform import Transform, read_transform
from visiongate.settings.schema import Baseline, Settings
from visiongate.text_tables import lay_out
from visiongate.training import distributed
from visiongate.training.baselines import fit_baseline
from visiongate.training.calibration import fit_temperature
from visiongate.training.checkpoint import Checkpoint, Origin, weights_sha256
from visiongate.training.fingerprint import code_sha256, data_sha256
from visiongate.training.hardware import repeatable
from visiongate.training.loop import Epoch, Fitted, Listeners, fit, predict_split
from visiongate.training.memory import memory_explained
from visiongate.training.pixel_importance import draw_pixel_importance
from visiongate.training.progress import TrainingProgress
from visiongate.training.session import prepare_task
from visiongate.training.task import Task

COMMAND = ("src/run.py", "train")  # what each process runs, where there are several


@dataclass(frozen=True, slots=True)
class Trained:
    """A model that is ready to be written, whatever its kind."""

    fitted: Fitted
    tensors: Mapping[str, Tensor]  # all that was learned
    description: dict[str, object]
    hardware: str  # on what and in which precision
    temperature: float
    summary: list[tuple[str, str, str, str]]  # by layer, as `summarize` has it
    export: Callable[[Mapping[str, object], Path], None]  # writes the file to serve, with metadata in it


def run(settings: Settings) -> None:
    """Write the model to ``models/`` and the training's history to ``reports/training/``."""
    if isinstance(settings.model, Baseline):
        _train_baseline(settings)
        return
    how = settings.training.launch
    if how.processes * how.machines > 1 and not distributed.is_launched():
        distributed.launch(COMMAND, how)
        return
    with distributed.joined(), repeatable(settings.training.seed):
        _train_network(settings)


def _train_network(settings: Settings) -> None:
    model, training = settings.network, settings.training
    with memory_explained(model.batch_size, training.accumulation):
        task = prepare_task(paths.TRANSFORMED, model, training)
        checkpoint = Checkpoint(paths.CHECKPOINT, _origin(settings, task))
        if distributed.rank() > 0:
            fit(task, model, training, Listeners(), checkpoint)
            predict_split(task, task.network, model.batch_size)
            return
        with open_run(
            settings.tracking,
            f"train {model.name}",
            _params(settings),
            {},
            interrupted_id=checkpoint.run_id,
        ) as tracked:
            checkpoint.run_id = tracked.id
            with TrainingProgress(model.name, training.epochs, len(task.train), training.monitor) as progress:
                fitted = fit(task, model, training, _listen(tracked, progress), checkpoint)
            logits = predict_split(task, task.network, model.batch_size)
            temperature = fit_temperature(logits, task.val.labels)
            _write(settings, _describe_network(task, fitted, temperature), tracked)
    checkpoint.remove()


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
    hardware = task.hardware
    machine = (
        f"{hardware.precision} on {hardware.device}, {hardware.layout}, {torch.get_num_threads()} threads"
    )
    return Origin(
        settings={
            f"{name}.{key}": value
            for name, section in _params(settings).items()
            for key, value in section.items()
        },
        data=data_sha256(paths.TRANSFORMED),
        code=code_sha256(),
        start=weights_sha256(task.network),
        environment=f"torch {torch.__version__}, {machine}",
    )


def _params(settings: Settings) -> dict[str, dict[str, object]]:
    return {"model": settings.model.model_dump(), "training": settings.training.model_dump()}


def _describe_network(task: Task, fitted: Fitted, temperature: float) -> Trained:
    transform = read_transform(paths.TRANSFORMED)
    hardware = f"{task.hardware.precision} on {task.hardware.device}"
    network = task.network.cpu().float()
    served = ServingNetwork(network, transform.mean, transform.std, temperature)
    return Trained(
        fitted,
        network.state_dict(),
        {"pretrained": getattr(network, "pretrained", None), "parameters": parameter_count(network)},
        hardware,
        temperature,
        summarize(network, transform.input_shape),
        lambda metadata, path: export_network(served, transform.input_shape, metadata, path),
    )


def _train_baseline(settings: Settings) -> None:
    model, transform = settings.model, read_transform(paths.TRANSFORMED)
    train, val = (load_split(paths.TRANSFORMED, split) for split in ("train", "val"))
    with open_run(settings.tracking, f"train {model.name}", _params(settings), {}) as tracked:
        classifier = build_baseline(model.name, model.options, settings.training.seed)
        found = fit_baseline(classifier, train, val, transform)
        tracked.log_metrics(found.epoch.metrics(), 1)
        title = f"{model.name}: importance of each pixel"
        served, picture = found.baseline, paths.PIXEL_IMPORTANCE
        draw_pixel_importance(classifier.importances(), served.pooling, transform.classes, title, picture)
        arrays = {name: torch.from_numpy(array) for name, array in classifier.tensors().items()}
        trained = Trained(
            Fitted([found.epoch], found.epoch),
            arrays,
            {"parameters": sum(array.numel() for array in arrays.values())},
            "fp32 on cpu",
            served.temperature,
            [
                (name, model.name, "×".join(map(str, array.shape)), f"{array.numel():,}")
                for name, array in arrays.items()
            ],
            lambda metadata, path: export_baseline(served, metadata, path),
        )
        _write(settings, trained, tracked)
        tracked.log_artifacts([picture])


def _write(settings: Settings, trained: Trained, tracked: Run) -> None:
    """Write the file to serve, what to train on from, and the reports; tell how it went."""
    transform = read_transform(paths.TRANSFORMED)
    with atomic_path(paths.MODEL_WEIGHTS) as temporary:
        temporary.write_bytes(save({name: value.contiguous() for name, value in trained.tensors.items()}))
    metadata = {
        "classes": transform.classes,
        "transform": asdict(transform),
        "temperature": trained.temperature,
    }
    trained.export(metadata, paths.MODEL_ONNX)
    write_json(paths.MODEL_DESCRIPTION, _describe(settings, trained, transform))
    write_text(paths.MODEL_SUMMARY, lay_out(HEADER, trained.summary, width=None) + "\n")
    rows = [asdict(epoch) for epoch in trained.fitted.history]
    write_csv(paths.HISTORY, rows, [field.name for field in fields(Epoch)])
    write_json(paths.TRAINING_SUMMARY, _summarize(trained))
    tracked.set_tags({MODEL_TAG: sha256_of(paths.MODEL_ONNX)})
    best = trained.fitted.best
    print(
        f"{settings.model.name}: validation accuracy {best.val_accuracy:.2%} at epoch {best.epoch} of {len(rows)}, "
        f"in {trained.hardware}"
    )


def _describe(settings: Settings, trained: Trained, transform: Transform) -> dict[str, object]:
    return {
        "network": settings.model.name,
        "options": settings.model.options,
        **trained.description,
        "temperature": trained.temperature,
        "transform": asdict(transform),
    }


def _summarize(trained: Trained) -> dict[str, object]:
    best = trained.fitted.best
    return {
        "best_epoch": best.epoch,
        "epochs": len(trained.fitted.history),
        **{name: value for name, value in best.metrics().items() if name.startswith("val_")},
        "temperature": trained.temperature,
        "parameters": trained.description["parameters"],
        "hardware": trained.hardware,
    }
