"""Collected images in the current folder: the table and the files."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from visiongate import paths
from visiongate.records.collected import CollectedImage, change_collected


def add_collected(images: Iterable[tuple[str, bytes]], dataset: str = "digits") -> list[CollectedImage]:
    """Add PNG files by label and content to ``data/collected``, and their rows to the table."""
    rows = []
    for label, content in images:
        row = CollectedImage(hashlib.sha256(content).hexdigest(), label, "png", dataset=dataset)
        file = paths.COLLECTED_IMAGES / row.file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        rows.append(row)
    change_collected(Path(paths.COLLECTED), rows)
    return rows
