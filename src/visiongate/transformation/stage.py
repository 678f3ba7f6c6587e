"""Transformation: decode once, resize, and split, into arrays that training maps from disk."""

from collections import Counter

from visiongate import paths
from visiongate.images.pixels import channel_statistics, load_split
from visiongate.images.table import iterate_images, read_table
from visiongate.records.dataset import read_dataset
from visiongate.records.splits import SPLITS
from visiongate.records.transform import Transform, write_transform
from visiongate.settings.schema import Settings
from visiongate.transformation.rendering import place, write_splits
from visiongate.transformation.splits import assign_splits, read_candidates


def run(settings: Settings) -> None:
    """Write pixel arrays, manifest and ``transform.json`` to ``data/transformed``."""
    chosen = settings.transformation
    classes = read_dataset(paths.PREPARED).classes
    images = read_table(paths.PREPARED, ["label", "path", "split", "group", "sha256"])
    splits = assign_splits(read_candidates(paths.PREPARED), chosen.split)
    manifest, max_pixels = place(images, splits, classes), settings.dataset.limits.max_pixels
    write_splits(paths.TRANSFORMED, manifest, iterate_images(paths.PREPARED), chosen, max_pixels)
    mean, std = channel_statistics(load_split(paths.TRANSFORMED, "train").images)
    write_transform(paths.TRANSFORMED, Transform(chosen.size, chosen.mode, chosen.resize, mean, std, classes))
    counts = Counter(splits)
    print(", ".join(f"{split} {counts[split]}" for split in SPLITS), f"images of {chosen.size}×{chosen.size}")
