"""Data frames about the raw images, without their bytes, for Great Expectations to check.

Each frame has the columns ``path`` and ``row``, which point to the image that stands for a row of the frame.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from visiongate.errors import DataError
from visiongate.images.decoding import Fault
from visiongate.images.extensions import is_misnamed
from visiongate.images.table import SCHEMA, SHARDS
from visiongate.records.measurements import Measurement

# The columns of the image table that `describe_images` needs.
COLUMNS = ("path", "label", "split", "group", "sha256")
MEASURED = ("format", "mode", "width", "height", "brightness", "fault", "error")
# Images to show of a group, in each split.
MAX_GROUP_IMAGES = 3


def describe_columns(schema: pa.Schema = SCHEMA) -> str:
    """Return the columns of an image table with their types, in alphabetical order."""
    fields = (f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in schema)
    return ", ".join(sorted(fields))


def describe_shards(directory: Path) -> pd.DataFrame:
    """Return one row per shard with its file name and its ``columns``.

    Raises:
        DataError: There is no shard, or one is not a Parquet file.
    """
    shards = sorted(directory.glob(SHARDS))
    if not shards:
        raise DataError(f"{directory}: no image table; run `dvc repro ingestion` or `dvc pull`")
    columns = [describe_columns(_read_schema(shard)) for shard in shards]
    return pd.DataFrame({"path": [shard.name for shard in shards], "row": None, "columns": columns})


def _read_schema(shard: Path) -> pa.Schema:
    try:
        return pq.read_schema(shard)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{shard}: not a Parquet file: {' '.join(str(error).split())}") from None


def describe_images(table: pa.Table, measurements: Sequence[Measurement]) -> pd.DataFrame:
    """Return one row per image with its metadata, its measurement and its counterparts.

    Args:
        table: The `COLUMNS` of an image table.
        measurements: Its images' measurements, in the same order.

    Returns:
        Besides `COLUMNS` and `MEASURED`: ``shorter`` and ``longer`` side in pixels, ``size`` as a text,
        ``pixels`` (width × height), ``aspect`` (longer over shorter), ``misnamed`` (what is wrong with the extension),
        ``undecodable`` (the error, unless the image only exceeds a limit), and the rows of the first image with the same
        bytes: ``copy_of`` with the same label and given split, ``other_label`` under another label, ``other_split`` in another
        given split. Values that an image lacks are missing; a file that does not decode has no format, mode, size or
        counterpart.

    Raises:
        DataError: There is no image.
    """
    if not table.num_rows:
        raise DataError("the image table has no images; check the source of the data set and rerun ingestion")
    images: pd.DataFrame = table.to_pandas().assign(row=range(table.num_rows))
    known = [
        [getattr(found, name) for name in MEASURED]
        for _, found in zip(range(len(images)), measurements, strict=True)
    ]
    images = images.join(pd.DataFrame(known, images.index, MEASURED, dtype=object))
    named = zip(images["path"], images["format"], strict=True)
    images["misnamed"] = [
        f"its bytes are {kind}" if isinstance(kind, str) and is_misnamed(path, kind) else None
        for path, kind in named
    ]
    pixels = (images["width"] * images["height"]).astype("Int64")
    decodes = images["fault"].isna()
    decoded = ["format", "mode", "width", "height"]
    images[decoded] = images[decoded].where(decodes)
    return _add_counterparts(_add_sizes(images), decodes).assign(
        pixels=pixels,
        brightness=images["brightness"].astype("float64"),
        undecodable=images["error"].where(images["fault"] != Fault.TOO_LARGE),
    )


def _add_counterparts(images: pd.DataFrame, decodes: "pd.Series[bool]") -> pd.DataFrame:
    """Point to other images with the same bytes. Files that do not decode, such as empty ones, are no copies."""
    readable = images[decodes]
    same = ["sha256", "label", "split"]
    first = readable.groupby(same, dropna=False)["row"].transform("first")
    counterparts = {
        "copy_of": first.where(readable.duplicated(same)).astype("Int64"),
        "other_label": find_counterparts(readable, "label"),
        "other_split": find_counterparts(readable, "split"),
    }
    return images.assign(**{name: rows.reindex(images.index) for name, rows in counterparts.items()})


def _add_sizes(images: pd.DataFrame) -> pd.DataFrame:
    sides = images[["width", "height"]].astype("Int64")
    shorter, longer = sides.min(axis=1), sides.max(axis=1)
    width, height = (sides[name].astype("string") for name in sides)
    return images.assign(
        shorter=shorter,
        longer=longer,
        size=width + " × " + height + " pixels",
        aspect=(longer / shorter).astype("Float64"),
    )


def count_values(values: "pd.Series[str]") -> dict[str, int]:
    """Count each value that is not missing, the most frequent first, then in alphabetical order."""
    counts = values.value_counts()
    return {
        str(value): int(count)
        for value, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    }


def find_counterparts(images: pd.DataFrame, column: str) -> "pd.Series[int]":
    """Return for each image the row of the first one with the same bytes and another value in a column.

    Args:
        images: With the columns ``sha256``, ``row`` and the one given.
        column: ``label`` or ``split``; an image without a value there has no counterpart.
    """
    known = images[images[column].notna()]
    varied = known[known.groupby("sha256")[column].transform("nunique") > 1]
    firsts = varied.drop_duplicates(["sha256", column])
    first = firsts.drop_duplicates("sha256").set_index("sha256")
    second = firsts[firsts.duplicated("sha256")].drop_duplicates("sha256").set_index("sha256")
    is_first = varied[column] == varied["sha256"].map(first[column])
    rows = varied["sha256"].map(first["row"]).where(~is_first, varied["sha256"].map(second["row"]))
    return rows.reindex(images.index).astype("Int64")


def describe_classes(images: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return one row per expected class, the smallest first.

    Returns:
        ``name``, ``images``, ``ratio`` (images of the largest class over its own), ``size`` as a text, and ``path`` and
        ``row`` of an image, one that decodes if there is any.
    """
    counts = images["label"].value_counts().reindex(list(classes), fill_value=0)
    first = images.sort_values("error", key=pd.Series.notna, kind="stable").drop_duplicates("label")
    frame = first.set_index("label").reindex(list(classes))[["path", "row"]]
    frame = frame.assign(
        images=counts,
        ratio=(counts.max() / counts.where(counts > 0)).fillna(float("inf")),
        size=[f"class {name!r}: {count:,} images" for name, count in counts.items()],
    )
    return frame.sort_values("images", kind="stable").rename_axis("name").reset_index()


def describe_groups(images: pd.DataFrame) -> pd.DataFrame:
    """Return one row per group with given splits, in the order of first images.

    Returns:
        ``splits``: a text with the counts by split, missing unless the group has images in several; ``others``: the rows of
        the first images in each split, but for the first.
    """
    known = images[images["group"].notna() & images["split"].notna()]
    rows: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for group, split, row in zip(known["group"], known["split"], known["row"], strict=True):
        rows[group][split].append(row)
    records = []
    for group, by_split in rows.items():
        first, *others = [row for found in by_split.values() for row in found[:MAX_GROUP_IMAGES]]
        counts = ", ".join(f"{len(found):,} in {split}" for split, found in by_split.items())
        splits = f"{group}: {counts}" if len(by_split) > 1 else None
        records.append((images["path"].iloc[first], first, splits, others))
    return pd.DataFrame(records, columns=["path", "row", "splits", "others"])
