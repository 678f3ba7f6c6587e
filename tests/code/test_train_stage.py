import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime
import pytest
import yaml
from safetensors.numpy import load_file

from visiongate import paths
from visiongate.adapters.mlflow.store import open_store
from visiongate.errors import DataError, SettingsError
from visiongate.records.files import sha256_of
from visiongate.records.history import read_history
from visiongate.settings.loading import parse_settings
from visiongate.settings.schema import Settings
from visiongate.training import stage as train
from workspaces import enter_workspace, write_pixels

ROOT = Path(__file__).parents[2]
OUTPUTS = (
    "models/model.onnx",
    "models/model.safetensors",
    "models/model.json",
    "reports/training/history.csv",
)
BASELINE = {"kind": "baseline", "name": "random_forest", "options": {"trees": 5}}


def settings(**changes: object) -> Settings:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["training"] |= {"epochs": 3, "device": "cpu", "precision": "fp32"}
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            tree[section][key] = value
        else:
            tree[section] = value
    tree["optimize"]["space"] = {"smoothing": tree["optimize"]["space"]["label_smoothing"]}
    return parse_settings(tree, "params.yaml")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter_workspace(tmp_path / "workspace", monkeypatch)
    write_pixels(Path("data/transformed"))
    return tmp_path / "workspace"


def output_hashes() -> dict[str, str]:
    return {name: sha256_of(Path(name)) for name in OUTPUTS}


@pytest.mark.usefixtures("workspace")
def test_a_network_is_trained_exported_and_tracked(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = settings()
    train.run(chosen)
    assert "small_cnn: validation accuracy" in capsys.readouterr().out
    summary = json.loads(Path("reports/training.json").read_text())
    assert (summary["epochs"], summary["hardware"]) == (3, "fp32 on cpu with 1 thread")
    assert [epoch.epoch for epoch in read_history(paths.HISTORY)] == [1, 2, 3]
    layers = Path("reports/training/model_summary.txt").read_text().splitlines()
    assert layers[0].split() == ["layer", "kind", "output", "parameters"]
    assert layers[-1].split()[-1] == f"{summary['parameters']:,}"
    session = onnxruntime.InferenceSession("models/model.onnx")
    (shares,) = session.run(["probabilities"], {"images": np.load("data/transformed/test.npy")})
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert not Path("models/checkpoint.safetensors").exists()
    store = open_store(chosen.tracking)
    (run,) = store.client.search_runs([store.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["visiongate.model_sha256"] == sha256_of(Path("models/model.onnx"))
    assert run.data.tags["visiongate.hardware"] == "fp32 on cpu with 1 thread"
    assert {"val_roc_auc", "val_f1", "val_precision", "val_recall", "lr", "images_per_second"} <= set(
        run.data.metrics
    )
    assert len(store.client.get_metric_history(run.info.run_id, "val_loss")) == 3


@pytest.mark.no_cover
@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_is_deterministic(precision: str) -> None:
    chosen = settings(training__precision=precision)
    train.run(chosen)
    first = output_hashes()
    train.run(chosen)
    assert output_hashes() == first
    assert (
        json.loads(Path("reports/training.json").read_text())["hardware"]
        == f"{precision} on cpu with 1 thread"
    )


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("name", ["random_forest", "logistic_regression"])
def test_a_baseline_is_trained_like_a_network(name: str) -> None:
    chosen = settings(model={**BASELINE, "name": name, "options": {}}, optimize__epochs=1)
    train.run(chosen)
    first = output_hashes()
    (shares,) = onnxruntime.InferenceSession("models/model.onnx").run(
        None, {"images": np.load("data/transformed/test.npy")}
    )
    assert (shares.argmax(axis=1) == np.load("data/transformed/test_labels.npy")).mean() > 0.8
    assert Path("reports/training/pixel_importance.png").read_bytes().startswith(b"\x89PNG")
    assert sum(array.size for array in load_file("models/model.safetensors").values()) > 0
    assert json.loads(Path("models/model.json").read_text())["network"] == name
    assert name in Path("reports/training/model_summary.txt").read_text()
    train.run(chosen)
    assert output_hashes() == first


def interrupt_before_writing(chosen: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train all epochs, and stop before the outputs are written."""

    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "_write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train.run(chosen)


@pytest.mark.usefixtures("workspace")
def test_an_interrupted_training_resumes_in_the_same_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "visiongate")
    chosen = settings()
    train.run(chosen)
    uninterrupted = output_hashes()
    for name in OUTPUTS:
        Path(name).unlink()
    interrupt_before_writing(chosen, monkeypatch)
    train.run(chosen)
    assert "after epoch 3" in caplog.text
    assert output_hashes() == uninterrupted
    store = open_store(chosen.tracking)
    runs = store.client.search_runs([store.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    for run in runs:
        history = store.client.get_metric_history(run.info.run_id, "val_loss")
        assert sorted(metric.step for metric in history) == [1, 2, 3]


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(("changes", "name"), [({"model__lr": 0.02}, "model.lr"), ({}, "data")])
def test_a_checkpoint_of_other_settings_or_data_is_not_resumed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, changes: dict[str, object], name: str
) -> None:
    interrupt_before_writing(settings(training__epochs=1), monkeypatch)
    if name == "data":
        np.save("data/transformed/train.npy", 255 - np.load("data/transformed/train.npy"))
    train.run(settings(training__epochs=1, **changes))
    assert f"{name} changed" in caplog.text


@pytest.mark.usefixtures("workspace")
def test_training_does_not_need_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing listens on this port.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    train.run(settings())
    assert all(Path(name).exists() for name in OUTPUTS)


def cut(split: str, count: int) -> None:
    for name in (f"{split}.npy", f"{split}_labels.npy"):
        path = Path("data/transformed", name)
        np.save(path, np.load(path)[:count])


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(("split", "count"), [("train", 0), ("train", 1), ("val", 0)])
def test_a_split_with_too_few_images_raises_an_error(split: str, count: int) -> None:
    cut(split, count)
    with pytest.raises(DataError, match="data/transformed"):
        train.run(settings())


@pytest.mark.usefixtures("workspace")
def test_images_that_are_too_small_raise_an_error() -> None:
    wrong = settings(
        model__name="simple_cnn", model__options={}, training__progressive={"size": 4, "until": 0.5}
    )
    with pytest.raises(SettingsError, match=r"training\.progressive\.size"):
        train.run(wrong)


@pytest.mark.usefixtures("workspace")
def test_tensorboard_gets_the_metrics_of_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    scalars = []

    class SummaryWriter:
        def __init__(self, directory: Path, purge_step: int) -> None:
            assert directory.parent == paths.TENSORBOARD
            assert purge_step == 1

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_error: object) -> None:
            pass

        def add_scalar(self, tag: str, _value: float, step: int) -> None:
            scalars.append((tag, step))

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    train.run(settings(training__tensorboard=True, training__epochs=2))
    assert {("loss/train", 1), ("loss/val", 2), ("roc_auc/val", 1), ("lr", 2)} <= set(scalars)


@pytest.mark.usefixtures("workspace")
def test_tensorboard_without_its_package_raises_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SettingsError, match=r"training\.tensorboard"):
        train.run(settings(training__tensorboard=True))


@pytest.mark.usefixtures("workspace")
@pytest.mark.slow
def test_an_out_of_memory_error_names_the_settings_to_change() -> None:
    code = (
        "import resource, sys; sys.path.insert(0, 'src'); import torch\n"
        "from visiongate.settings.loading import load_settings; from visiongate.training import stage as train\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 700_000_000,) * 2)\n"
        "import run; sys.exit(run.main(['train']))"
    )
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["model"] |= {"batch_size": 100_000, "options": {"width": 4000, "dropout": 0.0}}
    tree["training"] |= {"epochs": 1, "device": "cpu", "precision": "fp32"}
    Path("params.yaml").write_text(yaml.safe_dump(tree))
    shutil.copytree(ROOT / "src", "src")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "model.batch_size" in result.stderr.splitlines()[-1], result


@pytest.mark.usefixtures("workspace")
@pytest.mark.slow
def test_two_processes_write_one_set_of_outputs_and_one_run() -> None:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["training"] |= {"epochs": 3, "device": "cpu", "precision": "fp32"}
    tree["training"]["launch"]["processes"] = 2
    Path("params.yaml").write_text(yaml.safe_dump(tree))
    shutil.copytree(ROOT / "src", "src")
    result = subprocess.run(
        [sys.executable, "src/run.py", "train"],
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("validation accuracy") == 1
    assert len(read_history(paths.HISTORY)) == 3
    chosen = parse_settings(tree, "params.yaml")
    store = open_store(chosen.tracking)
    (run,) = store.client.search_runs([store.experiment_id])
    assert run.info.status == "FINISHED"
