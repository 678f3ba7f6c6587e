"""The default gate passes a good model and fails degraded ones, each by the rule for its defect."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import yaml
from onnx import numpy_helper

from visiongate.evaluation import stage as evaluate
from visiongate.records.files import read_json
from visiongate.settings.loading import parse_settings
from visiongate.settings.schema import Settings
from visiongate.training import stage as train
from workspaces import enter_workspace

ROOT = Path(__file__).parents[2]
DATA = Path("data/transformed")
MODEL = Path("models/model.onnx")


@pytest.fixture
def settings(tmp_path: Path, pipeline_outputs: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A workspace with the digits, and a forest to be trained on them."""
    enter_workspace(tmp_path / "workspace", monkeypatch)
    shutil.copytree(pipeline_outputs / "data/transformed", DATA)
    shutil.copytree(pipeline_outputs / "reports/validation", "reports/validation")
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["model"] = {"kind": "baseline", "name": "random_forest", "options": {"trees": 200}}
    tree["optimize"]["space"] = {"smoothing": tree["optimize"]["space"]["label_smoothing"]}
    tree["evaluation"] |= {"latency_runs": 3, "bootstrap_samples": 200}
    return parse_settings(tree, "params.yaml")


def failed(settings: Settings) -> set[str]:
    """Evaluate, and return the rules that fail."""
    evaluate.run(settings)
    verdict = read_json(Path("reports/gate.json"))
    assert verdict["passed"] is all(rule["passed"] is not False for rule in verdict["rules"])
    return {rule["name"] for rule in verdict["rules"] if rule["passed"] is False}


def change_labels(change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the labels of the training split, in the array and in the manifest."""
    labels = change(np.load(DATA / "train_labels.npy"))
    np.save(DATA / "train_labels.npy", labels)
    table = pq.read_table(DATA / "manifest.parquet")
    train_rows = np.array(table.column("split").to_pylist()) == "train"
    changed = table.column("label").to_numpy().copy()
    changed[train_rows] = labels[table.column("row").to_numpy()[train_rows]]
    place = table.column_names.index("label")
    pq.write_table(table.set_column(place, "label", [changed]), DATA / "manifest.parquet")


def shuffle_labels() -> None:
    change_labels(np.random.default_rng(0).permutation)


def drop_a_class() -> None:
    """Label all images of a class but one as another class."""
    change_labels(lambda labels: np.where((labels == 3) & (np.cumsum(labels == 3) > 1), 8, labels))


def train_on_the_test_split() -> None:
    """Give each test image the place of a training image of its class."""
    images, labels = np.load(DATA / "train.npy"), np.load(DATA / "train_labels.npy")
    tested, truth = np.load(DATA / "test.npy"), np.load(DATA / "test_labels.npy")
    for label in np.unique(truth):
        (places,) = np.nonzero(labels == label)
        mine = tested[truth == label]
        images[places[: len(mine)]] = mine
    np.save(DATA / "train.npy", images)


def break_the_calibration() -> None:
    """Divide the logits by ten: the predicted classes stay, with low confidence."""
    model = onnx.load(MODEL)
    [temperature] = [each for each in model.graph.initializer if each.name == "temperature"]
    hotter = numpy_helper.to_array(temperature) * np.float32(10)
    temperature.CopyFrom(numpy_helper.from_array(hotter, "temperature"))
    onnx.save(model, MODEL)


def test_a_sound_model_passes(settings: Settings) -> None:
    train.run(settings)

    assert failed(settings) == set()


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("worsen", "rules"),
    [
        (shuffle_labels, {"beats_majority", "worst_class"}),
        (drop_a_class, {"worst_class"}),
        (train_on_the_test_split, {"no_leaks"}),
    ],
)
def test_a_model_trained_on_bad_data_fails(
    settings: Settings, worsen: Callable[[], None], rules: set[str]
) -> None:
    worsen()
    train.run(settings)

    assert failed(settings) >= rules


def test_an_uncalibrated_model_fails(settings: Settings) -> None:
    train.run(settings)
    break_the_calibration()

    assert failed(settings) == {"calibration"}
