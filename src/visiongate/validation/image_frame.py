"""What is known of each image of a raw table but for its bytes, as a frame that rules are put to."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain

import pandas as pd
import pyarrow as pa

from visiongate.errors import DataError
from visiongate.images.extensions import is_misnamed
from visiongate.images.measurement import Measurement

COLUMNS = ("path", "label", "split", "group", "sha256")  # of the image table
FEW = 3  # images of a group to see in each split


def describe_images(table: pa.Table, measurements: Sequence[Measurement]) -> pd.DataFrame:
    """Put what is known of each image into a frame.

    Args:
        table: The `COLUMNS` of an image table.
        measurements: Of its images, in the same order.

    Returns:
        One row an image: those columns, ``row``, ``format``, ``mode``, ``error``, ``brightness``; in pixels ``shortest`` and
        ``longest`` side and, as a text, ``size``; ``aspect``, the longer side over the shorter; and as a text what is wrong
        with the name, ``misnamed``. What an image does not have is missing; of those that decode, ``error``.

    Raises:
        DataError: There is no image.
        ValueError: There is not one measurement an image.
    """
    if not table.num_rows:
        raise DataError("the image table has no images: look at what ingestion was given, and run it again")
    images: pd.DataFrame = table.to_pandas()
    names = ["format", "mode", "error", "brightness", "width", "height"]
    known = [
        [getattr(found, name) for name in names]
        for _, found in zip(range(table.num_rows), measurements, strict=True)
    ]
    found = pd.DataFrame(known, images.index, names, dtype=object)
    sides = found[["width", "height"]].astype("Int64").where(found["error"].isna())
    shortest, longest = sides.min(axis=1), sides.max(axis=1)
    return images.assign(
        row=range(len(images)),
        format=found["format"].where(found["error"].isna(), None),
        mode=found["mode"].where(found["error"].isna(), None),
        error=found["error"],
        brightness=found["brightness"].astype("float64"),
        shortest=shortest,
        longest=longest,
        aspect=(longest / shortest).astype("Float64"),
        size=sides["width"].astype("string") + " × " + sides["height"].astype("string") + " pixels",
        misnamed=pd.Series(
            [
                f"its bytes are {kind}" if kind and is_misnamed(path, kind) else None
                for path, kind in zip(images["path"], found["format"], strict=True)
            ],
            dtype=object,
        ),
    )


def count_values(values: "pd.Series[str]") -> dict[str, int]:
    """Count each value that is not missing, the most frequent first, then in alphabetical order."""
    counts = Counter(values.dropna())
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def count_classes(images: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Count the images of each class asked for, the smallest class first.

    Returns:
        One row a class: ``name``, ``images``, ``ratio``, how many times as many the largest class has, ``told``, and ``path``
        and ``row`` of an image that decodes, if any does.
    """
    counts = images["label"].value_counts().reindex(list(classes), fill_value=0)
    first = images.sort_values("error", key=pd.Series.notna, kind="stable").drop_duplicates("label")
    frame = (
        first.set_index("label")
        .reindex(list(classes))[["path", "row"]]
        .assign(
            images=counts,
            ratio=(counts.max() / counts.where(counts > 0)).fillna(float("inf")),
            told=[f"class {name!r} has {images:,}" for name, images in counts.items()],
        )
    )
    return frame.sort_values("images", kind="stable").rename_axis("name").reset_index()


def find_counterparts(images: pd.DataFrame, column: str) -> "pd.Series[int]":
    """Find, for each image whose bytes come with another value of a column too, the first image with the other value.

    Args:
        images: What `describe_images` returns.
        column: ``label`` or ``split``; where it is missing, an image has no value to differ.

    Returns:
        The counterpart's row, by the row of each such image.
    """
    known = images[images[column].notna()]
    varied = known[known.groupby("sha256")[column].transform("nunique") > 1]
    firsts = varied.drop_duplicates(["sha256", column])
    first = firsts.drop_duplicates("sha256").set_index("sha256")
    second = firsts[firsts.duplicated("sha256")].drop_duplicates("sha256").set_index("sha256")
    is_first = varied[column] == varied["sha256"].map(first[column])
    counterparts: pd.Series[int] = (
        varied["sha256"].map(first["row"]).where(~is_first, varied["sha256"].map(second["row"]))
    )
    return counterparts.astype(int)


def find_shared_groups(images: pd.DataFrame) -> pd.DataFrame:
    """Find the groups that have images in several given splits.

    Returns:
        One row a group, in the table's order of its first image: ``path`` and ``row`` of that, ``told``, and ``others``, the
        rows of the next images: in all, the first `FEW` of each split.
    """
    known = images[images["group"].notna() & images["split"].notna()]
    shared = known[known.groupby("group")["split"].transform("nunique") > 1]
    rows: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
    for group, split, row in zip(shared["group"], shared["split"], shared["row"], strict=True):
        rows[group].setdefault(split, []).append(int(row))
    records = []
    for name, by_split in rows.items():
        first, *others = chain.from_iterable(found[:FEW] for found in by_split.values())
        told = ", ".join(f"{len(found):,} in {split}" for split, found in by_split.items())
        records.append((images["path"].iloc[first], first, f"{name}: {told}", others))
    return pd.DataFrame(records, columns=["path", "row", "told", "others"])
