"""Predictions, from ONNX models whose outputs are dictated by their pixels."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from tiny_models import transform, write_threshold_model
from visiongate.errors import DataError
from visiongate.images.pixels import PixelSplit, Transform
from visiongate.models.predictions import check_contract, predict_split, tabulate
from visiongate.models.predictor import ServedModel, open_model

CLASSES = ("a", "b", "c")


def echo_model(path: Path, *, share_of_sum: bool = True, classes: tuple[str, ...] = CLASSES) -> ServedModel:
    """A model that gives back its three pixels: as shares of their sum (black: NaN), or as hundredths."""
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
    return open_model(path)


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
def model(tmp_path: Path) -> ServedModel:
    return echo_model(tmp_path / "model.onnx")


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_predicts_every_image_in_order_whatever_the_batch(model: ServedModel, batch_size: int) -> None:
    split, manifest = make_split([[1, 1, 2], [7, 2, 1], [3, 6, 1], [0, 0, 9], [5, 5, 0]], [2, 0, 0, 2, 1])

    predictions = predict_split(model, split, manifest, batch_size)

    assert predictions.predicted.tolist() == [2, 0, 1, 2, 0]
    assert predictions.confidence == pytest.approx([0.5, 0.7, 0.6, 1.0, 0.5])
    assert predictions.correct.tolist() == [True, True, False, True, False]
    assert predictions.classes == CLASSES
    assert np.abs(predictions.probabilities.sum(axis=1) - 1).max() < 1e-15


def test_a_nan_is_refused_and_its_image_named(model: ServedModel) -> None:
    split, manifest = make_split([[1, 1, 2], [0, 0, 0]], [0, 1])

    with pytest.raises(
        DataError, match=r"model.onnx: the outputs for 1.png are no probabilities.*nan.*1 of 2 images"
    ):
        predict_split(model, split, manifest, 8)


def test_sums_other_than_one_are_refused(tmp_path: Path) -> None:
    model = echo_model(tmp_path / "raw.onnx", share_of_sum=False)
    split, manifest = make_split([[50, 30, 20], [50, 30, 30]], [0, 1])

    with pytest.raises(DataError, match=r"raw.onnx: the outputs for 1.png .* from 0.3 to 0.5, sum 1.1"):
        predict_split(model, split, manifest, 8)


def test_an_empty_split_is_refused(model: ServedModel) -> None:
    with pytest.raises(DataError, match="no image"):
        predict_split(model, *make_split([], []), 8)


def test_missing_labels_are_refused(model: ServedModel) -> None:
    split, manifest = make_split([[1, 1, 2], [1, 2, 1]], [0, 1])

    with pytest.raises(DataError, match="2 images, 1 labels, 2 manifest rows"):
        predict_split(model, PixelSplit(split.images, split.labels[:1]), manifest, 8)


def test_a_manifest_in_another_order_is_refused(model: ServedModel) -> None:
    split, manifest = make_split([[1, 1, 2], [1, 2, 1]], [0, 1])

    with pytest.raises(DataError, match="disagree on the split's order"):
        predict_split(model, split, manifest.take([1, 0]), 8)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_beyond_the_classes_are_refused(model: ServedModel, label: int) -> None:
    with pytest.raises(DataError, match="but 3 classes"):
        predict_split(model, *make_split([[1, 1, 2], [1, 2, 1]], [0, label]), 8)


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    model = echo_model(tmp_path / "model.onnx", classes=("a",))

    with pytest.raises(DataError, match="there is one class"):
        predict_split(model, *make_split([[1, 1, 2]], [0]), 8)


def test_as_many_outputs_as_classes_are_wanted(tmp_path: Path) -> None:
    model = echo_model(tmp_path / "model.onnx", classes=(*CLASSES, "d"))

    with pytest.raises(DataError, match=r"answered \(1, 3\) probabilities, not \(1, 4\)"):
        predict_split(model, *make_split([[1, 1, 2]], [0]), 8)


def test_the_table_holds_each_image_and_its_probabilities(model: ServedModel) -> None:
    split, manifest = make_split([[1, 1, 2], [7, 2, 1]], [2, 1])

    table = tabulate(predict_split(model, split, manifest, 8), manifest)

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
    ("changed", "message"),
    [
        ({"classes": ["dark", "light"]}, "classes dark, bright, not dark, light as in transform.json"),
        ({"size": 5}, "input shape 4×4×1, not 5×5×1 as in transform.json"),
        ({"mode": "RGB"}, "input shape 4×4×1, not 4×4×3 as in transform.json"),
        ({"resize": "letterbox"}, "resize stretch, not letterbox as in transform.json"),
    ],
)
def test_a_model_for_other_data_is_refused(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    write_threshold_model(tmp_path / "model.onnx")
    data = Transform(**{**transform(), **changed})  # type: ignore[arg-type]

    with pytest.raises(DataError, match=message):
        check_contract(open_model(tmp_path / "model.onnx"), data, "transform.json")


def test_a_model_for_these_data_is_accepted(tmp_path: Path) -> None:
    write_threshold_model(tmp_path / "model.onnx")

    check_contract(open_model(tmp_path / "model.onnx"), Transform(**transform()), "transform.json")  # type: ignore[arg-type]
