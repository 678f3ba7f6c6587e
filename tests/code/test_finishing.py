"""What is done to an exported file: novelty, test-time augmentation, int8, and thresholds that hold for its own outputs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from pooled_models import CLASSES, random_images, write_pooled_model
from tiny_models import brightness_images, write_threshold_model
from visiongate.errors import SettingsError
from visiongate.images.pixels import Pixels, PixelSplit
from visiongate.models.calibrated_graph import find_calibration
from visiongate.models.novelty import fit_distance
from visiongate.models.predictor import Predictor, open_predictor
from visiongate.models.quantization import quantize
from visiongate.models.reliability import is_out_of_distribution
from visiongate.models.view_averaging import VIEWS, View, average_views
from visiongate.records.reliability import Reliability, read_reliability
from visiongate.settings.loading import parse_settings
from visiongate.settings.schema import Settings
from visiongate.training.finishing import finish, finish_on_folds

ROOT = Path(__file__).parents[2]


def _settings(tta: str = "none", precision: str = "fp32", **model: object) -> Settings:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["training"]["export"] = {"tta": tta, "precision": precision}
    if model:
        tree["model"], space = model, tree["optimize"]["space"]
        tree["optimize"]["space"] = {"smoothing": space["label_smoothing"]}
    return parse_settings(tree, "params.yaml")


def _split(count: int, seed: int = 0) -> PixelSplit:
    images = random_images(count, seed)
    return PixelSplit(images, np.random.default_rng(seed).integers(0, len(CLASSES), count))


def _reliability(predictor: Predictor) -> Reliability:
    reliability = read_reliability(predictor.metadata, predictor.name)
    assert reliability is not None
    return reliability


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_pooled_model(tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_novelty_is_the_distance_to_the_nearest_class_with_the_covariance_within_classes(model: Path) -> None:
    train = _split(400)
    embeddings = open_predictor(model).run(train.images, ["embedding"])["embedding"].astype(np.float64)
    finish(model, train, _split(30, seed=1), _settings())

    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    means = np.stack([unit[train.labels == number].mean(axis=0) for number in range(len(CLASSES))])
    variances, axes = np.linalg.eigh(np.cov((unit - means[train.labels]).T, bias=True))
    kept = int(np.searchsorted(np.cumsum(variances[::-1]), 0.8 * variances.sum())) + 1
    variances[:-kept] = variances[:-kept].mean()
    outputs = open_predictor(model).run(random_images(9, seed=2), ["embedding", "novelty"])
    vectors = outputs["embedding"] / np.linalg.norm(outputs["embedding"], axis=1, keepdims=True)
    distances = ((vectors[:, None] - means) @ axes) ** 2 / variances
    expected = np.sqrt(distances.mean(axis=2).min(axis=1))
    np.testing.assert_allclose(outputs["novelty"], expected, rtol=1e-3)


def test_distance_of_few_or_equal_embeddings_is_finite() -> None:
    generator = np.random.default_rng(0)
    for embeddings in (generator.standard_normal((4, 20)), np.ones((4, 20)), np.zeros((4, 2))):
        distance = fit_distance(embeddings.astype(np.float32), np.array([0, 0, 2, 2]))
        assert distance is not None
        assert distance.directions.shape == (embeddings.shape[1], 2)
        assert all(np.isfinite(getattr(distance, name)).all() for name in distance.__slots__)
    assert fit_distance(np.ones((5, 1), np.float32), np.zeros(5, int)) is None


def test_without_embedding_novelty_is_the_energy(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_pooled_model(path, embedding=False)
    finish(path, _split(40), _split(30, seed=1), _settings())

    images = random_images(5, seed=2)
    outputs = open_predictor(path).run(images, ["probabilities", "novelty"])
    # The energy is the constant that the probabilities lack: logits = 2 · log p + energy of the divided logits.
    write_pooled_model(path)
    embedding = open_predictor(path).run(images, ["embedding"])["embedding"]
    file = onnx.load(path)
    weights, bias = (_constant(file, name) for name in ("weights", "bias"))
    expected = -np.log(np.exp(embedding @ weights.T + bias).sum(axis=1))
    np.testing.assert_allclose(outputs["novelty"], expected, rtol=1e-4)


def test_foreign_images_are_out_of_distribution_and_few_of_the_same_kind_are(model: Path) -> None:
    def stripes(count: int, seed: int) -> PixelSplit:
        columns = np.random.default_rng(seed).integers(0, 256, (count, 1, 8, 1))
        images = np.broadcast_to(columns, (count, 8, 8, 1)).astype(np.uint8)
        return PixelSplit(images, np.arange(count) % len(CLASSES))

    finish(model, stripes(200, 0), stripes(200, 1), _settings())
    predictor = open_predictor(model)
    reliability = _reliability(predictor)
    alarms, found = (
        is_out_of_distribution(predictor.run(images, ["novelty"])["novelty"], reliability).mean()
        for images in (stripes(400, 2).images, np.zeros((9, 8, 8, 1), np.uint8))
    )

    assert alarms < 0.1
    assert found == 1


@pytest.mark.parametrize("tta", ["flip", "flip_shift"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_augmentation_averages_logits_embedding_and_map_of_all_views(
    model: Path, precision: str, tta: str
) -> None:
    images = random_images(7)
    graph = onnx.load(model)
    if precision == "int8":
        graph = quantize(graph, images)
        graph.metadata_props.extend(onnx.load(model).metadata_props)
    before = open_predictor(graph.SerializeToString())
    average_views(graph, VIEWS[tta])
    onnx.checker.check_model(graph, full_check=True)
    after = open_predictor(graph.SerializeToString()).run(images, sorted(before.outputs))

    views = [before.run(_view(images, view), sorted(before.outputs)) for view in VIEWS[tta]]
    weights = [view.weight for view in VIEWS[tta]]
    assert sum(weights) == 1
    embedding = np.average([each["embedding"] for each in views], axis=0, weights=weights)
    np.testing.assert_allclose(after["embedding"], embedding, rtol=1e-5, atol=1e-6)
    maps = [
        each["activation_map"][..., ::-1] if view.is_mirrored else each["activation_map"]
        for each, view in zip(views, VIEWS[tta], strict=True)
    ]
    expected = np.average(maps, axis=0, weights=weights)
    np.testing.assert_allclose(after["activation_map"], expected, rtol=1e-4, atol=1e-5)
    # The mean of logits is the geometric mean of probabilities.
    products = np.exp(np.average([np.log(each["probabilities"]) for each in views], axis=0, weights=weights))
    products /= products.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(after["probabilities"], products, rtol=1e-4)


def _view(images: Pixels, view: View) -> Pixels:
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect")
    start, size = 1 - view.shift, images.shape[1]
    shifted = padded[:, start : start + size, start : start + size]
    return np.ascontiguousarray(shifted[:, :, ::-1] if view.is_mirrored else shifted)


def test_int8_is_near_fp32_deterministic_and_smaller(model: Path) -> None:
    graph, images = onnx.load(model), random_images(64)

    quantized = quantize(graph, images)

    assert quantized.SerializeToString() == quantize(graph, images).SerializeToString()
    assert any(each.data_type == onnx.TensorProto.INT8 for each in quantized.graph.initializer)
    quantized.metadata_props.extend(graph.metadata_props)
    unseen = random_images(50, seed=1)
    probabilities = open_predictor(quantized.SerializeToString()).predict(unseen)
    np.testing.assert_allclose(probabilities, open_predictor(model).predict(unseen), atol=0.05)


def test_int8_without_convolutions_is_refused(tmp_path: Path) -> None:
    write_threshold_model(tmp_path / "model.onnx")

    with pytest.raises(SettingsError, match="int8 quantizes convolutions, and this model has none; set fp32"):
        quantize(onnx.load(tmp_path / "model.onnx"), brightness_images(4)[0])
    with pytest.raises(SettingsError, match="the baseline random_forest has none; set fp32"):
        _settings(precision="int8", kind="baseline", name="random_forest", options={})


@pytest.mark.parametrize(("tta", "precision"), [("none", "fp32"), ("flip", "int8")])
def test_thresholds_and_temperature_are_those_of_the_finished_file(
    model: Path, tta: str, precision: str
) -> None:
    val = _split(99, seed=1)
    finish(model, _split(40), val, _settings(tta, precision))

    predictor = open_predictor(model)
    reliability = _reliability(predictor)
    outputs = predictor.run(val.images, ["probabilities", "novelty"])
    own = outputs["probabilities"][np.arange(99), val.labels]
    assert (reliability.images, reliability.error_rate) == (99, 0.05)
    # Of 99 images, the rank is 95.
    assert (own >= reliability.min_probability - 1e-6).sum() == 95
    assert (outputs["novelty"] <= reliability.novelty_threshold).sum() == 95
    temperature = _constant(onnx.load(model), find_calibration(onnx.load(model)).temperature)
    assert temperature == pytest.approx(predictor.temperature)
    assert (predictor.temperature == 2) == (precision == "fp32")
    assert predictor.metadata["classes"] == list(CLASSES)


def test_the_final_model_has_the_thresholds_of_all_folds_together(model: Path) -> None:
    original = model.read_bytes()
    outputs = []
    for seed in (1, 2):
        model.write_bytes(original)
        outputs.append(finish(model, _split(40), _split(12, seed), _settings()))
    # 12 images cannot exclude a class at an error rate of 0.05; 24 can.
    assert _reliability(open_predictor(model)).min_probability == 0
    assert _reliability(open_predictor(model)).novelty_threshold is None

    model.write_bytes(original)
    finish_on_folds(model, _split(40), outputs, _settings())

    reliability = _reliability(open_predictor(model))
    assert reliability.images == 24
    assert reliability.min_probability > 0
    assert reliability.novelty_threshold == max(
        each.novelty.max() for each in outputs if each.novelty is not None
    )


def test_baseline_has_prediction_sets_and_no_novelty(tmp_path: Path) -> None:
    write_pooled_model(tmp_path / "model.onnx", embedding=False)
    baseline = _settings(kind="baseline", name="random_forest", options={})

    finish(tmp_path / "model.onnx", _split(40), _split(30, seed=1), baseline)

    predictor = open_predictor(tmp_path / "model.onnx")
    assert "novelty" not in predictor.outputs
    assert _reliability(predictor).novelty_threshold is None
    assert _reliability(predictor).min_probability > 0


def test_graph_without_calibration_is_refused(tmp_path: Path) -> None:
    write_threshold_model(tmp_path / "model.onnx")

    with pytest.raises(ValueError, match="not a softmax of logits divided by a temperature"):
        find_calibration(onnx.load(tmp_path / "model.onnx"))


def _constant(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(onnx.numpy_helper.to_array(each) for each in model.graph.initializer if each.name == name)
