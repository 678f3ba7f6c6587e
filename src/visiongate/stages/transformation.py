"""Transformation: decode once, resize, and split, into arrays that training maps from disk."""

from collections import Counter

from visiongate import paths
from visiongate.config import Settings
from visiongate.data.image_table import iterate_images, read_dataset, read_table
from visiongate.data.pixels import (
    Row,
    Transform,
    channel_statistics,
    load_split,
    write_splits,
    write_transform,
)
from visiongate.data.splits import SPLITS, assign_splits


def run(settings: Settings) -> None:
    """Write pixel arrays, manifest and ``transform.json`` to ``data/transformed``."""
    chosen = settings.transformation
    classes = read_dataset(paths.PREPARED).classes
    table = read_table(paths.PREPARED, ["label", "path", "split", "group", "sha256"]).to_pydict()
    keys = [group or sha256 for group, sha256 in zip(table["group"], table["sha256"], strict=True)]
    splits = assign_splits(keys, table["split"], table["label"], chosen.split)
    rows = _place(table, splits, classes)
    write_splits(paths.TRANSFORMED, rows, iterate_images(paths.PREPARED), chosen)
    mean, std = channel_statistics(load_split(paths.TRANSFORMED, "train").images)
    write_transform(paths.TRANSFORMED, Transform(chosen.size, chosen.mode, chosen.resize, mean, std, classes))
    counts = Counter(splits)
    print(", ".join(f"{split} {counts[split]}" for split in SPLITS), f"images of {chosen.size}×{chosen.size}")


def _place(table: dict[str, list[str]], splits: list[str], classes: list[str]) -> list[Row]:
    """Number the images of each split, in the table's order."""
    number = {label: index for index, label in enumerate(classes)}
    counts: Counter[str] = Counter()
    rows = []
    columns = zip(splits, table["label"], table["path"], table["sha256"], table["group"], strict=True)
    for split, label, path, sha256, group in columns:
        rows.append(Row(split, counts[split], number[label], path, sha256, group))
        counts[split] += 1
    return rows
