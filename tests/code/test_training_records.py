"""history.csv, model.json and training.json: what is written is read back, and errors name the file."""

import json
import math
from pathlib import Path

import pytest

from visiongate.errors import DataError
from visiongate.records.history import EpochMetrics, parse_history, read_history, write_history
from visiongate.records.model import (
    ModelDescription,
    TrainingSummary,
    read_model_description,
    write_model_description,
    write_training_summary,
)

HISTORY = [
    EpochMetrics(1, 0.1, 1.5, 0.4, 1.2, 0.5, 0.5, 0.5, 0.5, 0.7, 0.9),
    EpochMetrics(2, None, 0.1 + 0.2, 0.6, math.inf, 0.8),
]


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_history(tmp_path / "history.csv", HISTORY)
    assert read_history(tmp_path / "history.csv") == HISTORY


def test_unknown_columns_are_ignored() -> None:
    content = b"epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy,later\n1,,1,0.5,nan,0.5,x\n"
    (epoch,) = parse_history(content)
    assert (epoch.epoch, epoch.lr, epoch.val_top3) == (1, None, None)
    assert math.isnan(epoch.val_loss)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"epoch,val_loss\n1,0.5\n",
        b"epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy\nx,,1,1,1,1\n",
    ],
)
def test_an_invalid_history_raises_an_error(content: bytes) -> None:
    with pytest.raises(DataError, match=r"history\.csv"):
        parse_history(content)


def test_epochs_compare_by_the_monitored_metric_then_by_the_loss() -> None:
    def epoch(loss: float, accuracy: float) -> EpochMetrics:
        return EpochMetrics(1, 0.1, 1.0, 0.5, loss, accuracy)

    assert epoch(0.5, 0.8).is_better_than(None, "val_loss")
    assert epoch(0.4, 0.7).is_better_than(epoch(0.5, 0.8), "val_loss")
    assert not epoch(0.4, 0.7).is_better_than(epoch(0.5, 0.8), "val_accuracy")
    assert epoch(0.4, 0.8).is_better_than(epoch(0.5, 0.8), "val_accuracy")
    assert epoch(0.4, 0.8).score("val_roc_auc") == -math.inf
    assert "val_roc_auc" not in epoch(0.4, 0.8).defined()


def test_a_description_is_read_as_it_was_written(tmp_path: Path) -> None:
    description = ModelDescription("small_cnn", {"width": 4}, None, 100, 1.5, {"size": 8})
    write_model_description(tmp_path / "model.json", description)
    assert read_model_description(tmp_path / "model.json") == description
    (tmp_path / "model.json").write_text('{"network": 3}')
    with pytest.raises(DataError, match=r"model\.json"):
        read_model_description(tmp_path / "model.json")


def test_the_summary_has_the_defined_metrics_of_the_best_epoch(tmp_path: Path) -> None:
    write_training_summary(
        tmp_path / "training.json", TrainingSummary(HISTORY[0], 2, 1.5, 100, "fp32 on cpu")
    )
    content = json.loads((tmp_path / "training.json").read_text())
    assert (content["best_epoch"], content["epochs"], content["val_top3"]) == (1, 2, 0.9)
    assert "train_loss" not in content
