"""``reports/evaluation/predictions.parquet``: the prediction for each test image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from visiongate.errors import DataError
from visiongate.records.files import atomic_path, read_output, write_csv
from visiongate.records.parquet import parse_parquet

PREDICTIONS_FILE, MISTAKES_FILE = "predictions.parquet", "mistakes.csv"
_COLUMNS = ("sha256", "label", "predicted", "probabilities")


@dataclass(frozen=True, slots=True)
class RecordedPredictions:
    """The predictions for N images of K classes, in the order of the file.

    Attributes:
        sha256: Of each image's file.
        labels: Class names.
        predicted: Class names.
        probabilities: N×K, in the order of the model's outputs.
    """

    sha256: Sequence[str]
    labels: Sequence[str]
    predicted: Sequence[str]
    probabilities: npt.NDArray[np.float64]


def write_predictions(folder: Path, table: pa.Table) -> None:
    """Write ``predictions.parquet``, and ``mistakes.csv`` with the wrong ones, the most confident first.

    Args:
        folder: The folder.
        table: As `visiongate.models.predictions.tabulate` returns it.
    """
    with atomic_path(folder / PREDICTIONS_FILE) as temporary:
        # Class names repeat, so that a dictionary saves space; hashes and probabilities do not.
        pq.write_table(table, temporary, compression="zstd", use_dictionary=["label", "predicted"])
    mistakes = table.filter(pc.invert(table["correct"]))
    columns = ["path", "label", "predicted", "confidence"]
    rows = mistakes.sort_by([("confidence", "descending"), ("path", "ascending")]).select(columns).to_pylist()
    cells = ({**row, "confidence": f"{row['confidence']:.4f}"} for row in rows)
    write_csv(folder / MISTAKES_FILE, cells, columns)


def read_predictions(path: Path) -> RecordedPredictions:
    """Read a ``predictions.parquet``.

    Raises:
        DataError: The file is missing or invalid.
    """
    return parse_predictions(read_output(path), str(path))


def parse_predictions(content: bytes, source: str = PREDICTIONS_FILE) -> RecordedPredictions:
    """Parse the content of a ``predictions.parquet``, such as that of another revision.

    Raises:
        DataError: The content is not Parquet, a column is missing, or a value is invalid.
    """
    table = parse_parquet(content, source, _COLUMNS)
    sha256, labels, predicted = (_names(table, column, source) for column in _COLUMNS[:3])
    return RecordedPredictions(sha256, labels, predicted, _probabilities(table, source))


def _names(table: pa.Table, column: str, source: str) -> list[str]:
    values = table.column(column)
    is_text = pa.types.is_string(values.type) or (
        pa.types.is_dictionary(values.type) and pa.types.is_string(values.type.value_type)
    )
    if not is_text or values.null_count:
        raise DataError(f"{source}: column {column!r} is not text in every row")
    names: list[str] = values.to_pylist()
    return names


def _probabilities(table: pa.Table, source: str) -> npt.NDArray[np.float64]:
    column = table.column("probabilities").combine_chunks()
    valid = pa.types.is_fixed_size_list(column.type) and pa.types.is_floating(column.type.value_type)
    if not valid or column.null_count:
        raise DataError(
            f"{source}: column 'probabilities' is not a list of equally many numbers in every row"
        )
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    if not (np.isfinite(flat).all() and (flat >= 0).all()):
        raise DataError(f"{source}: a probability is negative or not finite")
    probabilities: npt.NDArray[np.float64] = flat.reshape(table.num_rows, column.type.list_size)
    return probabilities
