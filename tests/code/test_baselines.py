import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from matplotlib.image import imread
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from tiny_models import transform
from visiongate.errors import DataError, SettingsError
from visiongate.images.pixels import PixelSplit
from visiongate.models.baseline_export import ServingBaseline, export_baseline, scores_to_logits
from visiongate.models.baselines.random_forest import round_down
from visiongate.models.pixel_classifier import PixelClassifier
from visiongate.models.pixel_features import Pooling
from visiongate.models.predictor import open_predictor
from visiongate.models.registry import baseline_names, build_baseline
from visiongate.records.files import sha256_of
from visiongate.records.history import EpochMetrics
from visiongate.records.transform import Transform
from visiongate.settings.model import Baseline
from visiongate.training.baselines import BaselineRecipe, FittedBaseline
from visiongate.training.one_step import fit_one_step, read_features
from visiongate.training.pixel_importance import draw_pixel_importance

CLASSES = ["a", "b", "c", "unseen"]
FAST = {"random_forest": {"trees": 12, "side": 5}, "logistic_regression": {"iterations": 40, "side": 5}}
# Sizes that the side divides and does not, gray and in color, smaller than the side too.
SHAPES = [(10, 10, 1), (12, 12, 3), (7, 7, 3), (4, 4, 1)]


def split(count: int, shape: tuple[int, int, int], seed: int, classes: int = 3, step: int = 60) -> PixelSplit:
    """Noise, brighter for higher classes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    images = generator.integers(0, 130, (count, *shape), dtype=np.uint8) + (
        step * labels[:, None, None, None]
    ).astype(np.uint8)
    return PixelSplit(images, labels.astype(np.int64))


@dataclass(frozen=True)
class Result:
    """What a test looks at: the baseline as it is served, and its metrics."""

    baseline: ServingBaseline
    epoch: EpochMetrics


def fit(name: str, train: PixelSplit, val: PixelSplit, transform: Transform) -> Result:
    recipe = BaselineRecipe(Baseline(kind="baseline", name=name, options=FAST[name]), transform, seed=0)
    result = fit_one_step(recipe, read_features(recipe, train), read_features(recipe, val))
    fitted = result.classifier
    assert isinstance(fitted, FittedBaseline)
    serving = ServingBaseline(fitted.classifier, fitted.pooling, len(transform.classes), result.temperature)
    return Result(serving, result.epoch)


def fitted(
    name: str, shape: tuple[int, int, int], classes: int = 3, step: int = 60
) -> tuple[PixelClassifier, Result]:
    mode = "L" if shape[2] == 1 else "RGB"
    channels = shape[2]
    transform = Transform(shape[0], mode, "stretch", [0.5] * channels, [0.3] * channels, CLASSES)
    result = fit(name, split(150, shape, 0, classes, step), split(60, shape, 1, classes, step), transform)
    return result.baseline.classifier, result


def serve(path: Path, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    (shares,) = onnxruntime.InferenceSession(path).run(None, {"images": images})
    return shares


# Features


def test_pooling_is_the_mean_over_equal_areas() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 2), dtype=np.uint8)
    blocks = images.reshape(3, 4, 3, 4, 3, 2).mean(axis=(2, 4)) / 255
    assert np.allclose(Pooling((12, 12, 2), 4)(images), blocks.reshape(3, -1), atol=1e-6)


def test_a_pixel_on_a_border_counts_in_both_areas_by_its_share() -> None:
    ramp = np.array([0, 90, 255], dtype=np.uint8)
    images = np.broadcast_to(ramp[None, None, :, None], (1, 3, 3, 1)).copy()
    left, right = (0 + 0.5 * 90) / 1.5 / 255, (0.5 * 90 + 255) / 1.5 / 255
    assert np.allclose(Pooling((3, 3, 1), 2)(images)[0], [left, right, left, right])


@pytest.mark.parametrize("size", [7, 31, 300])
def test_pooling_keeps_the_mean_and_the_range(size: int) -> None:
    pooling = Pooling((size, size, 1), 16)
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 1), dtype=np.uint8)
    assert np.allclose(pooling(images).mean(axis=1), images.mean(axis=(1, 2, 3)) / 255, atol=1e-5)
    assert np.array_equal(
        pooling(np.full((1, size, size, 1), 255, dtype=np.uint8)).ravel(), np.ones(min(size, 16) ** 2)
    )


# Fitting


@pytest.mark.parametrize("name", baseline_names())
def test_a_baseline_is_measured_and_calibrated(name: str) -> None:
    classifier, result = fitted(name, (10, 10, 1), step=8)
    val = split(60, (10, 10, 1), 1, step=8)
    shares = classifier.probabilities(result.baseline.pooling(val.images), 4)
    assert math.isclose(result.epoch.val_accuracy, (shares.argmax(axis=1) == val.labels).mean())
    assert result.epoch.val_accuracy > 0.5
    logits = scores_to_logits(shares)
    assert math.isclose(
        result.epoch.val_loss, log_loss(val.labels, softmax(logits, axis=1), labels=range(4)), rel_tol=1e-4
    )
    # The temperature's loss has labels that are not quite certain, as in `fit_temperature`.
    doubt = 1 / (len(val.labels) + 2)
    targets = np.where(np.arange(4) == val.labels[:, None], 1 - doubt, doubt / 3)
    losses = [
        -(targets * log_softmax(logits / temperature, axis=1)).sum(axis=1).mean()
        for temperature in (
            result.baseline.temperature,
            0.9 * result.baseline.temperature,
            1.1 * result.baseline.temperature,
        )
    ]
    assert min(losses) == losses[0]


def test_a_single_training_class_raises_an_error() -> None:
    with pytest.raises(DataError, match="train split"):
        fitted("random_forest", (4, 4, 1), classes=1)


@pytest.mark.parametrize(
    ("name", "options", "key"),
    [
        ("svm", {}, "model.name"),
        ("random_forest", {"depth": 3}, "model.options.depth"),
        ("random_forest", {"trees": 0}, "model.options.trees"),
        ("logistic_regression", {"strength": 0.0}, "model.options.strength"),
    ],
)
def test_an_invalid_name_or_option_raises_an_error(name: str, options: dict[str, object], key: str) -> None:
    with pytest.raises(SettingsError, match=key):
        build_baseline(name, options, 0)


# ONNX


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", baseline_names())
def test_onnx_and_scikit_learn_give_equal_probabilities(
    tmp_path: Path, name: str, classes: int, shape: tuple[int, int, int]
) -> None:
    classifier, result = fitted(name, shape, classes)
    metadata = {
        "classes": CLASSES,
        "transform": transform(CLASSES, shape[0], "L" if shape[2] == 1 else "RGB"),
    }
    export_baseline(result.baseline, metadata, tmp_path / "model.onnx")
    test = split(200, shape, 2, classes)
    scores = classifier.probabilities(result.baseline.pooling(test.images), 4)
    expected = softmax(scores_to_logits(scores) / result.baseline.temperature, axis=1)
    shares = serve(tmp_path / "model.onnx", test.images)
    assert shares.dtype == np.float32
    assert np.allclose(shares, expected, atol=1e-5)
    assert (shares.argmax(axis=1) < classes).all()
    assert np.allclose(serve(tmp_path / "model.onnx", test.images[:1]), shares[:1], atol=1e-5)
    assert open_predictor(tmp_path / "model.onnx").metadata.items() >= metadata.items()


@pytest.mark.parametrize("name", baseline_names())
def test_fitting_is_deterministic(tmp_path: Path, name: str) -> None:
    for place in ("one", "two"):
        classifier, result = fitted(name, (12, 12, 3))
        export_baseline(result.baseline, {"transform": transform(CLASSES, 12, "RGB")}, tmp_path / place)
        pooling = result.baseline.pooling
        draw_pixel_importance(classifier.importances(), pooling, CLASSES, name, tmp_path / f"{place}.png")
    assert sha256_of(tmp_path / "one") == sha256_of(tmp_path / "two")
    assert sha256_of(tmp_path / "one.png") == sha256_of(tmp_path / "two.png")


def test_float32_thresholds_split_features_like_float64() -> None:
    thresholds = np.array([0.1, 0.3, 1 / 3, 0.5, -0.7, 1e-9])
    rounded = round_down(thresholds)
    assert (rounded.astype(np.float64) <= thresholds).all()
    assert (np.nextafter(rounded, np.float32(2)).astype(np.float64) > thresholds).all()


@pytest.mark.parametrize("name", baseline_names())
def test_fitted_values_are_numeric_arrays(name: str) -> None:
    classifier, _ = fitted(name, (10, 10, 1))
    arrays = classifier.tensors()
    assert all(array.dtype.kind in "if" and array.size for array in arrays.values())


# Pixel importance


@pytest.mark.parametrize(("name", "panels"), [("random_forest", 1), ("logistic_regression", 3)])
def test_the_figure_has_a_panel_per_class_or_one_for_all(tmp_path: Path, name: str, panels: int) -> None:
    classifier, result = fitted(name, (10, 10, 1))
    importances = classifier.importances()
    assert importances.panels.shape == (panels, 25)
    draw_pixel_importance(importances, result.baseline.pooling, CLASSES, "a title", tmp_path / "picture.png")
    picture = imread(tmp_path / "picture.png")
    assert picture.shape[0] > 200
    assert picture.shape[1] > 200
    assert picture[..., :3].std() > 0.1


def test_the_pixel_that_determines_the_class_is_most_important() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 300)
    images = generator.integers(0, 256, (300, 4, 4, 1), dtype=np.uint8)
    images[:, 2, 1, 0] = np.where(labels == 1, 255, 0)
    transform = Transform(4, "L", "stretch", [0.5], [0.3], ["off", "on"])
    for name in baseline_names():
        result = fit(name, PixelSplit(images, labels), PixelSplit(images[:50], labels[:50]), transform)
        panel = result.baseline.classifier.importances().panels[0].reshape(4, 4)
        assert np.unravel_index(panel.argmax(), panel.shape) == (2, 1)
