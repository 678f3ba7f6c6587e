"""The files of the evaluation: written, read back, and refused when damaged."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visiongate.errors import DataError
from visiongate.records.csv_rows import parse_rows, read_rows, write_rows
from visiongate.records.evaluation import (
    ClassMetrics,
    ConfusionRow,
    Slice,
    parse_classes,
    parse_confusion,
    parse_intervals,
    parse_metrics,
    parse_slices,
    read_intervals,
    read_metrics,
    read_slices,
    worst_slice,
    write_intervals,
    write_metrics,
    write_robustness,
)
from visiongate.records.interval import Interval
from visiongate.records.predictions import parse_predictions, read_predictions, write_predictions

CLASSES = [
    ClassMetrics("a", 3, 1.0, 2 / 3, 0.8, 1, "b", 1, 0.9, 0.95),
    ClassMetrics("unseen", 0, None, None, None, 0, None, 0),
]
SLICES = [Slice("class", "a", 3, 2 / 3, 0.2, 0.9, -0.1, 0.5)]


def predictions(**changes: pa.Array) -> pa.Table:
    columns = {
        "path": pa.array(["x.png", "y.png", "z.png"]),
        "sha256": pa.array(["1", "2", "3"]),
        "label": pa.array(["a", "a", "b"]),
        "predicted": pa.array(["a", "b", "a"]),
        "correct": pa.array([True, False, False]),
        "confidence": pa.array([0.75, 0.625, 0.875], pa.float32()),
        "probabilities": pa.FixedSizeListArray.from_arrays(
            pa.array([0.75, 0.25, 0.375, 0.625, 0.875, 0.125], pa.float32()), 2
        ),
    }
    return pa.table({**columns, **changes})


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_rows(tmp_path / "per_class.csv", CLASSES, ClassMetrics)
    write_rows(tmp_path / "slices.csv", SLICES, Slice)

    assert read_rows(tmp_path / "per_class.csv", ClassMetrics) == tuple(CLASSES)
    assert parse_classes((tmp_path / "per_class.csv").read_bytes()) == tuple(CLASSES)
    assert (tmp_path / "per_class.csv").read_text().startswith("class,images,")
    assert read_slices(tmp_path) == parse_slices((tmp_path / "slices.csv").read_bytes()) == tuple(SLICES)
    assert parse_confusion(b"actual,predicted,more\na,b,1\n") == (ConfusionRow("a", "b"),)
    with pytest.raises(DataError, match=r"gone\.csv"):
        read_rows(tmp_path / "gone.csv", Slice)


@pytest.mark.parametrize(
    "row",
    [
        "class,a,-3,0.5,0,1,0,0",
        "class,a,3,1.5,0,1,0,0",
        "class,a,3,nan,0,1,0,0",
        "class,a,3,,0,1,0,0",
        "class,a",
    ],
)
def test_invalid_rows_are_refused(row: str) -> None:
    header = "dimension,slice,images,accuracy,low,high,gap,p_value"

    with pytest.raises(DataError, match=r"slices\.csv"):
        parse_slices(f"{header}\n{row}\n".encode())
    with pytest.raises(DataError, match="p_value"):
        parse_rows(header.removesuffix(",p_value").encode(), Slice, "base")


def test_numbers_are_read_as_they_were_written(tmp_path: Path) -> None:
    intervals = {"accuracy": Interval(0.5, 0.25, 0.75)}
    write_metrics(tmp_path / "metrics.json", {"images": 3, "accuracy": 0.5})
    write_intervals(tmp_path, intervals)

    assert read_metrics(tmp_path / "metrics.json") == {"images": 3, "accuracy": 0.5}
    assert read_intervals(tmp_path) == intervals
    assert parse_intervals((tmp_path / "intervals.json").read_bytes()) == intervals


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"a": NaN}', b'{"a": "1"}', b'{"a": true}', b'{"a": 1%s}' % (b"0" * 400)]
)
def test_invalid_numbers_are_refused(content: bytes) -> None:
    with pytest.raises(DataError, match=r"metrics\.json"):
        parse_metrics(content)
    with pytest.raises(DataError, match=r"intervals\.json"):
        parse_intervals(content)


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_predictions(tmp_path, predictions())

    found = read_predictions(tmp_path / "predictions.parquet")
    assert (found.sha256, found.labels, found.predicted) == (
        ["1", "2", "3"],
        ["a", "a", "b"],
        ["a", "b", "a"],
    )
    assert found.probabilities.tolist() == [[0.75, 0.25], [0.375, 0.625], [0.875, 0.125]]
    mistakes = (tmp_path / "mistakes.csv").read_text().splitlines()
    assert mistakes == ["path,label,predicted,confidence", "z.png,b,a,0.8750", "y.png,a,b,0.6250"]
    with pytest.raises(DataError, match=r"gone\.parquet"):
        read_predictions(tmp_path / "gone.parquet")


@pytest.mark.parametrize(
    "content",
    [
        b"PAR1",
        parquet(predictions().drop_columns("sha256")),
        parquet(predictions(label=pa.array([1, 2, 3]))),
        parquet(predictions(label=pa.array(["a", None, "b"]))),
        parquet(predictions(probabilities=pa.array([0.5, 0.5, 0.5]))),
        parquet(predictions(probabilities=pa.array([[0.5], None, [0.5]], pa.list_(pa.float32(), 1)))),
        parquet(predictions(probabilities=pa.array([[0.5], [np.nan], [0.5]], pa.list_(pa.float32(), 1)))),
        parquet(predictions(probabilities=pa.array([[0.5], [-0.5], [0.5]], pa.list_(pa.float32(), 1)))),
    ],
)
def test_damaged_predictions_are_refused(content: bytes) -> None:
    with pytest.raises(DataError, match=r"predictions\.parquet"):
        parse_predictions(content)


def test_robustness_has_a_column_for_each_corruption(tmp_path: Path) -> None:
    write_robustness(tmp_path / "some.csv", {"blur": [1.0, 0.5], "noise": [1.0, 0.25]}, ["blur", "noise"])
    write_robustness(tmp_path / "none.csv", {}, ["blur", "noise"])

    assert (tmp_path / "some.csv").read_text() == "severity,blur,noise\n0,1.0,1.0\n1,0.5,0.25\n"
    assert (tmp_path / "none.csv").read_text() == "severity,blur,noise\n"


def test_worst_slice_has_enough_images() -> None:
    def make(name: str, images: int, accuracy: float) -> Slice:
        return Slice("class", name, images, accuracy, 0, 1, 0, 1)

    slices = [make("few", 3, 0.1), make("good", 50, 0.9), make("first", 40, 0.5), make("large", 60, 0.5)]
    slices.append(make("second", 60, 0.5))

    assert worst_slice(slices, min_images=10) == slices[3]
    assert worst_slice(slices, min_images=3) == slices[0]
    assert worst_slice(slices, min_images=61) is None
    assert worst_slice([], min_images=1) is None
