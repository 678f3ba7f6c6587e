"""The ingestion stage: copy the images, byte for byte, into an image table, and record where they come from.

The images are those of the source, and those that `visiongate collect` took from the service.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dotenv import load_dotenv

from visiongate import paths
from visiongate.errors import DataError
from visiongate.images.table import content_hash, write_shards
from visiongate.ingestion.collected_images import find_collected, join_classes, join_rows
from visiongate.ingestion.fetching import DownloadOptions
from visiongate.ingestion.opening import OpenedSource, open_source
from visiongate.ingestion.source import Source
from visiongate.records.dataset import DatasetRecord, write_dataset
from visiongate.settings.dataset import Dataset
from visiongate.settings.schema import Settings

logger = logging.getLogger(__name__)
MIRROR = "VISIONGATE_MIRROR"


def run(settings: Settings) -> None:
    """Write the data set's image table to ``data/raw``."""
    hashes: list[str] = []
    ungrouped: list[str] = []
    collected = find_collected(paths.COLLECTED, paths.COLLECTED_IMAGES, settings.dataset.name)
    with open_source(settings.dataset, download_options(settings.dataset)) as opened:
        source = opened.source
        if not source.images:
            raise DataError(f"{opened.address}: holds no image; choose another source")
        classes = join_classes(source.classes, collected.images, settings.dataset)
        rows = join_rows(_note_ungrouped(_rows(source, settings.dataset.limit), ungrouped), collected)
        images = write_shards(paths.RAW, _note_hashes(rows, hashes))
        write_dataset(paths.RAW, _describe(settings.dataset, opened, classes, hashes))
    ignored = "; ".join(f"{count} {reason}" for reason, count in sorted(source.ignored.items()))
    logger.info("%s: %s", settings.dataset.name, source.layout)
    for warning in source.warnings:
        logger.warning("%s", warning)
    if settings.dataset.group and ungrouped:
        logger.warning(
            "dataset.group = %r finds no group in %d of %d paths, such as %s; these images may lie in several splits: correct "
            "the expression, or set it to null",
            *(settings.dataset.group, len(ungrouped), images, ungrouped[0]),
        )
    if collected.images:
        logger.info("%d of the images are collected: %s", len(collected.images), paths.COLLECTED)
    logger.info("%s: %d images; ignored files: %s", settings.dataset.name, images, ignored or "none")


def download_options(dataset: Dataset) -> DownloadOptions:
    """Return where the data set's files go, and where they may come from."""
    # DVC sets the variable in an experiment's temporary copy too, so that all experiments share the downloads.
    root = Path(os.environ.get("DVC_ROOT") or ".")
    load_dotenv(root / ".env")
    mirror = os.environ.get(MIRROR) or None
    return DownloadOptions(root / paths.DOWNLOADS / dataset.name, mirror, dataset.limits.max_total_bytes)


def _rows(source: Source, limit: int | None) -> Iterator[dict[str, Any]]:
    """Yield the rows of the source, at most ``limit`` spread evenly over it."""
    keep = min(limit or source.images, source.images)
    for index, image in enumerate(source.read()):
        # Bresenham's algorithm selects exactly `keep` images at regular intervals.
        if (index + 1) * keep // source.images == index * keep // source.images:
            continue
        yield {**asdict(image), "sha256": hashlib.sha256(image.image).hexdigest()}


def _note_hashes(rows: Iterator[dict[str, Any]], hashes: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows, and collect their hashes."""
    for row in rows:
        hashes.append(row["sha256"])
        yield row


def _note_ungrouped(rows: Iterator[dict[str, Any]], ungrouped: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows, and collect the paths of those without a group."""
    for row in rows:
        if row["group"] is None:
            ungrouped.append(row["path"])
        yield row


def _describe(dataset: Dataset, opened: OpenedSource, classes: list[str], hashes: list[str]) -> DatasetRecord:
    content = content_hash(hashes)
    return DatasetRecord(
        name=dataset.name,
        classes=classes,
        images=len(hashes),
        license=dataset.license,
        citation=dataset.citation,
        homepage=dataset.homepage,
        source=opened.address,
        source_sha256=opened.sha256 or content,
        content_sha256=content,
        ignored=dict(sorted(opened.source.ignored.items())),
        layout=opened.source.layout,
        warnings=list(opened.source.warnings),
    )
