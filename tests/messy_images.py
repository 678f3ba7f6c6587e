"""A small image table with what real data sets have: deep, transparent and damaged images, copies, given splits and groups."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from visiongate.images import table as image_table
from visiongate.images.table import content_hash, write_shards
from visiongate.records.dataset import DatasetRecord, write_dataset
from visiongate.records.files import write_text
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.settings.schema import Settings
from workspaces import ROOT

IMAGES = 400
CLASSES = ["cat", "dog"]
# So that the table has several pieces.
SHARD_ROWS = 16
SIDE = 48


def messy_settings(**changes: object) -> Settings:
    """The committed settings, which let a few damaged images pass."""
    return replace_settings(
        load_settings(ROOT / "params.yaml"),
        {"validation.decodable.min_share": 0.5, "transformation.size": 16, **changes},
        "test",
    )


def write_messy_table(directory: Path) -> None:
    """Write `IMAGES` raw images in many small shards, with ``dataset.json``, and no corrections."""
    rows = [_row(number) for number in range(IMAGES)]
    usual, image_table.SHARD_ROWS = image_table.SHARD_ROWS, SHARD_ROWS
    try:
        write_shards(directory, rows)
    finally:
        image_table.SHARD_ROWS = usual
    hashes = [row["sha256"] for row in rows]
    record = DatasetRecord(
        "tried", CLASSES, len(rows), "none", "none", "none", "here", "", content_hash(hashes), {}
    )
    write_dataset(directory, record)
    write_text(Path("data/corrections.csv"), "sha256,label,exclude,who,when,why\n")


def _row(number: int) -> dict[str, Any]:
    draw = np.random.default_rng(number)
    # Every eleventh image has the bytes of the one before its predecessor.
    made = number - 2 if number % 11 == 10 else number
    image = _KINDS[made % len(_KINDS)](np.random.default_rng(made))
    return {
        "image": image,
        "label": CLASSES[made % 2],
        "path": f"{number:04d}.png",
        "split": "test" if draw.random() < 0.2 else None,
        "group": f"group-{number // 3}" if number % 4 == 0 else None,
        "sha256": hashlib.sha256(image).hexdigest(),
    }


def _encode(pixels: Any, kind: str = "PNG", mode: str | None = None) -> bytes:  # noqa: ANN401 - an array of any type
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, kind)
    return buffer.getvalue()


def _gray(draw: np.random.Generator) -> bytes:
    return _encode(draw.integers(0, 256, (SIDE, SIDE), dtype=np.uint8))


def _color(draw: np.random.Generator) -> bytes:
    return _encode(draw.integers(0, 256, (SIDE, SIDE + 9, 3), dtype=np.uint8))


def _photograph(draw: np.random.Generator) -> bytes:
    return _encode(draw.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8), "JPEG")


def _deep(draw: np.random.Generator) -> bytes:
    return _encode(draw.integers(0, 4096, (SIDE, SIDE)).astype(np.uint16))


def _transparent(draw: np.random.Generator) -> bytes:
    return _encode(draw.integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8))


def _truncated(draw: np.random.Generator) -> bytes:
    whole = _gray(draw)
    return whole[: len(whole) // 2]


_KINDS: list[Callable[[np.random.Generator], bytes]] = [
    *[_gray, _photograph, _color, _photograph] * 4,
    _deep,
    _transparent,
    _truncated,
]
