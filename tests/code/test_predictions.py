"""The predictions for a split, from ONNX models whose outputs follow from their pixels."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from tiny_models import transform, write_threshold_model
from visiongate.errors import DataError
from visiongate.images.pixels import PixelSplit
from visiongate.models import predictor
from visiongate.models.predictions import check_contract, predict_split, tabulate
from visiongate.models.predictor import Predictor, divide, fit_batch, open_predictor
from visiongate.records.transform import Transform

CLASSES = ("a", "b", "c")


def echo_model(path: Path, *, share_of_sum: bool = True, classes: tuple[str, ...] = CLASSES) -> Predictor:
    """A model that returns its three pixels as shares of their sum (NaN for black) or as hundredths."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("ReduceSum", ["flat", "axis"], ["sum"], keepdims=1),
        helper.make_node("Div", ["flat", "sum" if share_of_sum else "hundred"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "echo",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 1, 3, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        [
            numpy_helper.from_array(np.array([1]), "axis"),
            numpy_helper.from_array(np.array([100], dtype=np.float32), "hundred"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(
        model, {"transform": json.dumps(transform(classes)), "classes": json.dumps(classes)}
    )
    path.write_bytes(model.SerializeToString())
    return open_predictor(path)


def make_split(pixels: list[list[int]], labels: list[int]) -> tuple[PixelSplit, pa.Table]:
    images = np.array(pixels, dtype=np.uint8).reshape(-1, 1, 3, 1)
    paths = [f"{index}.png" for index in range(len(labels))]
    manifest = pa.table(
        {
            "label": pa.array(labels, pa.int64()),
            "path": paths,
            "sha256": [f"hash of {path}" for path in paths],
        }
    )
    return PixelSplit(images, np.array(labels, dtype=np.int64)), manifest


@pytest.fixture
def model(tmp_path: Path) -> Predictor:
    return echo_model(tmp_path / "model.onnx")


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_predictions_do_not_depend_on_the_batch_size(
    model: Predictor, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "MAX_BATCH_VALUES", 3 * batch_size)
    split, manifest = make_split([[1, 1, 2], [7, 2, 1], [3, 6, 1], [0, 0, 9], [5, 5, 0]], [2, 0, 0, 2, 1])

    predictions = predict_split(model, split, manifest)

    assert predictions.predicted.tolist() == [2, 0, 1, 2, 0]
    assert predictions.confidence == pytest.approx([0.5, 0.7, 0.6, 1.0, 0.5])
    assert predictions.correct.tolist() == [True, True, False, True, False]
    assert predictions.classes == CLASSES
    assert np.abs(predictions.probabilities.sum(axis=1) - 1).max() < 1e-15


@pytest.mark.parametrize(("side", "size"), [(8, 32), (224, 6), (320, 3), (2000, 1)])
def test_the_values_of_a_batch_are_limited(side: int, size: int) -> None:
    images = np.zeros((40, side, side, 3), np.uint8)
    assert fit_batch(images) == size
    assert {len(batch) for batch in divide(images)} == {size, 40 % size} - {0}
    assert fit_batch(images[:, :8, :8], most=256) == 256


def test_nan_raises_an_error_that_names_the_image(model: Predictor) -> None:
    with pytest.raises(DataError, match=r"model\.onnx.* 1\.png"):
        predict_split(model, *make_split([[1, 1, 2], [0, 0, 0]], [0, 1]))


def test_sums_other_than_one_raise_an_error(tmp_path: Path) -> None:
    model = echo_model(tmp_path / "raw.onnx", share_of_sum=False)
    with pytest.raises(DataError, match=r"raw\.onnx.* 1\.png"):
        predict_split(model, *make_split([[50, 30, 20], [50, 30, 30]], [0, 1]))


def test_outputs_of_another_shape_raise_an_error(tmp_path: Path) -> None:
    model = echo_model(tmp_path / "model.onnx", classes=(*CLASSES, "d"))
    with pytest.raises(DataError, match=r"\(1, 3\)"):
        predict_split(model, *make_split([[1, 1, 2]], [0]))


def test_the_table_has_a_row_per_image(model: Predictor) -> None:
    split, manifest = make_split([[1, 1, 2], [7, 2, 1]], [2, 1])

    table = tabulate(predict_split(model, split, manifest), manifest)

    assert table.to_pylist()[1] == {
        "path": "1.png",
        "sha256": "hash of 1.png",
        "label": "b",
        "predicted": "a",
        "correct": False,
        "confidence": pytest.approx(0.7),
        "probabilities": pytest.approx([0.7, 0.2, 0.1]),
    }
    assert table.num_rows == 2
    assert table.schema.field("confidence").type == pa.float32()


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"classes": ["dark", "light"]}, "classes"),
        ({"size": 5}, "input shape"),
        ({"mode": "RGB"}, "input shape"),
        ({"resize": "letterbox"}, "resize"),
    ],
)
def test_a_model_of_other_data_raises_an_error(
    tmp_path: Path, changed: dict[str, object], difference: str
) -> None:
    write_threshold_model(tmp_path / "model.onnx")
    model = open_predictor(tmp_path / "model.onnx")
    check_contract(model, Transform(**transform()), "transform.json")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=f"{difference}.*transform.json"):
        check_contract(model, Transform(**{**transform(), **changed}), "transform.json")  # type: ignore[arg-type]
