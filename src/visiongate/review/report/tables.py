"""From the line's Parquet files to a snapshot's parts, checked like the rest."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visiongate.errors import DataError
from visiongate.review.report.snapshot import Answered

ANSWERS = ("sha256", "label", "predicted", "probabilities")
MANIFEST = ("sha256", "path", "split", "label", "group")


def parse_images(manifest: bytes, transform: bytes) -> pa.Table:
    """Read ``manifest.parquet``: sha256, path, split, label and group of each image, a hash once; labels as names.

    Raises:
        DataError: A column is missing, or a label has no name in ``transform.json``.
    """
    table = _read(manifest, MANIFEST)
    try:
        names = [str(name) for name in json.loads(transform)["classes"]]
        labels = pa.array(names, pa.string()).take(table.column("label").combine_chunks())
    except (ValueError, TypeError, KeyError, RecursionError, pa.ArrowException) as error:
        raise DataError(f"its labels have no names: {type(error).__name__}") from None
    table = table.set_column(table.schema.get_field_index("label"), "label", labels)
    others = [name for name in MANIFEST if name != "sha256"]
    unique = table.group_by("sha256").aggregate([(name, "min") for name in others])
    return unique.rename_columns([name.removesuffix("_min") for name in unique.column_names]).sort_by(
        "sha256"
    )


def parse_answers(content: bytes) -> Answered:
    """Read ``predictions.parquet``, in the order of the images' hashes.

    Raises:
        DataError: A column is missing, or the probabilities are none.
    """
    table = _read(content, ANSWERS).sort_by([("sha256", "ascending"), ("label", "ascending")])
    column = table.column("probabilities").combine_chunks()
    if not pa.types.is_fixed_size_list(column.type) or column.null_count:
        raise DataError("its probabilities are no list of equal length")
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    if not (np.isfinite(flat).all() and (flat >= 0).all()):
        raise DataError("its probabilities are no probabilities")
    sha256, labels, predicted = (_names(table, name) for name in ANSWERS[:3])
    return Answered(sha256, labels, predicted, flat.reshape(table.num_rows, -1))


def _names(table: pa.Table, column: str) -> list[str]:
    names: list[str] = table.column(column).to_pylist()
    if any(not isinstance(name, str) for name in names):
        raise DataError(f"an image has no {column}")
    return names


def _read(content: bytes, columns: tuple[str, ...]) -> pa.Table:
    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"it is no Parquet file: {str(error).splitlines()[0][:120]}") from None
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise DataError(f"it has no column {', '.join(missing)}")
    return table.select(list(columns))
