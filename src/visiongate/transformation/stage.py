"""The transformation stage: decode and resize all images once, and assign them to splits or folds."""

import logging

from visiongate import paths
from visiongate.engine.pieces import open_engine
from visiongate.images.decoding import DecodeOptions
from visiongate.images.pixels import level_statistics
from visiongate.images.table import read_table
from visiongate.records.conversion import read_conversion
from visiongate.records.dataset import read_dataset
from visiongate.records.transform import Transform, write_transform
from visiongate.settings.schema import Settings
from visiongate.transformation.protocol import assign_images
from visiongate.transformation.rendering import Rendering, build_manifest, write_splits
from visiongate.transformation.summary import explain_small_classes, summarize
from visiongate.transformation.units import read_candidates

logger = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Write pixel arrays, manifest and ``transform.json`` to ``data/transformed``."""
    chosen = settings.transformation
    classes = read_dataset(paths.PREPARED).classes
    images = read_table(paths.PREPARED, ["label", "path", "split", "group", "sha256"])
    assignment = assign_images(read_candidates(paths.PREPARED), chosen.split, settings.evaluation)
    manifest = build_manifest(images, assignment.splits, classes, assignment.folds)
    conversion = read_conversion(paths.PREPARED).conversion
    rendering = Rendering(chosen, DecodeOptions(conversion, settings.dataset.limits.max_pixels))
    with open_engine(settings.engine) as engine:
        levels = write_splits(engine, paths.PREPARED, paths.TRANSFORMED, manifest, rendering)
    mean, std = level_statistics(levels)
    write_transform(
        paths.TRANSFORMED,
        Transform(
            chosen.size,
            chosen.mode,
            chosen.resize,
            mean,
            std,
            classes,
            assignment.protocol,
            assignment.fold_count,
            conversion.depth,
            conversion.background,
            conversion.window,
        ),
    )
    labels = images.column("label").to_pylist()
    logger.info("%s", summarize(assignment, labels))
    if warning := explain_small_classes(labels):
        logger.warning("%s", warning)
