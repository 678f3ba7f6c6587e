"""Coverage, sure predictions and alarms of models with thresholds, on images whose numbers are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from evaluated_models import evaluated_report
from pooled_models import CLASSES, random_images, write_pooled_model
from visiongate.evaluation.corruptions import CORRUPTIONS, average_robustness, measure_robustness
from visiongate.evaluation.folds import JudgedFold, Split
from visiongate.evaluation.foreign_images import load_foreign_images
from visiongate.evaluation.page import render_report
from visiongate.evaluation.reliability import ReliabilityResult, judge_reliability
from visiongate.images.pixels import PixelSplit
from visiongate.models.predictions import Predictions
from visiongate.models.predictor import Contract, Predictor, open_predictor
from visiongate.records.evaluation import NoveltyShare
from visiongate.records.reliability import Reliability
from visiongate.settings.loading import parse_settings
from visiongate.training.finishing import finish

ROOT = Path(__file__).parents[2]
IMAGES = 30


@pytest.fixture
def model(tmp_path: Path) -> Predictor:
    """A model whose labels are its own most probable classes."""
    path = tmp_path / "model.onnx"
    write_pooled_model(path)
    settings = parse_settings(yaml.safe_load((ROOT / "params.yaml").read_text("utf-8")), "params.yaml")
    train, val = (PixelSplit(random_images(100, seed), np.arange(100) % 3) for seed in (1, 2))
    finish(path, train, val, settings)
    return open_predictor(path)


def _fold(model: Predictor, seed: int = 0) -> JudgedFold:
    images = random_images(IMAGES, seed)
    pixels = PixelSplit(images, model.predict(images).argmax(axis=1))
    split = Split(pixels, pa.table({"path": [str(row) for row in range(IMAGES)]}))
    return JudgedFold(model, split, split, split)


def _predictions(folds: list[JudgedFold]) -> Predictions:
    parts = [fold.model.predict(fold.test.pixels.images).astype(np.float64) for fold in folds]
    labels = np.concatenate([fold.test.pixels.labels for fold in folds])
    return Predictions(np.concatenate(parts), labels, CLASSES)


def test_sets_and_alarms_of_all_folds_are_judged_by_the_thresholds_of_each(model: Predictor) -> None:
    # The other model has thresholds of its own: its sets have all classes, and all images are out of distribution.
    metadata = model.metadata["reliability"] | {"min_probability": 0.0, "novelty_threshold": 0.0}
    lenient = replace(model, metadata={**model.metadata, "reliability": metadata})
    folds = [_fold(model), _fold(lenient, seed=1)]

    result = judge_reliability(model, folds, _predictions(folds), None, "photos")

    assert result is not None
    assert result.sets[IMAGES:].all()
    assert not result.sets[:IMAGES].all()
    assert not result.sure[IMAGES:].any()
    assert result.outside is not None
    assert result.outside[IMAGES:].all()
    assert not result.outside[:IMAGES].all()
    shares = {share.name: share for share in result.shares(_predictions(folds))}
    assert set(shares) == {"coverage", "sure_share", "sure_accuracy", "false_alarms"}
    # The labels are the predictions, which are in every set.
    assert shares["coverage"].has_property.all()
    assert result.metrics()["set_size"] == pytest.approx(result.sets.sum() / 60)


def test_corrupted_and_foreign_images_have_a_row_each(model: Predictor) -> None:
    fold = _fold(model)
    pixels = fold.test.pixels
    robustness = measure_robustness(model, pixels.images, pixels.labels, seed=0, batch_size=16)
    assert average_robustness([robustness, robustness]) == replace(robustness, images=2 * IMAGES)

    result = judge_reliability(model, [fold], _predictions([fold]), robustness, "photos")

    assert result is not None
    rows = {(row.kind, row.name, row.severity): row for row in result.novelty}
    assert len(rows) == 1 + 5 * len(CORRUPTIONS) + 2
    assert rows["corrupted", "noise", 5].images == IMAGES
    foreign = [row.share for row in result.novelty if row.kind == "foreign"]
    assert result.metrics()["foreign_found"] == pytest.approx(np.mean(foreign))


def test_model_without_thresholds_is_not_judged(model: Predictor, tmp_path: Path) -> None:
    fold = _fold(model)
    write_pooled_model(tmp_path / "plain.onnx")
    plain = open_predictor(tmp_path / "plain.onnx")

    assert judge_reliability(plain, [fold], _predictions([fold]), None, "photos") is None
    assert (
        judge_reliability(model, [replace(fold, model=plain)], _predictions([fold]), None, "photos") is None
    )
    without = model.metadata["reliability"] | {"novelty_threshold": None}
    silent = replace(model, metadata={**model.metadata, "reliability": without})
    result = judge_reliability(silent, [_fold(silent)], _predictions([fold]), None, "photos")
    assert result is not None
    assert result.outside is None
    assert result.novelty == []
    assert "foreign_found" not in result.metrics()


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_foreign_images_have_the_form_of_the_input_and_are_not_of_the_data_set(
    mode: str, channels: int
) -> None:
    contract = Contract((20, 24, channels), mode, "stretch", CLASSES)

    images = load_foreign_images(contract, "photos")

    assert {each.shape[1:] for each in images.values()} == {(20, 24, channels)}
    assert all(each.dtype == np.uint8 and len(each) > 40 for each in images.values())
    assert set(images) - set(load_foreign_images(contract, "digits")) == {"handwritten digits"}


def test_page_shows_coverage_and_alarms() -> None:
    report = evaluated_report()
    count = len(report.result.test.labels)
    novelty = [
        NoveltyShare("test", "test images", None, count, 0.04),
        NoveltyShare("corrupted", "noise", 1, count, 0.1),
        NoveltyShare("corrupted", "noise", 5, count, 0.9),
        NoveltyShare("foreign", "parts of photos", None, 48, 1.0),
    ]
    known = ReliabilityResult(
        Reliability(0.05, 0.3, 1.5, 200), np.ones((count, 10), bool), np.zeros(count, bool), None, novelty
    )
    card = report.result.card
    interval = card.intervals["accuracy"]
    metrics = {"coverage": 0.96, "sure_share": 0.5, "sure_accuracy": 0.99}
    card = replace(
        card, metrics=card.metrics | metrics, intervals=card.intervals | dict.fromkeys(metrics, interval)
    )

    def render(reliability: ReliabilityResult) -> str:
        result = replace(report.result, reliability=reliability, card=card)
        return " ".join(render_report(replace(report, result=result), {}).split())

    page = render(known)
    assert "96.00%" in page
    assert "at least 95.00% are promised" in page
    assert "corrupted: noise" in page
    assert "10.00% to 90.00%" in page
    few = replace(known, stated=replace(known.stated, min_probability=0.0, images=7))
    assert "7 validation images are too few" in render(few)
    assert "<h2>Reliability</h2>" not in render_report(report, {})
