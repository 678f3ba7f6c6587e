"""Load an exported ONNX model, predict with it, and read its contract."""

from pathlib import Path

import numpy as np
import pytest
from onnx import load, save

import tiny_models
from visiongate.errors import DataError
from visiongate.models.predictor import Contract, open_predictor

CONTRACT = Contract((4, 4, 1), "L", "stretch", ("dark", "bright"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tiny_models.write_threshold_model(tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_predictions_do_not_depend_on_the_batch_size(path: Path, batch_size: int) -> None:
    images, labels = tiny_models.brightness_images(50)
    probabilities = open_predictor(path).predict(images, batch_size)
    assert probabilities.shape == (50, 2)
    assert probabilities.dtype == np.float32
    assert (probabilities.argmax(axis=1) == labels).all()


def test_a_model_is_loaded_from_its_content(path: Path) -> None:
    images, _ = tiny_models.brightness_images(5)
    predictor = open_predictor(path.read_bytes())
    assert np.array_equal(predictor.predict(images), open_predictor(path).predict(images))
    assert predictor.name
    assert predictor.size == open_predictor(path).size == path.stat().st_size


def test_the_contract_is_read_from_the_file(path: Path) -> None:
    assert open_predictor(path).contract == CONTRACT
    assert CONTRACT.difference(CONTRACT) is None


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (Contract((8, 8, 3), "RGB", "stretch", ("dark", "bright")), "input shape 8×8×3, not 4×4×1"),
        (Contract((4, 4, 1), "L", "letterbox", ("dark", "bright")), "resize letterbox, not stretch"),
        (Contract((4, 4, 1), "L", "stretch", ("dark", "bright"), 12), "depth 12, not 16"),
        (Contract((4, 4, 1), "L", "stretch", ("a", "b", "c")), "classes a, b, c, not dark, bright"),
    ],
)
def test_a_difference_between_contracts_is_described(other: Contract, difference: str) -> None:
    assert CONTRACT.difference(other) == difference


def test_a_missing_file_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.onnx"):
        open_predictor(tmp_path / "absent.onnx")


def test_a_file_that_is_not_a_model_raises_an_error(path: Path) -> None:
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"model\.onnx"):
        open_predictor(path)


def test_a_model_without_metadata_raises_an_error(path: Path) -> None:
    model = load(path)
    del model.metadata_props[:]
    save(model, path)
    with pytest.raises(DataError, match=r"model\.onnx.*transform"):
        open_predictor(path)
