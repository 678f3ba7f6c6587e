"""Measure a raw image table in pieces, and record the measurements of each shard in a file of its own."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from visiongate.engine.pieces import Engine
from visiongate.images.decoding import DecodeOptions
from visiongate.images.measurement import measure_images
from visiongate.images.shards import TablePiece, cut_table
from visiongate.records.files import remove_unfinished
from visiongate.records.measurements import Measurement, write_measurements


def measure_table(engine: Engine, table: Path, folder: Path, options: DecodeOptions) -> Iterator[Measurement]:
    """Measure and record all images; yield the measurements without the sketches, to save memory.

    Args:
        engine: What measures the pieces of the table.
        table: The folder of the image table.
        folder: Where the measurements go.
        options: As in `measure_images`.
    """
    measure = partial(measure_piece, folder=folder, options=options)
    for measured in engine.stream(measure, cut_table(table)):
        yield from measured
    remove_unfinished(folder)


def measure_piece(piece: TablePiece, folder: Path, options: DecodeOptions) -> list[Measurement]:
    """Measure and record the images of a piece; return the measurements without the sketches."""
    measurements = measure_images(piece.images(), options)
    left = iter(measurements)
    for shard in piece.read(["sha256"]):
        write_measurements(folder, shard.column("sha256").to_pylist(), list(islice(left, len(shard))))
    return [replace(measurement, sketch=None) for measurement in measurements]
