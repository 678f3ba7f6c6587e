"""Heat maps: they show the object that the model recognizes, and depend on what the model has learned."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib import colormaps
from PIL import Image
from scipy.stats import spearmanr

from localizable_models import SIDE, draw_scenes, write_probe, write_random_probe
from tiny_models import write_threshold_model
from visiongate.explanation import inferno
from visiongate.explanation.heat_maps import CLASS_ACTIVATION, OCCLUSION, class_evidence, heat_map, heat_maps
from visiongate.explanation.occlusion import occlusion_map
from visiongate.explanation.overlay import blend, overlay
from visiongate.models.predictor import ACTIVATION_MAP, PROBABILITIES, Predictor, open_predictor

Heat = npt.NDArray[np.float32]
METHODS = pytest.mark.parametrize("method", [CLASS_ACTIVATION, OCCLUSION])
EXPLAIN: dict[str, Callable[[Predictor, npt.NDArray[np.uint8], int], Heat]] = {
    CLASS_ACTIVATION: lambda *arguments: heat_map(*arguments).values,
    OCCLUSION: occlusion_map,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Predictor]:
    """Return the same model with activation maps, and with probabilities alone."""
    folder = tmp_path_factory.mktemp("models")
    for name in (CLASS_ACTIVATION, OCCLUSION):
        write_probe(folder / name, explainable=name == CLASS_ACTIVATION)
    return {name: open_predictor(folder / name) for name in (CLASS_ACTIVATION, OCCLUSION)}


@METHODS
def test_the_peak_lies_on_the_object(models: dict[str, Predictor], method: str) -> None:
    scenes, model = draw_scenes(60), models[method]
    predicted = model.predict(scenes.images).argmax(axis=1)
    assert (predicted == scenes.labels).mean() > 0.95

    found = list(heat_maps(model, scenes.images, predicted))

    assert {each.method for each in found} == {method}
    assert {(each.values.shape, each.values.dtype.name) for each in found} == {((SIDE, SIDE), "float32")}
    hits = [where.ravel()[each.values.argmax()] for each, where in zip(found, scenes.objects, strict=True)]
    assert np.mean(hits) >= 0.9


@METHODS
def test_random_weights_change_the_map(models: dict[str, Predictor], method: str, tmp_path: Path) -> None:
    """Adebayo, J. et al. (2018), Sanity checks for saliency maps, NeurIPS, section 4.

    The map of another model that has learned the same stays similar.
    """
    scenes, explain = draw_scenes(6), EXPLAIN[method]
    cases = list(zip(scenes.images, scenes.labels.tolist(), strict=True))
    expected = [explain(models[CLASS_ACTIVATION], *case).ravel() for case in cases]

    def similarity(write: Callable[[Path, int], None]) -> float:
        correlations = []
        for seed in (1, 2, 3):
            write(tmp_path / "other.onnx", seed)
            other = open_predictor(tmp_path / "other.onnx")
            maps = [explain(other, *case).ravel() for case in cases]
            correlations += [spearmanr(*pair).statistic for pair in zip(expected, maps, strict=True)]
        return float(np.mean(correlations))

    assert abs(similarity(write_random_probe)) < 0.2
    assert similarity(write_probe) > 0.3


def test_the_evidence_adds_up_to_the_logit(models: dict[str, Predictor]) -> None:
    scenes, model = draw_scenes(6), models[CLASS_ACTIVATION]
    outputs = model.run(scenes.images, [PROBABILITIES, ACTIVATION_MAP])
    logits = np.log(outputs[PROBABILITIES])

    evidence = class_evidence(model, outputs, scenes.labels)

    own = logits[np.arange(6), scenes.labels] - logits.mean(axis=1)
    np.testing.assert_allclose(evidence.mean(axis=(1, 2)), own, atol=1e-4)


def test_what_is_added_to_all_classes_is_no_evidence(models: dict[str, Predictor]) -> None:
    model, classes = models[CLASS_ACTIVATION], np.array([0, 1])
    places = np.random.default_rng(0).normal(size=(1, 1, 4, 4)).astype(np.float32)
    shares = np.full((2, 2), 0.5, dtype=np.float32)
    # A logistic regression of two classes, as one logit and as two.
    single = np.concatenate([np.zeros_like(places), places], axis=1)
    both = np.concatenate([-places / 2, places / 2], axis=1)

    first, second = (
        class_evidence(model, {PROBABILITIES: shares, ACTIVATION_MAP: np.repeat(maps, 2, axis=0)}, classes)
        for maps in (single, both)
    )

    np.testing.assert_allclose(first, second, atol=1e-6)
    np.testing.assert_allclose(first[0], -first[1], atol=1e-6)


@pytest.mark.parametrize("side", [2, 4, 9, 30])
def test_occlusion_covers_each_pixel_of_any_size(side: int, tmp_path: Path) -> None:
    write_threshold_model(tmp_path / "model.onnx", side=side)
    model = open_predictor(tmp_path / "model.onnx")
    bright = np.full((side, side, 1), 135, dtype=np.uint8)

    found = heat_map(model, bright, 1)

    assert found.method == OCCLUSION
    # Each pixel speaks for "bright" and, equally, against "dark".
    assert found.values.min() > 0
    np.testing.assert_allclose(heat_map(model, bright, 0).values, -found.values, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_overlay_colors_only_what_speaks_for_the_class(channels: int) -> None:
    pixels = np.full((6, 5, channels), 200, dtype=np.uint8)
    heat = np.full((6, 5), -1.0, dtype=np.float32)
    heat[0, 0], heat[5, 4], heat[3, 3] = 1.0, 0.5, np.nan

    blended = blend(pixels, heat)

    assert blended.shape == (6, 5, 3)
    assert (blended[1:5] == 200).all()
    strong, weak = (np.ptp(blended[place].astype(int)) for place in ((0, 0), (5, 4)))
    assert strong > weak > 0
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(overlay(pixels, heat)))), blended)


def test_colors_are_those_of_matplotlib() -> None:
    values = np.linspace(0, 1, 1000).reshape(20, 50)

    expected = np.rint(255 * colormaps["inferno"](values)[..., :3])
    np.testing.assert_array_equal(inferno.colors(values), expected)


def test_overlay_without_evidence_is_the_gray_image() -> None:
    pixels = np.random.default_rng(0).integers(256, size=(4, 4, 1), dtype=np.uint8)

    assert (blend(pixels, np.full((4, 4), -2, dtype=np.float32)) == pixels).all()
