"""Ingestion: bring the images in, unchanged, with where they came from."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from visiongate import paths
from visiongate.config import Settings
from visiongate.data.image_table import Dataset, content_hash, write_dataset, write_shards
from visiongate.data.sources import Opened, Source, find_source
from visiongate.errors import DataError


def run(settings: Settings) -> None:
    """Write the data set's image table to ``data/raw``."""
    source = find_source(settings.dataset.name)
    opened = source.open()
    hashes: list[str] = []
    images = write_shards(paths.RAW, _rows(source, opened, settings.dataset.limit, hashes))
    write_dataset(
        paths.RAW,
        Dataset(
            name=settings.dataset.name,
            classes=list(source.classes),
            images=images,
            licence=source.licence,
            citation=source.citation,
            homepage=source.homepage,
            source_sha256=opened.sha256,
            content_sha256=content_hash(hashes),
        ),
    )
    print(f"{settings.dataset.name}: {images} images in {len(source.classes)} classes")


def _rows(source: Source, opened: Opened, limit: int | None, hashes: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the table's rows, at most ``limit`` spread evenly over the source, and collect their hashes."""
    keep = min(limit or opened.images, opened.images)
    for index, image in enumerate(opened.read()):
        # Bresenham's rule: of n images keep exactly `keep`, as evenly as whole numbers allow.
        if (index + 1) * keep // opened.images == index * keep // opened.images:
            continue
        if image.label not in source.classes:
            raise DataError(f"{image.path}: label {image.label!r} is none of {', '.join(source.classes)}")
        hashes.append(hashlib.sha256(image.image).hexdigest())
        yield {**asdict(image), "sha256": hashes[-1]}
