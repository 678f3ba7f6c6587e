"""The transformation stage: decode and resize all images once, and assign them to splits."""

import logging
from collections import Counter

from visiongate import paths
from visiongate.images.pixels import channel_statistics, load_split
from visiongate.images.table import iterate_images, read_table
from visiongate.records.dataset import read_dataset
from visiongate.records.splits import SPLITS
from visiongate.records.transform import Transform, write_transform
from visiongate.settings.schema import Settings
from visiongate.transformation.rendering import build_manifest, write_splits
from visiongate.transformation.splits import assign_splits, read_candidates

logger = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Write pixel arrays, manifest and ``transform.json`` to ``data/transformed``."""
    chosen = settings.transformation
    classes = read_dataset(paths.PREPARED).classes
    images = read_table(paths.PREPARED, ["label", "path", "split", "group", "sha256"])
    splits = assign_splits(read_candidates(paths.PREPARED), chosen.split)
    manifest = build_manifest(images, splits, classes)
    max_pixels = settings.dataset.limits.max_pixels
    write_splits(paths.TRANSFORMED, manifest, iterate_images(paths.PREPARED), chosen, max_pixels)
    mean, std = channel_statistics(load_split(paths.TRANSFORMED, "train").images)
    write_transform(paths.TRANSFORMED, Transform(chosen.size, chosen.mode, chosen.resize, mean, std, classes))
    counts = Counter(splits)
    sizes = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
    logger.info("%d images of %d×%d pixels: %s", len(splits), chosen.size, chosen.size, sizes)
