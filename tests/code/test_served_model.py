"""The ONNX file as it is served: what it predicts, and what it says of itself."""

from pathlib import Path

import numpy as np
import pytest
from onnx import load, save

import tiny_models
from visiongate.errors import DataError
from visiongate.models.predictor import Contract, open_model

CONTRACT = Contract((4, 4, 1), "L", "stretch", ("dark", "bright"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tiny_models.write_threshold_model(tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_predicts_the_same_in_batches_of_any_size(path: Path, batch_size: int) -> None:
    images, labels = tiny_models.brightness_images(50)
    probabilities = open_model(path).predict(images, batch_size)
    assert probabilities.shape == (50, 2)
    assert probabilities.dtype == np.float32
    assert (probabilities.argmax(axis=1) == labels).all()


def test_contract_comes_out_of_the_file(path: Path) -> None:
    assert open_model(path).contract == CONTRACT
    assert CONTRACT.difference(CONTRACT) is None


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (Contract((8, 8, 3), "RGB", "stretch", ("dark", "bright")), "input shape 8×8×3, not 4×4×1"),
        (Contract((4, 4, 1), "L", "letterbox", ("dark", "bright")), "resize letterbox, not stretch"),
        (Contract((4, 4, 1), "L", "stretch", ("a", "b", "c")), "classes a, b, c, not dark, bright"),
    ],
)
def test_differences_are_spelt_out(other: Contract, difference: str) -> None:
    assert CONTRACT.difference(other) == difference


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.onnx: no such file; the train stage writes it"):
        open_model(tmp_path / "absent.onnx")


def test_file_that_is_no_model_is_named(path: Path) -> None:
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"model\.onnx: not a model exported here"):
        open_model(path)


def test_model_that_does_not_say_its_classes_is_named(path: Path) -> None:
    model = load(path)
    del model.metadata_props[:]
    save(model, path)
    with pytest.raises(DataError, match=r"model\.onnx: not a model exported here: .*transform"):
        open_model(path)
