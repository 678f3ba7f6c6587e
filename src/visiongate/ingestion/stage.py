"""Ingestion: bring the images in, unchanged, with where they came from."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from visiongate import paths
from visiongate.errors import DataError
from visiongate.images.table import content_hash, write_shards
from visiongate.ingestion.fetching import Place
from visiongate.ingestion.layouts import Source
from visiongate.ingestion.opening import Opened, open_source
from visiongate.records.dataset import DatasetRecord, write_dataset
from visiongate.settings.schema import Dataset, Settings

MIRROR = "VISIONGATE_MIRROR"


def run(settings: Settings) -> None:
    """Write the data set's image table to ``data/raw``."""
    hashes: list[str] = []
    with open_source(settings.dataset, _find_place(settings.dataset)) as opened:
        images = write_shards(paths.RAW, _rows(opened.source, settings.dataset.limit, hashes))
        if not images:
            raise DataError(f"{opened.address}: no image in it")
        write_dataset(paths.RAW, _describe(settings, opened, hashes))
    ignored = "".join(f", {count} {why}" for why, count in sorted(opened.source.ignored.items()))
    told = f"; files that are no images of a class{ignored}" if ignored else ""
    print(f"{settings.dataset.name}: {images} images in {len(opened.source.classes)} classes{told}")


def _find_place(dataset: Dataset) -> Place:
    # DVC sets it, also in an experiment's temporary copy: what is downloaded is downloaded once.
    root = Path(os.environ.get("DVC_ROOT") or ".")
    mirror = os.environ.get(MIRROR) or None
    return Place(root / paths.DOWNLOADS / dataset.name, mirror, root, dataset.limits.max_total_bytes)


def _rows(source: Source, limit: int | None, hashes: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the table's rows, at most ``limit`` spread evenly over the source, and collect their hashes."""
    keep = min(limit or source.images, source.images)
    for index, image in enumerate(source.read()):
        # Bresenham's rule: of n images keep exactly `keep`, as evenly as whole numbers allow.
        if (index + 1) * keep // source.images == index * keep // source.images:
            continue
        hashes.append(hashlib.sha256(image.image).hexdigest())
        yield {**asdict(image), "sha256": hashes[-1]}


def _describe(settings: Settings, opened: Opened, hashes: list[str]) -> DatasetRecord:
    content = content_hash(hashes)
    return DatasetRecord(
        name=settings.dataset.name,
        classes=opened.source.classes,
        images=len(hashes),
        license=settings.dataset.license,
        citation=settings.dataset.citation,
        homepage=settings.dataset.homepage,
        source=opened.address,
        source_sha256=opened.sha256 or content,
        content_sha256=content,
        ignored=dict(sorted(opened.source.ignored.items())),
    )
