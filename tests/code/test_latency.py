"""Latency of a tiny model."""

from pathlib import Path

import numpy as np
import pytest

from evaluation_settings import evaluation_settings
from tiny_models import SIDE, brightness_images, write_threshold_model
from visiongate.evaluation import latency as module
from visiongate.evaluation.latency import LATENCY, measure_latency
from visiongate.models.predictor import Images, Predictor, Probabilities, open_predictor
from visiongate.settings.evaluation import Evaluation


class CountingModel:
    """A model that records the shapes of its inputs."""

    def __init__(self, model: Predictor) -> None:
        self.model = model
        self.source = model.source
        self.shapes: list[tuple[int, ...]] = []

    def predict(self, images: Images, batch_size: int = 256) -> Probabilities:
        self.shapes.append(images.shape)
        return self.model.predict(images, batch_size)


@pytest.fixture
def model(tmp_path: Path) -> CountingModel:
    write_threshold_model(tmp_path / "model.onnx")
    return CountingModel(open_predictor(tmp_path / "model.onnx"))


def settings(batch_size: int, runs: int) -> Evaluation:
    return evaluation_settings(batch_size=batch_size, latency_runs=runs)


def test_single_images_and_repeated_batches_are_measured(model: CountingModel) -> None:
    images, _ = brightness_images(3)

    measured = measure_latency(model, images, settings(batch_size=8, runs=20))  # type: ignore[arg-type]

    assert tuple(measured) == LATENCY
    assert 0 < measured["latency_p50_ms"] <= measured["latency_p95_ms"]
    assert 0 < measured["latency_batch_p50_ms"] <= measured["latency_batch_p95_ms"]
    assert measured["throughput_images_per_s"] == pytest.approx(8000 / measured["latency_batch_p50_ms"])
    # The memory of Python, NumPy and onnxruntime.
    assert 20 < measured["peak_memory_mb"] < 400
    assert model.shapes.count((1, SIDE, SIDE, 1)) == 20 + module.WARM_UP
    assert model.shapes.count((8, SIDE, SIDE, 1)) == 20 + 1
    assert {type(value) for value in measured.values()} == {float}


def test_slow_model_runs_few_batches(model: CountingModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BATCH_SECONDS", 0.0)
    images = np.zeros((100, SIDE, SIDE, 1), dtype=np.uint8)

    measure_latency(model, images, settings(batch_size=16, runs=50))  # type: ignore[arg-type]

    assert model.shapes.count((16, SIDE, SIDE, 1)) == module.MIN_RUNS + 1


def test_peak_memory_is_that_of_a_new_process(model: CountingModel) -> None:
    images, _ = brightness_images(3)
    # 800 MB in this process.
    ballast = np.ones(100_000_000)

    measured = measure_latency(model, images, settings(batch_size=8, runs=1))  # type: ignore[arg-type]

    assert measured["peak_memory_mb"] < ballast.nbytes / 2e6
